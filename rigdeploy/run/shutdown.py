"""Have a rig's own system power it off, over ssh."""

from __future__ import annotations

import subprocess

from rigdeploy.errors import NodeError, UnreachableError
from rigdeploy.fleet.models import Rig
from rigdeploy.run import ssh
from rigdeploy.run.connections import connections
from rigdeploy.workspace import Workspace

ORDER = "systemctl --no-block poweroff"
"""Returns when systemd has taken the order, before it stops the ssh server that carries the answer."""
ORDER_SECONDS = 30
"""How long that may take, beyond connecting."""


def shut_down(rig: Rig, workspace: Workspace) -> None:
    """Returns when the system has taken the order; NodeError, by its kind, when it has not."""
    workspace.prepare()
    connection = connections([rig], workspace)[rig.name]
    command = ssh.command(connection, workspace, ssh.as_root(ORDER, connection))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=ssh.CONNECT_TIMEOUT + ORDER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{rig.name}: no answer over ssh to the order to power off") from None
    complaint = done.stderr[: ssh.MAX_COMPLAINT].decode(errors="replace")
    if done.returncode == ssh.FAILED:
        raise ssh.explain(rig.name, connection, workspace, complaint)
    if done.returncode:
        raise NodeError(
            f"{rig.name}: the system does not power itself off: {ssh.last_line(complaint)}",
            f"{connection.user} needs sudo without a password for that" if connection.become else "",
        )
