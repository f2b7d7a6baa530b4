"""The commands of a fake BMC, by network function and number; section numbers are those of IPMI 2.0."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bmc import records
from tests.bmc.state import ADMINISTRATOR, ASROCK_RACK, NO_ACCESS, OPERATOR, USER, Sensor, State, User
from tests.bmc.wire import SUITES

CHASSIS, SENSOR, APP, STORAGE, TRANSPORT, GROUP = 0x00, 0x04, 0x06, 0x0A, 0x0C, 0x2C
LAN, THIS_CHANNEL = 1, 0x0E

# Completion codes (table 5-2).
UNKNOWN_COMMAND, NO_ROOM, CANCELLED, TOO_SHORT, TOO_LONG, NOT_PRESENT, INVALID, LOW_PRIVILEGE = (
    0xC1, 0xC4, 0xC5, 0xC7, 0xCA, 0xCB, 0xCC, 0xD4,
)  # fmt: skip


class RefusedError(Exception):
    """A completion code other than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"0x{code:02x}")
        self.code = code


@dataclass
class Caller:
    """Who sends a command: a user in a session, or (``number`` 0) anybody at all."""

    number: int = 0
    privilege: int = 0
    limit: int = 0
    session: int = 0
    ended: bool = False
    """Set by Close Session."""
    cold_reset: bool = False
    """Set by Cold Reset."""


Handler = Callable[[State, Caller, bytes], bytes]


@dataclass(frozen=True)
class Command:
    """A handler, and what it takes to be let at it."""

    privilege: int
    least: int
    run: Handler


COMMANDS: dict[tuple[int, int], Command] = {}
OUTSIDE = {(APP, 0x37), (APP, 0x38), (APP, 0x54)}
"""What anybody may send without a session."""


def command(netfn: int, number: int, privilege: int = USER, least: int = 0) -> Callable[[Handler], Handler]:
    """Register a handler for requests of at least ``least`` octets of data (appendix G has the privileges)."""

    def register(run: Handler) -> Handler:
        COMMANDS[netfn, number] = Command(privilege, least, run)
        return run

    return register


def run(state: State, caller: Caller, netfn: int, number: int, data: bytes) -> tuple[int, bytes]:
    """Carry a request out; its completion code and the answer's data."""
    known = COMMANDS.get((netfn, number))
    if caller.number == 0 and (netfn, number) not in OUTSIDE:
        return LOW_PRIVILEGE, b""
    if known is None:
        return UNKNOWN_COMMAND, b""
    if caller.number and caller.privilege < known.privilege:
        return LOW_PRIVILEGE, b""
    if len(data) < known.least:
        return TOO_SHORT, b""
    try:
        return 0, known.run(state, caller, data)
    except RefusedError as error:
        return error.code, b""


def _check(code: int) -> bytes:
    if code:
        raise RefusedError(code)
    return b""


def _lan_channel(octet: int) -> None:
    if octet & 0x0F not in (LAN, THIS_CHANNEL):
        raise RefusedError(INVALID)


# Chassis (28)


@command(CHASSIS, 0x00)
def chassis_capabilities(state: State, caller: Caller, data: bytes) -> bytes:
    return bytes((0, 0x20, 0x20, 0x20, 0x20, 0x20))


@command(CHASSIS, 0x01)
def chassis_status(state: State, caller: Caller, data: bytes) -> bytes:
    identify = 0x10 if time.monotonic() < state.identify_until else 0
    return bytes((state.power | state.restore << 5, 0, 0x40 | identify, 0))


@command(CHASSIS, 0x02, OPERATOR, 1)
def chassis_control(state: State, caller: Caller, data: bytes) -> bytes:
    return _check(state.control(data[0] & 0x0F))


@command(CHASSIS, 0x04, OPERATOR)
def chassis_identify(state: State, caller: Caller, data: bytes) -> bytes:
    seconds = data[0] if data else 15
    forced = len(data) > 1 and bool(data[1] & 1)
    state.identify_until = float("inf") if forced else time.monotonic() + seconds
    state.log("identify", "forced" if forced else str(seconds))
    return b""


@command(CHASSIS, 0x06, OPERATOR, 1)
def set_restore_policy(state: State, caller: Caller, data: bytes) -> bytes:
    if data[0] & 7 > 3:
        raise RefusedError(INVALID)
    if data[0] & 7 < 3:  # 3: only asks which there are
        state.restore = data[0] & 7
    return b"\x07"


@command(CHASSIS, 0x07)
def restart_cause(state: State, caller: Caller, data: bytes) -> bytes:
    return bytes((state.restart_cause, LAN))


@command(CHASSIS, 0x08, OPERATOR, 1)
def set_boot_options(state: State, caller: Caller, data: bytes) -> bytes:
    return _check(state.set_boot(data[0] & 0x7F, data[1:]))


@command(CHASSIS, 0x09, OPERATOR, 3)
def get_boot_options(state: State, caller: Caller, data: bytes) -> bytes:
    value = state.get_boot(data[0] & 0x7F)
    if value is None:
        raise RefusedError(0x80)
    return bytes((1, data[0] & 0x7F)) + value


# Sensors (35)


def _sensor(state: State, number: int) -> Sensor:
    for sensor in state.sensors:
        if sensor.number == number:
            return sensor
    raise RefusedError(NOT_PRESENT)


@command(SENSOR, 0x2D, least=1)
def sensor_reading(state: State, caller: Caller, data: bytes) -> bytes:
    sensor = _sensor(state, data[0])
    if sensor.reading is None:
        return bytes((0, 0xE0, 0xC0))
    if sensor.unit is None:
        return bytes((0, 0xC0)) + struct.pack("<H", sensor.reading | 0x8000)
    return bytes((sensor.reading, 0xC0, 0xC0 | sensor.status))


@command(SENSOR, 0x27, least=1)
def sensor_thresholds(state: State, caller: Caller, data: bytes) -> bytes:
    sensor = _sensor(state, data[0])
    if sensor.unit is None:
        raise RefusedError(INVALID)
    mask, values = sensor.thresholds
    return bytes((mask,)) + values


@command(SENSOR, 0x26, OPERATOR, 8)
def set_sensor_thresholds(state: State, caller: Caller, data: bytes) -> bytes:
    sensor = _sensor(state, data[0])
    old = sensor.thresholds[1]
    new = tuple(data[2 + i] if data[1] & 1 << i else old[i] for i in range(6))
    sensor.low = (new[0], new[1], new[2]) if sensor.low else None
    sensor.high = (new[3], new[4], new[5]) if sensor.high else None
    return b""


@command(SENSOR, 0x25, least=1)
def sensor_hysteresis(state: State, caller: Caller, data: bytes) -> bytes:
    _sensor(state, data[0])
    return bytes(2)


@command(SENSOR, 0x29, least=1)
def sensor_event_enable(state: State, caller: Caller, data: bytes) -> bytes:
    _sensor(state, data[0])
    return bytes((0xC0, 0, 0, 0, 0))


@command(SENSOR, 0x2B, least=1)
def sensor_event_status(state: State, caller: Caller, data: bytes) -> bytes:
    _sensor(state, data[0])
    return bytes((0xC0, 0, 0, 0, 0))


# The BMC itself (20)


@command(APP, 0x01)
def device_id(state: State, caller: Caller, data: bytes) -> bytes:
    major, minor = state.firmware
    return (
        bytes((0x20, 0x01, major, minor, 0x02, 0xBF))
        + ASROCK_RACK.to_bytes(3, "little")
        + bytes((0x02, 0x0F, *bytes(4)))
    )


@command(APP, 0x02, ADMINISTRATOR)
def cold_reset(state: State, caller: Caller, data: bytes) -> bytes:
    caller.cold_reset = True
    return b""


@command(APP, 0x04)
def self_test(state: State, caller: Caller, data: bytes) -> bytes:
    return bytes((0x55, 0))


@command(APP, 0x37)
def system_guid(state: State, caller: Caller, data: bytes) -> bytes:
    return state.guid


# Sessions and channels (22)


@command(APP, 0x38, least=2)
def channel_authentication_capabilities(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    extended = data[0] & 0x80
    null_user = any(user.enabled and not user.name for user in state.users.values())
    types = 0
    for octet in state.get_lan(2) or b"":
        types |= octet
    speaks = 0x02 | 0x01 * bool(types)
    return bytes((LAN, extended | types, 0x04 | 0x02 * null_user, speaks if extended else 0, *bytes(4)))


@command(APP, 0x54, least=3)
def channel_cipher_suites(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    listed = b"".join(
        bytes((0xC0, suite, known.authentication, 0x40 | known.integrity, 0x80 | known.confidentiality))
        for suite, known in ((suite, SUITES[suite]) for suite in state.suites)
    )
    start = (data[2] & 0x3F) * 16
    return bytes((LAN,)) + listed[start : start + 16]


@command(APP, 0x3B, least=1)
def set_session_privilege(state: State, caller: Caller, data: bytes) -> bytes:
    wanted = data[0] & 0x0F
    if wanted > ADMINISTRATOR or wanted == 1:
        raise RefusedError(INVALID)
    if wanted > caller.limit:
        raise RefusedError(0x81)
    caller.privilege = wanted or caller.privilege
    return bytes((caller.privilege,))


@command(APP, 0x3C, privilege=0, least=4)
def close_session(state: State, caller: Caller, data: bytes) -> bytes:
    if int.from_bytes(data[:4], "little") != caller.session:
        raise RefusedError(0x87)
    caller.ended = True
    return b""


@command(APP, 0x41, least=2)
def channel_access(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    return bytes((0x02, ADMINISTRATOR))


@command(APP, 0x42, least=1)
def channel_info(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    return bytes((LAN, 0x04, 0x01, 0x80, 0xF2, 0x1B, 0, 0, 0))


@command(APP, 0x43, ADMINISTRATOR, 3)
def set_user_access(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    if data[2] & 0x0F not in (1, USER, OPERATOR, ADMINISTRATOR, NO_ACCESS):
        raise RefusedError(INVALID)
    _user(state, data[1]).privilege = data[2] & 0x0F
    return b""


@command(APP, 0x44, OPERATOR, 2)
def get_user_access(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    user = _user(state, data[1])
    enabled = sum(known.enabled for known in state.users.values())
    access = user.privilege | (0x10 if user.may_log_in else 0)
    return bytes((state.max_users, enabled | (0x40 if user.enabled else 0x80), 1, access))


@command(APP, 0x45, ADMINISTRATOR, 17)
def set_user_name(state: State, caller: Caller, data: bytes) -> bytes:
    name = data[1:17].rstrip(b"\0").decode("latin-1")
    if data[0] & 0x3F == 1 or any(user.name == name for n, user in state.users.items() if n != data[0] & 0x3F):
        raise RefusedError(INVALID)
    _user(state, data[0]).name = name
    return b""


@command(APP, 0x46, OPERATOR, 1)
def get_user_name(state: State, caller: Caller, data: bytes) -> bytes:
    user = _user(state, data[0])
    if not user.name and data[0] & 0x3F != 1 and not user.enabled:
        raise RefusedError(INVALID)  # many BMCs say this of a user that nobody made
    return user.name.encode("latin-1").ljust(16, b"\0")


@command(APP, 0x47, ADMINISTRATOR, 2)
def set_user_password(state: State, caller: Caller, data: bytes) -> bytes:
    user, operation, given = _user(state, data[0]), data[1] & 3, data[2:]
    size = 20 if data[0] & 0x80 else 16
    if operation < 2:
        user.enabled = operation == 1
        return b""
    if len(given) != size:
        raise RefusedError(TOO_SHORT)
    if operation == 2:
        user.password, user.size = given.rstrip(b"\0"), size
    elif user.size != size:
        raise RefusedError(0x81)
    elif user.password != given.rstrip(b"\0"):
        raise RefusedError(0x80)
    return b""


def _user(state: State, octet: int) -> User:
    number = octet & 0x3F
    if not 1 <= number <= state.max_users:
        raise RefusedError(INVALID)
    return state.users.setdefault(number, User("", b"", NO_ACCESS, enabled=False))


# Sensor data records, event log, inventory (31, 33, 34)


@command(STORAGE, 0x20)
def sdr_info(state: State, caller: Caller, data: bytes) -> bytes:
    return struct.pack("<BHHIIB", 0x51, len(records.sdr(state)), 0xFFFF, 1, 1, 0x02)


@command(STORAGE, 0x22)
def reserve_sdr(state: State, caller: Caller, data: bytes) -> bytes:
    state.sdr_reservation += 1
    return struct.pack("<H", state.sdr_reservation)


@command(STORAGE, 0x23, least=6)
def get_sdr(state: State, caller: Caller, data: bytes) -> bytes:
    reservation, number, offset, count = struct.unpack("<HHBB", data[:6])
    if offset and reservation != state.sdr_reservation:
        raise RefusedError(CANCELLED)
    return _record(records.sdr(state), number, offset, count)


@command(STORAGE, 0x40)
def sel_info(state: State, caller: Caller, data: bytes) -> bytes:
    return struct.pack("<BHHIIB", 0x51, len(state.sel), 0xFFF0, state.sel_added, state.sel_cleared, 0x02)


@command(STORAGE, 0x42)
def reserve_sel(state: State, caller: Caller, data: bytes) -> bytes:
    state.sel_reservation += 1
    return struct.pack("<H", state.sel_reservation)


@command(STORAGE, 0x43, least=6)
def get_sel_entry(state: State, caller: Caller, data: bytes) -> bytes:
    reservation, number, offset, count = struct.unpack("<HHBB", data[:6])
    if offset and reservation != state.sel_reservation:
        raise RefusedError(CANCELLED)
    return _record(list(state.sel.values()), number, offset, count)


@command(STORAGE, 0x44, OPERATOR, 16)
def add_sel_entry(state: State, caller: Caller, data: bytes) -> bytes:
    kind, sensor, event = data[10:13]
    return struct.pack("<H", state.add_sel(kind, sensor, event, data[13:16]))


@command(STORAGE, 0x47, OPERATOR, 6)
def clear_sel(state: State, caller: Caller, data: bytes) -> bytes:
    if int.from_bytes(data[:2], "little") != state.sel_reservation:
        raise RefusedError(CANCELLED)
    if data[2:5] != b"CLR":
        raise RefusedError(INVALID)
    if data[5] == 0xAA:
        state.sel.clear()
        state.sel_cleared = state.now()
        state.sel_reservation += 1
    return b"\x01"  # done


@command(STORAGE, 0x48)
def get_sel_time(state: State, caller: Caller, data: bytes) -> bytes:
    return struct.pack("<I", state.now())


@command(STORAGE, 0x49, OPERATOR, 4)
def set_sel_time(state: State, caller: Caller, data: bytes) -> bytes:
    state.clock_offset = int.from_bytes(data[:4], "little") - time.time()
    return b""


@command(STORAGE, 0x10, least=1)
def fru_info(state: State, caller: Caller, data: bytes) -> bytes:
    if data[0]:
        raise RefusedError(NOT_PRESENT)
    return struct.pack("<HB", len(records.fru(state)), 0)


@command(STORAGE, 0x11, least=4)
def read_fru(state: State, caller: Caller, data: bytes) -> bytes:
    number, offset, count = struct.unpack("<BHB", data[:4])
    image = records.fru(state)
    if number:
        raise RefusedError(NOT_PRESENT)
    if offset >= len(image):
        raise RefusedError(0xC9)
    if count > records.MOST:
        raise RefusedError(TOO_LONG)
    part = image[offset : offset + count]
    return bytes((len(part),)) + part


def _record(known: list[bytes], number: int, offset: int, count: int) -> bytes:
    """Part of a record (0: the first, 0xffff: the last) behind the number of the next; as many octets as fit."""
    numbers = [int.from_bytes(record[:2], "little") for record in known]
    place = {0: 0, 0xFFFF: len(known) - 1}.get(number, numbers.index(number) if number in numbers else -1)
    if not 0 <= place < len(known):
        raise RefusedError(NOT_PRESENT)
    part = known[place][offset:] if count == 0xFF else known[place][offset : offset + count]
    if count != 0xFF and count > records.MOST:
        raise RefusedError(TOO_LONG)
    return struct.pack("<H", numbers[place + 1] if place + 1 < len(known) else 0xFFFF) + part


# LAN (23) and DCMI 1.5 (6.6)


@command(TRANSPORT, 0x01, ADMINISTRATOR, 3)
def set_lan_parameter(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    return _check(state.set_lan(data[1], data[2:]))


@command(TRANSPORT, 0x02, OPERATOR, 4)
def get_lan_parameter(state: State, caller: Caller, data: bytes) -> bytes:
    _lan_channel(data[0])
    value = state.get_lan(data[1])
    if value is None:
        raise RefusedError(0x80)
    return b"\x11" if data[0] & 0x80 else b"\x11" + value


@command(GROUP, 0x02, least=4)
def power_reading(state: State, caller: Caller, data: bytes) -> bytes:
    if data[:2] != b"\xdc\x01":
        raise RefusedError(INVALID)
    watts = state.watts if state.power else 12
    return b"\xdc" + struct.pack("<HHHHIIB", watts, 12, max(watts, 900), watts, state.now(), 1000, 0x40)
