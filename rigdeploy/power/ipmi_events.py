"""The BMC's event log (IPMI 2.0, sections 31 and 32)."""

from __future__ import annotations

from collections.abc import Mapping

from pyipmi.errors import DecodingError
from pyipmi.event import EVENT_DEASSERTION
from pyipmi.sel import SelEntry

from rigdeploy.errors import PowerError
from rigdeploy.power.base import EventRecord, Health
from rigdeploy.power.ipmi_raw import CANCELLED, LAST, STORAGE, TOO_MUCH, CompletionError, Raw
from rigdeploy.power.ipmi_sensors import Record, records
from rigdeploy.power.ipmi_states import THRESHOLD, TYPES, state
from rigdeploy.power.lock import WAIT

RECORD_LIMIT = 8192
"""Entries that are read of a log: BMCs keep 512 to 4096."""
_INFO, _RESERVE, _GET, _CLEAR = 0x40, 0x42, 0x43, 0x47
_WHOLE, _SIZE = 0xFF, 16
_ERASE, _ERASURE_STATUS, _ERASED = 0xAA, 0x00, 0x01
_RESERVATIONS = 5
"""How often an event, or another reader, may end our reservation before we give up."""
_ERASE_POLLS, _ERASE_PAUSE = 20, 0.25
"""How often, and seconds apart, a BMC that is erasing is asked whether it is done."""
_CLOCK_SET = 0x20000000
"""Times before this one count from when the log was set up (section 37.1)."""
_NO_TIME = 0xFFFFFFFF
_UNSPECIFIED = 0xFF
_BMC = 0x20


def events(raw: Raw) -> list[EventRecord]:
    """The log, oldest first, with the names that the sensors' records give."""
    entries = _entries(raw)
    if not entries:
        return []
    try:
        names = {record.number: record for record in records(raw)}
    except CompletionError:
        names = {}
    return [decode(entry, names) for entry in entries]


def clear(raw: Raw) -> None:
    """Empty the log; PowerError when the BMC does not say within seconds that it is done."""
    reservation = _begun(raw)
    for _ in range(_ERASE_POLLS):
        try:
            answer = raw.ask(STORAGE, _CLEAR, reservation + b"CLR" + bytes((_ERASURE_STATUS,)), least=1)
        except CompletionError as error:
            if error.code == CANCELLED:
                return  # clearing ends reservations
            raise
        if answer[0] & 0x0F == _ERASED:
            return
        WAIT.get()(_ERASE_PAUSE)
    raise PowerError("the BMC has not finished clearing its event log", "look at it again in a minute")


def _begun(raw: Raw) -> bytes:
    """Have the erasure begin; the reservation that it is done with. One that had ended by then erased nothing."""
    for left in reversed(range(_RESERVATIONS)):
        reservation = _reserved(raw)
        try:
            raw.change(STORAGE, _CLEAR, reservation + b"CLR" + bytes((_ERASE,)))
        except CompletionError as error:
            if error.code != CANCELLED or not left:
                raise
        else:
            return reservation
    raise AssertionError("the last attempt returns or raises")


def decode(entry: bytes, names: Mapping[int, Record]) -> EventRecord:
    """One entry of 16 bytes; what is the maker's own is shown as its bytes."""
    number = int.from_bytes(entry[:2], "little")
    try:
        decoded = SelEntry(entry)
    except DecodingError:
        return EventRecord(number, None, "BMC", f"unreadable entry {entry.hex(' ')}", Health.UNKNOWN)
    when = _time(decoded.timestamp) if decoded.type < SelEntry.TYPE_OEM_NON_TIMESTAMPED_RANGE[0] else None
    if decoded.type != SelEntry.TYPE_SYSTEM_EVENT:
        own = entry[7:] if when is not None or decoded.type < SelEntry.TYPE_OEM_NON_TIMESTAMPED_RANGE[0] else entry[3:]
        return EventRecord(number, when, "BMC", f"the maker's own entry {own.hex(' ')}", Health.UNKNOWN)
    record = names.get(decoded.sensor_number) if decoded.generator_id & 0xFF == _BMC else None
    if record is not None and record.type != decoded.sensor_type:
        record = None
    kind = TYPES.get(decoded.sensor_type, f"type 0x{decoded.sensor_type:02x}")
    source = record.name if record is not None else f"{kind} #{decoded.sensor_number}"
    text, health = _text(decoded, record)
    return EventRecord(number, when, source, text, health)


def _text(decoded: SelEntry, record: Record | None) -> tuple[str, Health]:
    first, second, third = decoded.event_data
    text, health = state(decoded.event_type, decoded.sensor_type, first & 0x0F)
    if decoded.event_type == THRESHOLD:
        text += _readings(record, first, second, third)
    elif (second, third) != (_UNSPECIFIED, _UNSPECIFIED) and first & 0xF0:
        text += f" (data {second:02x} {third:02x})"
    if decoded.event_direction == EVENT_DEASSERTION:
        return f"{text}: over", Health.OK
    return text, health


def _readings(record: Record | None, first: int, second: int, third: int) -> str:
    """What was read and the threshold, where the event carries them (table 29-6)."""
    if record is None or first >> 6 != 1:
        return ""
    reading = record.convert(second)
    limit = record.convert(third) if first >> 4 & 3 == 1 else None
    if reading is None:
        return ""
    return f" ({reading:g} {record.unit}" + (f", limit {limit:g} {record.unit})" if limit is not None else ")")


def _time(stamp: int) -> float | None:
    return float(stamp) if _CLOCK_SET <= stamp < _NO_TIME else None


def _entries(raw: Raw) -> list[bytes]:
    info = raw.ask(STORAGE, _INFO, least=3)
    left = min(int.from_bytes(info[1:3], "little"), RECORD_LIMIT)
    found: list[bytes] = []
    number, seen = 0, set[int]()
    while left and number != LAST and number not in seen and len(seen) < RECORD_LIMIT:
        seen.add(number)
        following, entry = _entry(raw, number)
        if len(entry) == _SIZE:
            found.append(entry)
        number = following
    return found


def _entry(raw: Raw, number: int) -> tuple[int, bytes]:
    """The next entry's number and this entry, whole, which takes no reservation."""
    place = bytes(2) + number.to_bytes(2, "little")
    try:
        answer = raw.ask(STORAGE, _GET, place + bytes((0, _WHOLE)), least=2)
    except CompletionError as error:
        if error.code not in TOO_MUCH:
            raise
        answer = raw.ask(STORAGE, _GET, place + bytes((0, _SIZE)), least=2)
    return int.from_bytes(answer[:2], "little"), answer[2:]


def _reserved(raw: Raw) -> bytes:
    try:
        return raw.ask(STORAGE, _RESERVE, least=2)[:2]
    except CompletionError:
        return bytes(2)  # reservations are optional; 0 is what is then given
