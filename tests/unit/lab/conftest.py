"""A twin's files in a directory, as the node would see them from /."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rigdeploy.lab import driver_view, hardware, node, simulated
from rigdeploy.lab.faults import Faults

VERSION = "580.95.05"


@dataclass(frozen=True)
class TwinRoot:
    """What a twin's system would find below /; the simulated tools run against it."""

    directory: Path

    def run(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the simulated tools."""
        argv = [sys.executable, Path(simulated.__file__).with_name(script), *words]
        env = os.environ | {"RIGDEPLOY_TWIN_ROOT": str(self.directory)}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    def modprobe(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("modprobe.py", "modprobe", *words)

    def smi(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("nvidia_smi.py", *words)

    def write(self, relative: str, text: str) -> None:
        path = self.directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def install_driver(self, version: str = VERSION, licence: str = "Dual MIT/GPL") -> None:
        """What the simulated packages install."""
        for module in ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm"):
            text = f"simulated\nversion: {version}\nlicense: {licence}\n"
            self.write(f"lib/modules/{os.uname().release}/updates/dkms/{module}.ko", text)
        for old in self.directory.glob("usr/lib/*/libnvidia-ml.so.*"):
            old.unlink()
        self.write(f"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{version}", "")


@pytest.fixture
def make_root(tmp_path, catalogue):
    """Writes a twin of a shipped build with these faults."""

    def make(build: str = "pro-4x3090", faults: Faults | None = None) -> TwinRoot:
        declared = catalogue.builds[build]
        parts = (declared, catalogue.boards[declared.board], catalogue.gpus, faults or Faults())
        for directory in ("sys/module", "sys/bus/pci/drivers"):
            (tmp_path / directory).mkdir(parents=True, exist_ok=True)
        node.write_tree(tmp_path, hardware.tree(*parts))
        root = TwinRoot(tmp_path)
        root.write("run/rigdeploy-twin/gpus.json", json.dumps(driver_view.gpu_records(*parts, "rig01")))
        root.write("run/rigdeploy-twin/state.json", "{}")
        return root

    return make
