"""How a driver's waiting for an answer ends when its thread is asked to stop (Ctrl-C).

An answer to a reading is abandoned at once. Whether a change was carried out only its answer says, so that is waited
for, like whatever is asked after the stop, for LAST_SECONDS in all.
"""

from __future__ import annotations

import math
import time

from rigdeploy.errors import PowerError
from rigdeploy.power.lock import WAIT

LAST_SECONDS = 3.0
"""How long a driver still waits for answers once it is to stop: a BMC that is there gives one in a second or two."""
LOOK_SECONDS = 0.2
"""How soon a stop is seen."""


class Patience:
    """One driver's. ``until`` is when the last answer is given up, by the clock that time.monotonic() reads."""

    def __init__(self) -> None:
        self.until = math.inf
        self._error: PowerError | None = None

    def ended(self) -> bool:
        """Whether this thread is to stop; what first sees that starts the last seconds."""
        if self._error is None:
            try:
                WAIT.get()(0.0)
            except PowerError as error:
                self._error, self.until = error, time.monotonic() + LAST_SECONDS
        return self._error is not None

    def check(self) -> None:
        """Raise what this thread was asked to stop with, if it was."""
        if self.ended() and self._error is not None:
            raise self._error
