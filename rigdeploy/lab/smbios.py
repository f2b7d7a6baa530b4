"""The firmware's tables of a twin (SMBIOS 3.3): what /sys/firmware/dmi/tables and /sys/class/dmi/id show.

Structures and their fields are those of DSP0134; each is written up to the version that its comment names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.lab.host import threads
from rigdeploy.lab.memory import Dimm, dimms, is_ddr5
from rigdeploy.lab.topology import Port, is_intel, ports

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build

VERSION = (3, 3)
BIOS_VERSION, BIOS_DATE = "P3.60", "01/18/2024"
_FILLED_IN = "Default string"
"""What board makers leave in fields that they do not use."""
_MAKERS = {
    "ASRock Rack": "ASRockRack",
    "ASRock": "ASRock",
    "ASUS": "ASUSTeK COMPUTER INC.",
    "MSI": "Micro-Star International Co., Ltd.",
    "Supermicro": "Supermicro",
    "Gigabyte": "Gigabyte Technology Co., Ltd.",
}
"""How a board's maker, by the first words of the catalogue's name, calls itself in its tables."""

_NONE = 0xFFFF
_EXTENDED = 0x7FFF
"""A size in MB that says: look at the extended size."""
_NO_HANDLE = 0xFFFE
_SLOT_TYPES = {1: 0xA5, 2: 0xAB, 3: 0xB1, 4: 0xB8, 5: 0xBE}
"""Slot type of each generation without a width; x1, x2, x4, x8 and x16 are the numbers behind it (7.10.1)."""
_WIDTHS = {1: 8, 2: 9, 4: 10, 8: 11, 16: 13}
_AVAILABLE, _IN_USE = 3, 4


@dataclass(frozen=True)
class Identity:
    """What the board says of itself."""

    vendor: str
    board: str


def identity(board: Board) -> Identity:
    """The maker's and the board's name in the tables."""
    prefix = next((name for name in _MAKERS if board.name.startswith(name)), "")
    name = board.dmi[0] if board.dmi else board.name.removeprefix(prefix).strip()
    return Identity(_MAKERS.get(prefix, _FILLED_IN), name)


def ids(board: Board) -> dict[str, str]:
    """The files of /sys/class/dmi/id."""
    named = identity(board)
    values = {
        "bios_vendor": "American Megatrends International, LLC.",
        "bios_version": BIOS_VERSION,
        "bios_date": BIOS_DATE,
        "sys_vendor": named.vendor,
        "product_name": named.board,
        "product_version": _FILLED_IN,
        "board_vendor": named.vendor,
        "board_name": named.board,
        "board_version": _FILLED_IN,
        "chassis_type": "3",
        "chassis_vendor": _FILLED_IN,
    }
    return {name: f"{value}\n" for name, value in values.items()}


def tables(build: Build, board: Board, occupied: set[str], dimm_missing: bool) -> dict[str, bytes]:
    """``DMI`` and ``smbios_entry_point``; ``occupied`` are the slots that hold a card."""
    named, modules = identity(board), dimms(build, board, missing=dimm_missing)
    intel = is_intel(build.cpu.model if build.cpu else "")
    structures = [
        _bios(0),
        _system(1, named),
        _baseboard(2, named),
        _processor(4, build, intel),
        *(
            _slot(0x0900 + number, slot_name(board, port.slot), port, intel, port.slot in occupied)
            for number, port in enumerate(ports(build, board))
        ),
        _memory_array(0x1000, build, board, len(modules)),
        *(_dimm(0x1100 + number, dimm, board) for number, dimm in enumerate(modules)),
        struct.pack("<BBH", 127, 4, 0x7F00) + b"\0\0",
    ]
    table = b"".join(structures)
    return {"DMI": table, "smbios_entry_point": _entry_point(len(table))}


def slot_name(board: Board, slot: str) -> str:
    """What the firmware's tables call a slot."""
    names = board.slots[slot].designations
    return names[0] if names else slot


def _entry_point(size: int) -> bytes:
    """The 64-bit entry point; its bytes sum up to 0."""
    entry = bytearray(struct.pack("<5sBBBBBBBIQ", b"_SM3_", 0, 24, *VERSION, 0, 1, 0, size, 0x000E0000))
    entry[5] = -sum(entry) & 0xFF
    return bytes(entry)


def _structure(kind: int, handle: int, body: bytes, *strings: str) -> bytes:
    """Header, formatted area, and the strings that it refers to by number from 1 on."""
    text = b"".join(word.encode() + b"\0" for word in strings) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(body), handle) + body + text + b"\0"


def _bios(handle: int) -> bytes:
    """Type 0 (3.1): ROM of 32 MB, PCI supported, UEFI."""
    body = struct.pack("<BBHBBQHBBBBH", 1, 2, 0, 3, 0xFF, 1 << 7, 1 << 11, 5, 17, 0xFF, 0xFF, 32)
    return _structure(0, handle, body, "American Megatrends International, LLC.", BIOS_VERSION, BIOS_DATE)


def _system(handle: int, named: Identity) -> bytes:
    """Type 1 (2.4), without a UUID; wake-up by the power switch."""
    body = struct.pack("<BBBB16sBBB", 1, 2, 3, 3, b"\0" * 16, 6, 3, 3)
    return _structure(1, handle, body, named.vendor, named.board, _FILLED_IN)


def _baseboard(handle: int, named: Identity) -> bytes:
    """Type 2: a motherboard that hosts others."""
    body = struct.pack("<BBBBBBBHBB", 1, 2, 3, 3, 3, 0x09, 3, _NO_HANDLE, 0x0A, 0)
    return _structure(2, handle, body, named.vendor, named.board, _FILLED_IN)


def _processor(handle: int, build: Build, intel: bool) -> bytes:
    """Type 4 (3.0): enabled, in its socket, no cache described."""
    model, cores = (build.cpu.model, build.cpu.cores) if build.cpu else ("Unknown", 1)
    short = min(cores, 0xFF)
    body = struct.pack(
        "<BBBBQBBHHHBBHHHBBBBBBHHHHH",
        1, 3, 2, 2, 0, 3, 0x8B, 100, 4000, 3100, 0x41, 1, _NONE, _NONE, _NONE, 0, 0, 0,
        short, short, min(threads(cores), 0xFF), 0x00FC, 2, cores, cores, threads(cores),
    )  # fmt: skip
    maker = "Intel(R) Corporation" if intel else "Advanced Micro Devices, Inc."
    return _structure(4, handle, body, "CPU0", maker, model)


def _slot(handle: int, name: str, port: Port, intel: bool, used: bool) -> bytes:
    """Type 9 (2.6). Firmwares differ in what an address is of: here Intel's means the port, AMD's what is in the slot.

    An empty slot has no address on AMD's.
    """
    segment, bus, function = _NONE, 0xFF, 0xFF
    if intel:
        segment, bus, function = _place(port.address)
    elif used:
        segment, bus, function = _place(port.device)
    kind = _SLOT_TYPES[min(port.limit.gen, 5)] + list(_WIDTHS).index(port.limit.width) + 1
    width, usage = _WIDTHS[port.limit.width], _IN_USE if used else _AVAILABLE
    # Long; 3.3 V is provided; PME is supported.
    body = struct.pack("<BBBBBHBBHBB", 1, kind, width, usage, 4, handle & 0xFF, 0x04, 0x01, segment, bus, function)
    return _structure(9, handle, body, name)


def _place(address: str) -> tuple[int, int, int]:
    """Segment, bus, and device and function in one byte."""
    segment, bus, rest = address.split(":")
    device, _, function = rest.partition(".")
    return int(segment, 16), int(bus, 16), int(device, 16) << 3 | int(function)


def _memory_array(handle: int, build: Build, board: Board, sockets: int) -> bytes:
    """Type 16 (2.7): system memory on the board."""
    correction = 6 if build.memory is not None and build.memory.ecc else 3
    body = struct.pack("<BBBIHHQ", 3, 3, correction, 0x80000000, _NO_HANDLE, sockets, board.memory_max_gib << 30)
    return _structure(16, handle, body)


def _dimm(handle: int, dimm: Dimm, board: Board) -> bytes:
    """Type 17 (2.8): a socket with a module, or an empty one."""
    ddr5 = is_ddr5(board)
    if not dimm.size_mib:
        body = struct.pack(
            "<HHHHHBBBBBHHBBBBBIHHHH",
            0x1000, _NO_HANDLE, _NONE, _NONE, 0, 9, 0, 1, 2, 2, 0x0004, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
        return _structure(17, handle, body, dimm.locator, dimm.bank)
    total = 64 + (16 if ddr5 else 8) * dimm.ecc
    size, extended = (dimm.size_mib, 0) if dimm.size_mib < _EXTENDED else (_EXTENDED, dimm.size_mib)
    millivolts = 1100 if ddr5 else 1200
    body = struct.pack(
        "<HHHHHBBBBBHHBBBBBIHHHH",
        0x1000, _NO_HANDLE, total, 64, size, 9, 0, 1, 2, 0x22 if ddr5 else 0x1A,
        0x2080 if dimm.registered else 0x4080, dimm.speed_mts, 3, 4, 0, 5, 1, extended, dimm.speed_mts,
        millivolts, millivolts, millivolts,
    )  # fmt: skip
    number = f"{dimm.size_mib >> 10}G-{dimm.speed_mts}"
    return _structure(17, handle, body, dimm.locator, dimm.bank, "Samsung", f"{handle:08X}", number)
