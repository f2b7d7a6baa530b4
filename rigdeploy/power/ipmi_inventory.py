"""What the board says it is: Get Device ID and the FRU inventory (IPMI 2.0, sections 20.1 and 34; FRU 1.0)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyipmi.errors import DecodingError
from pyipmi.fru import (
    InventoryBoardInfoArea,
    InventoryChassisInfoArea,
    InventoryCommonHeader,
    InventoryProductInfoArea,
)

from rigdeploy.node.values import display
from rigdeploy.power.ipmi_errors import BUSY
from rigdeploy.power.ipmi_raw import APP, STORAGE, TOO_MUCH, CompletionError, Raw

_GET_DEVICE_ID = 0x01
_FRU_INFO, _FRU_READ = 0x10, 0x11
_BOARD_FRU = 0
_FRU_LIMIT = 4096
"""Bytes of a FRU that are read: boards' areas take a few hundred."""
_CHUNKS = (64, 16, 8)
"""Bytes asked for at once, until the BMC can return them."""

_AREAS = {
    "chassis": (
        "chassis_info_area_offset",
        InventoryChassisInfoArea,
        {"part": "part_number", "serial": "serial_number"},
    ),
    "board": (
        "board_info_area_offset",
        InventoryBoardInfoArea,
        {
            "manufacturer": "manufacturer",
            "product": "product_name",
            "serial": "serial_number",
            "part": "part_number",
        },
    ),
    "product": (
        "product_info_area_offset",
        InventoryProductInfoArea,
        {
            "manufacturer": "manufacturer",
            "name": "name",
            "part": "part_number",
            "version": "version",
            "serial": "serial_number",
            "asset": "asset_tag",
        },
    ),
}
"""Areas of a FRU: where the header points at them, what decodes them, our names for their fields."""
_MALFORMED = (DecodingError, AttributeError, IndexError, KeyError, ValueError, TypeError, OverflowError)
"""What pyipmi raises on bytes that are no FRU area or no sensor record."""


@dataclass(frozen=True)
class Device:
    """The BMC by Get Device ID. ``manufacturer`` and ``product`` are numbers (IANA's, and the maker's own)."""

    firmware: str
    ipmi: str
    manufacturer: int
    product: int


def device(raw: Raw) -> Device:
    """Who the BMC is."""
    answer = raw.ask(APP, _GET_DEVICE_ID, least=11)
    return Device(
        firmware=f"{answer[2] & 0x7F}.{answer[3]:02x}",
        ipmi=f"{answer[4] & 0x0F}.{answer[4] >> 4}",
        manufacturer=int.from_bytes(answer[6:9], "little") & 0xFFFFF,
        product=int.from_bytes(answer[9:11], "little"),
    )


def inventory(raw: Raw) -> dict[str, str]:
    """Device ID and the board's FRU by name; what the FRU lacks, or cannot be read of it, is left out."""
    bmc = device(raw)
    found = {
        "firmware": bmc.firmware,
        "ipmi": bmc.ipmi,
        "manufacturer_id": str(bmc.manufacturer),
        "product_id": str(bmc.product),
    }
    return found | decode(_fru(raw))


def decode(fru: bytes) -> dict[str, str]:
    """The named fields of a FRU; an area that is damaged says nothing, the others do."""
    found: dict[str, str] = {}
    with suppress(*_MALFORMED):
        header = InventoryCommonHeader(fru)
        for area, (pointer, kind, fields) in _AREAS.items():
            offset = getattr(header, pointer)
            with suppress(*_MALFORMED):
                found |= _fields(area, kind(fru[offset:]), fields) if offset else {}
    return found


def _fields(area: str, decoded: Any, fields: dict[str, str]) -> dict[str, str]:
    texts = {f"{area}_{name}": display(str(getattr(decoded, field))) for name, field in fields.items()}
    return {name: text for name, text in texts.items() if text}


def _fru(raw: Raw) -> bytes:
    """The board's FRU, as much of it as can be read; nothing when the BMC has none."""
    content = b""
    try:
        size, by_words = _size(raw)
        chunks = list(_CHUNKS)
        while len(content) < size:
            count = min(chunks[0], size - len(content))
            unit = 2 if by_words else 1
            place = (len(content) // unit).to_bytes(2, "little")
            try:
                answer = raw.ask(STORAGE, _FRU_READ, bytes((_BOARD_FRU, *place, count // unit)), least=2)
            except CompletionError as error:
                if error.code not in TOO_MUCH or len(chunks) == 1:
                    raise
                chunks.pop(0)
            else:
                content += answer[1 : 1 + answer[0] * unit]
                if not answer[0]:
                    break
    except CompletionError as error:
        if error.code in BUSY:
            raise
    return content


def _size(raw: Raw) -> tuple[int, bool]:
    answer = raw.ask(STORAGE, _FRU_INFO, bytes((_BOARD_FRU,)), least=3)
    return min(int.from_bytes(answer[:2], "little"), _FRU_LIMIT), bool(answer[2] & 1)
