"""Labs for tests: one with the example fleet for everybody, and fresh ones for whoever wants to break a lab itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rigdeploy.lab import node
from rigdeploy.lab.twins import Lab, Twin
from rigdeploy.workspace import Workspace

CHECKOUT = Path(__file__).resolve().parents[2]
RIGDEPLOY = Path(sys.executable).with_name("rigdeploy")
BOOT_SECONDS = 60


@dataclass(frozen=True)
class LabFleet:
    """A fleet in a directory of its own, with its twins. Commands run as a user's would, in a process each."""

    workspace: Workspace

    @property
    def lab(self) -> Lab:
        return Lab.of(self.workspace)

    def twin(self, rig: str) -> Twin:
        return self.lab.twin(rig)

    def command(self, *words: str, lab: bool = True) -> list[str]:
        """``rigdeploy WORDS`` on this fleet, on its twins unless told otherwise."""
        where = ["-i", str(self.workspace.inventory), "--state", str(self.workspace.base_state)]
        return [str(RIGDEPLOY), *words, *where, *(["--lab"] if lab else [])]

    def run(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run ``rigdeploy WORDS --lab`` to its end."""
        return _run(self.command(*words), timeout)

    def run_lab(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run ``rigdeploy lab WORDS`` to its end."""
        return _run(self.command("lab", *words, lab=False), timeout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``rigdeploy WORDS --lab``; the caller waits for it, or kills it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(self.command(*words), text=True, cwd="/", env=_environment(), **pipes)

    def inside(self, *argv: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a tool in the lab's network."""
        return _run(["nsenter", f"--net=/run/netns/{self.lab.netns}", *map(str, argv)], timeout)

    def ssh(self, rig: str, script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a script on a node, whatever its host key is."""
        twin = self.twin(rig)
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=2", "LogLevel=ERROR"]
        flags = [word for option in [*options, "BatchMode=yes"] for word in ("-o", option)]
        command = ["ssh", "-F", "none", "-i", self.lab.private_key, *flags, f"root@{twin.address}", script]
        return self.inside(*command, timeout=timeout)

    def node(self, rig: str, script: str) -> str:
        """Run a script on a node that answers, and return what it printed."""
        done = self.ssh(rig, script)
        assert done.returncode == 0, f"on {rig}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ipmi(self, rig: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Ask a twin's BMC by ipmitool, which knows nothing of ours."""
        twin = self.twin(rig)
        login = ["-H", twin.bmc_address, "-U", "admin", "-f", twin.password_file]
        return self.inside("ipmitool", "-I", "lanplus", "-C", "3", *login, *words)

    def booted(self, rig: str, other_than: str = "") -> str:
        """Wait until a node answers, and return its boot id (another one than the given)."""
        return self.wait_for(lambda: self._boot_id(rig, other_than), BOOT_SECONDS, f"{rig} does not answer")

    def _boot_id(self, rig: str, other_than: str) -> str:
        done = self.ssh(rig, "cat /proc/sys/kernel/random/boot_id")
        return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() != other_than else ""

    def renew(self, rig: str) -> None:
        """Switch a node off and give it a blank disk: as if it had just been installed, with the same host keys."""
        twin = self.twin(rig)
        node.power_off(twin)
        self.wait_for(lambda: not node.disk_in_use(twin), 30, f"the disk of {rig} stays in use")
        root = node.shared_root(twin)
        twin.disk.unlink()
        node.create_disk(twin, root)

    @staticmethod
    def wait_for(question, seconds: float, message: str):
        """Ask until the answer is true, and return it; fails the test when it does not come in time."""
        deadline = time.monotonic() + seconds
        while True:
            answer = question()
            if answer:
                return answer
            assert time.monotonic() < deadline, message
            time.sleep(0.1)

    def status(self, rig: str) -> dict:
        """What ``rigdeploy lab status`` says of a twin."""
        twins = json.loads(self.run_lab("status", "--json").stdout)["twins"]
        return next(twin for twin in twins if twin["rig"] == rig)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("RIGDEPLOY_", "ANSIBLE_"))}


def _run(argv: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=timeout, cwd="/", env=_environment(), input=""
    )


@pytest.fixture(scope="session")
def make_fleet(tmp_path_factory):
    """Makes fleets (a copy of the example) whose labs are removed at the end, whatever became of them."""
    if os.geteuid() != 0:
        pytest.skip("not tested: labs need root (network namespaces, mounts)")
    made: list[LabFleet] = []

    def make() -> LabFleet:
        directory = tmp_path_factory.mktemp("fleet")
        shutil.copytree(CHECKOUT / "inventory", directory / "inventory")
        made.append(LabFleet(Workspace.find(directory / "inventory", lab=True)))
        return made[-1]

    yield make
    for fleet in made:
        done = fleet.run_lab("down")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def lab_fleet(make_fleet) -> LabFleet:
    """The example fleet with its twins built and powered off; what a test changes, the next one finds."""
    fleet = make_fleet()
    done = fleet.run_lab("up")
    assert done.returncode == 0, done.stdout + done.stderr
    return fleet
