"""Rigs as physical things: slots with ports and wires, cards that train links."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from math import ceil

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import Gpu, Rig, Slot

LANES = (1, 4, 8, 16)
GB_PER_LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938}
ERRORS_PER_MINUTE_AND_LANE = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92}
BOOT = "0e6b7a52-9f0c-4ed7-a3a3-2d6c3b1f7c11"
FATAL, NOTED, HARMLESS = (79, 48, 62, 119, 74), (63, 92, 94, 154, 999), (13, 31, 43, 45)

Verdict = tuple[str, str]
"""Status and cause."""


@dataclass
class Card:
    """A card as it is: ``lanes`` and ``gen`` are its own limit, ``memory`` in MiB as its driver counts it."""

    gpu: Gpu
    lanes: int
    gen: int
    memory: int
    ecc: bool | None
    memory_verdict: Verdict = ("PASS", "")
    xid: int | None = None
    bad_words: int = 0
    efficiency: float = 0.85


@dataclass
class Socket:
    """A slot of the board and what hangs below its port.

    ``lanes`` and ``gen`` are the port's limit, ``wire_lanes`` and ``wire_gen`` what riser and contacts let through.
    ``uplinks`` are the links above the port: lanes, and the limits of their two ends.
    """

    name: str
    lanes: int
    gen: int
    chipset: bool = False
    wire_lanes: int = 16
    wire_gen: int = 5
    uplinks: list[tuple[int, int, int]] = field(default_factory=list)
    card: Card | None = None
    working: bool = False
    errors: tuple[int, int] = (0, 0)
    nonfatal: int = 0
    fatal: int = 0
    replays: int = 0
    load_errors: int = 0
    bus: str = ""
    port: str = ""

    @property
    def trained(self) -> int:
        """The lanes that come up."""
        assert self.card is not None
        return min(self.lanes, self.wire_lanes, self.card.lanes)

    @property
    def full_gen(self) -> int:
        """The generation at work."""
        assert self.card is not None
        return min(self.gen, self.wire_gen, self.card.gen)

    @property
    def address(self) -> str:
        return f"0000:{self.bus}:00.0"


@dataclass
class Machine:
    """One rig: what is declared, and what is really there."""

    rig: Rig
    catalogue: Catalogue
    sockets: list[Socket]
    named: bool
    pinned: bool
    virtual: bool
    uptime: float
    loaded: bool
    load_seconds: float = 8.0

    def socket(self, name: str) -> Socket:
        return next(socket for socket in self.sockets if socket.name == name)


def allowed_errors(slot: Slot, hours: float) -> int:
    """Correctable errors that a riser may show in that time."""
    per_hour = slot.correctable_errors_per_hour
    if per_hour is None:
        return ceil(ERRORS_PER_MINUTE_AND_LANE[slot.link.gen] * slot.link.width * 60 * hours)
    return ceil(per_hour * hours)


def allowed_replays(slot: Slot, minutes: float) -> int:
    return ceil(ceil(ERRORS_PER_MINUTE_AND_LANE[slot.link.gen] * slot.link.width) * minutes)


def cards_by_address(made: Machine) -> list[Socket]:
    return sorted((socket for socket in made.sockets if socket.card), key=lambda socket: socket.address)


def best_ways(made: Machine) -> list[list[tuple[int, int]]]:
    """The pairs (slot, card), by their places, of every seating that contradicts the declaration least."""
    slots, sockets = list(made.rig.build.slots.values()), cards_by_address(made)
    few, many = min(len(slots), len(sockets)), max(len(slots), len(sockets))

    def cost(pairs: list[tuple[int, int]]) -> tuple[int, int, int]:
        models = widths = order = 0
        for row, column in pairs:
            slot, socket = slots[row], sockets[column]
            assert socket.card is not None
            models += socket.card.gpu.pci_ids[0] not in made.catalogue.gpus[slot.gpu].pci_ids
            for lanes in (socket.trained, socket.lanes):
                widths += abs(lanes.bit_length() - slot.link.width.bit_length())
            order += abs(row - column)
        return models, widths, order

    ways = [
        list(enumerate(way)) if len(slots) <= len(sockets) else list(zip(way, range(few), strict=True))
        for way in itertools.permutations(range(many), few)
    ]
    least = min(map(cost, ways))
    return [way for way in ways if cost(way) == least]
