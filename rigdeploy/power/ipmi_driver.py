"""What the two IPMI drivers have in common: everything but how a request gets to the BMC and its answer back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rigdeploy.errors import PowerError, PowerUnsupportedError
from rigdeploy.fleet.models import IpmiPower
from rigdeploy.power import ipmi_boot, ipmi_errors, ipmi_events, ipmi_inventory, ipmi_sensors, ipmi_users
from rigdeploy.power.base import (
    BootDevice,
    BootOverride,
    BootQuirks,
    Capability,
    EventRecord,
    PowerState,
    RestorePolicy,
    Sensor,
)
from rigdeploy.power.ipmi_raw import CHASSIS, CompletionError
from rigdeploy.power.lock import bmc_lock_path, exclusive
from rigdeploy.power.quirks import QuirkCache

CIPHERS = (17, 3)
"""What ``cipher: auto`` tries: SHA-256 first, then SHA-1, which every BMC has."""

_STATUS, _CONTROL, _IDENTIFY, _SET_RESTORE = 0x01, 0x02, 0x04, 0x06
_POWER_DOWN, _POWER_UP, _HARD_RESET, _SOFT_OFF = 0, 1, 3, 5
"""Options of Chassis Control (IPMI 2.0, section 28.3)."""
_LONGEST_IDENTIFY = 255
_RESTORE = {RestorePolicy.OFF: 0, RestorePolicy.PREVIOUS: 1, RestorePolicy.ON: 2}
_POLICIES = {code: policy for policy, code in _RESTORE.items()}


class BmcDriver(ABC):
    """One BMC; logs in at the first call and stays logged in, holding the BMC's lock, until ``close()``.

    It is a :class:`rigdeploy.power.ipmi_raw.Raw` too.
    """

    capabilities = frozenset(
        {
            Capability.ON,
            Capability.OFF,
            Capability.SOFT_OFF,
            Capability.RESET,
            Capability.SEES_OFF,
            Capability.BOOT,
            Capability.SENSORS,
            Capability.EVENTS,
            Capability.CLEAR_EVENTS,
            Capability.INVENTORY,
            Capability.IDENTIFY,
            Capability.USERS,
            Capability.RESTORE,
        }
    )
    patience = 10.0

    def __init__(self, rig: str, power: IpmiPower, locks: Path, quirks: QuirkCache) -> None:
        self._power = power
        self._bmc = f"{power.address}:{power.port}"
        self.label = f"{rig} (BMC {self._bmc})"
        self._lock = bmc_lock_path(locks, self._bmc)
        self._quirks = quirks
        self._held: ExitStack | None = None

    @property
    def declared(self) -> IpmiPower:
        """How this BMC is reached."""
        return self._power

    @property
    def cipher(self) -> int:
        """The suite that sessions use: the one that worked, once there was one."""
        return self._ciphers()[0]

    @abstractmethod
    def _exchange(self, netfn: int, command: int, data: bytes, *, once: bool) -> bytes:
        """Send a request in a session, logging in before where there is none; the answer behind its completion code.

        CompletionError for a code other than success. ``once``: it is not sent again, and AnswerLostError when no
        answer that can be read comes back. Otherwise it may be, in a new session too.
        """

    @abstractmethod
    def _log_out(self) -> None:
        """End the session where there is one."""

    def ask(self, netfn: int, command: int, data: bytes = b"", *, least: int = 0) -> bytes:
        """A request that may safely be made twice; see :class:`rigdeploy.power.ipmi_raw.Raw`."""
        self._hold()
        answer = self._exchange(netfn, command, data, once=False)
        if len(answer) < least:
            raise PowerError(
                f"{self.label} sent an answer that cannot be read: {len(answer)} bytes instead of {least} "
                f"(request 0x{netfn:02x} 0x{command:02x})"
            )
        return answer

    def change(self, netfn: int, command: int, data: bytes = b"") -> bytes:
        """A request that is made once; see :class:`rigdeploy.power.ipmi_raw.Raw`."""
        self._hold()
        return self._exchange(netfn, command, data, once=True)

    def state(self) -> PowerState:
        """What the BMC says now."""
        return PowerState.ON if self._status() & 1 else PowerState.OFF

    def on(self) -> None:
        """Chassis Control: power up."""
        self._control(_POWER_UP)

    def off(self) -> None:
        """Chassis Control: power down, at once."""
        self._control(_POWER_DOWN)

    def soft_off(self) -> None:
        """Chassis Control: soft shutdown, as a short press of the power button."""
        self._control(_SOFT_OFF)

    def reset(self) -> None:
        """Chassis Control: hard reset."""
        self._control(_HARD_RESET)

    @property
    def boot_quirks(self) -> BootQuirks:
        """As declared, learned, or known of the board."""
        efi, dropped = (self._quirks.get(self._bmc, name) for name in ("boot_efi", "boot_dropped"))
        return BootQuirks(efi, frozenset(dropped or ()))

    def boot_override(self) -> BootOverride:
        """What the boot flags say, read from the BMC."""
        with self.in_words():
            flags = ipmi_boot.get(self)
        found = ipmi_boot.decode(flags, needs_valid="valid" not in self.boot_quirks.dropped)
        if found is None:
            raise PowerError(
                f"{self.label}: the next boot is from something that has no name here (flags {flags.hex(' ')})"
            )
        return found

    def set_boot_override(self, wanted: BootOverride) -> None:
        """Stop the BMC's timer where it has that, and set the boot flags.

        What this BMC keeps of them is learned on the way: one that drops the valid bit at once, and keeps the device,
        is believed without it.
        """
        flags = ipmi_boot.encode(wanted)
        with self.in_words():
            ipmi_boot.put(self, flags)
            if wanted.device is not BootDevice.NONE:
                kept = ipmi_boot.get(self)
                if kept[1] == flags[1]:
                    asked = {name for name, bit in ipmi_boot.PARTS.items() if flags[0] & bit}
                    lost = {name for name in asked if not kept[0] & ipmi_boot.PARTS[name]}
                    self._quirks.put(self._bmc, "boot_dropped", sorted(self.boot_quirks.dropped - asked | lost))

    def sensors(self) -> Sequence[Sensor]:
        """Every sensor of the BMC's own that answers."""
        with self.in_words():
            return ipmi_sensors.sensors(self)

    def events(self) -> Sequence[EventRecord]:
        """The system event log, oldest first."""
        with self.in_words():
            return ipmi_events.events(self)

    def clear_events(self) -> None:
        """Clear SEL, and wait for the BMC to say that it is done."""
        with self.in_words():
            ipmi_events.clear(self)

    def inventory(self) -> Mapping[str, str]:
        """Get Device ID and the board's FRU; what was learned under another firmware is forgotten."""
        with self.in_words():
            found = ipmi_inventory.inventory(self)
        self._quirks.saw_firmware(self._bmc, found.get("firmware", ""))
        return found

    def identify(self, seconds: int) -> None:
        """Chassis Identify, for 255 s at most."""
        if not 0 <= seconds <= _LONGEST_IDENTIFY:
            raise PowerUnsupportedError(f"{self.label}: the lamp can be lit for 0 to {_LONGEST_IDENTIFY} seconds")
        with self.in_words():
            self.ask(CHASSIS, _IDENTIFY, bytes((seconds,)))

    def set_password(self, username: str, password: str) -> None:
        """Set User Password; a lost answer leaves open which password is the right one."""
        with self.in_words():
            ipmi_users.set_password(self, self.label, username, password)

    def restore_policy(self) -> RestorePolicy | None:
        """What Get Chassis Status says; None for "unknown"."""
        return _POLICIES.get(self._status() >> 5 & 3)

    def set_restore_policy(self, policy: RestorePolicy) -> None:
        """Set Power Restore Policy."""
        with self.in_words():
            self.change(CHASSIS, _SET_RESTORE, bytes((_RESTORE[policy],)))

    def close(self) -> None:
        """Log out and let the next caller at the BMC."""
        self._log_out()
        if self._held is not None:
            self._held.close()
            self._held = None

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Within this, a completion code other than success becomes a PowerError that says what to do."""
        try:
            yield
        except CompletionError as error:
            raise ipmi_errors.refusal(error.code, self.label, self._power) from error

    def _status(self) -> int:
        with self.in_words():
            return self.ask(CHASSIS, _STATUS, least=1)[0]

    def _control(self, option: int) -> None:
        with self.in_words():
            self.change(CHASSIS, _CONTROL, bytes((option,)))

    def _hold(self) -> None:
        if self._held is None:
            held = ExitStack()
            held.enter_context(exclusive(self._lock, float(self._power.timeout_seconds), self.label))
            self._held = held

    def _ciphers(self) -> list[int]:
        """The suites to try, in order."""
        if self._power.cipher != "auto":
            return [self._power.cipher]
        worked = self._quirks.get(self._bmc, "cipher")
        return sorted(CIPHERS, key=lambda cipher: cipher != worked)
