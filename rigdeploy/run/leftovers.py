"""Processes that an interrupted Ansible leaves behind.

Ansible ends its workers when it is interrupted, and a worker its own children; one that was just being started is
missed. Every process that Ansible starts carries its run's directory in its environment, so none is hard to find.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rigdeploy.run.ledger import Ledger, Run

MARK = "AWX_ISOLATED_DATA_DIR"
"""The variable by which ansible-runner tells its callback, and so everything below Ansible, the run's directory."""

_KEPT_OPEN = b"ssh: "
"""How the process title of a connection that is kept open begins; it belongs to nobody and ends by itself."""


def bury(ledger: Ledger, runs: Path) -> list[Run]:
    """Mark the runs that died, and kill what Ansible left of them; returns those runs."""
    dead = ledger.mark_dead()
    for run in dead:
        kill_left_behind(runs / run.id)
    return dead


def kill_left_behind(directory: Path) -> int:
    """Kill what Ansible left of a run with this directory; returns how many processes that were.

    For a run that has ended or died: a living one would lose its Ansible.
    """
    found = list(_marked(directory))
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return len(found)


def _marked(directory: Path) -> Iterator[int]:
    mark = f"{MARK}={directory}/".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        # Gone meanwhile, or somebody else's: neither is ours to end.
        with suppress(OSError):
            marked = any(value.startswith(mark) for value in (entry / "environ").read_bytes().split(b"\0"))
            if marked and not (entry / "cmdline").read_bytes().startswith(_KEPT_OPEN):
                yield int(entry.name)
