"""Processes of the lab: run a tool, start one that outlives us, and end all of them by their control group.

Every process of a lab lives in a control group named after the lab, so that nothing depends on recorded process ids:
what is in the group is ours, whatever happened to the command that started it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rigdeploy.errors import LabError

CLONE_NEWNS = 0x00020000
"""Mount namespace (linux/sched.h)."""
CLONE_NEWTIME = 0x00000080
"""Time namespace (linux/sched.h; since Linux 5.6)."""
CLONE_NEWNET = 0x40000000
"""Network namespace (linux/sched.h)."""

KILL_SECONDS = 20
"""How long killed processes may take to go; the kernel needs milliseconds, and a busy disk a few seconds."""

_START = 'echo $$ >"$1/cgroup.procs" && log=$2 && shift 2 && exec >>"$log" 2>&1 </dev/null && exec "$@"'


def run(argv: Sequence[str | Path], *, text: str | None = None) -> str:
    """Run a tool to its end and return its standard output; LabError carries what it said when it failed."""
    try:
        done = subprocess.run([str(a) for a in argv], input=text, capture_output=True, text=True, check=False, cwd="/")
    except FileNotFoundError as error:
        raise LabError(
            f"{argv[0]} is not installed", "run 'rigdeploy lab up' as root to see what is missing"
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(str(a) for a in argv[:4])} … failed ({done.returncode}): {said[-2000:]}")
    return done.stdout


def run_in_group(argv: Sequence[str | Path], group: Path) -> str:
    """Run a tool as ``run`` does, in a control group of its own: whatever it started ends with it, or with ``kill``."""
    group.mkdir(exist_ok=True)
    try:
        return run(["sh", "-c", 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"', "sh", group, *argv])
    finally:
        kill(group)


def system_call(name: str, *arguments: int) -> None:
    """Call a function of the C library that returns -1 and sets errno on failure (setns, unshare)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def cgroup_root() -> Path:
    """Where the unified control group hierarchy is mounted: alone, or beside the old ones on a hybrid system."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and "rw" in after.split()[2].split(","):
            return Path(before.split()[4])
    raise LabError(
        "no writable cgroup v2 hierarchy is mounted",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified (or over /sys/fs/cgroup)",
    )


def spawn(argv: Sequence[str | Path], *, group: Path, log: Path, netns: str | None = None) -> None:
    """Start a process that outlives us: own session, own control group, output to ``log``.

    Returns once it has joined the group. ``netns`` names a network namespace to start it in. Its environment
    holds nothing of ours but the search path.
    """
    group.mkdir(parents=True, exist_ok=True)
    enter = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
    command = ["setsid", "--fork", *enter, "sh", "-c", _START, "sh", str(group), str(log), *(str(a) for a in argv)]
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    # The pipes close when the new process has joined its group and turned to its log: run() waits for that.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env=env, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0 or done.stderr:
        raise LabError(f"{argv[0]} could not be started: {done.stderr.strip()}")


def alive(group: Path) -> bool:
    """Whether any process is left in a control group or below it."""
    try:
        return "populated 1" in (group / "cgroup.events").read_text()
    except (FileNotFoundError, OSError):
        return False


def members(group: Path) -> list[int]:
    """Process ids directly in a control group (not below it)."""
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []


def kill(group: Path) -> None:
    """End every process of a control group at once, as a power cut would, and remove the group."""
    if not group.is_dir():
        return
    (group / "cgroup.kill").write_text("1")
    wait_until(lambda: not alive(group), KILL_SECONDS, f"processes in {group.name} do not end")
    remove_group(group)


def remove_group(group: Path) -> None:
    """Remove an empty control group and those below it."""
    if not group.is_dir():
        return
    for directory, _, _ in os.walk(group, topdown=False):
        # A dying process may hold its group for a moment longer than it counts as alive.
        wait_until(partial(_removed, directory), KILL_SECONDS, f"{directory} cannot be removed")


def _removed(directory: str) -> bool:
    try:
        os.rmdir(directory)  # noqa: PTH106 - os.walk gives strings
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def wait_until(ready: Callable[[], bool], seconds: float, message: str) -> None:
    """Poll until ``ready()``; LabError with ``message`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(message)
        time.sleep(0.02)
