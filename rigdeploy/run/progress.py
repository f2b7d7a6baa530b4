"""What a person sees while rigs are worked on: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

HEARTBEAT = 15.0
"""Seconds of silence after which a plain line says what a rig is at."""


class Progress(Protocol):
    """Where the work reports to; every method may be called from any thread."""

    def say(self, rig: str, phase: str, text: str) -> None:
        """Something happened to a rig that is worth a line."""
        ...

    def busy(self, rig: str, phase: str, text: str) -> None:
        """What a rig is at now; one of very many, so it is worth a line only when it takes long."""
        ...

    def end(self, rig: str, phase: str, text: str, *, ok: bool) -> None:
        """A rig is through with a phase, or failed in it."""
        ...

    def note(self, text: str) -> None:
        """Something about the whole run."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_progress() -> Progress:
    """On standard error: a live table when that is a terminal, plain lines otherwise."""
    return LiveProgress(sys.stderr) if sys.stderr.isatty() else PlainProgress(sys.stderr)


@dataclass
class _Line:
    phase: str
    text: str
    since: float
    said: float
    ended: bool = False
    ok: bool = True


class _Ticker:
    """Calls a function every second until stopped."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(1.0):
            self._function()


class PlainProgress:
    """One line for everything that happened, ``rig01  base  changed: Set the time zone``, and for what takes long."""

    def __init__(self, stream: TextIO, *, heartbeat: float = HEARTBEAT) -> None:
        self._stream = stream
        self._heartbeat = heartbeat
        self._lines: dict[str, _Line] = {}
        self._guard = threading.Lock()
        self._ticker = _Ticker(self.tick)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.stop()

    def say(self, rig: str, phase: str, text: str) -> None:
        """Print the line, unless it is the one printed last for this rig."""
        with self._guard:
            last = self._lines.get(rig)
            if last is not None and (last.phase, last.text) == (phase, text):
                return
            now = time.monotonic()
            self._lines[rig] = _Line(phase, text, now, now)
            self._print(rig, phase, text)

    def busy(self, rig: str, phase: str, text: str) -> None:
        """Remember it, for the line that a long silence is worth."""
        with self._guard:
            now = time.monotonic()
            last = self._lines.get(rig)
            self._lines[rig] = _Line(phase, text, now, now if last is None else last.said)

    def end(self, rig: str, phase: str, text: str, *, ok: bool) -> None:
        """Print how the phase ended."""
        with self._guard:
            now = time.monotonic()
            self._lines[rig] = _Line(phase, text, now, now, ended=True, ok=ok)
            self._print(rig, phase, text if ok else f"FAILED: {text}")

    def note(self, text: str) -> None:
        """Print a line about the run."""
        with self._guard:
            print(text, file=self._stream, flush=True)

    def tick(self) -> None:
        """Print a heartbeat for each rig that has been silent for too long."""
        with self._guard:
            now = time.monotonic()
            for rig, line in self._lines.items():
                if not line.ended and now - line.said >= self._heartbeat:
                    line.said = now
                    self._print(rig, line.phase, f"{line.text} ({now - line.since:.0f} s so far)")

    def _print(self, rig: str, phase: str, text: str) -> None:
        print(f"{rig:<12} {phase:<8} {text}", file=self._stream, flush=True)


class LiveProgress:
    """A table with one row per rig, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream)
        self._lines: dict[str, _Line] = {}
        self._guard = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, rig: str, phase: str, text: str) -> None:
        """Show what the rig is at."""
        self._set(rig, _Line(phase, text, time.monotonic(), 0.0))

    def busy(self, rig: str, phase: str, text: str) -> None:
        """Show what the rig is at."""
        self.say(rig, phase, text)

    def end(self, rig: str, phase: str, text: str, *, ok: bool) -> None:
        """Show how the phase ended."""
        self._set(rig, _Line(phase, text, time.monotonic(), 0.0, ended=True, ok=ok))

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, markup=False, highlight=False)

    def _set(self, rig: str, line: _Line) -> None:
        with self._guard:
            last = self._lines.get(rig)
            if last is None or (last.phase, last.text, last.ended) != (line.phase, line.text, line.ended):
                self._lines[rig] = line

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for title in ("rig", "phase", "now", "for"):
            table.add_column(title)
        with self._guard:
            # What is still going on comes first: a terminal may be shorter than the fleet.
            rows = sorted(self._lines.items(), key=lambda row: (row[1].ended, row[0]))
        for rig, line in rows:
            style = "red" if not line.ok else "green" if line.ended else ""
            spent = "" if line.ended else f"{time.monotonic() - line.since:.0f} s"
            # Text, not markup: part of it may come from a node.
            table.add_row(rig, line.phase, Text(line.text, style), spent)
        return table
