"""From a twin's files through the probe and the capture to the verdict: every shipped build passes by its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rigdeploy.capture.capture import capture
from rigdeploy.capture.diff import differences
from rigdeploy.fleet.catalogue import SHIPPED
from rigdeploy.lab import driver_view, hardware, simulated
from rigdeploy.lab.faults import Faults
from rigdeploy.lab.node import write_tree
from rigdeploy.node import probe
from rigdeploy.node.observation import Observation

SMI = Path(simulated.__file__).with_name("nvidia_smi.py")
VERSION = "580.95.05"
NOT_RECORDED = ("host.space", "rig", "UNKNOWN", "unreadable")
"""Of files alone nobody can say how much space is left beside them."""


@pytest.fixture
def observed(tmp_path, catalogue, monkeypatch):
    """What the probe reads of a twin with these faults, its driver loaded."""

    def make(build, faults, *, resting):
        parts = build, catalogue.boards[build.board], catalogue.gpus, faults
        files = hardware.tree(*parts, 0.0, resting=resting)
        records = driver_view.gpu_records(*parts)
        files |= {
            "proc/uptime": "1800.0 0.0\n",
            "proc/self/mounts": "/dev/sda1 / ext4 rw 0 0\n",
            "kernel.log": "Linux version 6.12.48\n",
            "run/rigdeploy-twin/gpus.json": json.dumps(records),
            "run/rigdeploy-twin/state.json": json.dumps({"persistence": True}),
            "sys/module/nvidia/version": f"{VERSION}\n",
            f"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{VERSION}": "",
        }
        files |= {f"run/rigdeploy-twin/replays/{card['address']}": str(card["replays"]) for card in records}
        root = tmp_path / "twin"
        write_tree(root, files)
        monkeypatch.setenv("RIGDEPLOY_TWIN_ROOT", str(root))
        node = probe.Node(str(root), f"{sys.executable} {SMI}", f"cat {root / 'kernel.log'}")
        return Observation.parse(probe.observe(node))

    return make


@pytest.mark.parametrize("build", sorted(path.stem for path in (SHIPPED / "builds").glob("*.yml")))
@pytest.mark.parametrize("resting", [False, True], ids=["at work", "at rest"])
def test_a_sound_twin_passes_by_its_own_capture(build, resting, node, observed, catalogue):
    declared = catalogue.builds[build]
    seen = observed(declared, Faults(), resting=resting)
    captured = capture(seen, catalogue, "Captured.")
    wrong = node(build).verdict(captured, observation=seen)
    assert wrong.pop() == NOT_RECORDED
    idle = [("link.generation", slot, "UNKNOWN", "idle") for slot in captured.build.model.slots]
    assert wrong == ([one for one in idle if one in wrong] if resting else [])
    links = [(slot.gpu, slot.link) for slot in declared.slots.values()]
    assert [(slot.gpu, slot.link) for slot in captured.build.model.slots.values()] == links
    if catalogue.boards[declared.board].dmi:
        assert (captured.build.model.board, captured.warnings) == (declared.board, [])
        assert {one.kind for one in differences(declared, captured)} <= {"undeclared"}


def test_a_twin_s_faults_are_said(observed, catalogue):
    declared = catalogue.builds["pro-4x3090"]
    seen = observed(declared, Faults().with_slot("PCIE3", width=8), resting=False)
    captured = capture(seen, catalogue, "Captured.")
    assert [line.partition(":")[0] for line in captured.warnings] == ["slots.PCIE3"]
    assert [one.field for one in differences(declared, captured) if one.kind != "undeclared"] == ["slots.PCIE3.link"]
