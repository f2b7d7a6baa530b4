"""From a twin's files through the probe to the verdict: every shipped build, every fault of its cards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rigdeploy.lab import driver_view, hardware, kernel_log, simulated
from rigdeploy.lab.faults import Faults
from rigdeploy.lab.node import write_tree
from rigdeploy.node import probe
from rigdeploy.node.observation import Observation
from rigdeploy.verify.rules import judge

SMI = Path(simulated.__file__).with_name("nvidia_smi.py")
VERSION = "580.95.05"
BANNER = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {VERSION}  Release Build\n"
UPTIME = 1800.0
NOT_RECORDED = ("host.space", "rig", "UNKNOWN", "unreadable")
"""Of files alone nobody can say how much space is left beside them."""


@pytest.fixture
def twin(tmp_path, catalogue, rig, monkeypatch):
    """The verdict on a twin with these faults, as all that is not PASS; ``now`` is the seconds since its boot."""

    def make(build, faults, stack=None, *, now=0.0, resting=False):
        declared = rig(build, stack=stack)
        parts = declared.build, catalogue.boards[declared.build.board], catalogue.gpus, faults
        files = hardware.tree(*parts, now, resting=resting)
        files["proc/uptime"] = f"{UPTIME} 0.0\n"
        files["proc/self/mounts"] = "/dev/sda1 / ext4 rw 0 0\n"
        files["kernel.log"] = "\n".join(["Linux version 6.12.48", *kernel_log.kernel_log(*parts, now), ""])
        if stack:
            records = driver_view.gpu_records(*parts)
            files["run/rigdeploy-twin/gpus.json"] = json.dumps(records)
            files |= {f"run/rigdeploy-twin/replays/{card['address']}": str(card["replays"]) for card in records}
            files["run/rigdeploy-twin/state.json"] = json.dumps({"persistence": True})
            files["sys/module/nvidia/version"] = VERSION + "\n"
            files["proc/driver/nvidia/version"] = BANNER
            files[f"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{VERSION}"] = ""
        write_tree(tmp_path, files)
        monkeypatch.setenv("RIGDEPLOY_TWIN_ROOT", str(tmp_path))
        smi = f"{sys.executable} {SMI}" if stack else None
        node = probe.Node(str(tmp_path), smi, f"cat {tmp_path / 'kernel.log'}")
        findings = judge(declared, catalogue, Observation.parse(probe.observe(node)))
        wrong = [(f.check, f.subject, f.status.value, f.cause) for f in findings if f.status != "PASS"]
        assert wrong.pop() == NOT_RECORDED
        return wrong

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
    ({"xid": 79}, [("gpu.xid", "PCIE3", "FAIL", "xid-fatal")]),
    ({"xid": 94}, [("gpu.xid", "PCIE3", "WARN", "xid-noted")]),
    ({"xid": 31}, []),
]


@STACKS
@pytest.mark.parametrize(("fault", "expected"), LINKS)
def test_a_faulty_link(twin, fault, expected, stack):
    assert twin("pro-4x3090", Faults().with_slot("PCIE3", **fault), stack) == expected


def test_a_driver_lets_idle_links_fall_back(twin):
    assert twin("budget-4x3090", Faults(), {"driver": "580"}, resting=True) == [
        ("link.generation", slot, "UNKNOWN", "idle") for slot in ("PCIE2", "PCIE3", "PCIE4", "PCIE5")
    ]


def test_without_a_driver_nobody_can_say_why_a_link_is_slow(twin):
    found = twin("pro-4x3090", Faults().with_slot("PCIE3", gen=3))
    assert found == [("link.generation", "PCIE3", "UNKNOWN", "idle")]


@pytest.mark.parametrize(("fault", "cause"), [({"gen": 3, "busy": True}, "link-degraded"), ({"busy": True}, None)])
def test_at_work_a_slow_link_is_slow(twin, fault, cause):
    found = twin("pro-4x3090", Faults().with_slot("PCIE3", **fault), {"driver": "580"}, resting=True)
    busy = [line for line in found if line[1] == "PCIE3"]
    assert busy == ([("link.generation", "PCIE3", "FAIL", cause)] if cause else [])


@STACKS
@pytest.mark.parametrize(
    ("slot", "minutes", "cause"),
    [("PCIE7", 12, None), ("PCIE7", 18, None), ("PCIE7", 19, "link-errors"), ("PCIE1", 19, None)],
)
def test_errors_that_grow(twin, slot, minutes, cause, stack):
    """One a minute, in half an hour; PCIE7 of this build declares 36 an hour."""
    faults = Faults().with_slot(slot, aer_per_minute=1, aer_since=0.0)
    found = twin("romed8-7x4090", faults, stack, now=(minutes - 1) * 60.0)
    assert found == ([("link.errors", slot, "WARN", cause)] if cause else [])


@pytest.mark.parametrize(("replays", "cause"), [(480, None), (481, "link-replays")])
def test_replays(twin, replays, cause):
    found = twin("pro-4x3090", Faults().with_slot("PCIE3", replays=replays), {"driver": "580"})
    assert found == ([("link.replays", "PCIE3", "WARN", cause)] if cause else [])


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
