"""What a fake BMC is and knows: the rig behind it, users, sensors, logs, and the faults that a test asked for."""

from __future__ import annotations

import struct
import threading
import time
from dataclasses import dataclass

CALLBACK, USER, OPERATOR, ADMINISTRATOR, NO_ACCESS = 1, 2, 3, 4, 15
ASROCK_RACK = 49622
"""The manufacturer's number that Get Device ID gives (IANA)."""
BOOT_TIMEOUT = 60.0
"""Seconds after which boot flags are void when no Chassis Control came (IPMI 2.0, 28.13)."""


@dataclass
class Faults:
    """What goes wrong, for a test to set before or while the BMC runs; counts go down to 0 by themselves."""

    drop_rate: float = 0.0
    """The share of datagrams that is lost, each way."""
    drop_next: int = 0
    """So many of the next requests are lost."""
    drop_answers: int = 0
    """So many of the next requests are carried out, and their answers are lost."""
    delay: float = 0.0
    """Seconds before each answer."""
    silent: bool = False
    """A black hole."""
    ping: bool = True
    """Whether ASF pings are answered."""
    cipher_list: bool = True
    """Whether Get Channel Cipher Suites is answered."""
    max_sessions: int = 36
    idle_seconds: float = 60.0
    """Seconds after which an idle session is forgotten."""
    busy_next: int = 0
    """So many of the next requests in a session get "node busy"."""
    power_lag: float = 0.0
    """Seconds between a power request and the power."""
    on_ignored: int = 0
    """So many of the next power-on requests are acknowledged and forgotten."""
    soft_ignored: bool = False
    """Whether the operating system ignores its power button."""
    cycle_off: int | None = 0xD5
    """The completion code of a power cycle while the power is off; None: it switches on."""
    boot_timeout: float = BOOT_TIMEOUT
    boot_timer_fixed: bool = False
    """Whether boot parameter 3, which stops that timer, is unknown here."""
    persist_ignored: bool = False
    """Whether the boot flags' persistent bit is dropped."""
    efi_ignored: bool = False
    """Whether the boot flags' EFI bit is dropped."""
    device_ignored: bool = False
    """Whether the boot flags' device is dropped."""
    lan_ignored: bool = False
    """Whether LAN parameters are acknowledged and forgotten."""
    suites_locked: bool = False
    """Whether shutting one cipher suite shuts all of them."""
    reset_seconds: float = 5.0
    """How long a cold reset silences the BMC."""


@dataclass
class User:
    """A user; ``privilege`` is the highest that it may have on the LAN channel."""

    name: str
    password: bytes
    privilege: int = ADMINISTRATOR
    enabled: bool = True
    size: int = 20
    """How the password was stored: with 16 octets or with 20."""

    @property
    def may_log_in(self) -> bool:
        """Whether a session can be his at all."""
        return self.enabled and self.privilege != NO_ACCESS


@dataclass
class Sensor:
    """An analogue sensor, one to one, or (``unit`` None) a discrete one whose ``reading`` is its state bits."""

    number: int
    name: str
    kind: int
    unit: int | None
    reading: int | None
    """None: it cannot be read now."""
    high: tuple[int, int, int] | None = None
    """Upper non-critical, critical and non-recoverable."""
    low: tuple[int, int, int] | None = None
    scale: tuple[int, int] = (1, 0)
    """M and the exponent of ten in ``value = M * reading * 10 ** exponent``."""

    @property
    def thresholds(self) -> tuple[int, bytes]:
        """The mask of those that it has, and all six: lower ones first, each from the mildest."""
        mask = (0b000111 if self.low else 0) | (0b111000 if self.high else 0)
        return mask, bytes(self.low or (0, 0, 0)) + bytes(self.high or (0, 0, 0))

    @property
    def status(self) -> int:
        """Which thresholds are passed, as bits in the same order; a discrete sensor's state bits."""
        reading = self.reading or 0
        if self.unit is None:
            return reading
        low = sum(1 << i for i, limit in enumerate(self.low or ()) if reading <= limit)
        return low | sum(8 << i for i, limit in enumerate(self.high or ()) if reading >= limit)


def _sensors() -> list[Sensor]:
    """A server board's: a temperature, a fan, a voltage (in units of 0.06 V), and power supply 1's state."""
    return [
        Sensor(1, "CPU Temp", 0x01, 1, 42, high=(85, 90, 95)),
        Sensor(2, "FAN1", 0x04, 18, 12, low=(5, 3, 2), scale=(100, 0)),
        Sensor(3, "12V", 0x02, 4, 201, high=(220, 225, 230), low=(185, 180, 175), scale=(6, -2)),
        Sensor(4, "GPU3 Temp", 0x01, 1, None, high=(85, 90, 95)),
        Sensor(5, "PSU1 Status", 0x08, None, 0x01),
    ]


@dataclass(frozen=True)
class Event:
    """A line of the log that tests assert on.

    ``kind``: "control" (a Chassis Control that was carried out), "power" (a change: on, off, reset), "boot" (the
    flags that a start found, in hexadecimal, "none" without), "identify" (seconds), "log-in" (user and suite),
    "refused" (a user who was not let in), "suite" (the algorithms of a session that were not to be had).
    """

    time: float
    kind: str
    what: str


class State:
    """One BMC and the rig behind it. The power may lag: it changes when it is next looked at."""

    CONTROLS = ("off", "on", "cycle", "reset", "diag", "soft")

    def __init__(self, faults: Faults, password: str, suites: tuple[int, ...], *, on: bool) -> None:
        self.faults = faults
        # Each cipher suite that there is, and the highest privilege that it may be used with (0: none).
        self.suites = dict.fromkeys(suites, ADMINISTRATOR)
        # Entered by the BMC's own thread for each datagram, and by tests that look.
        self.lock = threading.RLock()
        self.guid = bytes.fromhex("a1b2c3d4e5f60718293a4b5c6d7e8f90")
        self.users = {
            1: User("", b"", NO_ACCESS, enabled=False),
            2: User("admin", password.encode()),
            3: User("oper", password.encode(), OPERATOR),
            4: User("user", password.encode(), USER),
        }
        self.max_users = 10
        self.sensors = _sensors()
        self.sel: dict[int, bytes] = {}
        self.sel_cleared = self.sel_added = self.sel_reservation = self.sdr_reservation = 0
        self.board = ("ASRockRack", "ROMED8-2T", "SN0001", "PN0001")
        self.product = ("ASRockRack", "ROMED8-2T", "PN0001", "1.02", "SN0001")
        self.firmware = (3, 0x12)
        self.watts = 412
        self.restore = 0
        self.restart_cause = 0
        self.identify_until = 0.0
        self.clock_offset = 0.0
        self.boot: dict[int, bytes] = {}
        self.forget_boot()
        self._lan = _lan()
        self._on = on
        self._pending: tuple[float, bool] | None = None
        self._boot_until: float | None = None
        self._log: list[Event] = []

    @property
    def power(self) -> bool:
        """Whether the rig has power now."""
        with self.lock:
            if self._pending is not None and time.monotonic() >= self._pending[0]:
                self._switch(self._pending[1])
                self._pending = None
            return self._on

    def log(self, kind: str, what: str) -> None:
        """Write a line."""
        self._log.append(Event(time.monotonic(), kind, what))

    def events(self, kind: str) -> list[str]:
        """The lines of one kind, oldest first."""
        with self.lock:
            _ = self.power  # what has come true in the meantime belongs there too
            return [event.what for event in self._log if event.kind == kind]

    def control(self, option: int) -> int:
        """Carry a Chassis Control out; its completion code."""
        if option >= len(self.CONTROLS):
            return 0xCC
        name, on = self.CONTROLS[option], self.power
        if name == "cycle" and not on and self.faults.cycle_off is not None:
            return self.faults.cycle_off
        if name in ("reset", "soft", "diag") and not on:
            return 0xD5
        self.log("control", name)
        if self._boot_until is not None:
            self._boot_until = time.monotonic() + self.faults.boot_timeout
        if name == "on" and self.faults.on_ignored:
            self.faults.on_ignored -= 1
        elif name in ("off", "on") or (name == "soft" and not self.faults.soft_ignored):
            self._turn(on=name == "on")
        elif name == "cycle":
            self._switch(on=False)
            self._turn(on=True)
        elif name == "reset":
            self.log("power", "reset")
            self.restart_cause = 0x01
            self._start()
        return 0

    def press(self, *, on: bool) -> None:
        """Somebody, or the mains, switches the rig by hand."""
        with self.lock:
            self._switch(on)

    def set_boot(self, parameter: int, data: bytes) -> int:
        """Set a boot parameter; its completion code. Flags are kept octet for octet, but for what faults drop."""
        if parameter not in self.boot or (parameter == 3 and self.faults.boot_timer_fixed):
            return 0x80
        if not data:
            return 0  # sets nothing but the parameter's own lock, which this BMC has not
        if len(data) != len(self.boot[parameter]):
            return 0xC7
        if parameter == 5:
            dropped = (0x40 if self.faults.persist_ignored else 0) | (0x20 if self.faults.efi_ignored else 0)
            second = 0 if self.faults.device_ignored else data[1]
            data = bytes((data[0] & ~dropped & 0xFF, second)) + data[2:]
            held = self.boot[3][0] & 0x08
            self._boot_until = None if held else time.monotonic() + self.faults.boot_timeout
        self.boot[parameter] = data
        return 0

    def get_boot(self, parameter: int) -> bytes | None:
        """A boot parameter; None: there is none of that number."""
        if parameter not in self.boot or (parameter == 3 and self.faults.boot_timer_fixed):
            return None
        self._expire_boot()
        return self.boot[parameter]

    def forget_boot(self) -> None:
        """Boot parameters as they are from the factory: set in progress, timer, acknowledge, flags."""
        self.boot = {0: bytes(1), 3: bytes(1), 4: bytes(2), 5: bytes(5)}

    def get_lan(self, parameter: int) -> bytes | None:
        """A LAN parameter; None: there is none of that number."""
        if parameter == 22:
            return bytes((len(self.suites),))
        if parameter == 23:
            return bytes(1) + bytes(self.suites).ljust(16, b"\0")
        if parameter == 24:
            levels = [*self.suites.values(), *bytes(16 - len(self.suites))]
            return bytes(1) + bytes(low | high << 4 for low, high in zip(levels[::2], levels[1::2], strict=True))
        return self._lan.get(parameter)

    def set_lan(self, parameter: int, data: bytes) -> int:
        """Set a LAN parameter; its completion code."""
        known = self.get_lan(parameter)
        if known is None:
            return 0x80
        if parameter in (1, 22, 23):
            return 0x82  # read-only
        if len(data) != len(known):
            return 0xC7
        if self.faults.lan_ignored:
            return 0
        if parameter == 24:
            levels = [level for octet in data[1:] for level in (octet & 0x0F, octet >> 4)]
            if self.faults.suites_locked and 0 in levels[: len(self.suites)]:
                levels = [0] * len(levels)
            self.suites = dict(zip(self.suites, levels, strict=False))
        else:
            self._lan[parameter] = data
        return 0

    def add_sel(self, kind: int, sensor: int, event: int, data: bytes, when: int | None = None) -> int:
        """Add a system event record (32.1); its number."""
        number = max(self.sel, default=0) + 1
        self.sel_added = when if when is not None else self.now()
        self.sel[number] = struct.pack("<HBIHBBBB3s", number, 2, self.sel_added, 0x20, 4, kind, sensor, event, data)
        return number

    def now(self) -> int:
        """The BMC's clock, as a Unix time."""
        return int(time.time() + self.clock_offset)

    def _turn(self, *, on: bool) -> None:
        """Bring the power there, after the lag; a request that repeats what is under way changes nothing."""
        if not self.faults.power_lag:
            self._switch(on)
        elif self._pending is None or self._pending[1] != on:
            self._pending = (time.monotonic() + self.faults.power_lag, on)

    def _switch(self, on: bool) -> None:
        if on == self._on:
            return
        self._on = on
        self.log("power", "on" if on else "off")
        if on:
            self.restart_cause = 0x01
            self._start()

    def _start(self) -> None:
        """What the firmware does with the boot flags: obey valid ones, forget them unless they are persistent."""
        self._expire_boot()
        flags = self.boot[5]
        self.log("boot", flags.hex(" ") if flags[0] & 0x80 else "none")
        if not flags[0] & 0x40:
            self.boot[5] = bytes(5)
            self._boot_until = None

    def _expire_boot(self) -> None:
        if self._boot_until is not None and time.monotonic() >= self._boot_until:
            self.boot[5] = bytes((self.boot[5][0] & 0x7F,)) + self.boot[5][1:]
            self._boot_until = None


def _lan() -> dict[int, bytes]:
    """LAN parameters (23.2) but for those that depend on the suites; addresses are of a documentation network."""
    return {
        0: bytes(1),
        1: bytes(1),  # no IPMI 1.5 authentication types
        2: bytes(5),
        3: bytes((192, 0, 2, 111)),
        4: bytes((1,)),
        5: bytes.fromhex("d05099000001"),
        6: bytes((255, 255, 255, 0)),
        7: bytes((0x40, 0x40, 0x10)),
        10: bytes((2,)),
        11: bytes((4,)),
        12: bytes((192, 0, 2, 1)),
        13: bytes(6),
        14: bytes(4),
        15: bytes(6),
        16: b"public".ljust(18, b"\0"),
        17: bytes(1),
        20: bytes(2),
        21: bytes(1),
    }
