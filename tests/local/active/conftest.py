"""The active check on cards that do not exist: a sysfs tree, and the lab's simulated driver, compiled here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rigdeploy.node.load import Load

CHECKOUT = Path(__file__).parents[3]
ACTIVE = CHECKOUT / "rigdeploy" / "node" / "active.py"
DRIVER = CHECKOUT / "rigdeploy" / "lab" / "simulated" / "cuda.c"
CARDS = ("0000:41:00.0", "0000:42:00.0", "0000:81:00.0", "0000:c1:00.0")
GTS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0"}
HURRY = {
    "WARM_UP_SECONDS": "0.06",
    "ALONE_SECONDS": "0.1",
    "TOGETHER_SECONDS": "0.1",
    "PAIR_SECONDS": "0.01",
    "BUFFER": "8 * MIB",
    "BLOCK": "4 * MIB",
}
"""The check's constants for a test: less time, smaller copies; a simulated copy takes as long as a real one."""
PORT = "the port above the card"
"""As a value of a card's description: that port's directory."""


def compile_driver(directory: Path, *options: str) -> tuple[Path, Path]:
    """The simulated driver as two files, as a node has them."""
    cuda, nvml = directory / "libcuda.so.1", directory / "libnvidia-ml.so.1"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", *options]
    subprocess.run([*command, "-o", cuda, DRIVER], check=True)
    shutil.copyfile(cuda, nvml)
    return cuda, nvml


@pytest.fixture(scope="session")
def driver(tmp_path_factory) -> tuple[Path, Path]:
    if not shutil.which("gcc"):
        pytest.skip("not tested: the active check; gcc, which compiles its simulated driver, is not installed")
    return compile_driver(tmp_path_factory.mktemp("driver"))


def program(**constants: str) -> bytes:
    """The active check as it is sent to a node, with some of its constants changed."""
    text = ACTIVE.read_text()
    for name, value in constants.items():
        text, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert found == 1, name
    return text.encode()


@dataclass
class Result:
    """What one run printed, as it stands and as it is read."""

    document: dict[str, Any]
    load: Load

    @classmethod
    def of(cls, output: bytes) -> Result:
        return cls(json.loads(output), Load.from_json(output))

    def why(self, prefix: str) -> str:
        return self.load.why_unread(prefix)


class Rig:
    """Cards behind a port each, as sysfs and the simulated driver show them."""

    def __init__(self, root: Path, libraries: tuple[Path, Path]) -> None:
        self.root, self.libraries = root, libraries
        self.description: list[str] = []
        self.write("proc/sys/kernel/random/boot_id", "b00t\n")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def end(self, address: str, chain: str, width: int, gen: int) -> Path:
        """One end of a link: a function of sysfs."""
        home = f"sys/devices/pci0000:40/{chain}"
        self.write(f"{home}/current_link_width", f"{width}\n")
        self.write(f"{home}/current_link_speed", f"{GTS[gen]} GT/s PCIe\n")
        for severity, counter, total in (
            ("correctable", "BadTLP", "COR"),
            ("nonfatal", "CmpltTO", "NONFATAL"),
            ("fatal", "SDES", "FATAL"),
        ):
            self.write(f"{home}/aer_dev_{severity}", f"{counter} 7\nOther 1\nTOTAL_ERR_{total} 8\n")
        entry = self.root / "sys/bus/pci/devices" / address
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.symlink_to(self.root / home)
        return self.root / home

    def card(self, address: str, *, width: int = 16, idle: int = 1, **words: object) -> Path:
        """A card, at rest in generation ``idle``; ``words`` describe it further (see cuda.c). Its sysfs directory."""
        port = f"0000:40:{26 + len(self.description):02x}.1"
        above = self.end(port, port, width, idle)
        home = self.end(address, f"{port}/{address}", width, idle)
        words = {"gen": 4, "memory_mib": 256, "link_dir": home, "port_dir": above, **words}
        line = " ".join(f"{key}={above if value == PORT else value}" for key, value in words.items() if value)
        self.description.append(f"address={address} {line}")
        return home

    def command(self, *options: str, libraries: tuple[object, object] | None = None) -> list[str]:
        self.write("cuda.conf", "\n".join(["# simulated", *self.description, ""]))
        cuda, nvml = libraries or self.libraries
        where = ["--root", str(self.root), "--libcuda", str(cuda), "--nvml", str(nvml)]
        return [sys.executable, "-I", "-", *where, *options]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "RIGDEPLOY_SIMULATED_CUDA": str(self.root / "cuda.conf")}

    def check(self, *options: str, text: bytes | None = None, libraries: tuple[object, object] | None = None) -> Result:
        """Run the check as a node does: the program on standard input, the document on standard output."""
        done = subprocess.run(
            self.command(*options, libraries=libraries),
            input=program(**HURRY) if text is None else text,
            capture_output=True,
            check=False,
            env=self.environment,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b"\n") == 1
        return Result.of(done.stdout)


@pytest.fixture
def rig(tmp_path: Path, driver: tuple[Path, Path]) -> Rig:
    return Rig(tmp_path / "node", driver)


@pytest.fixture
def pair(rig: Rig) -> Rig:
    """A rig whose second card is sound; the test describes the first."""
    rig.card(CARDS[1], gen=3, width=4)
    return rig
