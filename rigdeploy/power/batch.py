"""The same thing for many rigs at once, each in a thread of its own, results as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from rigdeploy.errors import RigdeployError
from rigdeploy.power.lock import WAIT
from rigdeploy.power.policy import Clock, StoppedError

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig

WORKERS = 128
"""Threads at most; most of their time is waiting, for a BMC, a power supply or a person."""

LISTENS = 0.5
"""Seconds after which the caller's thread looks up at the latest.

A signal that another thread was given is heard only when the main thread runs again.
"""

T = TypeVar("T")


def stoppable(stop: threading.Event) -> Clock:
    """Real time, whose waiting ends in a StoppedError as soon as ``stop`` is set."""

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError("stopped")

    return Clock(time.monotonic, sleep)


def each(
    rigs: Sequence[Rig],
    work: Callable[[Rig, Clock], T],
    stopping: Callable[[], None] = lambda: None,
    *,
    stop: threading.Event | None = None,
) -> Iterator[tuple[Rig, T | RigdeployError]]:
    """Call ``work`` for every rig; gives each rig with its result or its error, the first to end first.

    Work waits by the clock that it is given, and for a BMC's lock in the same way: when the caller stops early
    (Ctrl-C), waiting ends at once, and what has been asked of a BMC by then is not undone. Only the answer to a change
    is waited for, some seconds (``power.stop``); ``stopping`` is called before that. A caller that hears of Ctrl-C in
    another way sets ``stop``; rigs whose waiting it ended have a StoppedError.
    """
    ended = threading.Event() if stop is None else stop
    clock = stoppable(ended)

    def begin() -> None:
        WAIT.set(clock.sleep)

    with ThreadPoolExecutor(max(1, min(WORKERS, len(rigs))), initializer=begin) as pool:
        futures = {pool.submit(work, rig, clock): rig for rig in rigs}
        try:
            for future in _as_they_end(futures):
                error = future.exception()
                if error is not None and not isinstance(error, RigdeployError):
                    raise error
                yield futures[future], error if error is not None else future.result()
        except KeyboardInterrupt:
            ended.set()
            stopping()
            raise
        finally:
            if stop is None:  # the caller's own is the caller's to set
                ended.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _as_they_end(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Futures in the order in which they end."""
    left = set(futures)
    while left:
        done, left = wait(left, LISTENS, FIRST_COMPLETED)
        yield from done
