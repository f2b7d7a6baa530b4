"""Asks many BMCs at once: how they are set, their sensors and event logs; and sets one as it is declared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TypeVar, cast

from rigdeploy.errors import (
    PowerError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
    RigdeployError,
)
from rigdeploy.fleet.models import BMC_DRIVERS, Rig
from rigdeploy.node.bmc_reading import BmcReading, BmcSettings
from rigdeploy.node.values import Unread
from rigdeploy.power.base import AnswerLostError, Capability, Driver, ReportsDriver, RestorePolicy, require
from rigdeploy.power.policy import when_free
from rigdeploy.workspace import Workspace

CALLERS = 32
"""BMCs asked at the same time; each is slow and answers alone."""

READ_SECONDS = 30.0
"""How long the reading of sensors and event logs may take in all: some BMCs need 10 s for their sensors alone."""

BUSY_SECONDS = 10.0
"""How long a BMC that says that it is busy is asked again."""

T = TypeVar("T")


def has_bmc(rig: Rig) -> bool:
    """Whether a BMC is behind the rig's power, as it is declared."""
    return rig.power.driver in BMC_DRIVERS


# --- settings ------------------------------------------------------------------------------


def read_settings(rigs: Iterable[Rig], workspace: Workspace) -> dict[str, BmcSettings | RigdeployError]:
    """How the BMCs are set, by rig, or why that is not known; only of rigs that declare anything about it."""
    wanted = [rig for rig in rigs if has_bmc(rig) and rig.bmc.power_restore is not None]
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(CALLERS, len(wanted))) as pool:
        found = list(pool.map(lambda rig: _settings_of(rig, workspace), wanted))
    return {rig.name: one for rig, one in zip(wanted, found, strict=True)}


def _settings_of(rig: Rig, workspace: Workspace) -> BmcSettings | RigdeployError:
    from rigdeploy.power.drivers import open_driver

    try:
        with closing(open_driver(rig, workspace)) as driver:
            return BmcSettings(restore_policy(driver))
    except RigdeployError as error:
        return error


def set_as_declared(rig: Rig, workspace: Workspace) -> tuple[BmcSettings, BmcSettings]:
    """Set the rig's BMC as it is declared, where it is not; how it was, and how it is. A PowerError when it is not."""
    from rigdeploy.power.drivers import open_driver

    with closing(open_driver(rig, workspace)) as driver:
        before = restore_policy(driver)
        after = before
        if rig.bmc.power_restore is not None:
            after = set_restore_policy(driver, RestorePolicy(rig.bmc.power_restore), before)
        return BmcSettings(before), BmcSettings(after)


def restore_policy(driver: Driver) -> RestorePolicy:
    """What the rig does when mains power comes back; PowerUnsupportedError when the BMC does not say."""
    require(driver, Capability.RESTORE)
    found = when_free(cast(ReportsDriver, driver).restore_policy, BUSY_SECONDS)
    if found is None:
        raise PowerUnsupportedError(f"{driver.label}: the BMC does not say what happens when mains power comes back")
    return found


def set_restore_policy(driver: Driver, wanted: RestorePolicy, before: RestorePolicy) -> RestorePolicy:
    """Set it where it is another, and read it back; PowerRefusedError when it did not stay."""
    if before is wanted:
        return before
    with suppress(AnswerLostError):  # it may have been carried out: the reading tells
        when_free(lambda: cast(ReportsDriver, driver).set_restore_policy(wanted), BUSY_SECONDS)
    found = restore_policy(driver)
    if found is not wanted:
        raise PowerRefusedError(
            f"{driver.label}: asked for power_restore {wanted}, the BMC still says {found}",
            "set it in the firmware's setup, and take bmc.power_restore out of the declaration",
        )
    return found


# --- sensors and events --------------------------------------------------------------------


class Readings:
    """The BMCs of some rigs, being asked for sensors and events; what takes longer than READ_SECONDS is unread.

    Rigs without a BMC are left out. The threads are daemons: a BMC that answers for ever holds up no one.
    """

    def __init__(self, rigs: Iterable[Rig], workspace: Workspace, *, seconds: float = READ_SECONDS) -> None:
        self._workspace = workspace
        self._slots = threading.BoundedSemaphore(CALLERS)
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._found: dict[str, BmcReading] = {}
        asked = [rig for rig in rigs if has_bmc(rig)]
        self._threads = {rig.name: threading.Thread(target=self._ask, args=(rig,), daemon=True) for rig in asked}
        for thread in self._threads.values():
            thread.start()

    def of(self, rig: str, stop: threading.Event | None = None) -> BmcReading | None:
        """What the rig's BMC said, waiting for it until the deadline or ``stop``; None for one that is not asked."""
        thread = self._threads.get(rig)
        if thread is None:
            return None
        while thread.is_alive() and time.monotonic() < self._deadline and not (stop and stop.is_set()):
            thread.join(0.1)
        late = f"the BMC took longer than {self._seconds:.0f} s"
        return self._found.get(rig) or _nothing(late)

    def all(self) -> Mapping[str, BmcReading]:
        """What every BMC that is asked said."""
        return {rig: reading for rig in self._threads if (reading := self.of(rig)) is not None}

    def _ask(self, rig: Rig) -> None:
        with self._slots:
            try:
                self._found[rig.name] = read(rig, self._workspace)
            except Exception as error:  # noqa: BLE001 - a defect met on one BMC must not pass for silence
                self._found[rig.name] = _nothing(f"{type(error).__name__}: {error}")


def read(rig: Rig, workspace: Workspace) -> BmcReading:
    """Sensors and events of one rig's BMC; what it could not be asked for is unread."""
    from rigdeploy.power.drivers import open_driver

    try:
        with closing(open_driver(rig, workspace)) as driver:
            asked = _Asked(rig, driver)
            sensors = asked.for_("sensors", Capability.SENSORS, lambda said: said.sensors())
            events = asked.for_("events", Capability.EVENTS, lambda said: said.events())
            return BmcReading.of(time.time(), sensors, events, asked.unread)
    except RigdeployError as error:
        return _nothing(error.message.removeprefix(f"{rig.name}: "))


class _Asked:
    """One BMC that is asked several things; what went wrong is kept, and one that is silent is asked no more."""

    def __init__(self, rig: Rig, driver: Driver) -> None:
        self._rig = rig
        self._driver = driver
        self._silent = ""
        self.unread: list[Unread] = []

    def for_(self, what: str, capability: Capability, question: Callable[[ReportsDriver], Sequence[T]]) -> Sequence[T]:
        try:
            if self._silent:
                raise PowerUnreachableError(self._silent)
            require(self._driver, capability)
            return when_free(lambda: question(cast(ReportsDriver, self._driver)), BUSY_SECONDS)
        except PowerError as error:
            why = error.message.removeprefix(f"{self._rig.name}: ")
            self.unread.append(Unread(what, why))
            if isinstance(error, PowerUnreachableError):
                self._silent = why
            return ()


def _nothing(why: str) -> BmcReading:
    return BmcReading.of(time.time(), (), (), (Unread("sensors", why), Unread("events", why)))
