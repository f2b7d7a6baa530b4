"""No secret shows in a process list, an artefact, a log or a report during a run."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab


class ProcessWatch(threading.Thread):
    """Reads every process's argument list over and over, and keeps those that show the secret."""

    def __init__(self, secret: str) -> None:
        super().__init__(daemon=True)
        self._secret = secret.encode()
        self.seen: set[bytes] = set()
        self.looks = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                if self._secret in line:
                    self.seen.add(line)
            self.looks += 1
            time.sleep(0.05)


def files_with(secret: str, directory: Path, allowed: Path) -> list[Path]:
    found = []
    for path in directory.rglob("*"):
        if path == allowed or not path.is_file() or path.is_symlink():
            continue
        if secret.encode() in path.read_bytes():
            found.append(path)
    return found


def test_planted_bmc_password_shows_nowhere(lab_fleet):
    twins = json.loads((lab_fleet.workspace.lab_dir / "twins.json").read_text())
    password_file = Path(twins["rigs"]["rig01"]["bmc"]["password_file"])
    secret = password_file.read_text().strip()
    assert len(secret) >= 8
    watch = ProcessWatch(secret)
    watch.start()
    outputs = []
    lab_fleet.renew("rig01")
    for command in (["up", "--yes"], ["power", "cycle", "rig01", "--yes"], ["status"], ["runs"], ["log"]):
        if command == ["status"]:
            lab_fleet.booted("rig01")
        done = lab_fleet.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout + done.stderr)
    watch.done.set()
    watch.join()
    assert watch.looks > 20
    assert not watch.seen
    assert secret not in "".join(outputs)
    # The BMC itself has to know it; everything else in the state directory and on the sockets must not.
    assert not files_with(secret, lab_fleet.workspace.state, password_file)
    assert not files_with(secret, lab_fleet.workspace.control_dir, password_file)
