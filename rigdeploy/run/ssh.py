"""OpenSSH as we call it: its arguments, and what its complaints mean.

Connections are multiplexed and kept open: the probe, the next command and Ansible share one
(``ControlPath`` is the same ``%C`` for all of them).
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass

from rigdeploy.errors import HostKeyChangedError, NodeError, UnreachableError
from rigdeploy.workspace import Workspace

CONNECT_TIMEOUT = 10
"""Seconds for TCP and the key exchange; a node that boots is asked again."""

PERSIST = 300
"""Seconds that an idle connection stays open."""

MAX_COMPLAINT = 16 * 1024
"""Bytes of ssh's standard error that are looked at."""

FAILED = 255
"""ssh's own exit status for an error of its own (ssh(1)); anything else is the remote command's."""


@dataclass(frozen=True)
class Connection:
    """Where and how to log in; ``options`` are ssh's own arguments, ``become`` asks for sudo."""

    address: str
    port: int
    user: str
    private_key: str | None
    options: tuple[str, ...]
    become: bool
    jump: str | None = None


class AccessRefusedError(NodeError):
    """The node answers and does not let us in with the key."""


def multiplexing(workspace: Workspace) -> list[str]:
    """Options that share and keep the connection, and notice within 15 s that the node has gone."""
    return [
        *("-o", "ControlMaster=auto"),
        *("-o", f"ControlPath={workspace.control_dir}/%C"),
        *("-o", f"ControlPersist={PERSIST}"),
        *("-o", "ServerAliveInterval=5"),
        *("-o", "ServerAliveCountMax=3"),
    ]


def _destination(connection: Connection, workspace: Workspace) -> list[str]:
    arguments = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT}"]
    arguments += [*multiplexing(workspace), *connection.options]
    arguments += ["-o", f"Port={connection.port}", "-o", f"User={connection.user}"]
    if connection.private_key:
        arguments += ["-o", f"IdentityFile={connection.private_key}"]
    return arguments


def command(connection: Connection, workspace: Workspace, remote: str) -> list[str]:
    """The argument list that runs ``remote`` (a shell command) on the node."""
    return [*_destination(connection, workspace), "--", connection.address, remote]


def hang_up(connection: Connection, workspace: Workspace) -> bool:
    """Have the next call make a connection of its own; True when one was kept open.

    Who works over the old one at this moment (the playbook of another run) goes on: it ends with its last user.
    """
    arguments = [*_destination(connection, workspace), "-O", "stop", "--", connection.address]
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=CONNECT_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def as_root(command_line: str, connection: Connection) -> str:
    """The remote command, by passwordless sudo where the node has it and the user is not root.

    Without it the command runs as the user: lack of root turns checks into UNKNOWN, not into an error.
    """
    if not connection.become:
        return command_line
    script = f"if sudo -n true 2>/dev/null; then exec sudo -n {command_line}; else exec {command_line}; fi"
    return f"exec sh -c {shlex.quote(script)}"  # the user's own shell may know another language


def explain(rig: str, connection: Connection, workspace: Workspace, stderr: str) -> NodeError:
    """The typed error for what ssh wrote on standard error before it exited with FAILED."""
    where = f"{connection.address} port {connection.port}"
    if "IDENTIFICATION HAS CHANGED" in stderr or "Host key verification failed" in stderr:
        return HostKeyChangedError(
            f"{rig}: {where} shows another host key than the one pinned in {workspace.known_hosts}",
            "if you reinstalled the rig, forget the old key: "
            f"ssh-keygen -f {workspace.known_hosts} -R {rig}; if not, find out who answers there",
        )
    if "Permission denied" in stderr or "Too many authentication failures" in stderr:
        return AccessRefusedError(
            f"{rig}: {where} refuses to log in {connection.user} with our key",
            "put the public key into the node's authorized_keys, or declare ssh.password for the first contact",
        )
    reason = last_line(stderr)
    return UnreachableError(
        f"{rig}: {where} cannot be reached: {reason}", f"is it on, and is the address right? rigdeploy status {rig}"
    )


def explain_remote(rig: str, program: str, status: int, stderr: str) -> NodeError:
    """The typed error for a remote ``program`` that ssh did start and that failed."""
    if status == 127:  # noqa: PLR2004 - the shell's "command not found" (POSIX sh)
        return NodeError(f"{rig}: no python3 on the node", "install it: apt-get install python3")
    return NodeError(f"{rig}: {program} failed with exit status {status}: {last_line(stderr)}")


_NOISE = ("Warning: Permanently added", "Pseudo-terminal", "Shared connection", "mux_client")


def last_line(text: str) -> str:
    """The last line that says something, cut to a line's length: it comes from the node."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(_NOISE)]
    return "".join(c for c in lines[-1] if c.isprintable())[:300] if lines else "no answer"
