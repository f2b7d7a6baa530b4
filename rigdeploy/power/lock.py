"""At most one caller per BMC: many crash, or run out of session slots, when two talk to them at once."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rigdeploy.errors import PowerBusyError

_PAUSE = 0.05
"""Seconds between two tries to get the lock; flock(2) has no timeout of its own."""
_DIGITS = 10
"""More than any process number has."""
WAIT: ContextVar[Callable[[float], None]] = ContextVar("wait", default=time.sleep)
"""How this thread waits so many seconds; a batch that can be stopped puts its own way here (:mod:`.batch`)."""


def bmc_lock_path(locks: Path, address: str) -> Path:
    """The lock file of the BMC at ``address`` (``host`` or ``host:port``)."""
    return locks / ("bmc-" + re.sub(r"[^\w.-]", "_", address))


@contextmanager
def exclusive(path: Path, timeout: float, what: str) -> Iterator[None]:
    """Hold the lock on ``path``, which stands for ``what``.

    PowerBusyError, naming the holder, when it is not free within ``timeout`` seconds.

    The lock belongs to the open file (flock(2)), so it also keeps two threads of this process apart, and it goes
    with its holder, however that one dies.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, time.monotonic() + timeout, what)
        # Padded, so that it covers any other's: cutting the file first would cost more than all the rest.
        os.pwrite(descriptor, str(os.getpid()).ljust(_DIGITS).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, deadline: float, what: str) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, _DIGITS, 0).decode(errors="replace").strip() or "unknown"
                raise PowerBusyError(
                    f"{what} is in use by another rigdeploy (process {holder})",
                    "wait for it to end and run the command again",
                ) from None
            WAIT.get()(_PAUSE)
        else:
            return
