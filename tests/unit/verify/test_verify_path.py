"""The links above a card's own, up to the CPU, and cards that hang on a chipset."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.link import Link

INTEL, AMD = "8086", "1022"


def put_below(node, slot, *uplinks, root="0000:60:01.0", vendor=AMD, device="1483"):
    """Put the slot's port below switches; ``uplinks`` are (width, upper end's greatest generation, lower end's).

    The root's comes first. At rest: each link now runs at 1.0.
    """
    parent, address = None, root
    for depth, (width, upper, lower) in enumerate(uplinks):
        below = f"0000:{0xA0 + depth:02x}:00.0"
        for place, gen in ((address, upper), (below, lower)):
            link = None if width is None else {"width": width, "width_max": 16, "gen": 1, "gen_max": gen}
            node.document["pci"].append(
                {
                    "address": place,
                    "vendor": vendor,
                    "device": device,
                    "class": "060400",
                    "parent": parent,
                    "link": link,
                }
            )
            parent = place
        address = f"0000:{0xB0 + depth:02x}:00.0"
    node.port(slot)["parent"] = parent


# declared, uplinks from the root down -> status, cause, observed
PATHS = [
    ("no link above the slot's own", "4.0 x16", [], "PASS", "", ""),
    ("a switch as wide", "4.0 x16", [(16, 4, 4)], "PASS", "", "4.0 x16"),
    ("faster and narrower is as much", "4.0 x16", [(8, 5, 5)], "PASS", "", "5.0 x8"),
    ("narrower", "4.0 x16", [(8, 4, 4)], "FAIL", "path-limited", "4.0 x8"),
    ("slower", "4.0 x16", [(16, 3, 3)], "FAIL", "path-limited", "3.0 x16"),
    ("slower at the upper end", "4.0 x16", [(16, 3, 4)], "FAIL", "path-limited", "3.0 x16"),
    ("slower at the lower end", "4.0 x16", [(16, 4, 3)], "FAIL", "path-limited", "3.0 x16"),
    ("one end unread", "4.0 x16", [(16, 4, None)], "PASS", "", "4.0 x16"),
    ("the narrowest of two, near the root", "4.0 x16", [(4, 4, 4), (16, 4, 4)], "FAIL", "path-limited", "4.0 x4"),
    ("the narrowest of two, near the card", "4.0 x16", [(16, 4, 4), (4, 4, 4)], "FAIL", "path-limited", "4.0 x4"),
    ("neighbours do not slow each other", "4.0 x16", [(8, 5, 5), (16, 4, 4)], "PASS", "", "4.0 x16"),
    ("narrow, and no more was declared", "3.0 x1", [(1, 3, 3)], "PASS", "", "3.0 x1"),
    ("an x4 chipset uplink, declared so", "4.0 x4", [(4, 4, 4)], "PASS", "", "4.0 x4"),
    ("unread", "4.0 x16", [(None, 4, 4)], "UNKNOWN", "unreadable", ""),
    ("one unread, the other too narrow", "4.0 x16", [(None, 4, 4), (4, 4, 4)], "FAIL", "path-limited", "4.0 x4"),
    ("no generation at either end", "4.0 x16", [(16, None, None)], "UNKNOWN", "unreadable", ""),
]


@pytest.mark.parametrize("row", PATHS, ids=[row[0] for row in PATHS])
def test_path(bench, catalogue, row):
    _, declared, uplinks, status, cause, observed = row
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"link": Link.parse(declared)})
    node = bench(slots=slots)
    put_below(node, "PCIE3", *uplinks)
    finding = node.finding("link.path", "PCIE3")
    assert (finding.status, finding.cause) == (status, cause)
    assert finding.observed.partition(" at ")[0] == observed
    assert bool(finding.remedy) == (status != "PASS")
    assert [line for line in node.wrong() if line[:2] != ("link.path", "PCIE3")] == []


def test_the_port_that_limits_is_named(bench):
    node = bench()
    put_below(node, "PCIE3", (16, 4, 4), (4, 3, 3))
    remedy = node.finding("link.path", "PCIE3").remedy
    assert "PCIE3 of the ASRock Rack ROMED8-2T" in remedy
    assert "0000:a1:00.0" in remedy
    assert "3.9 of the 31.5 GB/s" in remedy


def test_the_cards_own_link_is_not_judged_again(bench):
    node = bench()
    node.port("PCIE3")["link"] |= {"width": 4, "width_max": 4, "gen_max": 3}
    assert node.finding("link.path", "PCIE3").status == "PASS"


def test_in_a_virtual_machine_ports_prove_nothing(bench):
    node = bench()
    node.document["host"]["virtualisation"] = "KVM"
    put_below(node, "PCIE3", (1, 1, 1))
    assert {(f.status, f.cause) for f in node.findings() if f.check == "link.path"} == {("UNKNOWN", "unknown")}


def test_a_card_without_a_port_that_can_be_read_is_unknown(bench):
    node = bench()
    node.port("PCIE3")["link"] = None
    node.card("PCIE5")["parent"] = None
    wrong = [line for line in node.wrong() if line[0] == "link.path"]
    assert wrong == [("link.path", slot, "UNKNOWN", "unreadable") for slot in ("PCIE3", "PCIE5")]


# vendor, device, root port's address -> behind the chipset
ROOTS = [
    ("Intel's CPU", INTEL, "4c01", "0000:00:01.0", False),
    ("Intel's CPU, for a disk", INTEL, "4c09", "0000:00:06.0", False),
    ("Intel's chipset", INTEL, "43b8", "0000:00:1c.0", True),
    ("Intel's chipset, its last device", INTEL, "43b0", "0000:00:1d.7", True),
    ("Intel's chipset, its first device", INTEL, "7ac0", "0000:00:1a.0", True),
    ("Intel's chipset on its own bus", INTEL, "7f38", "0000:80:1c.0", True),
    ("a server CPU's port of another bus", INTEL, "347a", "0000:c9:1c.0", False),
    ("a port of another segment", INTEL, "347a", "10000:00:1c.0", False),
    ("AMD's CPU", AMD, "14db", "0000:00:1c.0", False),
    ("another vendor's port", "1dd8", "43b8", "0000:00:1c.0", False),
]


@pytest.mark.parametrize(("words", "vendor", "device", "root", "chipset"), ROOTS, ids=[row[0] for row in ROOTS])
def test_intels_chipset_shows_in_the_root_ports_place(bench, words, vendor, device, root, chipset):
    node = bench()
    port = node.port("PCIE3")
    port |= {"vendor": vendor, "device": device, "address": root}
    for index in ("0", "1"):
        function = next(d for d in node.document["pci"] if d["address"] == f"0000:21:00.{index}")
        function["parent"] = root
    expected = [("link.path", "PCIE3", "WARN", "chipset-attached")] if chipset else []
    assert node.wrong() == expected


@pytest.mark.parametrize("device", ["43b4", "43c7", "43e9", "43f4", "57a3", "57a4", "57ad"])
def test_amds_chipset_is_a_switch_on_the_way(bench, device):
    node = bench()
    put_below(node, "PCIE3", (16, 4, 4))
    switch = next(d for d in node.document["pci"] if d["address"] == "0000:a0:00.0")
    assert not node.wrong()
    switch["device"] = device
    assert node.wrong() == [("link.path", "PCIE3", "WARN", "chipset-attached")]
    assert node.finding("link.path", "PCIE3").evidence["attached"] == "chipset"
    switch["vendor"] = "10b5"
    assert not node.wrong()


def test_a_narrow_chipset_uplink_is_the_graver_finding(bench):
    node = bench()
    put_below(node, "PCIE3", (4, 4, 4), device="43f4")
    assert node.wrong() == [("link.path", "PCIE3", "FAIL", "path-limited")]


def test_a_slot_that_the_board_has_on_its_chipset_may_be_there(bench):
    node = bench("budget-4x3090")
    for slot in node.rig.build.slots:
        put_below(node, slot, (4, 4, 4), root=f"0000:00:1c.{slot[-1]}", vendor=INTEL, device="43b8")
    assert not node.wrong()
    assert node.finding("link.path", "PCIE3").evidence["attached"] == "chipset"


def test_a_root_ports_place_says_nothing_of_switches(bench):
    """Only the last port of the way is the root's; a bus of a switch may have any number."""
    node = bench()
    put_below(node, "PCIE3", (16, 4, 4), vendor=INTEL, device="43b8")
    switch = next(d for d in node.document["pci"] if d["address"] == "0000:a0:00.0")
    switch["address"] = "0000:80:1c.0"
    node.port("PCIE3")["parent"] = "0000:80:1c.0"
    assert not node.wrong()
