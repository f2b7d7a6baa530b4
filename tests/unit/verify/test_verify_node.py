"""The driver where one is declared, and drift."""

from __future__ import annotations

import pytest

from rigdeploy.verify.rules import judge

STACK = {"driver": "580"}
CLOSED = {"flavour": "proprietary", "installed_flavour": "proprietary"}


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
    ({"version": "570.124.04", "installed": "570.124.04"}, STACK, "driver.version", "FAIL", "other-version"),
    ({"version": None}, STACK, "driver.version", "UNKNOWN", "unreadable"),
    ({"version": "5800.1", "installed": None}, STACK, "driver.version", "FAIL", "other-version"),
    ({"nouveau": True}, STACK, "driver.nouveau", "FAIL", "nouveau"),
    ({"nouveau": None}, STACK, "driver.nouveau", "UNKNOWN", "unreadable"),
    ({"loaded": None}, STACK, "driver.loaded", "UNKNOWN", "unreadable"),
    ({"answers": False}, STACK, "driver.answers", "FAIL", "no-answer"),
    ({"answers": None}, STACK, "driver.answers", "UNKNOWN", "unreadable"),
    (CLOSED, STACK, "driver.modules", "FAIL", "other-modules"),
    (CLOSED, STACK | {"modules": "open"}, "driver.modules", "FAIL", "other-modules"),
    ({}, STACK | {"modules": "proprietary"}, "driver.modules", "FAIL", "other-modules"),
    ({"flavour": None}, STACK, "driver.modules", "UNKNOWN", "unreadable"),
    ({"installed": "580.105.08"}, STACK, "driver.installed", "WARN", "reboot-pending"),
    ({"installed_flavour": "proprietary"}, STACK, "driver.installed", "WARN", "reboot-pending"),
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


# declared modules, GPU, the driver's flavour
FLAVOURS = [
    ("auto", "rtx-3090", "open"),
    ("open", "rtx-3090", "open"),
    ("proprietary", "rtx-3090", "proprietary"),
    ("auto", "p40", "proprietary"),
    ("auto", "v100-pcie-16gb", "proprietary"),
    ("auto", "rtx-5090", "open"),
]


@pytest.mark.parametrize(("modules", "gpu", "flavour"), FLAVOURS)
def test_the_modules_that_the_cards_need_pass(declared, rig, catalogue, modules, gpu, flavour):
    slots = catalogue.builds["pro-4x3090"].slots
    node = declared()
    node.rig = rig(
        stack=STACK | {"modules": modules},
        slots={name: slot.model_copy(update={"gpu": gpu}) for name, slot in slots.items()},
    )
    node.document["driver"] |= {"flavour": flavour, "installed_flavour": flavour}
    assert node.finding("driver.modules", "driver").status == "PASS"
    other = {"open": "proprietary", "proprietary": "open"}[flavour]
    node.document["driver"] |= {"flavour": other, "installed_flavour": other}
    assert node.finding("driver.modules", "driver").cause == "other-modules"


# installed version and flavour -> whether a finding says that the next boot loads the same
@pytest.mark.parametrize(
    ("installed", "flavour", "said"),
    [("580.95.05", "open", True), ("580.95.05", None, True), (None, None, False), (None, "open", False)],
)
def test_what_the_next_boot_loads(declared, installed, flavour, said):
    node = declared()
    node.document["driver"] |= {"installed": installed, "installed_flavour": flavour}
    assert not node.wrong()
    assert ("driver.installed" in {f.check for f in node.findings()}) is said


@pytest.mark.parametrize(("secure", "cause"), [(True, "secure-boot"), (False, "not-loaded"), (None, "not-loaded")])
def test_secure_boot_keeps_a_module_out(declared, secure, cause):
    node = declared(driver=False)
    node.document["host"]["secure_boot"] = secure
    finding = node.finding("driver.loaded", "driver")
    assert finding.cause == cause
    assert ("Secure Boot" in finding.remedy) is (secure is True)


def test_secure_boot_is_no_fault_of_a_module_that_is_loaded(declared):
    node = declared()
    node.document["host"]["secure_boot"] = True
    assert not node.wrong()


@pytest.mark.parametrize("loaded", [False, None])
def test_nouveau_is_where_it_holds_a_card(declared, loaded):
    node = declared()
    node.document["driver"]["nouveau"] = loaded
    node.card("PCIE3")["driver"] = node.card("PCIE7")["driver"] = "nouveau"
    node.card("PCIE1")["driver"] = "nvidia"
    finding = node.finding("driver.nouveau", "driver")
    assert (finding.status, finding.observed) == ("FAIL", "holds PCIE3, PCIE7")


def test_two_versions_ask_for_a_reboot(declared):
    node = declared()
    node.document["driver"]["answers"] = False
    why = "exit code 18: Failed to initialize NVML: Driver/library version mismatch"
    node.document["unread"].append({"what": "gpus", "why": why})
    assert "reboot" in node.finding("driver.answers", "driver").remedy


def test_an_undeclared_driver_is_not_judged(bench):
    said = [finding.check for finding in bench().findings() if finding.subject == "driver"]
    assert said == ["driver.persistence"]


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
    node.document["driver"] |= {"nouveau": None, "version": "570.1", "installed": "570.1"}
    assert [line[0] for line in node.wrong()] == ["driver.nouveau", "driver.version"]
