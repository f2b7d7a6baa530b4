"""Which power limit and which clock each card of a node is to have, and whether it has them. Pure.

A limit is declared for a slot and set for a card, by its UUID: cards are matched to slots as ``verify`` matches them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.errors import RigdeployError
from rigdeploy.node.observation import GpuReading, Observation
from rigdeploy.verify.cards import Card

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Slot

_WATT = 1.0
"""Cards round their limit."""
_UUID = "GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SET = re.compile(rf"--id=({_UUID}) --(power-limit|lock-gpu-clocks)=")


class TuningError(RigdeployError):
    """What is declared cannot be set on this node's cards."""


@dataclass(frozen=True)
class Limits:
    """What one card is held to; None: as the driver has it."""

    power_limit_watts: int | None = None
    clock_limit_mhz: int | None = None

    def __str__(self) -> str:
        watts = None if self.power_limit_watts is None else f"{self.power_limit_watts} W"
        clock = None if self.clock_limit_mhz is None else f"{self.clock_limit_mhz} MHz"
        return " and ".join(part for part in (watts, clock) if part) or "no limit"


@dataclass(frozen=True)
class TunedCard:
    """One card with its limits; ``slot`` is empty where it was declared by its UUID."""

    uuid: str
    slot: str
    limits: Limits


def for_slots(limits: Mapping[str, Limits], cards: Sequence[Card]) -> tuple[list[TunedCard], list[str]]:
    """The cards in the slots that have limits, and the slots whose card is not there.

    TuningError when it cannot be told which card sits where and it matters, or when a card shows no UUID.
    """
    found, absent = [], []
    for card in cards:
        if card.declared is None or card.slot not in limits:
            continue
        if card.device is None:
            absent.append(card.slot)
            continue
        _refuse_guess(card, card.declared, cards, limits)
        if card.reading is None or card.reading.uuid is None:
            raise TuningError(
                f"the driver shows no UUID for the card in {card.slot} ({card.address})",
                "look at 'nvidia-smi -L' on the node, and for Xid in its dmesg",
            )
        found.append(TunedCard(card.reading.uuid, card.slot, limits[card.slot]))
    return found, absent


def _refuse_guess(card: Card, declared: Slot, cards: Sequence[Card], limits: Mapping[str, Limits]) -> None:
    """Where slots were matched by likelihood only, a card may be that of any such slot of its model."""
    if card.matched_by != "assignment":
        return
    alike = [other for other in cards if other.declared is not None and other.declared.gpu == declared.gpu]
    for other in (other for other in alike if other.matched_by in ("assignment", "")):
        mine, its = limits[card.slot], limits.get(other.slot, Limits())
        if mine != its:
            raise TuningError(
                f"the node does not name its slots, so which of its cards sits in {card.slot} ({mine}) and which in "
                f"{other.slot} ({its}) cannot be told",
                "pin both slots to their PCI addresses in the build ('address'), or declare the same limits for both",
            )


def checked(cards: Iterable[TunedCard], observation: Observation, clocks_max: Mapping[str, int]) -> Iterator[TunedCard]:
    """The cards again, when each can be held to its limits; ``clocks_max`` is the highest clock by UUID, in MHz."""
    readings = {reading.uuid: reading for reading in observation.gpus.values() if reading.uuid}
    for card in cards:
        if not re.fullmatch(_UUID, card.uuid):
            raise TuningError(f"{card.uuid!r} is no UUID of a card", "it looks like GPU-, and 32 hex digits in groups")
        reading = readings.get(card.uuid)
        if reading is None:
            known = ", ".join(uuid for uuid in readings if uuid) or "none"
            raise TuningError(f"there is no card {card.uuid}", f"the driver shows: {known}")
        name = f"the card in {card.slot}" if card.slot else f"card {card.uuid}"
        if card.limits.power_limit_watts is not None:
            _check_power(name, reading, card.limits.power_limit_watts)
        highest, wanted = clocks_max.get(card.uuid), card.limits.clock_limit_mhz
        if wanted is not None and highest is not None and wanted > highest:
            raise TuningError(
                f"{name} ({reading.name}) reaches {highest} MHz at most, and {wanted} MHz are declared",
                "declare less, or leave clock_limit_mhz out",
            )
        yield card


def _check_power(name: str, reading: GpuReading, watts: int) -> None:
    ranges = reading.power or {}
    low, high = ranges.get("minimum"), ranges.get("maximum")
    if low is None or high is None:
        raise TuningError(
            f"{name} ({reading.name}) shows no range for its power limit",
            "its limit cannot be set: leave power_limit_watts out (some cards of laptops and servers are like that)",
        )
    if not low <= watts <= high:
        raise TuningError(
            f"{name} ({reading.name}) can be held to {low:.0f} to {high:.0f} W, and {watts} W are declared",
            "declare a power_limit_watts in that range",
        )


def commands(cards: Iterable[TunedCard]) -> Iterator[tuple[str, ...]]:
    """The arguments of ``nvidia-smi`` that set all limits."""
    for card in cards:
        if card.limits.power_limit_watts is not None:
            yield f"--id={card.uuid}", f"--power-limit={card.limits.power_limit_watts}"
        if card.limits.clock_limit_mhz is not None:
            yield f"--id={card.uuid}", f"--lock-gpu-clocks=0,{card.limits.clock_limit_mhz}"


def releases(script: str, cards: Sequence[TunedCard], observation: Observation) -> Iterator[tuple[str, ...]]:
    """The arguments of ``nvidia-smi`` that undo what ``script``, an earlier run's, has set and ``cards`` do not."""
    readings = {reading.uuid: reading for reading in observation.gpus.values() if reading.uuid}
    still = {words[0].removeprefix("--id=") + words[1].partition("=")[0] for words in commands(cards)}
    for uuid, what in dict.fromkeys(_SET.findall(script)):
        if f"{uuid}--{what}" in still or uuid not in readings:
            continue
        if what.startswith("lock"):
            yield f"--id={uuid}", "--reset-gpu-clocks"
        elif default := (readings[uuid].power or {}).get("default"):
            yield f"--id={uuid}", f"--power-limit={default:.0f}"


def missed(cards: Iterable[TunedCard], observation: Observation) -> Iterator[str]:
    """One sentence for each power limit that is not in force. Of a locked clock the driver says nothing."""
    readings = {reading.uuid: reading for reading in observation.gpus.values() if reading.uuid}
    for card in cards:
        wanted = card.limits.power_limit_watts
        reading = readings.get(card.uuid)
        actual = (reading.power or {}).get("limit") if reading else None
        if wanted is not None and (actual is None or abs(actual - wanted) > _WATT):
            shown = "no limit" if actual is None else f"{actual:.0f} W"
            yield f"{card.slot or card.uuid} is to be held to {wanted} W, and the driver shows {shown}"
