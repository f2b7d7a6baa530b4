"""Where a board's slots sit on the PCI bus: realistic addresses, made up once and the same on every boot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import Link

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build

_SERVER_ROOTS = (0xC0, 0x80, 0x40, 0x00)
"""Root buses of an EPYC's four I/O quadrants."""
_SERVER_PORTS = 4
"""Ports that each quadrant spends on slots here."""
_DESKTOP_CPU_SLOTS = 2
"""A board with more slots at the processor than this is laid out like a server's."""


@dataclass(frozen=True)
class Port:
    """The root port of a slot: its root bus, its own address, the bus behind it, and the widest link it offers."""

    slot: str
    root: str
    address: str
    bus: str
    limit: Link
    attached: str


def ports(build: Build, board: Board) -> list[Port]:
    """The root port of every slot of the board, in the board's order.

    A slot that is pinned to an address in the build gets it. In a group of slots that share lanes and want more than
    there are, the port offers what was declared for it: that is what a bifurcated port advertises.
    """
    server = sum(slot.attached == "cpu" for slot in board.slots.values()) > _DESKTOP_CPU_SLOTS
    places = _server(board) if server else _desktop(board)
    found = []
    for name, (root, device, bus) in places.items():
        declared = build.slots.get(name)
        pinned = declared.address if declared else None
        behind = pinned[5:7] if pinned else f"{bus:02x}"
        found.append(
            Port(
                name,
                f"0000:{root:02x}",
                f"0000:{root:02x}:{device}",
                f"0000:{behind}",
                _limit(name, build, board),
                board.slots[name].attached,
            )
        )
    return found


def _server(board: Board) -> dict[str, tuple[int, str, int]]:
    """Slots dealt out over the quadrants: port at device 1, 3, 5… of its root bus, the card's bus right behind it."""
    places = {}
    for index, name in enumerate(board.slots):
        quadrant, nth = index % len(_SERVER_ROOTS), index // len(_SERVER_ROOTS)
        root = _SERVER_ROOTS[quadrant]
        places[name] = (root, f"{1 + 2 * nth:02x}.1", root + 1 + nth)
    return places


def _desktop(board: Board) -> dict[str, tuple[int, str, int]]:
    """One root bus: the processor's ports at 01.x, the chipset's at 1c.x and 1d.x."""
    places, cpu, chipset = {}, 0, 0
    for index, (name, slot) in enumerate(board.slots.items()):
        if slot.attached == "cpu":
            device, cpu = f"01.{cpu}", cpu + 1
        else:
            device, chipset = f"{0x1C + chipset // 8:02x}.{chipset % 8}", chipset + 1
        places[name] = (0, device, index + 1)
    return places


def _limit(name: str, build: Build, board: Board) -> Link:
    limit = board.slots[name].link
    for group in board.lane_groups:
        wanted = sum(board.slots[other].link.width for other in group.slots if other in build.slots)
        if name in group.slots and name in build.slots and wanted > group.lanes:
            return Link(limit.gen, min(limit.width, build.slots[name].link.width))
    return limit
