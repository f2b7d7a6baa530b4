"""Sensors: the records that describe them, and their readings (IPMI 2.0, sections 33, 35 and 43)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyipmi.errors import DecodingError
from pyipmi.sdr import SdrCommon, SdrCompactSensorRecord, SdrEventOnlySensorRecord, SdrFullSensorRecord

from rigdeploy.errors import PowerError
from rigdeploy.node.values import display
from rigdeploy.power.base import Health, Sensor
from rigdeploy.power.ipmi_errors import BUSY
from rigdeploy.power.ipmi_raw import CANCELLED, LAST, NO_COMMAND, SENSOR, STORAGE, TOO_MUCH, CompletionError, Raw
from rigdeploy.power.ipmi_states import LIMITS, THRESHOLD, state, worst

RECORD_LIMIT = 2048
"""Records that are read of a repository: big boards have a few hundred."""
_RESERVATIONS = 5
"""How often a repository may change under us before we give up."""
_GET_READING = 0x2D
_BMC = 0x20
"""The BMC as the owner of a sensor: one that a satellite owns is answered for by nobody here."""
_WHOLE, _HEADER = 0xFF, 5
_CHUNKS = (_WHOLE, 32, 16, 8)
"""Bytes of a record asked for at once, until the BMC can return them."""
_UNAVAILABLE, _SCANNED = 0x20, 0x40
_NO_ANALOGUE_READING = SdrFullSensorRecord.DATA_FMT_NONE

_UNITS = {1: "C", 2: "F", 3: "K", 4: "V", 5: "A", 6: "W", 18: "RPM"}
"""Base units (table 43-15)."""
_KINDS = {0x01: "temperature", 0x02: "voltage", 0x03: "current", 0x04: "fan"}
_KINDS_BY_UNIT = {"C": "temperature", "F": "temperature", "V": "voltage", "A": "current", "W": "power", "RPM": "fan"}
_MALFORMED = (DecodingError, AttributeError, IndexError, KeyError, ValueError, TypeError, ArithmeticError)
"""What pyipmi raises on bytes that are no sensor record, and on conversions that have no result."""


@dataclass(frozen=True)
class Record:
    """A sensor by its record; ``full`` is pyipmi's record where readings can be converted."""

    number: int
    name: str
    type: int
    event_type: int
    full: Any = None

    @property
    def unit(self) -> str:
        """The unit of its readings."""
        if self.full is None:
            return ""
        return "%" if self.full.percentage else _UNITS.get(self.full.units_2, "")

    def convert(self, reading: int) -> float | None:
        """A raw reading in that unit; None when the record gives no way."""
        if self.full is None:
            return None
        try:
            value = float(self.full.convert_sensor_raw_to_value(reading))
        except _MALFORMED:
            return None
        return round(value, 3) if math.isfinite(value) else None


def sensors(raw: Raw) -> list[Sensor]:
    """Every sensor that answers now, in the repository's order."""
    return [found for record in records(raw, readable=True) if (found := _read(raw, record)) is not None]


def records(raw: Raw, *, readable: bool = False) -> list[Record]:
    """The BMC's own sensors; without those that only make events when ``readable``. What cannot be decoded is left."""
    found: list[Record] = []
    for data in _repository(raw):
        try:
            found += _decode(SdrCommon.from_data(data), readable=readable)
        except _MALFORMED:
            continue
    return found


def _decode(record: Any, *, readable: bool) -> Iterator[Record]:
    if isinstance(record, SdrFullSensorRecord):
        is_analogue = record.analog_data_format != _NO_ANALOGUE_READING
        yield from _owned(record, record.event_reading_type_code, full=record if is_analogue else None)
    elif isinstance(record, SdrCompactSensorRecord) or (isinstance(record, SdrEventOnlySensorRecord) and not readable):
        yield from _owned(record, record.event_reading_type_code, share=record.record_sharing)


def _owned(record: Any, event_type: int, *, share: int = 1, full: Any = None) -> Iterator[Record]:
    """The record's sensor, or all those that share it, whose names then end in numbers (table 43-2, byte 24)."""
    if record.owner_id != _BMC or record.owner_lun:
        return
    sensor_type = getattr(record, "sensor_type_code", None)
    sensor_type = record.sensor_type if sensor_type is None else sensor_type
    count, offset = max(1, share & 0x0F), share >> 8 & 0x7F
    name = display(record.device_id_string.replace("\0", ""))
    for i in range(count):
        number = record.number + i & 0xFF
        own = (name or f"sensor {number}") if count == 1 else f"{name}{offset + i}"
        yield Record(number, own, sensor_type, event_type & 0x7F, full)


def _read(raw: Raw, record: Record) -> Sensor | None:
    """A reading now; None when the BMC knows no such sensor."""
    try:
        answer = raw.ask(SENSOR, _GET_READING, bytes((record.number,)), least=2)
    except CompletionError as error:
        if error.code in BUSY:
            raise
        return None
    is_analogue = record.full is not None
    unit = record.unit
    kind = _KINDS.get(record.type) or _KINDS_BY_UNIT.get(unit) if is_analogue else "discrete"
    bits = int.from_bytes(answer[2:4], "little")
    if answer[1] & _UNAVAILABLE or not answer[1] & _SCANNED:
        return Sensor(record.name, kind or "other", None, unit, Health.UNKNOWN)
    if record.event_type == THRESHOLD:
        found = [limit for i, limit in enumerate(LIMITS) if bits & 1 << i]
    else:
        found = [state(record.event_type, record.type, i) for i in range(15) if bits & 1 << i]
    health = worst(health for _, health in found)
    value = record.convert(answer[0])
    if is_analogue and value is None:
        health = worst((health, Health.UNKNOWN))
    return Sensor(record.name, kind or "other", value, unit, health, tuple(text for text, _ in found))


def _repository(raw: Raw) -> Iterator[bytes]:
    """Every record as bytes: of the repository, or of the BMC's own device where there is none."""
    try:
        yield from _walk(raw, STORAGE, reserve=0x22, get=0x23)
    except CompletionError as error:
        if error.code not in NO_COMMAND:
            raise
        try:
            yield from _walk(raw, SENSOR, reserve=0x22, get=0x21)
        except CompletionError as second:
            if second.code not in NO_COMMAND:
                raise


def _walk(raw: Raw, netfn: int, *, reserve: int, get: int) -> Iterator[bytes]:
    repository = _Repository(raw, netfn, reserve, get)
    number, seen = 0, set[int]()
    while number != LAST and number not in seen and len(seen) < RECORD_LIMIT:
        seen.add(number)
        try:
            number, data = repository.record(number)
        except CompletionError as error:
            if error.code in NO_COMMAND or error.code in BUSY or number:
                raise
            return  # an empty repository has no first record
        yield data


class _Repository:
    """Reads records, in pieces where the BMC can return no more, and reserves again when it has changed."""

    def __init__(self, raw: Raw, netfn: int, reserve: int, get: int) -> None:
        self._raw = raw
        self._netfn = netfn
        self._reserve_command = reserve
        self._get = get
        self._chunks = list(_CHUNKS)
        self._reservation: bytes | None = None

    def record(self, number: int) -> tuple[int, bytes]:
        """The next record's number, and this one."""
        for _ in range(_RESERVATIONS):
            try:
                return self._whole(number)
            except CompletionError as error:
                if error.code != CANCELLED:
                    raise
                self._reservation = None
        raise PowerError("the BMC's sensor records kept changing while they were read", "try again in a minute")

    def _whole(self, number: int) -> tuple[int, bytes]:
        if self._chunks[0] == _WHOLE:
            try:
                return self._piece(number, 0, _WHOLE)
            except CompletionError as error:
                if error.code not in TOO_MUCH:
                    raise
                self._chunks.pop(0)
        following, data = self._piece(number, 0, _HEADER)
        size = _HEADER + (data[4] if len(data) >= _HEADER else 0)
        while len(data) < size:
            try:
                _, piece = self._piece(number, len(data), min(self._chunks[0], size - len(data)))
            except CompletionError as error:
                if error.code not in TOO_MUCH or len(self._chunks) == 1:
                    raise
                self._chunks.pop(0)
            else:
                if not piece:
                    break
                data += piece
        return following, data

    def _piece(self, number: int, offset: int, count: int) -> tuple[int, bytes]:
        if self._reservation is None:
            self._reservation = self._reserved()
        request = self._reservation + number.to_bytes(2, "little") + bytes((offset, count))
        answer = self._raw.ask(self._netfn, self._get, request, least=2)
        return int.from_bytes(answer[:2], "little"), answer[2:]

    def _reserved(self) -> bytes:
        try:
            return self._raw.ask(self._netfn, self._reserve_command, least=2)[:2]
        except CompletionError as error:
            if error.code not in NO_COMMAND:
                raise
            return bytes(2)  # reservations are optional; 0 is what is then given
