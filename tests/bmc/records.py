"""What a fake BMC stores as bytes: sensor data records (IPMI 2.0, section 43) and the FRU inventory (FRU 1.0)."""

from __future__ import annotations

import struct

from tests.bmc.state import Sensor, State

MOST = 128
"""Octets that one answer may hold; a request for more gets "cannot return that many"."""


def sdr(state: State) -> list[bytes]:
    """The repository: the BMC's locator, then a record per sensor."""
    bodies = [(0x12, _locator("BMC"))]
    bodies += [(0x02, _compact(s)) if s.unit is None else (0x01, _full(s)) for s in state.sensors]
    return [
        struct.pack("<HBBB", number, 0x51, kind, len(body)) + body
        for number, (kind, body) in enumerate(bodies, start=1)
    ]


def _name(text: str) -> bytes:
    return bytes((0xC0 | len(text),)) + text.encode("latin-1")


def _locator(name: str) -> bytes:
    return bytes((0x20, 0, 0, 0xBF, 0, 0, 0, 0x07, 0x01, 0)) + _name(name)


def _key(sensor: Sensor, capabilities: int, event: int) -> bytes:
    """Owner, number, entity (a processor's for temperatures, else the board's), what it can, what it is."""
    entity = 0x03 if sensor.kind == 0x01 else 0x07
    return bytes((0x20, 0, sensor.number, entity, sensor.number, 0x7F, capabilities, sensor.kind, event))


def _full(sensor: Sensor) -> bytes:
    m, exponent = sensor.scale
    mask, limits = sensor.thresholds
    lnc, lcr, lnr, unc, ucr, unr = limits
    return (
        _key(sensor, 0x68, 0x01)
        + struct.pack("<HHH", 0, 0, mask << 8 | mask)
        + bytes((0, sensor.unit or 0, 0, 0, m & 0xFF, m >> 2 & 0xC0, 0, 0, 0, (exponent & 0x0F) << 4))
        + bytes((0, 0, 0, 0, 0xFF, 0, unr, ucr, unc, lnr, lcr, lnc, 0, 0, 0, 0, 0))
        + _name(sensor.name)
    )


def _compact(sensor: Sensor) -> bytes:
    return (
        _key(sensor, 0x40, 0x6F)
        + struct.pack("<HHH", 0x00FF, 0x00FF, 0x00FF)
        + bytes((0xC0, 0, 0))
        + bytes((1, 0, 0, 0, 0, 0, 0, 0))
        + _name(sensor.name)
    )


def fru(state: State) -> bytes:
    """Common header, board area, product area."""
    board = _area(bytes((25, 0, 0, 0)), (*state.board, ""))
    product = _area(bytes((25,)), (*state.product, "", ""))
    head = bytes((1, 0, 0, 1, 1 + len(board) // 8, 0, 0))
    return (head + bytes((-sum(head) & 0xFF,)) + board + product).ljust(256, b"\0")


def _area(start: bytes, fields: tuple[str, ...]) -> bytes:
    """Version, length in eights, language (25: English), what comes first, the fields, the end, the checksum."""
    body = start + b"".join(_name(text) if text else b"\xc0" for text in fields) + b"\xc1"
    length = -(-(len(body) + 3) // 8)
    area = (bytes((1, length)) + body).ljust(length * 8 - 1, b"\0")
    return area + bytes((-sum(area) & 0xFF,))
