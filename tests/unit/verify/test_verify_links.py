"""The decision table of widths, row by row, and the generation with and without load."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigdeploy.fleet.link import Link
from rigdeploy.node.load import Load
from rigdeploy.verify.rules import judge

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


def blamed(node, slot):
    """What is wrong in the other slots; in a virtual machine no path can be judged."""
    virtual = node.document["host"]["virtualisation"] not in (None, "none")
    others = [line for line in node.wrong() if line[1] in node.rig.build.slots and line[1] != slot]
    return [line for line in others if not (virtual and line[0] == "link.path")]


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
    assert not blamed(node, "PCIE3"), "a neighbour is blamed"


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
    assert not blamed(node, "PCIE5")
    assert {line[0] for line in node.wrong() if line[1] == "PCIE5"} <= {"link.generation", "link.path"}


def test_the_root_port_limits_too(bench):
    node = bench()
    node.card("PCIE5")["link"]["gen"] = 1
    node.reading("PCIE5")["link"] = {"width": 16, "gen": 1, "gen_host_max": 3, "gen_device_max": 4}
    assert node.wrong() == [("link.generation", "PCIE5", "FAIL", "slot-limited")]


def test_before_the_driver_an_idle_link_is_unknown(bench):
    node = bench(driver=False)
    node.card("PCIE5")["link"]["gen"] = 1
    assert node.wrong() == [("link.generation", "PCIE5", "UNKNOWN", "idle")]


# declared, now, under load (samples, least, most), port's -> status, cause, observed
WIDTHS_UNDER_LOAD = [
    ("narrow at rest, wide at work", 16, 1, (40, 16, 16), 16, "PASS", "", "x16"),
    ("one look is enough for a width", 16, 1, (1, 16, 16), 16, "PASS", "", "x16"),
    ("it rose within the load", 16, 1, (40, 1, 16), 16, "PASS", "", "x16"),
    ("narrow at work too", 16, 8, (40, 8, 8), 16, "FAIL", "link-degraded", "x8"),
    ("narrower at work than now: wide is wide", 16, 16, (40, 8, 8), 16, "PASS", "", "x16"),
    ("better, but not as declared", 16, 1, (40, 8, 8), 8, "FAIL", "slot-limited", "x8"),
    ("nobody looked", 16, 8, (0, None, None), 16, "FAIL", "link-degraded", "x8"),
    ("a width without looks is none", 16, 8, (0, 16, 16), 16, "FAIL", "link-degraded", "x8"),
    ("only the load knows", 16, None, (40, 16, 16), 16, "PASS", "", "x16"),
    ("wide at work, and not declared", 8, 8, (40, 8, 16), 16, "WARN", "spec-mismatch", "x16"),
]


@pytest.mark.parametrize("row", WIDTHS_UNDER_LOAD, ids=[row[0] for row in WIDTHS_UNDER_LOAD])
def test_width_under_load(bench, catalogue, row):
    _, declared, now, (samples, least, most), port, status, cause, observed = row
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"link": Link(4, declared)})
    node = bench(slots=slots)
    node.card("PCIE3")["link"]["width"] = node.reading("PCIE3")["link"]["width"] = now
    node.port("PCIE3")["link"]["width_max"] = port
    node.put_under_load()
    node.loaded("PCIE3")["link"] = {"samples": samples, "width_min": least, "width_max": most, "gen_max": 4}
    finding = node.finding("link.width", "PCIE3")
    assert (finding.status, finding.cause, finding.observed) == (status, cause, observed)
    assert finding.evidence["under_load"]["samples"] == samples
    assert finding.evidence["under_load"]["taken"] == node.load["taken"]
    assert ("--active" in finding.remedy) == (status == "FAIL" and not samples)


@pytest.mark.parametrize("later", [-3600.0, 3600.0, None])
def test_a_load_of_another_time_excuses_no_narrow_link(bench, later):
    node = bench()
    node.put_under_load()
    node.document["taken"] = node.load["taken"] + later if later else None
    node.card("PCIE3")["link"]["width"] = node.reading("PCIE3")["link"]["width"] = 8
    finding = node.finding("link.width", "PCIE3")
    assert (finding.status, finding.cause, finding.observed) == ("FAIL", "link-degraded", "x8")
    assert "--active" in finding.remedy


@pytest.mark.parametrize(
    ("later", "pstate", "idle", "status"),
    [(3600.0, 2, False, "FAIL"), (None, 0, False, "FAIL"), (3600.0, 8, True, "PASS"), (25.0, 2, False, "PASS")],
)
def test_a_load_of_another_time_excuses_no_link_that_is_slow_at_work(bench, later, pstate, idle, status):
    node = bench()
    node.put_under_load()
    node.document["taken"] = node.load["taken"] + later if later else None
    node.card("PCIE3")["link"]["gen"] = node.reading("PCIE3")["link"]["gen"] = 1
    node.reading("PCIE3").update(pstate=pstate, idle=idle)
    assert node.finding("link.generation", "PCIE3").status == status


def test_a_load_that_was_kept_excuses_no_narrow_link_however_short_ago_it_was(bench):
    node = bench()
    node.put_under_load()
    node.card("PCIE3")["link"]["width"] = node.reading("PCIE3")["link"]["width"] = 8
    assert not node.wrong()
    kept = replace(Load.parse(node.load), kept=True)
    found = judge(node.rig, node.catalogue, node.observation(), kept)
    assert [(f.check, f.cause) for f in found if f.status != "PASS"] == [("link.width", "link-degraded")]


def test_a_narrow_link_without_load_fails_and_says_how_to_be_sure(bench):
    node = bench()
    node.card("PCIE3")["link"]["width"] = node.reading("PCIE3")["link"]["width"] = 8
    finding = node.finding("link.width", "PCIE3")
    assert (finding.status, finding.cause) == ("FAIL", "link-degraded")
    assert "rigdeploy verify rig01 --active" in finding.remedy
    assert finding.evidence["under_load"] is None


# now, under load (samples, generation), card's, port's -> status, cause
GENERATIONS_UNDER_LOAD = [
    ("rose to what was declared", 1, (40, 4), 4, 4, "PASS", ""),
    ("one fast look is enough", 1, (1, 4), 4, 4, "PASS", ""),
    ("slow at work", 1, (40, 3), 4, 4, "FAIL", "link-degraded"),
    ("five looks are enough to fail", 1, (5, 3), 4, 4, "FAIL", "link-degraded"),
    ("four looks are not", 1, (4, 3), 4, 4, "UNKNOWN", "idle"),
    ("nobody looked", 1, (0, None), 4, 4, "UNKNOWN", "idle"),
    ("slow at work, as the port is", 1, (40, 3), 4, 3, "FAIL", "slot-limited"),
    ("slow at work, as the card is", 1, (40, 3), 3, 4, "FAIL", "card-limited"),
    ("fast before, slow at work", 4, (40, 3), 4, 4, "PASS", ""),
    ("only the load knows", None, (40, 4), 4, 4, "PASS", ""),
]


@pytest.mark.parametrize("row", GENERATIONS_UNDER_LOAD, ids=[row[0] for row in GENERATIONS_UNDER_LOAD])
def test_generation_under_load(bench, row):
    _, now, (samples, gen), card, port, status, cause = row
    node = bench()
    node.card("PCIE5")["link"] |= {"gen": now, "gen_max": card}
    node.port("PCIE5")["link"] |= {"gen": now, "gen_max": port}
    node.reading("PCIE5")["link"]["gen"] = now
    node.put_under_load()
    node.loaded("PCIE5")["link"] |= {"samples": samples, "gen_max": gen}
    finding = node.finding("link.generation", "PCIE5")
    assert (finding.status, finding.cause) == (status, cause)
    assert finding.evidence["under_load"]["gen_max"] == gen


def test_a_load_of_another_boot_proves_nothing(bench):
    node = bench()
    node.card("PCIE5")["link"]["gen"] = node.reading("PCIE5")["link"]["gen"] = 1
    node.put_under_load()["boot_id"] = "another"
    assert node.wrong() == [("link.generation", "PCIE5", "UNKNOWN", "idle")]


@pytest.mark.parametrize(
    ("check", "field", "limit", "setting"),
    [("link.width", "width", 8, "bifurcation"), ("link.generation", "gen", 3, "link_speed")],
)
def test_a_limited_slot_is_looked_for_in_that_boards_menu(bench, catalogue, check, field, limit, setting):
    node = bench()
    node.card("PCIE3")["link"][field] = node.reading("PCIE3")["link"][field] = limit
    node.port("PCIE3")["link"][f"{field}_max"] = limit
    menu = getattr(catalogue.boards["asrock-rack-romed8-2t"].bios, setting)
    assert menu
    assert menu in node.finding(check, "PCIE3").remedy
