"""The driver where one is declared, and drift."""

from __future__ import annotations

import pytest

from rigdeploy.verify.rules import judge

STACK = {"driver": "580"}


@pytest.fixture
def declared(bench, rig):
    """A node whose rig declares a driver."""

    def make(stack=None, *, driver=True):
        node = bench(driver=driver)
        node.rig = rig(stack=stack or STACK)
        return node

    return make


def test_the_declared_driver_passes(declared):
    node = declared()
    assert not node.wrong()
    assert node.finding("driver.version", "driver").observed == "580.95.05"


def test_no_driver_yet(declared):
    assert declared(driver=False).wrong() == [
        ("memory.total", "rig", "UNKNOWN", "no-driver"),
        ("driver.loaded", "driver", "FAIL", "not-loaded"),
    ]


# change of the observation's driver, stack -> check, status, cause
DRIVERS = [
    ({"version": "570.124.04"}, STACK, "driver.version", "FAIL", "other-version"),
    ({"version": None}, STACK, "driver.version", "UNKNOWN", "unreadable"),
    ({"version": "5800.1"}, STACK, "driver.version", "FAIL", "other-version"),
    ({"nouveau": True}, STACK, "driver.nouveau", "FAIL", "nouveau"),
    ({"nouveau": None}, STACK, "driver.nouveau", "UNKNOWN", "unreadable"),
    ({"loaded": None}, STACK, "driver.loaded", "UNKNOWN", "unreadable"),
    ({"answers": False}, STACK, "driver.answers", "FAIL", "no-answer"),
    ({"answers": None}, STACK, "driver.answers", "UNKNOWN", "unreadable"),
    ({"flavour": "proprietary"}, STACK | {"modules": "open"}, "driver.modules", "FAIL", "other-modules"),
    ({"flavour": None}, STACK | {"modules": "open"}, "driver.modules", "UNKNOWN", "unreadable"),
]


@pytest.mark.parametrize(("change", "stack", "check", "status", "cause"), DRIVERS)
def test_a_driver_that_is_not_as_declared(declared, change, stack, check, status, cause):
    node = declared(stack)
    node.document["driver"] |= change
    assert node.wrong() == [(check, "driver", status, cause)]
    finding = node.finding(check, "driver")
    assert finding.remedy
    if status == "UNKNOWN":
        assert (finding.observed, finding.remedy.partition(":")[0]) == ("", "the node does not say")


def test_declared_modules_pass(declared):
    node = declared(STACK | {"modules": "open"})
    node.document["driver"]["flavour"] = "open"
    assert node.finding("driver.modules", "driver").status == "PASS"


def test_two_versions_ask_for_a_reboot(declared):
    node = declared()
    node.document["driver"]["answers"] = False
    why = "exit code 18: Failed to initialize NVML: Driver/library version mismatch"
    node.document["unread"].append({"what": "gpus", "why": why})
    assert "reboot" in node.finding("driver.answers", "driver").remedy


def test_an_undeclared_driver_is_not_judged(bench):
    assert not [finding for finding in bench().findings() if finding.subject == "driver"]


def drift(kind, found, name="x"):
    return {"kind": kind, "name": name, "expected": "1", "found": found}


DRIFTS = [
    ([], "PASS"),
    ([drift("package", "2")], "WARN"),
    ([drift("package", "absent")], "FAIL"),
    ([drift("file", "ab12")], "FAIL"),
    ([drift("mode", "0666")], "FAIL"),
    ([drift("service", "inactive")], "FAIL"),
    ([drift("package", "2"), drift("service", "inactive")], "FAIL"),
]


@pytest.mark.parametrize(("found", "status"), DRIFTS)
def test_drift(bench, found, status):
    node = bench()
    node.document["managed"] = {
        "base": {"inputs": "aa", "recorded": "2026-01-01T00:00:00Z", "drift": found},
        "nvidia_driver": {"inputs": "bb", "recorded": "2026-01-01T00:00:00Z", "drift": []},
    }
    assert node.finding("managed", "base").status == status
    assert node.finding("managed", "nvidia_driver").status == "PASS"


def test_much_drift_is_counted_not_listed(bench):
    node = bench()
    items = [drift("file", "absent", f"/etc/{number}") for number in range(10)]
    node.document["managed"] = {"base": {"inputs": "aa", "recorded": "", "drift": items}}
    finding = node.finding("managed", "base")
    assert finding.observed == "file /etc/0, file /etc/1, file /etc/2 and 7 more"
    assert len(finding.evidence["drift"]) == 10


def test_drift_that_could_not_be_looked_for_is_unknown(bench):
    node = bench()
    node.document["managed"] = {"base": {"inputs": "aa", "recorded": "", "drift": []}}
    node.document["unread"].append({"what": "managed.services", "why": "systemctl: not there"})
    assert node.finding("managed", "base").status == "UNKNOWN"


@pytest.mark.parametrize("what", ["managed", "managed[base]"])
def test_a_record_that_cannot_be_read_is_unknown(bench, what):
    node = bench()
    node.document["unread"].append({"what": what, "why": "the record is no JSON object"})
    assert node.wrong() == [("managed", "rig", "UNKNOWN", "unreadable")]
    assert "no JSON object" in node.finding("managed", "rig").remedy


def test_a_verdict_is_the_same_twice(bench):
    node = bench()
    first = judge(node.rig, node.catalogue, node.observation())
    assert first == judge(node.rig, node.catalogue, node.observation())


def test_what_is_unknown_does_not_hide_what_fails(declared):
    node = declared()
    node.document["driver"] |= {"nouveau": None, "version": "570.1"}
    assert [line[0] for line in node.wrong()] == ["driver.nouveau", "driver.version"]
