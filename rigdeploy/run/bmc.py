"""Asks many BMCs at once: how they are set, their sensors and logs, what is open; and sets one as it is declared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, TypeVar, cast

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
    RigdeployError,
)
from rigdeploy.fleet.models import BMC_DRIVERS, IpmiPower, Rig
from rigdeploy.node.bmc_reading import BmcReading, BmcSettings
from rigdeploy.node.values import Unread
from rigdeploy.power.base import AnswerLostError, Capability, Door, Driver, ReportsDriver, RestorePolicy, require
from rigdeploy.power.policy import when_free
from rigdeploy.verify.findings import named
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.power.ipmi_doors import Request
    from rigdeploy.power.ipmi_driver import BmcDriver

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
    wanted = [rig for rig in rigs if has_bmc(rig) and rig.bmc.settings]
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(CALLERS, len(wanted))) as pool:
        found = list(pool.map(lambda rig: _settings_of(rig, workspace), wanted))
    return {rig.name: one for rig, one in zip(wanted, found, strict=True)}


def _settings_of(rig: Rig, workspace: Workspace) -> BmcSettings | RigdeployError:
    from rigdeploy.power.drivers import open_driver

    try:
        with closing(open_driver(rig, workspace)) as driver:
            return settings(driver, rig, workspace)
    except RigdeployError as error:
        return error


def set_as_declared(rig: Rig, workspace: Workspace) -> tuple[BmcSettings, BmcSettings]:
    """Set the rig's BMC as it is declared, where it is not; how it was, and how it is. A PowerError when it is not."""
    from rigdeploy.power.drivers import open_driver

    with closing(open_driver(rig, workspace)) as driver:
        before = settings(driver, rig, workspace)
        return before, set_what_differs(driver, rig, workspace, before)


def settings(driver: Driver, rig: Rig, workspace: Workspace) -> BmcSettings:
    """How the BMC is set, of what is declared about it."""
    from rigdeploy.power.facts import open_doors

    policy, unknown = None, {}
    if rig.bmc.power_restore is not None:
        try:
            policy = restore_policy(driver)
        except PowerUnsupportedError as error:
            unknown["power_restore"] = _own_words(rig, error)
    found: Mapping[Door, bool | None] = {}
    declared = [Door(name) for name in rig.bmc.close]
    if isinstance(rig.power, IpmiPower):
        power, asked = rig.power, [door for door in declared if door in judged_doors(workspace)]
        found = when_free(lambda: open_doors(driver, power, asked), BUSY_SECONDS)
    known = {door: is_open for door, is_open in found.items() if is_open is not None}
    unknown |= {door.value: _why_unknown(rig, door, found) for door in declared if door not in known}
    return BmcSettings(policy, known, unknown)


def _why_unknown(rig: Rig, door: Door, asked: Mapping[Door, bool | None]) -> str:
    if door in asked:
        return "the BMC does not say whether it is open"
    if isinstance(rig.power, IpmiPower):
        return "the lab's BMC lets everybody in with it, and cannot be told not to"
    return f"power.driver {rig.power.driver} cannot close it"


def judged_doors(workspace: Workspace) -> list[Door]:
    """The doors that are looked at: all, but for suite 0 in the lab, whose simulator always takes it."""
    return [door for door in Door if not (workspace.lab and door is Door.CIPHER_0)]


def set_what_differs(driver: Driver, rig: Rig, workspace: Workspace, before: BmcSettings) -> BmcSettings:
    """Set what is not as it is declared; how it is then. PowerRefusedError when something did not stay."""
    policy, unknown = before.power_restore, dict(before.unknown)
    if policy is not None and rig.bmc.power_restore is not None:
        try:
            policy = set_restore_policy(driver, RestorePolicy(rig.bmc.power_restore), policy)
        except PowerUnsupportedError as error:
            unknown["power_restore"] = _own_words(rig, error)
    if isinstance(rig.power, IpmiPower) and (doors := [door for door, is_open in before.open.items() if is_open]):
        close_doors(driver, rig, rig.power, doors, workspace)
    return BmcSettings(policy, dict.fromkeys(before.open, False), unknown)


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


def close_doors(driver: Driver, rig: Rig, power: IpmiPower, doors: Sequence[Door], workspace: Workspace) -> None:
    """Close what is open, and look again; PowerRefusedError when something stays open.

    Before anything is called closed, a new session is opened as the declaration has it. When that fails, or it does not
    come to that, everything is taken back through the session that is open still, so that nobody is locked out.
    """
    from rigdeploy.power.drivers import beside
    from rigdeploy.power.facts import open_doors

    raw = cast("BmcDriver", driver)
    undo: list[Request] = []
    try:
        refused = {door: why for door in doors if (why := _closed(raw, door, undo))}
    except PowerError:
        _taken_back(raw, undo)
        raise
    try:
        with beside(rig, power, workspace) as another:
            when_free(another.state, BUSY_SECONDS)
    except PowerError as error:
        again = "so it was opened again" if _taken_back(raw, undo) else "and it could not be opened again"
        raise PowerRefusedError(
            f"{driver.label}: with {named([*doors])} closed nobody was let in any more, {again}: "
            f"{_own_words(rig, error)}",
            "look for newer firmware, and take it out of bmc.close until then",
        ) from error
    left = [door for door, is_open in open_doors(driver, power, doors).items() if is_open is not False]
    if left:
        why = "; ".join(dict.fromkeys(refused.get(door) or "the BMC takes the setting and ignores it" for door in left))
        raise PowerRefusedError(
            f"{driver.label}: {named([*left])} cannot be closed this way: {why}",
            "close it in the BMC's own pages, keep its network apart, and take it out of bmc.close",
        )


def _closed(raw: BmcDriver, door: Door, undo: list[Request]) -> str:
    """Ask for what closes it, and note what takes that back; why the BMC did not, empty when it did."""
    from rigdeploy.power.ipmi_doors import closing as requests

    try:
        with raw.in_words():
            wanted = requests(raw, door)
        for request, taken_back in wanted:
            undo.append(taken_back)
            try:
                with suppress(AnswerLostError):  # it may have been carried out: looking again tells
                    _sent(raw, request)
            except (PowerRefusedError, PowerUnsupportedError):
                undo.pop()
                raise
    except (PowerRefusedError, PowerUnsupportedError) as error:
        return error.message.removeprefix(f"{raw.label} ")
    return "" if wanted else "the BMC has no setting for it"


def _taken_back(raw: BmcDriver, undo: Sequence[Request]) -> bool:
    """Send all of it, the last first; whether the BMC took it."""
    taken = True
    for request in reversed(undo):
        try:
            _sent(raw, request)
        except PowerError:
            taken = False
    return taken


def _sent(raw: BmcDriver, request: Request) -> None:
    def once() -> None:
        with raw.in_words():
            raw.change(*request)

    when_free(once, BUSY_SECONDS)


def _own_words(rig: Rig, error: RigdeployError) -> str:
    """An error's message for a line that names the rig already."""
    return error.message.removeprefix(f"{rig.name}: ")


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
    """Sensors and events of one rig's BMC, and what is open on it; what it could not be asked for is unread."""
    from rigdeploy.power.drivers import open_driver
    from rigdeploy.power.facts import glance

    try:
        with closing(open_driver(rig, workspace)) as driver:
            asked = _Asked(rig, driver)
            sensors = asked.for_("sensors", Capability.SENSORS, lambda said: said.sensors())
            events = asked.for_("events", Capability.EVENTS, lambda said: said.events())
            audit = None if asked.ended else glance(driver, rig, judged_doors(workspace))
            return BmcReading.of(time.time(), sensors, events, asked.unread, audit)
    except RigdeployError as error:
        return _nothing(_own_words(rig, error))


class _Asked:
    """One BMC that is asked several things; what went wrong is kept.

    One that is silent, or lets nobody in, is asked no more; ``ended`` is why.
    """

    def __init__(self, rig: Rig, driver: Driver) -> None:
        self._rig = rig
        self._driver = driver
        self.ended = ""
        self.unread: list[Unread] = []

    def for_(self, what: str, capability: Capability, question: Callable[[ReportsDriver], Sequence[T]]) -> Sequence[T]:
        try:
            if self.ended:
                raise PowerUnreachableError(self.ended)
            require(self._driver, capability)
            return when_free(lambda: question(cast(ReportsDriver, self._driver)), BUSY_SECONDS)
        except PowerError as error:
            why = _own_words(self._rig, error)
            self.unread.append(Unread(what, why))
            if isinstance(error, (PowerUnreachableError, PowerAuthenticationError)):
                self.ended = why
            return ()


def _nothing(why: str) -> BmcReading:
    return BmcReading.of(time.time(), (), (), (Unread("sensors", why), Unread("events", why)))
