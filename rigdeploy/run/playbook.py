"""Runs a playbook through ansible-runner, so that its known traps cannot bite.

- ansible-runner runs in a thread of ours, the caller's thread gets the events: a slow consumer never blocks the
  reading of Ansible's output, and no signal handler is replaced behind our back.
- Every play has a fresh private directory; only ``env/settings`` is written there, no variable, no secret.
- The environment is the listed one (:mod:`rigdeploy.run.environment`) and never the caller's; the artefact
  ``command``, which repeats it, is removed.
- Ansible dies with us: ``setpriv --pdeathsig`` makes the kernel interrupt it when the thread that started it
  ends, and that thread lives until Ansible has ended.
- It is stopped by SIGINT, which ends its workers as well; killing its process group leaves many behind.
- The verdict comes from the events, since Ansible's exit status 4 stands for two different things.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rigdeploy.errors import PhaseError
from rigdeploy.fleet.variables import twin_overrides
from rigdeploy.run.environment import ansible_environment, ansible_tool
from rigdeploy.run.events import Event, slim
from rigdeploy.run.leftovers import MARK, kill_left_behind
from rigdeploy.workspace import Workspace

GRACE = 20.0
"""Seconds that an interrupted Ansible has to end before its process group is killed."""

REMINDER = 2.0
"""Seconds after which an Ansible that goes on is interrupted again."""

_RUNNERS_OWN = (
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_STDOUT_CALLBACK",
    "ANSIBLE_RETRY_FILES_ENABLED",
    MARK,
    "RUNNER_OMIT_EVENTS",
    "RUNNER_ONLY_FAILED_EVENTS",
)
"""What ansible-runner adds to the environment (its ``config/_base.py`` and ``config/runner.py``)."""

_SETTINGS = {"pexpect_timeout": 1, "suppress_ansible_output": True}


@dataclass(frozen=True)
class Failure:
    """One task that failed on one host, with Ansible's message."""

    host: str
    task: str
    message: str


@dataclass(frozen=True)
class PlayResult:
    """How a play ended: ``outcome`` is done, failed or interrupted; ``output`` the file with Ansible's own words.

    ``changes`` lists, per host, the tasks that changed something (in check mode: would change).
    """

    outcome: str
    status: int | None
    seconds: float
    output: Path
    failures: tuple[Failure, ...] = ()
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def failure_of(self, host: str) -> Failure | None:
        """The first failure of a host."""
        return next((failure for failure in self.failures if failure.host == host), None)


def run_playbook(
    playbook: Path,
    directory: Path,
    workspace: Workspace,
    *,
    hosts: Iterable[str],
    roles: Iterable[str] = (),
    stop: threading.Event,
    on_event: Callable[[Event], None] = lambda _: None,
    check: bool = False,
    forks: int = 50,
) -> PlayResult:
    """Run a playbook on some hosts of the inventory and return when it has ended; of its roles those named, or all.

    ``directory`` is made anew, for this play alone. ``on_event`` is called in this thread. When ``stop`` is set,
    Ansible is interrupted and the outcome is ``interrupted``. PhaseError when Ansible cannot be started at all.
    """
    arguments = ["-i", str(workspace.inventory), "--limit", ",".join(hosts)]
    if tags := ",".join(roles):
        arguments += ["--tags", tags]
    if check:
        arguments += ["--check"]
    if workspace.lab:
        arguments += ["-e", json.dumps(twin_overrides())]
    play = _Play(directory, [*arguments, str(playbook)], ansible_environment(workspace, forks=forks), stop)
    return play.run(on_event)


class _Play:
    """One run of ansible-playbook: the thread that owns it, its events on the way, and how it is stopped."""

    def __init__(
        self, directory: Path, arguments: list[str], environment: dict[str, str], stop: threading.Event
    ) -> None:
        self._directory = directory
        self._arguments = arguments
        self._environment = environment
        self._stop = stop
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._interrupted_at: float | None = None
        self._reminded_at = 0.0
        self._status: int | None = None
        self._error: BaseException | None = None
        self._failures: list[Failure] = []
        self._changes: dict[str, list[str]] = {}

    def run(self, on_event: Callable[[Event], None]) -> PlayResult:
        """Start Ansible's thread and hand on its events until it has ended."""
        started = time.monotonic()
        # Not a daemon: the interpreter must not end, and with it the thread, while Ansible is being stopped.
        thread = threading.Thread(target=self._work, name="ansible")
        thread.start()
        try:
            self._consume(on_event)
        except BaseException:
            self._stop.set()
            self._interrupt()
            raise
        finally:
            thread.join()
            if self._interrupted_at is not None:
                kill_left_behind(self._directory)
        if self._error is not None:
            raise PhaseError(f"Ansible could not be run: {self._error}") from self._error
        return PlayResult(
            outcome=self._outcome(),
            status=self._status,
            seconds=time.monotonic() - started,
            output=self._directory / "artifacts" / "play" / "stdout",
            failures=tuple(self._failures),
            changes={host: tuple(tasks) for host, tasks in self._changes.items()},
        )

    def _outcome(self) -> str:
        if self._interrupted_at is not None:
            return "interrupted"
        return "done" if self._status == 0 else "failed"

    def _consume(self, on_event: Callable[[Event], None]) -> None:
        while True:
            try:
                event = self._events.get(timeout=0.2)
            except queue.Empty:
                event = Event("tick")
            if event is None:
                return
            if self._stop.is_set() and self._interrupted_at is None:
                self._interrupt()
            if event.kind == "failed":
                self._failures.append(Failure(event.host, event.task, event.message))
            elif event.kind == "changed":
                self._changes.setdefault(event.host, []).append(event.task)
            if event.kind != "tick":
                on_event(event)

    def _interrupt(self) -> None:
        if self._interrupted_at is None:
            self._interrupted_at = time.monotonic()
        self._reminded_at = time.monotonic()
        for process in _children("ansible-playbook"):
            os.kill(process, signal.SIGINT)

    # --- in Ansible's thread -----------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._status = self._run_ansible()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            self._error = error
        finally:
            self._events.put(None)

    def _run_ansible(self) -> int | None:
        from ansible_runner import Runner
        from ansible_runner.config.runner import RunnerConfig

        settings = self._directory / "env" / "settings"
        self._directory.mkdir(mode=0o700)
        settings.parent.mkdir(mode=0o700)
        settings.write_text(json.dumps(_SETTINGS))
        # The configuration is built by itself: ansible_runner.run() would write our arguments to files first.
        config = RunnerConfig(
            private_data_dir=str(self._directory),
            playbook=self._arguments[-1],
            envvars=self._environment,
            fact_cache_type="memory",
            ident="play",
            suppress_env_files=True,
        )
        config.prepare()
        config.env = _only_ours(config.env, self._environment)
        tool = ansible_tool("ansible-playbook")
        config.command = ["setpriv", "--pdeathsig", "INT", "--", tool, *self._arguments]
        runner = Runner(config, event_handler=self._take, cancel_callback=self._overdue)
        try:
            runner.run()
        finally:
            (self._directory / "artifacts" / "play" / "command").unlink(missing_ok=True)
        return runner.rc if isinstance(runner.rc, int) else None

    def _take(self, event: dict[str, Any]) -> bool:
        """Called for every event while Ansible's output is being read: quick, never raising.

        False tells ansible-runner to write no file for it.
        """
        for found in slim(event):
            self._events.put(found)
        return False

    def _overdue(self) -> bool:
        """Whether an interrupted Ansible has to be killed; until then it is reminded.

        An interruption that comes while a callback runs is taken for that callback's failure, and lost.
        """
        if self._interrupted_at is None:
            return False
        if time.monotonic() - self._reminded_at > REMINDER:
            self._interrupt()
        return time.monotonic() - self._interrupted_at > GRACE


def _only_ours(prepared: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment and what ansible-runner's callback needs; it took over all of the caller's beside that."""
    return dict(ours) | {name: prepared[name] for name in _RUNNERS_OWN if name in prepared}


def _children(program: str) -> list[int]:
    """The direct children of this process whose command line names a program."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and program.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue  # it ended meanwhile
    return found
