"""From a twin's files through the probe to the verdict: every shipped build, every fault of its cards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rigdeploy.lab import hardware, simulated, sysfs
from rigdeploy.lab.faults import Faults
from rigdeploy.node import probe
from rigdeploy.node.observation import Observation
from rigdeploy.verify.rules import judge

SMI = Path(simulated.__file__).with_name("nvidia_smi.py")
VERSION = "580.95.05"


@pytest.fixture
def twin(tmp_path, catalogue, rig, monkeypatch):
    """The verdict on a twin with these faults, as all that is not PASS."""

    def make(build, faults, stack=None):
        declared = rig(build, stack=stack)
        board = catalogue.boards[declared.build.board]
        files = hardware.tree(declared.build, board, catalogue.gpus, faults)
        if stack:
            records = hardware.gpu_records(declared.build, board, catalogue.gpus, faults)
            files["run/rigdeploy-twin/gpus.json"] = json.dumps(records)
            files["sys/module/nvidia/version"] = VERSION + "\n"
            files[f"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{VERSION}"] = ""
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, sysfs.Symlink):
                path.symlink_to(content.target)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        monkeypatch.setenv("RIGDEPLOY_TWIN_ROOT", str(tmp_path))
        node = probe.Node(str(tmp_path), f"{sys.executable} {SMI}" if stack else None)
        findings = judge(declared, catalogue, Observation.parse(probe.observe(node)))
        return [(f.check, f.subject, f.status.value, f.cause) for f in findings if f.status != "PASS"]

    return make


STACKS = pytest.mark.parametrize("stack", [None, {"driver": "580"}], ids=["pci alone", "driver"])


@STACKS
@pytest.mark.parametrize(
    "build",
    ["pro-4x3090", "budget-4x3090", "romed8-7x4090", "wrx90e-4x4090", "home-dual-4090", "dual-4090-no-nvlink"],
)
def test_a_sound_twin_passes(twin, build, stack):
    assert not twin(build, Faults(), stack)


LINKS = [
    ({"width": 8}, [("link.width", "PCIE3", "FAIL", "link-degraded")]),
    ({"width": 8, "at": "port"}, [("link.width", "PCIE3", "FAIL", "slot-limited")]),
    ({"width": 1}, [("link.width", "PCIE3", "FAIL", "link-degraded")]),
    ({"gen": 3, "at": "port"}, [("link.generation", "PCIE3", "FAIL", "slot-limited")]),
    ({"gen": 1}, [("link.generation", "PCIE3", "UNKNOWN", "idle")]),
]


@STACKS
@pytest.mark.parametrize(("fault", "expected"), LINKS)
def test_a_faulty_link(twin, fault, expected, stack):
    assert twin("pro-4x3090", Faults().with_slot("PCIE3", **fault), stack) == expected


MEMORY = [
    ("pro-4x3090", "PCIE3", {"memory_mib": 12288}, "memory-missing"),
    ("wrx90e-4x4090", "PCIEX16_3", {"modded": True}, "other-memory"),
]


@pytest.mark.parametrize(("build", "slot", "fault", "cause"), MEMORY)
def test_faulty_memory(twin, build, slot, fault, cause):
    found = twin(build, Faults().with_slot(slot, **fault), {"driver": "580"})
    assert ("memory.card", slot, "FAIL", cause) in found
    assert {check for check, *_ in found} == {"memory.card", "memory.total"}


def test_a_missing_card(twin):
    found = twin("budget-4x3090", Faults().with_slot("PCIE4", missing=True), {"driver": "580"})
    assert found == [
        ("gpu.count", "rig", "FAIL", "card-missing"),
        ("gpu.model", "PCIE4", "FAIL", "card-missing"),
        ("memory.total", "rig", "FAIL", "memory-missing"),
    ]


def test_another_branch(twin):
    assert twin("pro-4x3090", Faults(), {"driver": "570"}) == [("driver.version", "driver", "FAIL", "other-version")]
