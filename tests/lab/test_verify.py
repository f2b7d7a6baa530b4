"""The verdict on twins: right at rest, right under load, and every fault found with its cause."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def verified(lab_fleet):
    """The example fleet, online and put under load once; rig01 from a blank disk, whatever tests of the lab left."""
    lab_fleet.renew("rig01")
    done = lab_fleet.run("up", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return lab_fleet


@pytest.fixture
def rig(verified):
    """The fleet, with rig01 sound again afterwards, whatever the test did to it."""
    yield verified
    assert verified.run_lab("fault", "rig01", "--clear").returncode == 0


def break_(fleet, *words: str) -> None:
    done = fleet.run_lab("fault", "rig01", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def wrong(fleet, *words: str) -> list[tuple[str, str, str, str]]:
    """What is not PASS on rig01."""
    done = fleet.run("verify", "rig01", "--json", *words)
    report = json.loads(done.stdout)["rigs"]["rig01"]
    return [
        (f["check"], f["subject"], f["status"], f["cause"].split(":")[0])
        for f in report["findings"]
        if f["status"] != "PASS"
    ]


def checks(fleet, name: str) -> set[str]:
    report = json.loads(fleet.run("verify", name, "--json").stdout)["rigs"][name]
    return {f["check"] for f in report["findings"]}


def test_up_has_put_both_rigs_under_load_and_at_rest_they_still_pass(verified):
    for name, card in (("rig01", "0000:41:00.0"), ("rig02", "0000:02:00.0")):
        speed = verified.node(name, f"cat /sys/bus/pci/devices/{card}/current_link_speed")
        assert speed == "2.5 GT/s PCIe\n", "the cards idle"
        assert {"load.bandwidth", "load.memory", "load.errors", "link.generation"} <= checks(verified, name)
    done = verified.run("verify", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["PCIE3", "--xid", "79"], ("gpu.xid", "PCIE3", "FAIL", "xid-fatal")),
        (["PCIE3", "--xid", "31"], None),
        (["PCIE3", "--aer", "6000"], ("link.errors", "PCIE3", "WARN", "link-errors")),
        (["PCIE3", "--replays", "1000000"], ("link.replays", "PCIE3", "WARN", "link-replays")),
        (["PCIE3", "--power-limit", "250"], ("gpu.power", "PCIE3", "WARN", "power-capped")),
        (["PCIE3", "--hw-slowdown"], ("gpu.health", "PCIE3", "FAIL", "hw-slowdown")),
        (["--no-persistence"], ("driver.persistence", "driver", "WARN", "persistence-off")),
        (["--dimm-missing"], ("host.memory", "rig", "FAIL", "memory-missing")),
        (["--nic-speed", "1000"], ("host.network", "rig", "WARN", "nic-slow")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_fault_is_found_at_rest(rig, words, expected):
    break_(rig, *words)
    assert wrong(rig) == ([expected] if expected else [])


def test_four_faults_that_only_load_shows(rig):
    break_(rig, "PCIE1", "--stuck-gen", "2")
    break_(rig, "PCIE3", "--bandwidth", "50")
    break_(rig, "PCIE5", "--bad-memory")
    break_(rig, "PCIE7", "--busy")
    try:
        assert wrong(rig, "--active") == [
            ("link.generation", "PCIE1", "FAIL", "link-degraded"),
            ("load.bandwidth", "PCIE1", "FAIL", "bandwidth-low"),
            ("load.bandwidth", "PCIE3", "FAIL", "bandwidth-low"),
            ("load.bandwidth", "PCIE7", "UNKNOWN", "busy"),
            ("load.memory", "PCIE5", "FAIL", "memory-errors"),
        ]
    finally:
        break_(rig, "--clear")
    assert wrong(rig), "what was measured counts until it is measured again"
    assert not wrong(rig, "--active")


def test_a_missing_disk_is_missed_once_it_is_declared(rig):
    fleet_file = rig.workspace.inventory / "fleet.yml"
    declared = fleet_file.read_text()
    line = "    build: pro-4x3090 "
    assert line in declared
    fleet_file.write_text(declared.replace(line, "    override: {disks: [{size_gb: 1000}]}\n" + line))
    try:
        assert not wrong(rig)
        break_(rig, "--disk-missing")
        assert wrong(rig) == [("host.disk", "1000 GB", "FAIL", "disk-missing")]
    finally:
        fleet_file.write_text(declared)


def test_a_captured_rig_is_right_at_once(rig, tmp_path):
    done = rig.run("capture", "rig01", "--build", "captured", "-o", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    builds = rig.workspace.inventory / "builds"
    fleet_file, declared = rig.workspace.inventory / "fleet.yml", (rig.workspace.inventory / "fleet.yml").read_text()
    (builds / "captured.yml").write_text((tmp_path / "builds/captured.yml").read_text())
    fleet_file.write_text(declared.replace("build: pro-4x3090", "build: captured"))
    try:
        assert not wrong(rig)
        break_(rig, "--dimm-missing")
        done = rig.run("capture", "rig01", "--diff", "captured")
        assert done.returncode == 2, done.stdout + done.stderr
        assert "memory" in done.stdout
    finally:
        fleet_file.write_text(declared)
        (builds / "captured.yml").unlink()


def test_reports_for_people_and_machines(rig, tmp_path):
    break_(rig, "PCIE3", "--xid", "79")
    files = {kind: tmp_path / f"report.{kind}" for kind in ("html", "junit", "prometheus")}
    done = rig.run("verify", *(word for kind, path in files.items() for word in (f"--{kind}", str(path))))
    assert done.returncode == 2, done.stdout + done.stderr
    page = files["html"].read_text()
    assert "<svg" in page
    assert "PCIE3" in page
    cases = ET.parse(files["junit"]).getroot().iter("testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert len(failed) == 1
    assert "gpu.xid" in failed[0]
    metrics = files["prometheus"].read_text()
    assert 'rig="rig01"' in metrics
    assert 'rig="rig02"' in metrics
