"""Looks at a node that is to be captured, of the fleet or of none yet, and writes what it can be declared as."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rigdeploy.capture.diff import differences, table
from rigdeploy.capture.text import text
from rigdeploy.errors import LabError, RigdeployError, UnreachableError, UsageError
from rigdeploy.files import write_atomically
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.validate import did_you_mean
from rigdeploy.run.loads import recall
from rigdeploy.run.probe import observe, observe_at
from rigdeploy.run.ssh import Connection
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.capture.model import Capture
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.node.load import Load
    from rigdeploy.node.observation import Observation

_DESTINATION = re.compile(
    r"((?P<user>[A-Za-z_][A-Za-z0-9_.-]{0,31})@)?"
    r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?))"
    r"(:(?P<port>[0-9]{1,5}))?"
)
_PORTS = range(1, 65536)


@dataclass(frozen=True)
class Seen:
    """A node as it was looked at, and the active check that is kept of it."""

    observation: Observation
    load: Load | None = None


def look(node: str, fleet: Fleet | None, workspace: Workspace, say: Callable[[str], None]) -> Seen:
    """Observe a rig of the fleet or, where none is called so, an ssh destination (``[user@]host[:port]``).

    UsageError for what is neither, the node's own error when it cannot be looked at; what else is to be known is told
    to ``say``.
    """
    rig = fleet.rigs.get(node) if fleet is not None else None
    if rig is not None:
        workspace.prepare()
        return Seen(_or_raise(observe([rig], workspace)[rig.name]), recall(workspace, rig.name, say))
    if workspace.lab:
        raise LabError(f"no twin is called '{node}'", "in the lab no other node can be reached")
    name, connection = destination(node, workspace)
    workspace.prepare()
    answer = observe_at(name, connection, workspace)
    if isinstance(answer, UnreachableError) and fleet is not None:
        hint = did_you_mean(node, fleet.rigs)
        raise UnreachableError(answer.message, f"it was taken for an ssh destination: no rig is called '{node}'{hint}")
    return Seen(_or_raise(answer))


def _or_raise(answer: Observation | RigdeployError) -> Observation:
    if isinstance(answer, RigdeployError):
        raise answer
    return answer


def destination(node: str, workspace: Workspace) -> tuple[str, Connection]:
    """How to reach a node that nobody declared, and the name that its host key is pinned under: OpenSSH's own.

    Its key is accepted at first contact as any rig's, into the same file (docs/decisions/0002-host-keys.md).
    """
    match = _DESTINATION.fullmatch(node)
    port = int(match["port"] or 22) if match else 0
    if match is None or port not in _PORTS:
        raise UsageError(
            f"'{node}' is neither a rig of the fleet nor an ssh destination",
            "wanted: a rig's name, or [user@]host[:port], an IPv6 address in brackets",
        )
    host = match["host"] or match["v6"]
    name = host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004 - ssh's own port
    user = match["user"] or "root"
    known_hosts = '"' + str(workspace.known_hosts).replace("%", "%%") + '"'
    options = {
        "UserKnownHostsFile": known_hosts,
        "StrictHostKeyChecking": "accept-new",
        "HostKeyAlias": name,
    }
    words = tuple(word for key, value in options.items() for word in ("-o", f"{key}={value}"))
    return name, Connection(host, port, user, None, words, become=user != "root")


def write(capture: Capture, directory: Path, *, force: bool) -> list[Path]:
    """Write the files of a capture below an inventory directory, the build last; returns them.

    Each is there whole or not at all. Without ``force`` none may be there already: UsageError, which says what differs.
    """
    files = {directory / entry.path: text(entry).encode() for entry in capture.entries}
    if not force and (there := [path for path in files if path.exists() or path.is_symlink()]):
        raise UsageError(f"{there[0]} is there already", _what_differs(capture, directory))
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (write_atomically if force else _create)(path, content)
        except FileExistsError:
            raise UsageError(f"{path} has just been written by somebody else", "look at it, or use --force") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return list(files)


def _create(path: Path, content: bytes) -> None:
    """Write a file that nobody has written meanwhile; else FileExistsError, and theirs is left as it is."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(new, content)
    try:
        path.hardlink_to(new)
    finally:
        new.unlink()


def _what_differs(capture: Capture, directory: Path) -> str:
    build = Catalogue.read(directory)[0].builds.get(capture.build.name)
    if build is None or not (directory / capture.build.path).exists():
        return "--force replaces it, --build gives the build another name"
    lines = list(table(differences(build, capture)))
    said = "the node differs from that build:\n  " + "\n  ".join(lines) if lines else "the node is as that build says"
    return f"--force replaces it, --build gives the build another name; {said}"
