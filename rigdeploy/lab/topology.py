"""Where a board's slots and its own devices sit on the PCI bus: made up once, and the same on every boot.

Three kinds of board: a server's four root complexes; a desktop's processor with an Intel chipset, whose root ports sit
on the processor's own bus; and one with an AMD chipset, which is a PCIe switch behind one of the processor's ports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rigdeploy.fleet.link import Link

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build

_SERVER_ROOTS = (0xC0, 0x80, 0x40, 0x00)
"""Root buses of an EPYC's four I/O quadrants."""
_DESKTOP_CPU_SLOTS = 2
"""A board with more slots at the processor than this is laid out like a server's."""
_FUNCTIONS = 8
_CHIPSET_PORTS = range(0x1C, 0x1E)
"""Devices of an Intel chipset's root ports (those at 1b are left to M.2 sockets here)."""

_PORT_IDS = {
    "server": "1022:1483",  # Starship/Matisse GPP bridge
    "amd": "1022:14db",  # Raphael GPP bridge
    "intel": "8086:1901",  # 6th to 10th generation Core, PCIe controller (x16)
    "intel chipset": "8086:43b8",  # a root port of the 500 series
    "switch upstream": "1022:43f4",  # 600 series chipset, PCIe switch upstream port
    "switch downstream": "1022:43f5",
}
"""PCI ids of ports (pci.ids)."""
_UPLINK = Link(4, 4)
"""What joins an AMD chipset to its processor (AM5)."""
_INTEL_WORDS = ("intel", "celeron", "pentium", "xeon", "core i")

Kind = Literal["root", "upstream", "downstream"]


@dataclass(frozen=True)
class Bridge:
    """A port that only leads to other ports: the buses behind it are ``bus`` to ``last`` (numbers)."""

    address: str
    bus: int
    last: int
    kind: Kind
    pci_id: str
    limit: Link


@dataclass(frozen=True)
class Port:
    """The port that feeds a slot or a device: its root bus, its own address, the bus behind it, and its widest link.

    ``slot`` is empty for a device on the board; ``above`` are the ports between it and the root bus, the root's first.
    """

    slot: str
    root: str
    address: str
    bus: str
    limit: Link
    attached: str
    pci_id: str
    above: tuple[Bridge, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the port calls itself in its PCIe capability."""
        return "downstream" if self.above else "root"

    @property
    def home(self) -> str:
        """Its directory, from ``sys/devices`` on."""
        return "/".join([f"sys/devices/pci{self.root}", *(bridge.address for bridge in self.above), self.address])

    @property
    def device(self) -> str:
        """The address of the first function behind it."""
        return f"{self.bus}:00.0"


@dataclass(frozen=True)
class _Place:
    address: str
    bus: int
    pci_id: str
    above: tuple[Bridge, ...] = ()


def is_intel(cpu: str) -> bool:
    """Whether a processor of this name is Intel's; a build that names none counts as AMD's."""
    return any(word in cpu.lower() for word in _INTEL_WORDS)


def is_server(board: Board) -> bool:
    """Whether the board is laid out like a server's."""
    return sum(slot.attached == "cpu" for slot in board.slots.values()) > _DESKTOP_CPU_SLOTS


def ports(build: Build, board: Board) -> list[Port]:
    """The port of every slot of the board, in the board's order.

    A slot that is pinned to an address in the build gets it. In a group of slots that share lanes and want more than
    there are, the port offers what was declared for it: that is what a bifurcated port advertises.
    """
    family = _family(build, board)
    places = _server(board) if family == "server" else _desktop(board, family)
    found = []
    for name, place in places.items():
        declared = build.slots.get(name)
        pinned = declared.address if declared else None
        bus = pinned[:7] if pinned else f"0000:{place.bus:02x}"
        found.append(_port(name, place, bus, _limit(name, build, board), board.slots[name].attached))
    return found


def disk_ports(build: Build, board: Board, count: int) -> list[Port]:
    """Ports for ``count`` NVMe disks: at the processor, or at an Intel chipset's 1b.x."""
    family = _family(build, board)
    device = {"server": 0x08, "amd": 0x03, "intel": 0x1B}[family]
    chip = "intel chipset" if family == "intel" else family
    limit = Link(3 if family == "intel" else 4, 4)
    places = [_Place(_function(device, nth), 0x20 + nth, _PORT_IDS[chip]) for nth in range(count)]
    attached = "chipset" if family == "intel" else "cpu"
    return [_port("", place, f"0000:{place.bus:02x}", limit, attached) for place in places]


def network_ports(build: Build, board: Board, limits: list[Link]) -> list[Port]:
    """Ports for network chips that want these links: at a server's processor, else at the chipset."""
    family = _family(build, board)
    first = 0 if family == "server" else sum(slot.attached == "chipset" for slot in board.slots.values())
    found = []
    for nth, limit in enumerate(limits):
        if family == "server":
            place = _Place(_function(0x09, nth), 0x30 + nth, _PORT_IDS["server"])
        else:
            place = _chipset(family, first + nth, 0x30 + nth)
        found.append(_port("", place, f"0000:{place.bus:02x}", limit, "cpu" if family == "server" else "chipset"))
    return found


def switch_port(build: Build, board: Board) -> Port:
    """The port of an NVSwitch, which has two lanes for its management."""
    place = _Place("0000:00:0a.0", 0x38, _PORT_IDS[_family(build, board)])
    return _port("", place, f"0000:{place.bus:02x}", Link(4, 2), "cpu")


def _family(build: Build, board: Board) -> str:
    if is_server(board):
        return "server"
    return "intel" if build.cpu is not None and is_intel(build.cpu.model) else "amd"


def _port(slot: str, place: _Place, bus: str, limit: Link, attached: str) -> Port:
    root = place.above[0].address[:7] if place.above else place.address[:7]
    return Port(slot, root, place.address, bus, limit, attached, place.pci_id, place.above)


def _function(device: int, nth: int) -> str:
    """The address of the nth function on bus 0 from ``device`` on."""
    return f"0000:00:{device + nth // _FUNCTIONS:02x}.{nth % _FUNCTIONS}"


def _server(board: Board) -> dict[str, _Place]:
    """Slots dealt out over the quadrants: port at device 1, 3, 5… of its root bus, the card's bus right behind it."""
    places = {}
    for index, name in enumerate(board.slots):
        quadrant, nth = index % len(_SERVER_ROOTS), index // len(_SERVER_ROOTS)
        root = _SERVER_ROOTS[quadrant]
        places[name] = _Place(f"0000:{root:02x}:{1 + 2 * nth:02x}.1", root + 1 + nth, _PORT_IDS["server"])
    return places


def _desktop(board: Board, family: str) -> dict[str, _Place]:
    """One root bus: the processor's ports at 01.x, the chipset's behind its own."""
    places, cpu, chipset = {}, 0, 0
    for index, (name, slot) in enumerate(board.slots.items()):
        if slot.attached == "cpu":
            places[name], cpu = _Place(f"0000:00:01.{cpu}", index + 1, _PORT_IDS[family]), cpu + 1
        else:
            places[name], chipset = _chipset(family, chipset, index + 1), chipset + 1
    return places


def _chipset(family: str, nth: int, bus: int) -> _Place:
    """The chipset's nth port. Behind AMD's switch (buses 10 to 1f) ``bus`` follows from the port."""
    if family == "intel":
        return _Place(_function(_CHIPSET_PORTS[0], nth), bus, _PORT_IDS["intel chipset"])
    above = (
        Bridge("0000:00:02.1", 0x10, 0x1F, "root", _PORT_IDS["amd"], _UPLINK),
        Bridge("0000:10:00.0", 0x11, 0x1F, "upstream", _PORT_IDS["switch upstream"], _UPLINK),
    )
    return _Place(f"0000:11:{nth:02x}.0", 0x12 + nth, _PORT_IDS["switch downstream"], above)


def _limit(name: str, build: Build, board: Board) -> Link:
    limit = board.slots[name].link
    for group in board.lane_groups:
        wanted = sum(board.slots[other].link.width for other in group.slots if other in build.slots)
        if name in group.slots and name in build.slots and wanted > group.lanes:
            return Link(limit.gen, min(limit.width, build.slots[name].link.width))
    return limit
