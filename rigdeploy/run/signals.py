"""Ctrl-C while rigs are worked on: what runs is brought to an end, and said to be where it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """The work is given up because it was told to; not an error of a rig."""


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Within the block the first signal sets ``stop``, the second raises KeyboardInterrupt; then all is as before.

    A handler, not "ignore", is what a child finds reset to the default (execve(2)): Ansible, interrupted by the
    kernel when we die, must not have inherited that SIGINT is ignored, as it is for a shell's background job.
    """

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interpreter's signature
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # Under nohup(1) the end of the terminal is meant to be ignored.
    wanted = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
