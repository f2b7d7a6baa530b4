"""What a build says of a card beside model, slot and link: limits, errors, the reach of its memory, its bridges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from math import ceil
from typing import TYPE_CHECKING

from rigdeploy.capture.model import Kind, Note, warning
from rigdeploy.verify.rates import allowed_errors

if TYPE_CHECKING:
    from rigdeploy.fleet.link import Link
    from rigdeploy.fleet.models import Gpu
    from rigdeploy.node.load import Load
    from rigdeploy.node.observation import GpuReading, Observation
    from rigdeploy.verify.cards import Card

_REBAR_OFF_MIB = 256
"""BAR1 without Resizable BAR."""
_HOUR = 3600
_SHORTEST = 60
"""Seconds since boot below which a count makes no rate."""
WATT = 1
"""Limits that differ by no more are the same: nvidia-smi rounds."""


def memory_not_read(card: Card, gpu: Gpu, slot: str) -> list[Note]:
    """A card that the driver shows without its memory: the model is then taken from the PCI id alone."""
    if card.reading is None or (card.reading.memory_mib is not None and not card.reading.mig):
        return []
    why = "the card is split by MIG" if card.reading.mig else "the driver does not tell the memory"
    return [warning(("slots", slot), f"{why}: that it is {gpu.memory_gib} GiB follows from the PCI id alone")]


def limited(card: Card, gpu: Gpu, slot: str) -> tuple[int | None, list[Note]]:
    """The power limit in watts where it is not the card's default."""
    found, place = power_limit(card.reading), ("slots", slot)
    if found is None or card.reading is None:
        return None, []
    default = (card.reading.power or {}).get("default", float(gpu.power.default))
    if abs(found - default) <= WATT:
        return None, []
    if not gpu.power.minimum <= round(found) <= gpu.power.maximum:
        allowed = f"{gpu.power.minimum} to {gpu.power.maximum} W"
        text = f"the power limit is {found:.0f} W, and the catalogue allows {gpu.name} {allowed}: it is left out"
        return None, [warning(place, text)]
    return round(found), [Note(place, f"The power limit is not the card's default, {default:.0f} W.")]


def power_limit(reading: GpuReading | None) -> float | None:
    """The power limit in watts that a card keeps to; None when it is unread."""
    return (reading.power or {}).get("enforced") if reading else None


def errors(observation: Observation, card: Card, slot: str, link: Link) -> list[Note]:
    """Correctable errors that either end of the link counted since boot, as a rate that could be allowed."""
    counters = [device.aer.get("correctable", {}) for device in (card.device, *card.ports[:1]) if device and device.aer]
    count = max((counter.get("total", 0) for counter in counters), default=0)
    if not count:
        return []
    place, uptime = ("slots", slot), observation.host.uptime_seconds
    if uptime is None or uptime < _SHORTEST:
        return [Note(place, f"The link counted {count} correctable errors since boot.")]
    rate = count / (uptime / _HOUR)
    usual = allowed_errors(None, link, 1)
    text = (
        f"The link counted {count} correctable errors in {uptime / _HOUR:.1f} hours: {rate:.1f} an hour, where a sound "
        f"one makes {usual} at most. Another riser may make none; to live with this one:"
    )
    return [Note(place, text), Note(place, f"correctable_errors_per_hour: {ceil(rate)}", Kind.SUGGESTION)]


def resizable_bar(cards: Iterable[Card]) -> tuple[bool | None, list[Note]]:
    """Whether the cards' whole memory is in reach of the processor, if that is the same for all of them."""
    found = {_bar_is_large(card) for card in cards}
    if len(found) == 1:
        (same,) = found
        return same, []
    return None, [Note(("resizable_bar",), "resizable_bar: the cards differ, so it is left out.")]


def _bar_is_large(card: Card) -> bool | None:
    """Whether BAR1 holds the card's memory; None where it was not read, or is neither that nor the smallest."""
    bars = card.device.bars_mib if card.device else ()
    size = card.reading.bar1_mib if card.reading and card.reading.bar1_mib else max(bars, default=None)
    if size is None or card.gpu is None:
        return None
    if size >= card.gpu.memory_gib * 1024:
        return True
    return False if size <= _REBAR_OFF_MIB else None


def bridges(cards: Mapping[str, Card], load: Load | None) -> list[list[str]]:
    """The pairs of slots whose cards have all their NVLinks up, and to each other alone, as a bridge joins them."""
    links = load.nvlinks if load else {}
    found = {slot: links.get(card.address or "") for slot, card in cards.items()}
    up = {slot: one for slot, one in found.items() if one is not None and one.total and one.active == one.total}
    return [
        [one, other]
        for one, other in combinations(up, 2)
        if set(up[one].peers) == {up[other].address} and set(up[other].peers) == {up[one].address}
    ]
