"""The fleet's history: runs, what each did to each rig, and verdicts; one SQLite file.

History and crash recovery, never the source of truth: every plan starts from a fresh observation.
Times are seconds since the epoch.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rigdeploy.errors import RigdeployError, UsageError
from rigdeploy.verify.findings import Finding, worst

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, command TEXT NOT NULL, rigs TEXT NOT NULL, pid INTEGER NOT NULL,
  started REAL NOT NULL, ended REAL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS phases (
  number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id), rig TEXT NOT NULL, phase TEXT NOT NULL,
  asked TEXT, started REAL NOT NULL, seconds REAL, outcome TEXT NOT NULL, message TEXT NOT NULL DEFAULT '',
  boot_before TEXT, boot_after TEXT);
CREATE TABLE IF NOT EXISTS verdicts (
  number INTEGER PRIMARY KEY, run TEXT, rig TEXT NOT NULL, at REAL NOT NULL, status TEXT NOT NULL,
  boot_id TEXT, findings TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS phases_rig ON phases (rig, phase, started);
CREATE INDEX IF NOT EXISTS verdicts_rig ON verdicts (rig, at);
"""

RUNNING = "running"
DIED = "died"


@dataclass(frozen=True)
class Run:
    """One run: ``outcome`` is running, done, failed, interrupted, declined or died."""

    id: str
    command: str
    rigs: list[str]
    pid: int
    started: float
    ended: float | None
    outcome: str


@dataclass(frozen=True)
class Phase:
    """What one phase of a run did to one rig: ``outcome`` is running, done, rehearsed, failed, interrupted or died.

    ``asked`` has the hashes of the inputs of the roles that ran, None for a phase that no role does.
    """

    run: str
    rig: str
    phase: str
    asked: str | None
    started: float
    seconds: float | None
    outcome: str
    message: str
    boot_before: str | None
    boot_after: str | None

    @property
    def rebooted(self) -> bool:
        """Whether the rig booted anew in the course of the phase, as far as both boot ids were seen."""
        return None not in (self.boot_before, self.boot_after) and self.boot_before != self.boot_after


@dataclass(frozen=True)
class Verdict:
    """The gravest status found on a rig, when, by which run (None: by ``verify``), and the findings' JSON."""

    run: str | None
    rig: str
    at: float
    status: str
    boot_id: str | None
    findings: list[dict[str, Any]]


class Ledger:
    """The ledger's file, open; usable from several threads and by several processes at once."""

    def __init__(self, path: Path, runs: Path) -> None:
        self._runs = runs
        self._guard = threading.RLock()
        self._alive: dict[str, int] = {}
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._database.row_factory = sqlite3.Row
            self._prepare(path)
        except sqlite3.Error as error:
            raise RigdeployError(
                f"the ledger {path} cannot be used: {error}",
                "is the disk full, or the file damaged? It may be moved away: it is history only",
            ) from error

    def _prepare(self, path: Path) -> None:
        """Create the tables of a new file; UsageError on a file of another version."""
        self._database.execute("PRAGMA journal_mode=WAL")
        # A run that dies with the machine may lose its last lines; the next one observes afresh anyway.
        self._database.execute("PRAGMA synchronous=NORMAL")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise UsageError(
                f"{path} was written by another version (schema {version}, known: {SCHEMA})",
                "use that version of rigdeploy, or move the file away: it is history only",
            )
        if version == 0:
            self._database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, statement: str, values: Sequence[Any]) -> int:
        with self._guard:
            return self._database.execute(statement, values).lastrowid or 0

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._guard:
            return [dict(row) for row in self._database.execute(statement, values)]

    # --- runs ------------------------------------------------------------------------------

    def begin(self, command: str, rigs: Iterable[str]) -> str:
        """Start a run and its directory; returns its id.

        The run's directory holds a file that stays locked for as long as this process lives; that is how
        another process knows a run that died from one that is going on, whatever became of its pid.
        """
        verb = command.split(maxsplit=1)[0] if command else "run"
        run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{verb}-{secrets.token_hex(3)}"
        directory = self._runs / run
        directory.mkdir(mode=0o700, parents=True)
        descriptor = os.open(directory / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._alive[run] = descriptor
        self._write(
            "INSERT INTO runs (id, command, rigs, pid, started, outcome) VALUES (?, ?, ?, ?, ?, ?)",
            (run, command, json.dumps(list(rigs)), os.getpid(), time.time(), RUNNING),
        )
        return run

    def end(self, run: str, outcome: str) -> None:
        """Close a run of this process; phases of it that still run get the same outcome."""
        self._close_run(run, outcome, time.time())
        os.close(self._alive.pop(run))

    def _close_run(self, run: str, outcome: str, ended: float | None) -> None:
        with self._guard:
            self._write("UPDATE phases SET outcome = ? WHERE run = ? AND outcome = ?", (outcome, run, RUNNING))
            self._write(
                "UPDATE runs SET outcome = ?, ended = ? WHERE id = ? AND outcome = ?", (outcome, ended, run, RUNNING)
            )

    def mark_dead(self) -> list[Run]:
        """Mark as died every run that claims to be running and whose process is gone; returns those."""
        dead = [run for run in self.runs() if run.outcome == RUNNING and not self._is_alive(run.id)]
        for run in dead:
            self._close_run(run.id, DIED, None)
        return dead

    def _is_alive(self, run: str) -> bool:
        if run in self._alive:
            return True
        try:
            descriptor = os.open(self._runs / run / "alive", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def runs(self) -> list[Run]:
        """Every run, newest first."""
        rows = self._read("SELECT * FROM runs ORDER BY started DESC, id DESC")
        return [Run(**row | {"rigs": json.loads(row["rigs"])}) for row in rows]

    # --- phases ----------------------------------------------------------------------------

    @contextmanager
    def phase(
        self, run: str, rig: str, phase: str, *, asked: str | None = None, boot: str | None = None
    ) -> Iterator[PhaseEntry]:
        """Record a phase of one rig while the block runs; an error of ours makes it failed, and goes on up.

        Anything else that ends the block leaves the phase open: it then ends as its run does.
        """
        entry = self.begin_phase(run, rig, phase, asked=asked, boot=boot)
        try:
            yield entry
        except RigdeployError as error:
            entry.end("failed", error.message)
            raise
        entry.end("done")

    def begin_phase(
        self, run: str, rig: str, phase: str, *, asked: str | None = None, boot: str | None = None
    ) -> PhaseEntry:
        """Record that a phase of one rig starts."""
        number = self._write(
            "INSERT INTO phases (run, rig, phase, asked, started, outcome, boot_before) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (run, rig, phase, asked, time.time(), RUNNING, boot),
        )
        return PhaseEntry(self, number)

    def end_phase(self, number: int, outcome: str, message: str, boot: str | None, seconds: float) -> None:
        """Close one phase; one that was closed already (the run was interrupted) stays as it is."""
        self._write(
            "UPDATE phases SET outcome = ?, message = ?, boot_after = ?, seconds = ? WHERE number = ? AND outcome = ?",
            (outcome, message, boot, seconds, number, RUNNING),
        )

    def phases(self, run: str) -> list[Phase]:
        """What a run did, in the order in which it began."""
        rows = self._read("SELECT * FROM phases WHERE run = ? ORDER BY number", (run,))
        return [Phase(**{key: value for key, value in row.items() if key != "number"}) for row in rows]

    def last_seconds(self) -> dict[str, dict[str, float]]:
        """How long each phase took when it last succeeded: rig -> phase -> seconds."""
        rows = self._read(
            "SELECT rig, phase, seconds FROM phases WHERE number IN"
            " (SELECT MAX(number) FROM phases WHERE outcome = 'done' GROUP BY rig, phase)"
        )
        result: dict[str, dict[str, float]] = {}
        for row in rows:
            result.setdefault(row["rig"], {})[row["phase"]] = row["seconds"]
        return result

    def last_boot(self, rig: str) -> str | None:
        """The boot id seen last on a rig."""
        rows = self._read(
            "SELECT boot FROM (SELECT boot_after AS boot, started AS at FROM phases WHERE rig = ?"
            " UNION ALL SELECT boot_id, at FROM verdicts WHERE rig = ?) WHERE boot IS NOT NULL"
            " ORDER BY at DESC LIMIT 1",
            (rig, rig),
        )
        return rows[0]["boot"] if rows else None

    # --- verdicts --------------------------------------------------------------------------

    def record_verdict(
        self, rig: str, findings: Iterable[Finding], *, boot_id: str | None = None, run: str | None = None
    ) -> None:
        """Keep what was found on a rig; of no finding at all the verdict is UNKNOWN."""
        found = list(findings)
        self._write(
            "INSERT INTO verdicts (run, rig, at, status, boot_id, findings) VALUES (?, ?, ?, ?, ?, ?)",
            (run, rig, time.time(), worst(found).value, boot_id, json.dumps([f.as_dict() for f in found])),
        )

    def verdicts(self, run: str) -> list[Verdict]:
        """The verdicts of one run."""
        return self._verdicts("SELECT * FROM verdicts WHERE run = ? ORDER BY number", run)

    def last_verdict(self, rig: str) -> Verdict | None:
        """The latest verdict on a rig."""
        found = self._verdicts("SELECT * FROM verdicts WHERE rig = ? ORDER BY number DESC LIMIT 1", rig)
        return found[0] if found else None

    def _verdicts(self, statement: str, value: str) -> list[Verdict]:
        rows = self._read(statement, (value,))
        for row in rows:
            del row["number"]
            row["findings"] = json.loads(row["findings"])
        return [Verdict(**row) for row in rows]


class PhaseEntry:
    """A phase that is being recorded; set ``boot_after`` and ``message`` before it ends."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self._ledger = ledger
        self._number = number
        self._started = time.monotonic()
        self.boot_after: str | None = None
        self.message = ""

    def end(self, outcome: str, message: str = "") -> None:
        """Close the phase with its outcome."""
        seconds = time.monotonic() - self._started
        self._ledger.end_phase(self._number, outcome, message or self.message, self.boot_after, seconds)
