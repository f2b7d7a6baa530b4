"""The lab's files and names, and ``twins.json`` for the commands that act on the twins."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rigdeploy.errors import LabError
from rigdeploy.lab.processes import cgroup_root
from rigdeploy.workspace import Workspace

SCHEMA = 1
HUB_ADDRESS = "10.90.0.1"
MIRROR_PORT = 8080
BMC_PORT = 623
BMC_USER = "admin"
MOST_TWINS = 100
"""Twins share 10.90.0.0/24: 1 is the hub, 11 to 110 are nodes, 111 to 210 their BMCs."""


@dataclass(frozen=True)
class Lab:
    """One lab: a directory, and the names of namespaces and control groups that follow from it."""

    directory: Path

    @classmethod
    def of(cls, workspace: Workspace) -> Lab:
        """The lab that belongs to a fleet."""
        return cls(workspace.lab_dir.resolve())

    @cached_property
    def id(self) -> str:
        """Eight hex digits, so that labs of several fleets live side by side."""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]

    @property
    def netns(self) -> str:
        """The hub: bridge, mirror, BMCs, and every command with ``--lab``."""
        return f"rd-{self.id}"

    @property
    def group(self) -> Path:
        """The control group that holds every process of the lab."""
        return cgroup_root() / f"rigdeploy-{self.id}"

    @property
    def file(self) -> Path:
        """The connection data of the twins."""
        return self.directory / "twins.json"

    @property
    def private_key(self) -> Path:
        """The key that opens every twin."""
        return self.directory / "id_ed25519"

    @property
    def nodes(self) -> Path:
        """One directory per twin."""
        return self.directory / "nodes"

    def twin(self, name: str) -> Twin:
        """The twin of a rig; LabError when there is none."""
        path = self.nodes / name / "rig.json"
        try:
            number = json.loads(path.read_text())["number"]
        except FileNotFoundError:
            known = ", ".join(t.name for t in self.twins()) or "none"
            raise LabError(f"{name} has no twin (twins: {known})", f"run 'rigdeploy lab up {name}'") from None
        return Twin(self, name, int(number))

    def twins(self) -> list[Twin]:
        """Every twin that was built, by number."""
        found = []
        for path in self.nodes.glob("*/rig.json"):
            found.append(Twin(self, path.parent.name, int(json.loads(path.read_text())["number"])))
        return sorted(found, key=lambda twin: twin.number)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep two commands from building or removing the same lab at once."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.directory / "lock"):
            yield


@dataclass(frozen=True)
class Twin:
    """One twin: its number gives its addresses, its name its directory."""

    lab: Lab
    name: str
    number: int

    @property
    def address(self) -> str:
        """The node's address in the hub's network."""
        return f"10.90.0.{10 + self.number}"

    @property
    def bmc_address(self) -> str:
        """The BMC's address, in the hub itself."""
        return f"10.90.0.{110 + self.number}"

    @property
    def netns(self) -> str:
        """The node's own network namespace."""
        return f"{self.lab.netns}-{self.number}"

    @property
    def directory(self) -> Path:
        """Everything of this twin: disk, hardware, BMC, faults."""
        return self.lab.nodes / self.name

    @property
    def group(self) -> Path:
        """The control group of the node; populated means powered on."""
        return self.lab.group / f"node-{self.name}"

    @property
    def bmc_group(self) -> Path:
        """The control group of the BMC."""
        return self.lab.group / f"bmc-{self.name}"

    @property
    def disk(self) -> Path:
        """The node's disk: an ext4 image, what the node wrote over the shared root."""
        return self.directory / "disk.img"

    @property
    def hardware(self) -> Path:
        """The simulated hardware as files, seen by the node as ``/run/rigdeploy-twin``."""
        return self.directory / "hardware"

    @property
    def console(self) -> Path:
        """What the node's console printed."""
        return self.directory / "console.log"

    @property
    def password_file(self) -> Path:
        """The BMC user's password (0600)."""
        return self.directory / "bmc" / "password"

    @contextlib.contextmanager
    def power_lock(self) -> Iterator[None]:
        """Keep two hands from the power switch: a BMC hears a command twice when the first answer came late."""
        with _locked(self.directory / "power.lock"):
            yield

    @contextlib.contextmanager
    def hardware_lock(self) -> Iterator[None]:
        """Keep a fault, a boot and the BMC from changing the hardware's and the faults' files at once."""
        with _locked(self.directory / "hardware.lock"):
            yield

    def record(self) -> dict[str, Any]:
        """What was declared when the twin was built: number, power driver, build, board, cards."""
        data: dict[str, Any] = json.loads((self.directory / "rig.json").read_text())
        return data


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step: a reader sees the old text or the new, whatever kills us."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
    Path(name).replace(path)


def save(lab: Lab, mirror_key: Path) -> None:
    """Write ``twins.json``, which turns declared addresses into the twins'."""
    rigs = {twin.name: _connection(twin) for twin in lab.twins()}
    document = {
        "schema": SCHEMA,
        "id": lab.id,
        "netns": lab.netns,
        "rigs": rigs,
        "mirror": {
            "url": f"http://{HUB_ADDRESS}:{MIRROR_PORT}/nvidia",
            "key": str(mirror_key),
            "wheels": f"http://{HUB_ADDRESS}:{MIRROR_PORT}/pypi",
        },
    }
    write_atomically(lab.file, json.dumps(document, indent=2) + "\n")


def _connection(twin: Twin) -> dict[str, Any]:
    bmc = None
    if twin.record()["power"] != "manual":
        bmc = {
            "address": twin.bmc_address,
            "port": BMC_PORT,
            "username": BMC_USER,
            "password_file": str(twin.password_file),
        }
    return {"address": twin.address, "port": 22, "user": "root", "private_key": str(twin.lab.private_key), "bmc": bmc}
