"""What the driver says of each card beside link and memory, and persistence."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.models import BiosMenu


@pytest.fixture
def declared(bench, catalogue):
    """A node of the build with four cards; ``watts`` is the declared power limit of PCIE3."""

    def make(*, watts=None, **build):
        slots = dict(catalogue.builds["pro-4x3090"].slots)
        slots["PCIE3"] = slots["PCIE3"].model_copy(update={"power_limit_watts": watts})
        return bench(slots=slots, **build)

    return make


# declared, bar1_mib of the driver, bars_mib of the kernel -> status, cause, words of the remedy
BARS = [
    (True, 32768, [], "PASS", "", ""),
    (True, 24576, [], "PASS", "", ""),
    (True, 24575, [], "WARN", "rebar-off", "VBIOS"),
    (True, 256, [], "WARN", "rebar-off", "Above 4G Decoding"),
    (True, 256, [32768], "WARN", "rebar-off", "Above 4G Decoding"),
    (True, None, [16, 32768, 32], "PASS", "", ""),
    (True, None, [16, 256, 32], "WARN", "rebar-off", "Above 4G Decoding"),
    (True, None, [], "UNKNOWN", "unreadable", "BARs"),
    (False, 256, [], "PASS", "", ""),
    (False, 32768, [], "WARN", "spec-mismatch", "resizable_bar: true"),
    (False, None, [], "UNKNOWN", "unreadable", "BARs"),
]


@pytest.mark.parametrize(("wanted", "bar1", "bars", "status", "cause", "words"), BARS)
def test_bar1(declared, wanted, bar1, bars, status, cause, words):
    node = declared(resizable_bar=wanted)
    for reading in node.document["gpus"]:
        reading["bar1_mib"] = 32768 if wanted else 256
    node.reading("PCIE3")["bar1_mib"] = bar1
    node.card("PCIE3")["bars_mib"] = bars
    finding = node.finding("gpu.bar1", "PCIE3")
    assert (finding.status, finding.cause) == (status, cause)
    assert words in finding.remedy
    assert node.wrong() == ([("gpu.bar1", "PCIE3", status, cause)] if cause else [])


def test_bar1_is_judged_where_it_is_declared(declared):
    assert not [finding for finding in declared().findings() if finding.check == "gpu.bar1"]


def test_bar1_before_the_driver(bench):
    node = bench(driver=False, resizable_bar=True)
    node.card("PCIE3")["bars_mib"] = [16, 256]
    assert node.finding("gpu.bar1", "PCIE3").cause == "rebar-off"


def test_a_small_bar_is_looked_for_in_that_boards_menu(declared, catalogue, monkeypatch):
    board = catalogue.boards["asrock-rack-romed8-2t"]
    menu = BiosMenu(resizable_bar="Advanced > PCI > Re-Size BAR", above_4g_decoding="Advanced > PCI > Above 4G")
    monkeypatch.setitem(catalogue.boards, board.id, board.model_copy(update={"bios": menu}))
    node = declared(resizable_bar=True)
    node.reading("PCIE3")["bar1_mib"] = 256
    remedy = node.finding("gpu.bar1", "PCIE3").remedy
    assert menu.resizable_bar in remedy
    assert menu.above_4g_decoding in remedy
    assert "PCIE3 of the ASRock Rack ROMED8-2T" in remedy
    node.document["host"]["virtualisation"] = "kvm"
    remedy = node.finding("gpu.bar1", "PCIE3").remedy
    assert "host" in remedy
    assert "BIOS" not in remedy


def test_another_card_has_another_bar(declared):
    node = declared(resizable_bar=True)
    node.card("PCIE3")["device"] = "2684"
    node.reading("PCIE3")["bar1_mib"] = 256
    assert not [f for f in node.findings() if (f.check, f.subject) == ("gpu.bar1", "PCIE3")]


# declared watts, reading -> status and cause; None: no finding
POWERS = [
    (None, {"limit": 350, "enforced": 350}, None),
    (None, {"limit": 350, "enforced": 349.5}, None),
    (None, {"limit": 350, "enforced": 348}, ("WARN", "power-capped")),
    (None, {}, None),
    (None, None, None),
    (300, {"limit": 300, "enforced": 300}, ("PASS", "")),
    (300, {"limit": 300, "enforced": 299.2}, ("PASS", "")),
    (300, {"limit": 350, "enforced": 350}, ("WARN", "power-limit")),
    (300, {"limit": 250, "enforced": 250}, ("WARN", "power-limit")),
    (300, {"enforced": 300}, ("PASS", "")),
    (300, {"limit": 300}, ("UNKNOWN", "unreadable")),
    (300, None, ("UNKNOWN", "unreadable")),
    (300, {"enforced": "300 W"}, ("UNKNOWN", "unreadable")),
]


@pytest.mark.parametrize(("watts", "power", "expected"), POWERS)
def test_power(declared, watts, power, expected):
    node = declared(watts=watts)
    node.reading("PCIE3")["power"] = power
    found = [f for f in node.findings() if f.check == "gpu.power"]
    assert [(f.subject, f.status, f.cause) for f in found] == ([("PCIE3", *expected)] if expected else [])
    assert all(bool(f.remedy) == (f.status != "PASS") for f in found)


def test_the_power_limit_is_set_by_a_command(declared):
    node = declared(watts=300)
    node.reading("PCIE3")["power"] = {"limit": 350, "enforced": 350}
    assert "'nvidia-smi -i 0000:21:00.0 -pl 300'" in node.finding("gpu.power", "PCIE3").remedy


# change of the reading -> status, cause, observed, words of the remedy
HEALTH = [
    ({}, "PASS", "", "well", ""),
    ({"clock_reasons": []}, "PASS", "", "well", ""),
    ({"clock_reasons": ["sw_power_cap", "sw_thermal_slowdown", "sync_boost"]}, "PASS", "", "well", ""),
    ({"clock_reasons": ["hw_slowdown"]}, "FAIL", "hw-slowdown", "hw_slowdown", "power cables"),
    ({"clock_reasons": ["hw_slowdown", "hw_thermal_slowdown"]}, "FAIL", "hw-slowdown", "hw_thermal_slowdown", "fans"),
    ({"clock_reasons": ["hw_power_brake_slowdown"]}, "FAIL", "hw-slowdown", "hw_power_brake_slowdown", "supply"),
    ({"recovery_action": None}, "PASS", "", "well", ""),
    ({"recovery_action": "Reset"}, "FAIL", "recovery", "asks for: Reset", "--gpu-reset -i 0000:21:00.0"),
    ({"recovery_action": "Reboot"}, "FAIL", "recovery", "asks for: Reboot", "a reboot"),
    ({"recovery_action": "Drain P2P"}, "FAIL", "recovery", "asks for: Drain P2P", "stop what uses"),
    ({"health": {"remap_pending": 0, "remap_failed": 0, "ecc_uncorrectable": 0}}, "PASS", "", "well", ""),
    ({"health": {"remapped_correctable": 3, "remapped_uncorrectable": 1}}, "PASS", "", "well", ""),
    ({"health": {"remap_pending": 1}}, "FAIL", "memory-faults", "remap_pending 1", "spare rows"),
    ({"health": {"retired_pending": 1}}, "FAIL", "memory-faults", "retired_pending 1", "spare rows"),
    ({"health": {"remap_failed": 1, "remap_pending": 1}}, "FAIL", "memory-faults", "remap_failed 1", "replaced"),
    ({"health": {"ecc_uncorrectable": 7}}, "FAIL", "memory-faults", "ecc_uncorrectable 7", "replace"),
    ({"clock_reasons": ["hw_slowdown"], "recovery_action": "Reset", "health": {"remap_failed": 1}},
     "FAIL", "hw-slowdown", "hw_slowdown", ""),
    ({"recovery_action": "Reset", "health": {"remap_failed": 1}}, "FAIL", "recovery", "asks for: Reset", ""),
    ({"clock_reasons": None}, "UNKNOWN", "unreadable", "", "neither"),
    ({"clock_reasons": None, "health": {}}, "UNKNOWN", "unreadable", "", "neither"),
    ({"clock_reasons": None, "recovery_action": "Reset"}, "FAIL", "recovery", "asks for: Reset", ""),
    ({"clock_reasons": None, "health": {"remap_failed": 0}}, "PASS", "", "well", ""),
]  # fmt: skip


@pytest.mark.parametrize(("change", "status", "cause", "observed", "words"), HEALTH)
def test_health(declared, change, status, cause, observed, words):
    node = declared()
    node.reading("PCIE3").update(change)
    finding = node.finding("gpu.health", "PCIE3")
    assert (finding.status, finding.cause, finding.observed) == (status, cause, observed)
    assert words in finding.remedy
    assert node.wrong() == ([("gpu.health", "PCIE3", status, cause)] if cause else [])


def test_a_card_that_the_driver_does_not_show_has_no_health(bench):
    checks = {finding.check for finding in bench(driver=False).findings()}
    assert not checks & {"gpu.health", "gpu.power", "driver.persistence"}


# persistence of the first two cards, of the others -> status, cause, observed
PERSISTENCE = [
    ((True, True), True, "PASS", "", "on"),
    ((None, True), True, "PASS", "", "on"),
    ((False, True), True, "WARN", "persistence-off", "off: PCIE1"),
    ((False, None), None, "WARN", "persistence-off", "off: PCIE1"),
    ((False, False), True, "WARN", "persistence-off", "off: PCIE1, PCIE3"),
    ((None, None), None, "UNKNOWN", "unreadable", ""),
]


@pytest.mark.parametrize(("first", "others", "status", "cause", "observed"), PERSISTENCE)
def test_persistence(declared, first, others, status, cause, observed):
    node = declared()
    for slot, value in zip(node.rig.build.slots, (*first, others, others), strict=True):
        node.reading(slot)["persistence"] = value
    finding = node.finding("driver.persistence", "driver")
    assert (finding.status, finding.cause, finding.observed) == (status, cause, observed)


def test_who_declares_a_driver_lets_up_keep_it_awake(bench, rig):
    node = bench()
    node.reading("PCIE1")["persistence"] = False
    command = "rigdeploy up rig01 --only driver"
    assert command not in node.finding("driver.persistence", "driver").remedy
    node.rig = rig(stack={"driver": "580"})
    assert command in node.finding("driver.persistence", "driver").remedy


def test_a_driver_that_does_not_answer_keeps_nothing_awake(bench):
    node = bench()
    node.document["driver"]["answers"] = False
    assert "driver.persistence" not in {finding.check for finding in node.findings()}
