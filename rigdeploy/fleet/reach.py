"""How each rig's BMC is reached, kept from the last reading of the declaration.

Reading, validating and judging a declaration costs more than asking a hundred BMCs for their power state. What that
takes is kept beside the fleet under a seal over all that it was read from and by: whoever changes a file of the
declaration, the catalogue or this package, or damages what was kept, makes it worthless, and the declaration is read
again. It holds no secret: only rigs whose password is an environment variable or a file are kept, by that reference.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rigdeploy.fleet import patterns as names
from rigdeploy.fleet.secrets import Secret
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.fleet.models import Power

_READ_BY = Path(__file__).parent
"""The code that reads and judges a declaration, and the shipped catalogue."""
_OWN = ("boards", "gpus", "builds")
"""What an owner's catalogue is made of, beside ``fleet.yml``."""
_KINDS = ("env", "file")
"""References that say nothing: a command's arguments may be something to keep quiet about."""


class KnownPower(NamedTuple):
    """As much of :class:`rigdeploy.fleet.models.IpmiPower` as it takes to talk to the BMC."""

    address: str
    port: int
    username: str
    password: Secret
    cipher: Literal["auto", 3, 17]
    privilege: Literal["operator", "administrator"]
    driver: str = "ipmi"


class KnownRig(NamedTuple):
    """As much of :class:`rigdeploy.fleet.models.Rig`."""

    name: str
    power: KnownPower


class Reach:
    """``reach.json`` in the state directory: a seal in its first line, then the rigs by name, null for one not kept.

    The lab's twins are not kept: they change without the declaration.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._path = workspace.state / "reach.json"
        self._read_from = b"" if workspace.lab else _fingerprint(workspace)

    def select(self, patterns: Sequence[str]) -> list[KnownRig] | None:
        """What :meth:`rigdeploy.fleet.fleet.Fleet.select` gives; None when that has to be asked instead."""
        wanted, kept = names.split(patterns), self._kept()
        if not kept or not all(names.chosen(kept, [pattern]) for pattern in wanted):
            return None
        rigs = {name: kept[name] for name in names.chosen(kept, wanted)}
        if not all(rigs.values()):
            return None
        return [_known(name, rig, self._workspace.inventory) for name, rig in rigs.items() if rig]

    def keep(self, fleet: Fleet) -> None:
        """Keep a fleet read after this object was made, where it can be written and nothing has changed meanwhile."""
        from rigdeploy.files import write_atomically

        if not self._read_from or self._read_from != _fingerprint(self._workspace):
            return
        body = json.dumps({name: _to_keep(rig.power) for name, rig in fleet.rigs.items()}).encode()
        with suppress(OSError):
            write_atomically(self._path, self._seal(body) + b"\n" + body, mode=0o600)

    def _kept(self) -> dict[str, dict[str, Any] | None]:
        """What is kept and holds; empty when nothing does."""
        try:
            seal, _, body = self._path.read_bytes().partition(b"\n")
        except OSError:
            return {}
        if not self._read_from or seal != self._seal(body):
            return {}
        kept: dict[str, dict[str, Any] | None] = json.loads(body)
        return kept

    def _seal(self, body: bytes) -> bytes:
        return hashlib.sha256(self._read_from + body).hexdigest().encode()


def _to_keep(power: Power) -> dict[str, Any] | None:
    if power.driver != "ipmi" or power.password.kind not in _KINDS:
        return None
    known = {name: getattr(power, name) for name in KnownPower._fields}
    return known | {"password": [power.password.kind, power.password.reference]}


def _known(name: str, kept: dict[str, Any], inventory: Path) -> KnownRig:
    kind, reference = kept["password"]
    return KnownRig(name, KnownPower(**kept | {"password": Secret(kind, reference, str(inventory))}))


def _fingerprint(workspace: Workspace) -> bytes:
    """Changes whenever another declaration may be read: what the owner wrote byte for byte, ours by size and time."""
    total = hashlib.sha256(str(workspace.inventory).encode())
    with suppress(OSError):
        for path in [workspace.fleet_file, *(path for part in _OWN for path in _files(workspace.inventory / part))]:
            total.update(f"\0{path}\0".encode() + hashlib.sha256(Path(path).read_bytes()).digest())
        for path in _files(_READ_BY):
            found = path.stat()
            total.update(f"\0{path.path}\0{found.st_size} {found.st_mtime_ns}".encode())
        return total.digest()
    return b""


def _files(directory: Path) -> Iterator[os.DirEntry[str]]:
    """All files below a directory but compiled ones, in a fixed order; none where it is not there."""
    with suppress(FileNotFoundError):
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            if entry.name == "__pycache__":
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                yield entry
