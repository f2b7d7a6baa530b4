"""The phases before Ansible: a rig is switched on and can be logged in to. One call per rig, in a thread of its own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

from rigdeploy.errors import NodeError, RigdeployError, UnreachableError
from rigdeploy.fleet.models import IpmiPower, Rig
from rigdeploy.node.values import display
from rigdeploy.power.base import PowerState
from rigdeploy.run import ssh
from rigdeploy.run.connections import connections
from rigdeploy.run.environment import passed_on
from rigdeploy.run.signals import StoppedError
from rigdeploy.run.ssh import AccessRefusedError, Connection
from rigdeploy.workspace import Workspace

BOOT_SECONDS = 600.0
"""How long a rig may take from power to a login: server boards train memory and links for minutes."""

ANSWER_SECONDS = 120.0
"""How long a rig that was on already may take to answer: it may be in the middle of a boot."""

LOGIN_SECONDS = 30.0
"""How long one try to log in may take."""

SETTLE_SECONDS = 60.0
"""How long a refused login is tried again after power-on: sshd answers before users may log in (pam_nologin)."""

PAUSE = 1.0
"""Seconds between two tries."""

CONSOLE_LINES = 40
"""Lines of a console that are shown when a boot fails."""

CONSOLE_END_SECONDS = 12.0
"""How long the end of a console's session is waited for: else its tool would outlive us."""

_CONSOLE_TAIL = 64 * 1024
"""Bytes at the end of a console's log in which those lines are looked for: a firmware's screens are mostly colours."""

_MOVES = re.compile(r"\x1b\[[0-9;]*[Hf]")
"""Escape sequences that put the cursor elsewhere: what follows is another line."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
"""All others (ECMA-48, section 5.4, and the terminal's own for titles)."""

Say = Callable[[str], None]


def switch_on(rig: Rig, workspace: Workspace, say: Say, stop: threading.Event) -> bool:
    """Bring the rig to ON through whatever powers it; True when that took a change.

    StoppedError once ``stop`` is set: waiting for a BMC ends then, and how the rig was left has been said.
    """
    from rigdeploy.power import policy
    from rigdeploy.power.batch import stoppable
    from rigdeploy.power.drivers import open_driver
    from rigdeploy.power.lock import WAIT

    def ask(asked: Rig, what: Literal["on", "off"]) -> None:
        who = " (in the lab, the lab does)" if workspace.lab else ""
        say(f"please switch {asked.name} {what}{who}; waiting up to {rig.power.timeout_seconds} s")

    clock = stoppable(stop)
    WAIT.set(clock.sleep)
    try:
        with closing(open_driver(rig, workspace, ask)) as driver:
            return policy.ensure(driver, PowerState.ON, rig.power.timeout_seconds, say, clock=clock)
    except policy.StoppedError:
        raise StoppedError from None


class BootConsole:
    """A rig's serial console while it boots, kept in ``path``, where its BMC passes that on; else nothing.

    It begins at once, in a thread of its own: the console is a session of its own, and disturbs no one at the BMC.
    """

    def __init__(self, rig: Rig, workspace: Workspace, path: Path) -> None:
        self.path = path
        self.why_none = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if isinstance(rig.power, IpmiPower):
            self._thread = threading.Thread(target=self._capture, args=(rig, workspace), daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Give the console back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CONSOLE_END_SECONDS)

    def last_lines(self) -> list[str]:
        """The last lines that it showed, fit to show again; none where there is no console."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _CONSOLE_TAIL))
                text = stream.read(_CONSOLE_TAIL).decode(errors="replace")
        except OSError:
            return []
        text = _ESCAPES.sub("", _MOVES.sub("\n", text))
        lines = (display(line) for line in re.split(r"[\r\n]+", text))
        return [line for line in lines if line][-CONSOLE_LINES:]

    def _capture(self, rig: Rig, workspace: Workspace) -> None:
        from rigdeploy.power.console import capture
        from rigdeploy.power.drivers import open_driver
        from rigdeploy.power.ipmi_driver import BmcDriver

        try:
            with closing(open_driver(rig, workspace)) as driver:
                if isinstance(driver, BmcDriver):
                    capture(driver, self.path, self._stop)
        except (RigdeployError, OSError) as error:
            # No console is no fault: the rig boots as well without being looked at.
            self.why_none = str(error)


def wait_for_login(
    rig: Rig, workspace: Workspace, old_boot: str | None, patience: float, say: Say, stop: threading.Event
) -> str:
    """Wait up to ``patience`` seconds until the rig lets us in; returns its boot id.

    The host key is pinned at the first contact. ``old_boot`` is a boot id from before power-on: a login that still
    shows it does not count. When the key is refused and a password is declared, it is used once, to install the key.
    """
    connection = connections([rig], workspace)[rig.name]
    ssh.hang_up(connection, workspace)  # a connection kept from before leads nowhere
    say("waiting for ssh")
    started = time.monotonic()
    password = rig.ssh.password
    while not stop.is_set():
        spent = time.monotonic() - started
        try:
            boot = boot_id(rig, connection, workspace)
        except AccessRefusedError:
            if password is not None:
                from rigdeploy.run.first_contact import install_key

                say("logging in once with the declared password, to install the key")
                install_key(rig.name, connection, password, workspace)
                password = None
            elif spent > SETTLE_SECONDS:
                raise
        except UnreachableError as error:
            if spent > patience:
                raise _too_late(rig, spent, error) from error
        else:
            if boot != old_boot:
                return boot
            if spent > patience:
                raise _never_booted(rig)
        stop.wait(PAUSE)
    raise StoppedError


def _too_late(rig: Rig, spent: float, error: UnreachableError) -> UnreachableError:
    return UnreachableError(
        f"{rig.name}: no login within {spent:.0f} s: {error.message}",
        "look at its console: it may wait in the firmware, or have another address",
    )


def _never_booted(rig: Rig) -> NodeError:
    return NodeError(
        f"{rig.name}: switched on, and what answers at {rig.address} has not booted since",
        "is this the rig that its power driver switches? check both addresses",
    )


def boot_id(rig: Rig, connection: Connection, workspace: Workspace) -> str:
    """The node's boot id (random(4)); a typed error when it cannot be logged in to."""
    arguments = ssh.command(connection, workspace, "cat /proc/sys/kernel/random/boot_id")
    # Standard error is a file: ssh's process in the background may keep a pipe open long after the answer.
    with tempfile.TemporaryFile() as complaint:
        try:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaint,
                env=passed_on(os.environ),
                timeout=LOGIN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnreachableError(f"{rig.name}: {connection.address} gave no answer to the login") from None
        complaint.seek(0)
        stderr = complaint.read(ssh.MAX_COMPLAINT).decode(errors="replace")
    if done.returncode == ssh.FAILED:
        raise ssh.explain(rig.name, connection, workspace, stderr)
    if done.returncode != 0:
        raise NodeError(f"{rig.name}: logged in, and /proc/sys/kernel/random/boot_id cannot be read")
    return done.stdout.decode(errors="replace").strip()[:64]
