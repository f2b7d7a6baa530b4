"""One lock per rig: two runs never touch the same rig, and a dead run's lock is taken over.

The lock is the kernel's (``flock``), so it goes when its owner dies, however it dies. The file's text only
says who that is. The file is never removed: a lock on a file that is no longer there locks nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rigdeploy.errors import LockedError


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: process id, what it runs, since when (seconds since the epoch), which run ('': none)."""

    pid: int
    command: str
    since: float
    run: str

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        run = f"run {self.run}, " if self.run else ""
        return f"'{self.command}' ({run}pid {self.pid}, since {since})"


class RigLock:
    """The lock of one rig; a context manager.

    ``previous`` is, once the lock is held, the owner that died without releasing it. The descriptor is not
    inheritable (PEP 446), so no child keeps the lock when this process dies.
    """

    def __init__(self, directory: Path, rig: str, *, command: str, run: str) -> None:
        self.rig = rig
        self.path = directory / f"{rig}.lock"
        self.owner = Owner(os.getpid(), command, time.time(), run)
        self.previous: Owner | None = None
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once, or raise LockedError naming who holds it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            os.close(descriptor)
            raise LockedError(
                f"{self.rig} is locked by {holder or 'another run'}",
                "wait for that run to end; nothing was changed on this rig",
            ) from None
        self.previous = _read(descriptor)
        _write(descriptor, json.dumps(asdict(self.owner)))
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._descriptor is None:
            return
        _write(self._descriptor, "")
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def hold(
    rigs: Iterable[str], directory: Path, *, command: str, run: str, say: Callable[[str], None]
) -> Iterator[dict[str, LockedError]]:
    """Hold the lock of every rig that is free; gives the errors of those that are not. ``say`` hears of dead owners."""
    held: list[RigLock] = []
    refused: dict[str, LockedError] = {}
    try:
        for rig in rigs:
            lock = RigLock(directory, rig, command=command, run=run)
            try:
                lock.acquire()
            except LockedError as error:
                refused[rig] = error
                continue
            held.append(lock)
            if lock.previous is not None:
                say(f"{rig}: took over the lock of {lock.previous}, which died")
        yield refused
    finally:
        for lock in held:
            lock.release()


def _read(descriptor: int) -> Owner | None:
    """The owner that the file names; None when it was released, or its owner died while writing."""
    text = os.pread(descriptor, 65536, 0)
    try:
        return Owner(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
