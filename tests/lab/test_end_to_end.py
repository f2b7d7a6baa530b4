"""The main job on twins of the example fleet: from powered off to verified, drift and faults included."""

from __future__ import annotations

import json
import time

import pytest

pytestmark = pytest.mark.lab


def card(report: dict, rig: str, slot: str) -> dict:
    """One row of the card table of a JSON report."""
    return next(row for row in report["rigs"][rig]["cards"] if row["slot"] == slot)


def findings(report: dict, rig: str, **wanted: str) -> list[dict]:
    """The findings of a rig in which every given field has the given value."""
    return [f for f in report["rigs"][rig]["findings"] if all(f[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def verified(lab_fleet):
    """The example fleet, brought from powered off to verified once."""
    done = lab_fleet.run("up", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return lab_fleet


def test_up_ends_with_a_table_of_every_card(verified):
    done = verified.run("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    for slot in ("PCIE1", "PCIE3", "PCIE5", "PCIE7"):
        assert slot in done.stdout
    assert "4.0 x16" in done.stdout
    assert "3.0 x1" in done.stdout


def test_second_up_changes_nothing(verified):
    before = sorted(verified.workspace.runs.glob("*/ansible*"))
    started = time.monotonic()
    done = verified.run("up", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing had to change" in done.stdout + done.stderr
    assert time.monotonic() - started < 90
    assert sorted(verified.workspace.runs.glob("*/ansible*")) == before, "a right node costs a probe and no play"


@pytest.mark.parametrize(("at", "cause"), [("card", "link-degraded"), ("port", "slot-limited")])
def test_narrow_link_is_found_with_its_cause(verified, at, cause):
    try:
        assert verified.run_lab("fault", "rig01", "PCIE3", "--width", "8", "--at", at).returncode == 0
        done = verified.run("verify", "rig01")
        assert done.returncode == 2, done.stdout + done.stderr
        for word in ("PCIE3", "x16", "x8", cause):
            assert word in done.stdout
        assert verified.run("verify", "rig02").returncode == 0, "x1 by design stays right"
        (finding,) = findings(json.loads(verified.run("verify", "rig01", "--json").stdout), "rig01", status="FAIL")
        assert (finding["subject"], finding["cause"].split(":")[0]) == ("PCIE3", cause)
        assert finding["remedy"]
    finally:
        verified.run_lab("fault", "rig01", "--clear")
    assert verified.run("verify", "rig01").returncode == 0


def test_without_a_look_under_load_an_idle_generation_is_unknown_and_never_pass(verified):
    measured = verified.workspace.state / "load/rig01.json"
    kept = measured.read_bytes()
    measured.unlink()
    try:
        done = verified.run("verify", "rig01", "--json")
        assert done.returncode == 3
        unknown = findings(json.loads(done.stdout), "rig01", status="UNKNOWN")
        assert {(f["check"], f["cause"].split(":")[0]) for f in unknown} == {("link.generation", "idle")}
        assert verified.run("verify", "rig01", "--strict").returncode == 2
    finally:
        measured.write_bytes(kept)


def test_drift_is_found_and_mended_by_that_role_alone(verified):
    verified.node("rig01", "echo '# edited by hand' >> /etc/modules-load.d/rigdeploy-nvidia.conf")
    done = verified.run("verify", "rig01")
    assert done.returncode in (1, 2)
    assert "/etc/modules-load.d/rigdeploy-nvidia.conf" in done.stdout
    plan = json.loads(verified.run("plan", "rig01", "--json").stdout)
    steps = {step["phase"]: step["needed"] for step in plan["rigs"]["rig01"]["steps"]}
    assert (steps["base"], steps["driver"]) == (False, True)
    assert verified.run("up", "rig01", "--yes").returncode == 0


def test_two_ups_at_once_one_is_told_who_holds_the_lock(verified):
    verified.run("power", "off", "rig02", "--yes")
    first = verified.start("up", "rig02", "--yes")
    try:
        lock = verified.workspace.locks / "rig02.lock"
        wait_until(lambda: lock.is_file() and str(first.pid) in lock.read_text(), 20)
        second = verified.run("up", "rig02", "--yes")
        assert second.returncode == 5
        assert str(first.pid) in second.stdout + second.stderr
        assert "rig02" in second.stdout + second.stderr
    finally:
        out, _ = first.communicate(timeout=300)
    assert first.returncode == 0, out


def test_a_failing_node_does_not_hold_back_the_other(verified):
    verified.node("rig01", "rm -f /var/lib/rigdeploy/managed.d/base.json")
    verified.node("rig02", "rm -f /var/lib/rigdeploy/managed.d/base.json")
    try:
        # On rig01 the base role cannot write its record: a tmpfs of no size stands in its way.
        verified.node("rig01", "mount -t tmpfs -o size=4k,ro none /var/lib/rigdeploy/managed.d")
        done = verified.run("up", "--yes")
        assert done.returncode == 5, done.stdout + done.stderr
        report = json.loads(verified.run("status", "--json").stdout)
        assert report["rigs"]["rig02"]["roles"]["base"] == "applied"
        assert report["rigs"]["rig01"]["roles"]["base"] != "applied"
    finally:
        verified.node("rig01", "umount /var/lib/rigdeploy/managed.d")
    assert verified.run("up", "--yes").returncode == 0


def wait_until(condition, seconds: float) -> None:
    """Poll until the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.1)
