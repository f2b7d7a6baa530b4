"""Where a fleet's files are: its inventory, its state directory, and whether the twins are meant."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rigdeploy.errors import UsageError

DEFAULT_INVENTORY = "inventory"


@dataclass(frozen=True)
class Workspace:
    """The files of one fleet.

    ``inventory`` is the directory that holds ``fleet.yml``; ``base_state`` the fleet's state directory,
    ``state`` the part of it that this command uses: the lab keeps its own ledger, locks and host keys, so
    that a rehearsal never looks like history of the real rigs.
    """

    inventory: Path
    base_state: Path
    lab: bool = False

    @classmethod
    def find(
        cls, inventory: Path | None = None, state: Path | None = None, *, lab: bool = False, optional: bool = False
    ) -> Workspace:
        """Resolve the options of the command line; UsageError without a ``fleet.yml``, unless it is ``optional``.

        ``inventory`` may name the directory or its ``fleet.yml``. Without ``state``, the state directory is
        ``.rigdeploy`` beside the inventory directory. An optional fleet that is named must at least be a directory.
        """
        path = (inventory or Path(DEFAULT_INVENTORY)).absolute()
        directory = path if path.is_dir() or (optional and inventory is None) else path.parent
        if not (directory / "fleet.yml").is_file() and not (optional and (path.is_dir() or inventory is None)):
            raise UsageError(
                f"no fleet declared: {path} holds no fleet.yml",
                "run 'rigdeploy init' to start one here, or name it with --inventory PATH or RIGDEPLOY_INVENTORY",
            )
        base_state = (state or directory.parent / ".rigdeploy").absolute()
        return cls(directory, base_state, lab)

    @classmethod
    def from_environment(cls, inventory: Path) -> Workspace:
        """The workspace of an inventory that Ansible was given: environment variables stand for the options."""
        state = os.environ.get("RIGDEPLOY_STATE")
        # The words that click takes for no, so that one variable means the same to both.
        lab = os.environ.get("RIGDEPLOY_LAB", "").lower() not in ("", "0", "f", "false", "n", "no", "off")
        return cls.find(inventory, Path(state) if state else None, lab=lab)

    @property
    def fleet_file(self) -> Path:
        """The declaration of the rigs; it is there unless the fleet was optional."""
        return self.inventory / "fleet.yml"

    @property
    def lab_dir(self) -> Path:
        """The lab's own files: the twins' disks, BMCs, mirror and keys."""
        return self.base_state / "lab"

    @property
    def state(self) -> Path:
        """Ledger, locks, host keys and runs of what this command acts on."""
        return self.lab_dir / "state" if self.lab else self.base_state

    @property
    def known_hosts(self) -> Path:
        """Host keys, pinned at first contact under the rig's name."""
        return self.state / "known_hosts"

    @property
    def ledger(self) -> Path:
        """The SQLite file of runs and phases."""
        return self.state / "ledger.sqlite"

    @property
    def locks(self) -> Path:
        """One lock file per rig."""
        return self.state / "locks"

    @property
    def runs(self) -> Path:
        """One directory of artefacts per run."""
        return self.state / "runs"

    @property
    def loads(self) -> Path:
        """The last active check of each rig."""
        return self.state / "load"

    @property
    def control_dir(self) -> Path:
        """Sockets of the SSH connections kept open.

        Outside the state directory: a UNIX socket's path holds 108 bytes at most (unix(7)), and a fleet may
        live deep in a home directory.
        """
        import hashlib
        import tempfile

        digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"rigdeploy-{os.getuid()}-{digest}"

    def prepare(self) -> None:
        """Create the state directories, readable by their owner alone.

        The sockets' directory lies in a world-writable place: one that is somebody else's is refused.
        """
        for directory in (self.base_state, self.state, self.locks, self.runs, self.control_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.control_dir.lstat()
        if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
            raise UsageError(f"{self.control_dir} is not a private directory of this user", "remove it and try again")
