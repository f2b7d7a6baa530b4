"""How power is changed, whatever the driver: read, request, watch; never trust an answer that did not come.

The rules and their figures were checked against simulated BMCs with injected faults: a request that changes
something is not repeated blindly when its answer is lost (the state is read instead); a busy BMC is given time;
a BMC that accepts a request and does nothing is asked again, three times in all; wrong credentials are never
tried twice, because BMCs lock users out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from rigdeploy.errors import (
    PowerBusyError,
    PowerError,
    PowerRefusedError,
    PowerTimeoutError,
    PowerUnreachableError,
)
from rigdeploy.power.base import AnswerLostError, Capability, Driver, PowerState, require

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

Say = Callable[[str], None]


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
    deadline = clock.now() + timeout
    pause = BACKOFF_FIRST
    while True:
        try:
            return driver.state()
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
    clock: Clock = REAL_CLOCK,
) -> bool:
    """Bring a rig to ON or OFF within ``timeout`` seconds; True when that took a change.

    With ``soft`` the operating system is asked first and has SOFT_SECONDS; then power is cut.
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
    if soft and want is PowerState.OFF and _soft_off(driver, say, clock):
        return True
    request = driver.on if want is PowerState.ON else driver.off
    _Change(driver, want, request, timeout, clock).run(say)
    return True


def cycle(driver: Driver, timeout: float, say: Say = silent, *, soft: bool = False, clock: Clock = REAL_CLOCK) -> None:
    """Off, seen off, a pause, on, seen on; ``timeout`` seconds for each half.

    The BMC's own cycle command is not used: boards refuse it when the rig is off, and none confirms it.
    """
    require(driver, Capability.ON, Capability.OFF)
    ensure(driver, PowerState.OFF, timeout, say, soft=soft, clock=clock)
    clock.sleep(OFF_SECONDS)
    ensure(driver, PowerState.ON, timeout, say, clock=clock)


def _soft_off(driver: Driver, say: Say, clock: Clock) -> bool:
    """Ask the system to shut down; True when the rig went off."""
    say(f"asking the system to shut down (up to {SOFT_SECONDS:.0f} s)")
    change = _Change(driver, PowerState.OFF, driver.soft_off, SOFT_SECONDS, clock)
    with suppress(PowerRefusedError):
        # Not made again when its answer is lost: to some systems a second press means something else.
        if change.attempt(SOFT_SECONDS, if_lost=SOFT_SECONDS):
            return True
    say("the system did not shut down; cutting its power")
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
