"""How power is changed, whatever the driver: read, request, watch; never trust an answer that did not come.

The rules and their figures were checked against simulated BMCs with injected faults: a request that changes
something is not repeated blindly when its answer is lost (the state is read instead); a busy BMC is given time;
a BMC that accepts a request and does nothing is asked again, three times in all; wrong credentials are never
tried twice, because BMCs lock users out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerError,
    PowerRefusedError,
    PowerTimeoutError,
    PowerUnreachableError,
)
from rigdeploy.power.base import (
    AnswerLostError,
    BootDevice,
    BootOverride,
    BootsDriver,
    Capability,
    Driver,
    PowerState,
    require,
)

ATTEMPTS = 3
"""How many requests a BMC may acknowledge and not carry out."""
SOFT_SECONDS = 120.0
"""How long an operating system may take to shut down before the hard way."""
OFF_SECONDS = 2.0
"""How long a cycle keeps the rig off: supplies must discharge before a card sees a real reset."""
POLL_FIRST, POLL_FACTOR, POLL_MOST = 0.5, 1.5, 5.0
"""Seconds between readings: the first pause, its growth, and the longest."""
BACKOFF_FIRST, BACKOFF_FACTOR, BACKOFF_MOST = 0.5, 2.0, 8.0
"""Seconds that a busy BMC is left alone."""
LOST_PATIENCE = 3.0
"""Seconds in which a request whose answer was lost shows, if it had arrived."""
BOOT_SECONDS = 60.0
"""How long a BMC may take to keep a boot override, its busy times and restarts included."""

Say = Callable[[str], None]
T = TypeVar("T")


class StoppedError(PowerError):
    """Somebody has asked us to stop; what was asked of a BMC by then is not undone.

    ``told``: it was said how the rig was left.
    """

    told = False


@dataclass(frozen=True)
class Clock:
    """Time as the policy sees it: seconds that only grow, and waiting. Tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL_CLOCK = Clock()


def silent(_: str) -> None:
    """Progress that nobody reads."""


def read(driver: Driver, timeout: float, clock: Clock = REAL_CLOCK) -> PowerState:
    """The state now, giving a busy BMC up to ``timeout`` seconds."""
    return when_free(driver.state, timeout, clock)


def when_free(call: Callable[[], T], timeout: float, clock: Clock = REAL_CLOCK) -> T:
    """What ``call`` gives, which may safely be made again, with a busy BMC given up to ``timeout`` seconds."""
    deadline = clock.now() + timeout
    pause = BACKOFF_FIRST
    while True:
        try:
            return call()
        except PowerBusyError:
            if clock.now() + pause > deadline:
                raise
        clock.sleep(pause)
        pause = min(pause * BACKOFF_FACTOR, BACKOFF_MOST)


def ensure(
    driver: Driver,
    want: PowerState,
    timeout: float,
    say: Say = silent,
    *,
    soft: bool = False,
    hard: bool = True,
    clock: Clock = REAL_CLOCK,
) -> bool:
    """Bring a rig to ON or OFF within ``timeout`` seconds; True when that took a change.

    With ``soft`` the operating system is asked first and has SOFT_SECONDS; then power is cut, or, without ``hard``,
    that is a PowerTimeoutError and the rig stays on.
    Raises PowerUnsupportedError before anything is touched when the driver cannot do it, PowerTimeoutError
    when requests were accepted and the state never came, and whatever the driver raises otherwise.
    """
    if want not in (PowerState.ON, PowerState.OFF):
        raise ValueError(f"a rig cannot be brought to the state {want}")
    require(driver, Capability.ON if want is PowerState.ON else Capability.OFF)
    if soft and want is PowerState.OFF:
        require(driver, Capability.SOFT_OFF)
    if read(driver, timeout, clock) is want:
        return False
    if soft and want is PowerState.OFF:
        with _telling_a_stop(driver, say):
            went_off = _soft_off(driver, say, clock)
        if went_off:
            return True
        if not hard:
            raise PowerTimeoutError(
                f"{driver.label}: the system did not shut down within {SOFT_SECONDS:.0f} s, and its power was not cut",
                "look at its console, or let the power be cut",
            )
        say("the system did not shut down; cutting its power")
    request = driver.on if want is PowerState.ON else driver.off
    with _telling_a_stop(driver, say):
        _Change(driver, want, request, timeout, clock).run(say)
    return True


def cycle(
    driver: Driver,
    timeout: float,
    say: Say = silent,
    *,
    soft: bool = False,
    boot: BootOverride | None = None,
    clock: Clock = REAL_CLOCK,
) -> list[str]:
    """Off, seen off, a pause, the boot override, on, seen on; ``timeout`` seconds for each half.

    Returns what the BMC dropped of ``boot``, which is set while the rig is off: boards forget it at a loss of power,
    and a system that still runs cannot be caught by it. Whatever stops a cycle half-way, the error, or ``say``, tells
    how the rig was left. The BMC's own cycle command is not used: boards refuse it when the rig is off, and none
    confirms it.
    """
    require(driver, Capability.ON, Capability.OFF, *([Capability.SOFT_OFF] if soft else []))
    if boot is not None:
        require(driver, Capability.BOOT)
    read(driver, timeout, clock)
    dropped: list[str] = []
    with _telling_how_it_was_left(driver, say):
        ensure(driver, PowerState.OFF, timeout, say, soft=soft, clock=clock)
        clock.sleep(OFF_SECONDS)
        if boot is not None:
            dropped = set_boot(cast(BootsDriver, driver), boot, say, clock)
        ensure(driver, PowerState.ON, timeout, say, clock=clock)
    return dropped


def reset(driver: Driver, timeout: float, say: Say = silent, *, clock: Clock = REAL_CLOCK) -> None:
    """Reset a rig that is on, and see that it still is; PowerRefusedError when it is not.

    Nothing shows a reset, so one whose answer was lost is not made again: AnswerLostError says so when the rig is on,
    since then either may have happened.
    """
    require(driver, Capability.RESET)
    if read(driver, timeout, clock) is PowerState.OFF:
        raise PowerRefusedError(f"{driver.label} is off: there is nothing to reset", "switch it on")
    say("resetting")
    with _telling_a_stop(driver, say):
        _reset(driver, timeout, clock)


def _reset(driver: Driver, timeout: float, clock: Clock) -> None:
    """Ask for it, and look what came of it."""
    deadline = clock.now() + timeout
    lost: AnswerLostError | None = None
    try:
        when_free(driver.reset, timeout, clock)
    except AnswerLostError as error:
        lost = error
    state = _state_when_back(driver, deadline, clock)
    until = min(clock.now() + driver.patience, deadline)
    while state is PowerState.OFF and clock.now() < until:  # some BMCs reset a rig by way of off
        clock.sleep(POLL_FIRST)
        state = _state_when_back(driver, deadline, clock)
    if state is PowerState.OFF:
        raise PowerError(f"{driver.label}: it went off when it was reset", "switch it on")
    if lost is not None:
        raise AnswerLostError(
            f"{driver.label} did not answer the reset: it is {state}, and may have been reset or not",
            "look whether it starts anew; only then ask again",
        ) from lost


def set_boot(driver: BootsDriver, wanted: BootOverride, say: Say = silent, clock: Clock = REAL_CLOCK) -> list[str]:
    """Set what the next boot is from, and read it back; returns which of ``efi`` and ``persistent`` were dropped.

    PowerRefusedError when the device itself was. Setting it twice does no harm, so it is asked for again, ATTEMPTS
    times in all, when an answer was lost or the device is not read back.
    """
    require(driver, Capability.BOOT)
    say(
        "clearing the boot override"
        if wanted.device is BootDevice.NONE
        else f"setting the next boot to {wanted.device}"
    )
    if wanted.efi is None and wanted.device is not BootDevice.NONE:
        wanted = replace(wanted, efi=driver.boot_quirks.efi)
    if lost := [part for part in _parts(wanted) if part in driver.boot_quirks.dropped]:
        say(f"this BMC is known to drop {' and '.join(lost)}")
    deadline = clock.now() + BOOT_SECONDS
    found: BootOverride | None = None
    silence: PowerError | None = None
    for _ in range(ATTEMPTS):
        try:
            when_free(lambda: driver.set_boot_override(wanted), deadline - clock.now(), clock)
        except (AnswerLostError, PowerUnreachableError) as error:
            silence = error
        try:
            found = _kept(driver, wanted, deadline, clock)
            silence = None
        except PowerUnreachableError as error:
            silence = error
        if found is not None and found.device is wanted.device:
            return _dropped(wanted, found)
        if clock.now() >= deadline:
            break
    if silence is not None:
        raise silence
    raise PowerRefusedError(
        f"{driver.label} was asked to boot from {wanted.device} next, and says {found.device if found else 'nothing'}",
        "set it in the BMC's own page, or in the firmware's",
    )


def _kept(driver: BootsDriver, wanted: BootOverride, deadline: float, clock: Clock) -> BootOverride:
    """What is read back, which BMCs may need LOST_PATIENCE seconds to show."""
    until = min(clock.now() + LOST_PATIENCE, deadline)
    pause = POLL_FIRST
    while True:
        found = when_free(driver.boot_override, deadline - clock.now(), clock)
        left = until - clock.now()
        if found.device is wanted.device or left <= 0:
            return found
        clock.sleep(min(pause, left))
        pause = min(pause * POLL_FACTOR, POLL_MOST)


def _parts(wanted: BootOverride) -> list[str]:
    """What is asked for beside the device."""
    return ["efi"] * bool(wanted.efi) + ["persistent"] * wanted.persistent


def _dropped(wanted: BootOverride, found: BootOverride) -> list[str]:
    """What was asked for and is not there. No override has no further parts."""
    if wanted.device is BootDevice.NONE:
        return []
    efi_dropped = wanted.efi is not None and bool(found.efi) is not wanted.efi
    persistent_dropped = wanted.persistent and not found.persistent
    return ["efi"] * efi_dropped + ["persistent"] * persistent_dropped


def _state_when_back(driver: Driver, deadline: float, clock: Clock) -> PowerState:
    """The state, waiting for a BMC that is busy or away."""
    pause = BACKOFF_FIRST
    while True:
        try:
            return driver.state()
        except (PowerBusyError, PowerUnreachableError):
            if clock.now() + pause > deadline:
                raise
        clock.sleep(pause)
        pause = min(pause * BACKOFF_FACTOR, BACKOFF_MOST)


@contextmanager
def _telling_how_it_was_left(driver: Driver, say: Say) -> Iterator[None]:
    """Whatever ends this early: its error also says which state the rig was left in; a stop tells that at once."""
    try:
        yield
    except PowerError as error:
        left = _left(driver, error)
        if isinstance(error, StoppedError) and not error.told:
            say(f"stopped; the rig {left}")
        error.message = f"{error.message}; the rig {left}"
        error.args = (error.message,)
        raise
    except BaseException as error:  # Ctrl-C
        say(f"stopped; the rig {_left(driver, error)}")
        raise


@contextmanager
def _telling_a_stop(driver: Driver, say: Say) -> Iterator[None]:
    """Who stops a change that was asked for is told how the rig was left, or that nobody knows."""
    try:
        yield
    except StoppedError as error:
        say(f"stopped; the rig {_left(driver, error)}")
        error.told = True
        raise


def _left(driver: Driver, error: BaseException) -> str:
    if not isinstance(error, (PowerUnreachableError, PowerAuthenticationError)):
        with suppress(PowerError):
            return f"was left {driver.state()}"
    return "was left in a state that is not known"


def _soft_off(driver: Driver, say: Say, clock: Clock) -> bool:
    """Ask the system to shut down; True when the rig went off."""
    say(f"asking the system to shut down (up to {SOFT_SECONDS:.0f} s)")
    change = _Change(driver, PowerState.OFF, driver.soft_off, SOFT_SECONDS, clock)
    with suppress(PowerRefusedError):
        # Not made again when its answer is lost: to some systems a second press means something else.
        if change.attempt(SOFT_SECONDS, if_lost=SOFT_SECONDS):
            return True
    return False


class _Change:
    """One wanted change of state and its deadline.

    ``_lost`` says whether the last request got no answer, ``_silence`` is the error of the last reading (None
    when the BMC answered it).
    """

    def __init__(
        self, driver: Driver, want: PowerState, request: Callable[[], None], timeout: float, clock: Clock
    ) -> None:
        self._driver = driver
        self._want = want
        self._request = request
        self._timeout = timeout
        self._clock = clock
        self._deadline = clock.now() + timeout
        self._lost = False
        self._silence: PowerError | None = None

    def run(self, say: Say) -> None:
        """Request and watch until the state is there or the deadline has come.

        ATTEMPTS bounds the requests that were answered; the last of them may use all the time that is left. A
        request whose answer was lost, and that readings then show not to have arrived, may be made any number
        of times.
        """
        asked = answered = 0
        while self._clock.now() < self._deadline:
            asked += 1
            say(f"switching {self._want}" + (f" (request {asked})" if asked > 1 else ""))
            last = answered == ATTEMPTS - 1
            if self.attempt(self._timeout if last else self._driver.patience, if_lost=LOST_PATIENCE):
                return
            answered += not self._lost
        if self._silence is not None:
            raise self._silence
        raise PowerTimeoutError(
            f"{self._driver.label}: asked {asked} times to switch {self._want}, and it did not within "
            f"{self._timeout:.0f} s",
            "look at the board itself, and at its BMC's page where it has one; power.timeout_seconds may be too short",
        )

    def attempt(self, patience: float, *, if_lost: float) -> bool:
        """Make the request once and watch; True when the state came within ``patience`` seconds.

        ``if_lost`` takes the place of ``patience`` when the request got no answer.
        """
        self._lost = False
        try:
            if self._requested_or_there():
                return True
        except AnswerLostError:
            self._lost = True
            patience = if_lost
        return self._seen(patience)

    def _requested_or_there(self) -> bool:
        """Make the request, waiting while the BMC is busy or away; True when the state came in spite of that.

        A "busy" answer may stand for a request that was carried out, and a refusal for "already so": both are
        followed by a reading before the request is made again or given up.
        """
        pause = BACKOFF_FIRST
        while True:
            try:
                self._request()
            except (PowerBusyError, PowerUnreachableError):
                if self._clock.now() + pause > self._deadline:
                    raise
                self._clock.sleep(pause)
                pause = min(pause * BACKOFF_FACTOR, BACKOFF_MOST)
                if self._reached():
                    return True
            except PowerRefusedError:
                if self._reached():
                    return True
                raise
            else:
                return False

    def _seen(self, patience: float) -> bool:
        """Poll until the state is there, ``patience`` is over, or the deadline has come."""
        pause = POLL_FIRST
        until = self._clock.now() + patience
        while not self._reached():
            now = self._clock.now()
            if self._silence is not None:
                # A silent BMC (they restart at times) shows nothing: patience starts when it answers again.
                until = now + patience
            left = min(until, self._deadline) - now
            if left <= 0:
                return False
            self._clock.sleep(min(pause, left))
            pause = min(pause * POLL_FACTOR, POLL_MOST)
        return True

    def _reached(self) -> bool:
        """Whether a reading shows the wanted state; a BMC that does not answer shows nothing."""
        try:
            state = self._driver.state()
        except (PowerUnreachableError, PowerBusyError) as error:
            self._silence = error
            return False
        self._silence = None
        if state is PowerState.UNKNOWN and self._want is PowerState.OFF:
            return Capability.SEES_OFF not in self._driver.capabilities
        return state is self._want
