"""What every way of switching a rig has in common: states, capabilities, the driver's interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rigdeploy.errors import PowerError, PowerUnsupportedError


class PowerState(StrEnum):
    """Whether a rig has power. UNKNOWN: the driver cannot tell off from unreachable."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class Capability(StrEnum):
    """What a driver can do. A driver that lacks SEES_OFF reports UNKNOWN where others report OFF."""

    ON = "switch on"
    OFF = "switch off"
    SOFT_OFF = "ask the system to shut down"
    RESET = "reset the rig without cutting its power"
    SEES_OFF = "tell off from unreachable"
    BOOT = "choose what the rig boots from next"
    SENSORS = "read sensors"
    EVENTS = "read the event log"
    CLEAR_EVENTS = "clear the event log"
    INVENTORY = "read the inventory (FRU)"
    IDENTIFY = "light the identify lamp"
    USERS = "change a user's password"
    RESTORE = "say what happens when mains power comes back"
    VIRTUAL_MEDIA = "insert an image as a virtual CD"
    BIOS = "read the firmware's settings"


class BootDevice(StrEnum):
    """What a rig boots from next. NONE: no override, whatever its firmware is set to."""

    NONE = "none"
    PXE = "pxe"
    DISK = "disk"
    BIOS = "bios"
    CD = "cd"


@dataclass(frozen=True)
class BootOverride:
    """What the next boot is asked to be, or what a BMC says it is. ``efi`` None: not said."""

    device: BootDevice
    efi: bool | None = None
    persistent: bool = False


@dataclass(frozen=True)
class BootQuirks:
    """What is known of a BMC's boot overrides: what is asked for where nobody says EFI or legacy, and what is lost.

    ``dropped`` has some of ``valid``, ``efi`` and ``persistent``.
    """

    efi: bool | None = None
    dropped: frozenset[str] = frozenset()


class Health(StrEnum):
    """What a sensor, or a line of an event log, says."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Sensor:
    """One sensor. ``kind`` is ``temperature``, ``fan``, ``voltage``, ``power``, ``current``, ``discrete`` or ``other``.

    ``value`` is in ``unit`` (C, F, K, RPM, V, W, A, %); a discrete sensor has none, and its states in ``states``.
    """

    name: str
    kind: str
    value: float | None
    unit: str
    health: Health
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class EventRecord:
    """A line of the BMC's event log; ``time`` is a Unix time, None when the BMC's clock was not set."""

    number: int
    time: float | None
    source: str
    text: str
    health: Health


class RestorePolicy(StrEnum):
    """What a rig does when mains power comes back."""

    ON = "always-on"
    OFF = "always-off"
    PREVIOUS = "previous"


class Door(StrEnum):
    """A way past a BMC's passwords that IPMI leaves open; named as the check that looks at it."""

    CIPHER_0 = "cipher_0"
    """Cipher suite 0: a session without a password."""
    NULL_USER = "null_user"
    """A user without a name."""
    IPMI_1_5 = "ipmi_1_5"
    """Sessions of IPMI 1.5, with no authentication at all or in clear."""


class AnswerLostError(PowerError):
    """A request to change the power state got no answer: it may or may not have been carried out."""


class Driver(Protocol):
    """One rig's power, as one way of switching sees it; :mod:`rigdeploy.power.policy` decides when to call what.

    A call does one thing, once: no driver repeats a request that changes something. Errors are subclasses of
    PowerError. A driver is for one thread at a time, and ``close()`` ends whatever it holds open.
    """

    @property
    def label(self) -> str:
        """The rig, and what switches it, for messages."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this driver can do."""
        ...

    @property
    def patience(self) -> float:
        """Seconds in which an accepted request shows; past them it is made again."""
        ...

    def state(self) -> PowerState:
        """The state now; a driver with SEES_OFF never says UNKNOWN."""
        ...

    def on(self) -> None:
        """Ask for power on."""
        ...

    def off(self) -> None:
        """Ask for power off, hard."""
        ...

    def soft_off(self) -> None:
        """Ask the operating system to shut down and power off."""
        ...

    def reset(self) -> None:
        """Ask for a reset that leaves the power on."""
        ...

    def close(self) -> None:
        """End the session; calling it twice, or before anything was opened, does nothing."""
        ...


class BootsDriver(Driver, Protocol):
    """A driver with BOOT."""

    @property
    def boot_quirks(self) -> BootQuirks:
        """What is known already; asks nobody."""
        ...

    def boot_override(self) -> BootOverride:
        """What the next boot is set to."""
        ...

    def set_boot_override(self, wanted: BootOverride) -> None:
        """Ask for it, once, in a way that outlives the BMC's timer; whoever asks reads it back."""
        ...


class ReportsDriver(Driver, Protocol):
    """A driver with SENSORS, EVENTS, INVENTORY, IDENTIFY, USERS or RESTORE: each method needs its capability."""

    def sensors(self) -> Sequence[Sensor]:
        """Every sensor that can be read."""
        ...

    def events(self) -> Sequence[EventRecord]:
        """The event log, oldest first."""
        ...

    def clear_events(self) -> None:
        """Empty the event log."""
        ...

    def inventory(self) -> Mapping[str, str]:
        """What the board says it is, by names such as ``board_product``, ``board_serial`` and ``firmware``."""
        ...

    def identify(self, seconds: int) -> None:
        """Light the identify lamp for so long; 0 puts it out."""
        ...

    def set_password(self, username: str, password: str) -> None:
        """Give an existing user another password."""
        ...

    def restore_policy(self) -> RestorePolicy | None:
        """What is set now; None when the BMC does not say."""
        ...

    def set_restore_policy(self, policy: RestorePolicy) -> None:
        """Set it."""
        ...


class MediaDriver(Driver, Protocol):
    """A driver with VIRTUAL_MEDIA or BIOS: each method needs its capability."""

    def insert_media(self, url: str) -> None:
        """Insert the image at ``url``, which the BMC fetches itself; whoever asks reads it back."""
        ...

    def eject_media(self) -> None:
        """Take it out; nothing happens where there is none."""
        ...

    def media(self) -> str | None:
        """The image that is inserted, by its URL or name; None without one."""
        ...

    def bios(self) -> Mapping[str, str]:
        """The firmware's settings by their names, in the BMC's own words."""
        ...


def require(driver: Driver, *wanted: Capability) -> None:
    """PowerUnsupportedError when the driver cannot do all that is wanted; nothing is touched."""
    for capability in wanted:
        if capability not in driver.capabilities:
            raise PowerUnsupportedError(f"{driver.label}: cannot {capability} this way")
