"""The decision table of widths, row by row, and the generation with and without load."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.link import Link

# declared, current, card's, port's, virtual -> status, cause
WIDTHS = [
    ("equal", 16, 16, 16, 16, "none", "PASS", ""),
    ("narrow by design", 1, 1, 16, 1, "none", "PASS", ""),
    ("narrow by design, in a wide slot", 1, 1, 16, 16, "none", "PASS", ""),
    ("bifurcated as declared", 8, 8, 16, 8, "none", "PASS", ""),
    ("port narrower", 16, 8, 16, 8, "none", "FAIL", "slot-limited"),
    ("port narrower, link narrower still", 16, 4, 16, 8, "none", "FAIL", "slot-limited"),
    ("port narrower, and so is the card", 16, 4, 8, 4, "none", "FAIL", "slot-limited"),
    ("both could", 16, 8, 16, 16, "none", "FAIL", "link-degraded"),
    ("both could, far down", 16, 1, 16, 16, "none", "FAIL", "link-degraded"),
    ("both could do more than declared", 8, 4, 16, 16, "none", "FAIL", "link-degraded"),
    ("card narrower", 16, 8, 8, 16, "none", "FAIL", "card-limited"),
    ("wider than declared", 8, 16, 16, 16, "none", "WARN", "spec-mismatch"),
    ("x1 declared, x16 there", 1, 16, 16, 16, "none", "WARN", "spec-mismatch"),
    ("port unread", 16, 8, 16, None, "none", "FAIL", "unknown"),
    ("port unread, but right", 16, 16, 16, None, "none", "PASS", ""),
    ("card's greatest unread: the catalogue knows it", 16, 8, None, 16, "none", "FAIL", "link-degraded"),
    ("virtual", 16, 8, 16, 8, "QEMU", "FAIL", "unknown"),
    ("virtual, and right", 16, 16, 16, 8, "QEMU", "PASS", ""),
    ("unread", 16, None, 16, 16, "none", "UNKNOWN", "unreadable"),
    ("virtualisation unread is no virtual machine", 16, 8, 16, 8, None, "FAIL", "slot-limited"),
]


@pytest.mark.parametrize("row", WIDTHS, ids=[row[0] for row in WIDTHS])
def test_width(bench, catalogue, row):
    _, declared, current, card, port, virtual, status, cause = row
    build = catalogue.builds["pro-4x3090"]
    slots = dict(build.slots)
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"link": Link(4, declared)})
    node = bench(slots=slots)
    node.document["host"]["virtualisation"] = virtual
    node.card("PCIE3")["link"] |= {"width": current, "width_max": card}
    node.port("PCIE3")["link"] |= {"width_max": port}
    node.reading("PCIE3")["link"]["width"] = current
    finding = node.finding("link.width", "PCIE3")
    assert (finding.status, finding.cause) == (status, cause)
    assert finding.declared == f"x{declared}"
    assert finding.observed == (f"x{current}" if current else "")
    if status != "PASS":
        assert finding.remedy
    assert not [line for line in node.wrong() if line[1] != "PCIE3"], "a neighbour is blamed"


def test_a_remedy_names_slot_and_board(bench):
    node = bench()
    node.card("PCIE3")["link"]["width"] = node.reading("PCIE3")["link"]["width"] = 8
    assert "PCIE3 of the ASRock Rack ROMED8-2T" in node.finding("link.width", "PCIE3").remedy


def test_a_remedy_says_what_the_board_is_known_for(bench):
    node = bench("romed8-7x4090")
    node.card("PCIE2")["link"]["width"] = 8
    node.port("PCIE2")["link"]["width_max"] = 8
    assert "OCuLink" in node.finding("link.width", "PCIE2").remedy


def test_nvidia_smi_speaks_where_sysfs_is_silent(bench):
    node = bench()
    node.card("PCIE1")["link"] = None
    assert not node.wrong()
    node.reading("PCIE1")["link"]["width"] = 8
    assert node.wrong() == [("link.width", "PCIE1", "FAIL", "link-degraded")]


# declared, current (sysfs, nvidia-smi), card's, port's, P-state, idle, virtual -> status, cause
GENERATIONS = [
    ("as declared", 4, (4, 4), 4, 4, 8, True, "none", "PASS", ""),
    ("better than declared", 3, (4, 4), 4, 4, 2, False, "none", "PASS", ""),
    ("one fast reading is enough", 4, (1, 4), 4, 4, 8, True, "none", "PASS", ""),
    ("one fast reading is enough, the other way", 4, (4, 1), 4, 4, 8, True, "none", "PASS", ""),
    ("idle", 4, (1, 1), 4, 4, 8, True, "none", "UNKNOWN", "idle"),
    ("slow state, not called idle", 4, (2, 2), 4, 4, 5, False, "none", "UNKNOWN", "idle"),
    ("fast state, yet idle", 4, (1, 1), 4, 4, 2, True, "none", "UNKNOWN", "idle"),
    ("no word about load", 4, (1, 1), 4, 4, None, None, "none", "UNKNOWN", "idle"),
    ("at work", 4, (3, 3), 4, 4, 2, False, "none", "FAIL", "link-degraded"),
    ("at work in P0", 4, (1, 1), 4, 4, 0, False, "none", "FAIL", "link-degraded"),
    ("at work in a virtual machine", 4, (3, 3), 4, 4, 2, False, "KVM", "FAIL", "unknown"),
    ("the port can not, idle or not", 4, (1, 1), 4, 3, 8, True, "none", "FAIL", "slot-limited"),
    ("the port can not, and clamps the card", 4, (1, 1), 3, 3, 8, True, "none", "FAIL", "slot-limited"),
    ("the card can not", 4, (1, 1), 3, 4, 8, True, "none", "FAIL", "card-limited"),
    ("a virtual machine's ports prove nothing", 4, (1, 1), 4, 3, 8, True, "KVM", "UNKNOWN", "idle"),
    ("unread", 4, (None, None), 4, 4, 8, True, "none", "UNKNOWN", "unreadable"),
    ("limits unread", 4, (1, 1), None, None, 8, True, "none", "UNKNOWN", "idle"),
]


@pytest.mark.parametrize("row", GENERATIONS, ids=[row[0] for row in GENERATIONS])
def test_generation(bench, catalogue, row):
    _, declared, (sysfs, smi), card, port, pstate, idle, virtual, status, cause = row
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE5"] = slots["PCIE5"].model_copy(update={"link": Link(declared, 16)})
    node = bench(slots=slots)
    node.document["host"]["virtualisation"] = virtual
    node.card("PCIE5")["link"] |= {"gen": sysfs, "gen_max": card}
    node.port("PCIE5")["link"] |= {"gen": sysfs, "gen_max": port}
    node.reading("PCIE5").update(pstate=pstate, idle=idle)
    node.reading("PCIE5")["link"]["gen"] = smi
    finding = node.finding("link.generation", "PCIE5")
    assert (finding.status, finding.cause) == (status, cause)
    assert bool(finding.remedy) == (status != "PASS")
    assert not [line for line in node.wrong() if line[:2] != ("link.generation", "PCIE5")]


def test_the_root_port_limits_too(bench):
    node = bench()
    node.card("PCIE5")["link"]["gen"] = 1
    node.reading("PCIE5")["link"] = {"width": 16, "gen": 1, "gen_host_max": 3, "gen_device_max": 4}
    assert node.wrong() == [("link.generation", "PCIE5", "FAIL", "slot-limited")]


def test_before_the_driver_an_idle_link_is_unknown(bench):
    node = bench(driver=False)
    node.card("PCIE5")["link"]["gen"] = 1
    assert node.wrong() == [("link.generation", "PCIE5", "UNKNOWN", "idle")]
