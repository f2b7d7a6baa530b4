"""What every way of switching a rig has in common: states, capabilities, the driver's interface."""

from __future__ import annotations

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
    SEES_OFF = "tell off from unreachable"


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

    def close(self) -> None:
        """End the session; calling it twice, or before anything was opened, does nothing."""
        ...


def require(driver: Driver, *wanted: Capability) -> None:
    """PowerUnsupportedError when the driver cannot do all that is wanted; nothing is touched."""
    for capability in wanted:
        if capability not in driver.capabilities:
            raise PowerUnsupportedError(f"{driver.label}: cannot {capability} this way")
