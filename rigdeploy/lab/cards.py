"""A twin's cards: what sits where, the link that each would train, its memory, and what each fault makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import Link
from rigdeploy.lab.faults import Faults, SlotFault
from rigdeploy.lab.topology import Port, ports

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build, Gpu

IDLE_GENERATION = 1
"""What a GeForce falls back to in P8."""
MODDED_FACTOR = 2
"""A rebuilt card carries twice the memory of the original (RTX 4090 with 48 GB)."""


@dataclass(frozen=True)
class Card:
    """A card in a slot: what it is, where it sits, and the link that would be measured now."""

    slot: str
    gpu: Gpu
    port: Port
    link: Link
    fault: SlotFault

    @property
    def address(self) -> str:
        """The GPU's PCI address, ``dddd:bb:dd.f``."""
        return self.port.device

    def link_now(self, resting: bool) -> Link:
        """The link at this moment; ``resting``: a driver is loaded that lets idle links fall back."""
        if not resting:
            return self.link
        if self.fault.busy:
            return Link(min(self.link.gen, self.fault.stuck_gen or self.link.gen), self.link.width)
        return Link(IDLE_GENERATION, self.link.width)

    def errors(self, now: float) -> int:
        """Correctable PCIe errors up to ``now`` (Unix time)."""
        return self.fault.aer_count(now)


def cards(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults) -> list[Card]:
    """The cards that can be seen, in bus order as nvidia-smi lists them; ``gpus`` is the catalogue by id."""
    found = []
    for port in ports(build, board):
        slot, fault = build.slots.get(port.slot), faults.slot(port.slot)
        if slot is not None and not fault.missing:
            gpu = gpus[slot.gpu]
            found.append(Card(port.slot, gpu, faulty(port, fault), _measured(slot.link, port, gpu, fault), fault))
    return sorted(found, key=lambda card: card.address)


def memory_mib(card: Card) -> tuple[int, bool | None]:
    """The card's ``memory.total`` in MiB, and its ECC state (None: the card has none to switch)."""
    known, fault = card.gpu.memory_mib, card.fault
    switchable = bool(known.ecc_on)
    ecc = (fault.ecc or not known.ecc_off) if switchable else None
    total = (known.ecc_on if ecc else known.ecc_off)[0]
    if fault.memory_mib is not None:
        total = fault.memory_mib
    elif fault.modded:
        total *= MODDED_FACTOR
    return total, ecc


def bar1_mib(card: Card) -> int:
    """The size of BAR1 in MiB: with Resizable BAR the next power of two that holds the memory."""
    if card.fault.bar1_mib is not None:
        return card.fault.bar1_mib
    size = 256
    while size < card.gpu.memory_gib * 1024:
        size *= 2
    return size if size > card.gpu.memory_gib * 1024 else size * 2


def _measured(declared: Link, port: Port, gpu: Gpu, fault: SlotFault) -> Link:
    """The link that a rig built as declared would train, then what the fault makes of it."""
    sound = Link(min(declared.gen, port.limit.gen, gpu.link.gen), min(declared.width, port.limit.width, gpu.link.width))
    return Link(fault.gen or sound.gen, fault.width or sound.width)


def faulty(port: Port, fault: SlotFault) -> Port:
    """The port with the limit that the fault leaves it."""
    if fault.at != "port" or (fault.width is None and fault.gen is None):
        return port
    return replace(port, limit=Link(fault.gen or port.limit.gen, fault.width or port.limit.width))
