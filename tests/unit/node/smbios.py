"""Builds the firmware's raw tables (SMBIOS, DMTF DSP0134) as a kernel shows them."""

from __future__ import annotations

import struct

NO_MODULE, UNKNOWN, EXTENDED = 0, 0xFFFF, 0x7FFF


def table(*structures: bytes) -> bytes:
    """A whole table, with the structure that ends it."""
    return b"".join(structures) + structure(127, b"", 0xFEFF)


def structure(kind: int, fields: bytes, handle: int, *strings: str) -> bytes:
    """One structure: header, fields from offset 4 on, strings; two zero bytes end it."""
    texts = b"".join(text.encode("latin-1") + b"\0" for text in strings) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(fields), handle) + fields + texts + b"\0"


def array(handle: int = 0x10, *, use: int = 3, check: int = 6) -> bytes:
    """Type 16: a memory array. Use 3 is system memory; check 3 none, 4 parity, 5 single bit, 6 multi-bit, 7 CRC."""
    return structure(16, struct.pack("<BBBIHHQ", 3, use, check, 0x80000000, 0xFFFE, 8, 1 << 40), handle)


def module(
    locator: str,
    size: int,
    bank: str = "",
    *,
    array: int = 0x10,
    kind: int = 0x1A,
    extended: int = 0,
    speed: int = 3200,
    configured: int = 2933,
    extended_configured: int = 0,
    length: int = 92,
) -> bytes:
    """Type 17: a socket. ``size`` is the raw word, ``length`` cuts the structure as older versions did."""
    fields = struct.pack("<HHHHH", array, 0xFFFE, 72, 64, size) + struct.pack("<BBBBBH", 9, 0, 1, 2, kind, 0x80)
    fields += struct.pack("<HBBBBBIH", speed, 3, 0, 0, 0, 2, extended, configured)
    fields = fields.ljust(0x54 - 4, b"\0") + struct.pack("<II", 0, extended_configured)
    return structure(17, fields[: length - 4], 0x20, locator, bank or "Not Specified", "Samsung")


def slot(name: str, address: str | None = None, *, usage: int = 4, raw: tuple[int, int, int] | None = None) -> bytes:
    """Type 9: a slot. Usage 3 is free, 4 in use; without an address, as before version 2.6, it has none."""
    if address:
        segment, bus, place = address.split(":")
        device, _, function = place.partition(".")
        raw = int(segment, 16), int(bus, 16), int(device, 16) << 3 | int(function)
    fields = struct.pack("<BBBBBHBB", 1, 0xA5, 0x0D, usage, 4, 1, 4, 1) + (struct.pack("<HBB", *raw) if raw else b"")
    return structure(9, fields, 0x30, name)


def processor(name: str) -> bytes:
    """Type 4, as far as its name."""
    return structure(4, bytes(12) + b"\1" + bytes(20), 0x40, name)
