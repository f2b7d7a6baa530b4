"""What the cards did under load: every status and cause, and what leaves no finding at all."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.link import Link
from rigdeploy.fleet.models import VerifySettings

PASS, UNREADABLE = ("PASS", ""), ("UNKNOWN", "unreadable")
THEORY = 31.504  # GB/s of 4.0 x16


@pytest.fixture
def loaded(bench, catalogue):
    """A node that was put under load; ``link`` and ``allowance`` are declared for PCIE3."""

    def make(link=None, allowance=None, **build):
        slots = dict(catalogue.builds["pro-4x3090"].slots)
        change = {"correctable_errors_per_hour": allowance} | ({"link": link} if link else {})
        slots["PCIE3"] = slots["PCIE3"].model_copy(update=change)
        node = bench(slots=slots, **build)
        node.put_under_load()
        return node

    return make


def verdict(node, check, subject="PCIE3"):
    found = [(f.status.value, f.cause) for f in node.findings() if (f.check, f.subject) == (check, subject)]
    return found[0] if found else None


def remedy(node, check, subject="PCIE3"):
    return node.finding(check, subject).remedy


def test_a_sound_rig_passes_under_load(loaded):
    node = loaded(peer_to_peer=True, nvlink=[["PCIE1", "PCIE3"]])
    assert not node.wrong()
    checks = {f.check for f in node.findings() if f.check.startswith("load")}
    assert checks == {"load", "load.bandwidth", "load.errors", "load.memory", "load.p2p", "load.nvlink"}


@pytest.mark.parametrize("boot", [None, "another boot", 7])
def test_without_a_load_of_this_boot_nothing_is_said(loaded, boot):
    node = loaded(peer_to_peer=True, nvlink=[["PCIE1", "PCIE3"]])
    node.load["boot_id"] = boot
    assert not [f for f in node.findings() if f.check.startswith("load")]
    node.load = None
    assert not [f for f in node.findings() if f.check.startswith("load")]


# how it ended, why the library could not be used, whether a card was measured -> verdict
ENDS = [
    ("done", "", True, PASS),
    ("done", "", False, PASS),
    ("done", "not found", True, PASS),
    ("done", "not found", False, ("UNKNOWN", "no-library")),
    ("cancelled", "", True, ("UNKNOWN", "cancelled")),
    ("timeout", "", True, ("UNKNOWN", "timeout")),
    ("timeout", "not found", False, ("UNKNOWN", "no-library")),
    (None, "", True, UNREADABLE),
    ("exploded", "", True, UNREADABLE),
]


@pytest.mark.parametrize(("how", "library", "measured", "expected"), ENDS)
def test_the_end(loaded, how, library, measured, expected):
    node = loaded()
    node.load["ended"] = how
    node.load["cards"] = node.load["cards"] if measured else []
    node.load["unread"] = [{"what": "library", "why": library}] if library else []
    assert verdict(node, "load", "rig") == expected
    assert bool(remedy(node, "load", "rig")) == (expected != PASS)


LOW, SHARED = ("FAIL", "bandwidth-low"), ("WARN", "shared-uplink")

# parts of the theory to and from the card alone, and together -> verdict
COPIES = [
    (0.83, 0.86, 0.83, 0.86, PASS),
    (0.70, 0.86, 0.70, 0.86, PASS),
    (0.69, 0.86, 0.69, 0.86, LOW),
    (0.86, 0.69, 0.86, 0.69, LOW),
    (0.42, 0.42, 0.42, 0.42, LOW),
    (0.0, 0.0, 0.0, 0.0, LOW),
    (0.3, None, None, None, LOW),
    (None, 0.3, None, None, LOW),
    (0.8, None, None, None, UNREADABLE),
    (None, None, None, None, UNREADABLE),
    (0.8, 0.8, None, None, PASS),
    (0.8, 0.8, 0.41, 0.41, PASS),
    (0.8, 0.8, 0.39, 0.8, SHARED),
    (0.8, 0.8, 0.8, 0.39, SHARED),
    (0.8, 0.8, None, 0.39, SHARED),
    (0.6, 0.8, 0.1, 0.1, LOW),
]


@pytest.mark.parametrize(("to", "back", "to_all", "back_all", "expected"), COPIES)
def test_bandwidth(loaded, to, back, to_all, back_all, expected):
    node = loaded()
    names = ("h2d_gbps", "d2h_gbps", "h2d_together_gbps", "d2h_together_gbps")
    for name, part in zip(names, (to, back, to_all, back_all), strict=True):
        node.loaded("PCIE3")[name] = None if part is None else part * THEORY + 1e-6
    assert verdict(node, "load.bandwidth") == expected
    assert bool(remedy(node, "load.bandwidth")) == (expected != PASS)
    assert node.finding("load.bandwidth", "PCIE3").evidence["theory_gbps"] == pytest.approx(THEORY)


@pytest.mark.parametrize(
    ("link", "floor"), [(Link(3, 1), 0.6895), (Link(4, 8), 11.0264), (Link(3, 16), 11.032), (Link(4, 16), 22.0528)]
)
def test_the_floor_is_that_of_the_declared_link(loaded, link, floor):
    node = loaded(link)
    for speed, expected in ((floor * 1.001, PASS), (floor * 0.999, LOW)):
        node.loaded("PCIE3").update(dict.fromkeys(("h2d_gbps", "d2h_gbps"), speed))
        node.loaded("PCIE3").update(dict.fromkeys(("h2d_together_gbps", "d2h_together_gbps")))
        assert verdict(node, "load.bandwidth") == expected


# why a card was left alone -> cause, words
SKIPS = [
    ("in use by 1 process", "busy", "stop what uses it"),
    ("in use by 4 processes", "busy", "--force"),
    ("MIG is on", "skipped", "-mig 0"),
    ("whether it is in use cannot be read", "skipped", "--force"),
]


@pytest.mark.parametrize(("reason", "cause", "words"), SKIPS)
def test_a_card_that_was_left_alone_is_told_once(loaded, reason, cause, words):
    node = loaded()
    empty = dict.fromkeys(("h2d_gbps", "d2h_gbps", "h2d_together_gbps", "d2h_together_gbps", "memory", "aer"))
    node.loaded("PCIE3").update(empty | {"skipped": reason, "link": {"samples": 0}, "replays": None, "seconds": None})
    assert node.wrong() == [("load.bandwidth", "PCIE3", "UNKNOWN", cause)]
    assert words in remedy(node, "load.bandwidth")


def test_a_card_that_the_check_did_not_see_is_told_once(loaded):
    node = loaded()
    node.load["cards"].remove(node.loaded("PCIE3"))
    node.load["unread"] = [{"what": "cards", "why": "cuInit: 999"}]
    assert node.wrong() == [("load.bandwidth", "PCIE3", "UNKNOWN", "unreadable")]
    assert remedy(node, "load.bandwidth") == "cuInit: 999"


# link during the copies, change of the rig -> words of the remedy
REASONS = [
    ({"width_max": 8}, "", "see link.width"),
    ({"gen_max": 3}, "", "see link.generation"),
    ({}, "", "load.errors"),
    ({}, "kvm", "host"),
]


@pytest.mark.parametrize(("link", "virtual", "words"), REASONS)
def test_why_a_copy_is_slow(loaded, link, virtual, words):
    node = loaded()
    node.document["host"]["virtualisation"] = virtual or "none"
    node.loaded("PCIE3")["link"] |= link
    node.loaded("PCIE3")["h2d_gbps"] = 9.0
    assert verdict(node, "load.bandwidth") == LOW
    assert words in remedy(node, "load.bandwidth")


def test_a_slot_of_the_chipset_is_named_as_the_reason(bench):
    node = bench("budget-4x3090")
    node.put_under_load()
    node.loaded("PCIE3")["h2d_gbps"] = 0.4
    assert "chipset" in remedy(node, "load.bandwidth")


FATAL, NONFATAL, MANY = ("FAIL", "fatal-errors"), ("WARN", "nonfatal-errors"), ("WARN", "link-errors")


def counts(correctable=0, nonfatal=0, fatal=0):
    return {"correctable": correctable, "nonfatal": nonfatal, "fatal": fatal}


# declared allowance per hour, aer, replays, seconds -> verdict. Without one, 4.0 x16 may make 15.36 errors a minute.
ERRORS = [
    (None, counts(), 0, 60.0, PASS),
    (None, counts(16), 16, 60.0, PASS),
    (None, counts(17), 0, 60.0, MANY),
    (None, counts(), 17, 60.0, MANY),
    (None, counts(1), 1, 0.5, PASS),
    (None, counts(2), 0, 0.5, MANY),
    (36, counts(12), 0, 1200.0, PASS),
    (36, counts(13), 0, 1200.0, MANY),
    (0, counts(), 0, 60.0, PASS),
    (0, counts(1), 0, 60.0, MANY),
    (1000, counts(), 17, 60.0, MANY),
    (None, counts(nonfatal=1), 0, 60.0, NONFATAL),
    (None, counts(99, 1, 1), 99, 60.0, FATAL),
    (None, counts(fatal=1), None, None, FATAL),
    (None, None, None, 60.0, UNREADABLE),
    (None, {}, None, 60.0, UNREADABLE),
    (None, None, 0, 60.0, PASS),
    (None, None, 17, 60.0, MANY),
    (None, counts(), None, 60.0, PASS),
    (None, counts(), 0, None, PASS),
    (None, counts(1), 0, None, UNREADABLE),
    (None, None, 1, -5.0, UNREADABLE),
]


@pytest.mark.parametrize(("allowance", "aer", "replays", "seconds", "expected"), ERRORS)
def test_errors(loaded, allowance, aer, replays, seconds, expected):
    node = loaded(allowance=allowance)
    node.loaded("PCIE3").update(aer=aer, replays=replays, seconds=seconds)
    assert verdict(node, "load.errors") == expected
    assert bool(remedy(node, "load.errors")) == (expected != PASS)


WRONG, SHORT = ("FAIL", "memory-errors"), ("WARN", "not-finished")

# what was tested -> verdict
MEMORY = [
    ({"tested_mib": 2400, "wanted_mib": 2400, "errors": 0}, PASS),
    ({"tested_mib": 2400, "wanted_mib": 2400, "errors": 1}, WRONG),
    ({"tested_mib": 0, "wanted_mib": 2400, "errors": 1}, WRONG),
    ({"tested_mib": 2399, "wanted_mib": 2400, "errors": 0}, SHORT),
    ({"tested_mib": 0, "wanted_mib": 2400, "errors": None}, UNREADABLE),
    ({"tested_mib": None, "wanted_mib": 2400, "errors": 0}, UNREADABLE),
    ({"tested_mib": 2400, "wanted_mib": None, "errors": 0}, UNREADABLE),
    ({"tested_mib": 0, "wanted_mib": 0, "errors": 0}, None),
    (None, UNREADABLE),
]


@pytest.mark.parametrize(("memory", "expected"), MEMORY)
def test_memory(loaded, memory, expected):
    node = loaded()
    node.loaded("PCIE3")["memory"] = memory
    assert verdict(node, "load.memory") == expected


def test_no_memory_is_to_be_tested(loaded):
    node = loaded()
    node.rig = node.rig.model_copy(update={"verify": VerifySettings(memory_share=0)})
    node.loaded("PCIE3")["memory"] = None
    assert verdict(node, "load.memory") is None


NO_P2P, SLOW_P2P = ("FAIL", "no-p2p"), ("FAIL", "p2p-slow")

# PCIE1 to PCIE3 and back, each as (can_access, GB/s); None: no such copy -> verdict. Half of 4.0 x16 are 15.75 GB/s.
PEERS = [
    ((True, 26.0), (True, 26.0), PASS),
    ((True, 15.8), None, PASS),
    ((True, 15.7), (True, 26.0), SLOW_P2P),
    ((True, 26.0), (True, 1.0), SLOW_P2P),
    ((False, None), (False, None), NO_P2P),
    ((True, 26.0), (False, None), NO_P2P),
    ((True, None), (True, 26.0), UNREADABLE),
    ((None, 26.0), None, UNREADABLE),
    (None, None, UNREADABLE),
]


@pytest.mark.parametrize(("there", "back", "expected"), PEERS)
def test_peers(loaded, there, back, expected):
    node = loaded(peer_to_peer=True)
    ends = node.card("PCIE1")["address"], node.card("PCIE3")["address"]
    node.load["pairs"] = [pair for pair in node.load["pairs"] if {pair["source"], pair["target"]} != set(ends)]
    for (source, target), copy in ((ends, there), (ends[::-1], back)):
        if copy:
            node.load["pairs"].append({"source": source, "target": target, "can_access": copy[0], "gbps": copy[1]})
    assert verdict(node, "load.p2p", "PCIE1+PCIE3") == expected
    assert [line[:2] for line in node.wrong()] == ([] if expected == PASS else [("load.p2p", "PCIE1+PCIE3")])
    assert len([f for f in node.findings() if f.check == "load.p2p"]) == 6


def test_peers_pass_the_narrower_link(loaded):
    node = loaded(Link(4, 4), peer_to_peer=True)
    for pair in node.load["pairs"]:
        pair["gbps"] = 3.95
    assert verdict(node, "load.p2p", "PCIE1+PCIE3") == PASS
    assert verdict(node, "load.p2p", "PCIE1+PCIE5") == SLOW_P2P


@pytest.mark.parametrize("declared", [None, False, True])
def test_what_arrives_wrong_is_a_fault_of_any_rig(loaded, declared):
    node = loaded(peer_to_peer=declared)
    pair = node.load["pairs"][0]
    pair.update(gbps=None, intact=False)
    assert verdict(node, "load.p2p", "PCIE1+PCIE3") == ("FAIL", "p2p-corrupt")
    assert "iommu=pt" in remedy(node, "load.p2p", "PCIE1+PCIE3")
    assert len([f for f in node.findings() if f.check == "load.p2p"]) == (6 if declared else 1)


@pytest.mark.parametrize("declared", [None, False])
def test_peers_are_judged_where_they_are_declared(loaded, declared):
    assert not [f for f in loaded(peer_to_peer=declared).findings() if f.check == "load.p2p"]


def test_what_stands_between_two_cards(loaded, rig):
    node = loaded(peer_to_peer=True)
    for pair in node.load["pairs"]:
        pair["can_access"] = False
    assert "patched driver" in remedy(node, "load.p2p", "PCIE1+PCIE3")
    assert "ACS" not in remedy(node, "load.p2p", "PCIE1+PCIE3")
    node.port("PCIE3")["acs"] = ["SrcValid", "ReqRedir"]
    node.document["host"]["iommu"] = True
    assert "ReqRedir at 0000:20:01.1" in remedy(node, "load.p2p", "PCIE1+PCIE3")
    assert "ReqRedir" not in remedy(node, "load.p2p", "PCIE1+PCIE5")
    assert "iommu=pt" in remedy(node, "load.p2p", "PCIE1+PCIE5")


DOWN = ("FAIL", "nvlink-down")

# (total, active, peer is the other card) of PCIE1 and PCIE3; None: not listed -> verdict
BRIDGES = [
    ((4, 4, True), (4, 4, True), PASS),
    ((4, 3, True), (4, 4, True), DOWN),
    ((4, 4, True), (4, 0, None), DOWN),
    ((0, 0, None), (4, 4, True), DOWN),
    ((4, 4, False), (4, 4, True), DOWN),
    ((4, 4, True), (4, 4, False), DOWN),
    ((4, 4, None), (4, 4, True), UNREADABLE),
    ((None, 4, True), (4, 4, True), UNREADABLE),
    ((4, None, True), (4, 4, True), UNREADABLE),
    (None, (4, 4, True), UNREADABLE),
    (None, (4, 0, None), DOWN),
    (None, None, UNREADABLE),
]


@pytest.mark.parametrize(("one", "other", "expected"), BRIDGES)
def test_bridges(loaded, one, other, expected):
    node = loaded(nvlink=[["PCIE1", "PCIE3"]])
    ends = [node.card(slot)["address"] for slot in ("PCIE1", "PCIE3")]
    node.load["nvlinks"] = [
        {"address": near, "total": links[0], "active": links[1]}
        | {"peers": {True: [far], False: ["0000:71:00.0"], None: []}[links[2]]}
        for near, far, links in zip(ends, reversed(ends), (one, other), strict=True)
        if links
    ]
    assert verdict(node, "load.nvlink", "PCIE1+PCIE3") == expected
    assert bool(remedy(node, "load.nvlink", "PCIE1+PCIE3")) == (expected != PASS)


def test_a_bridge_to_a_card_that_is_missing_is_not_judged(loaded):
    node = loaded(nvlink=[["PCIE1", "PCIE3"], ["PCIE5", "PCIE7"]])
    node.remove("PCIE3")
    assert verdict(node, "load.nvlink", "PCIE1+PCIE3") is None
    assert verdict(node, "load.nvlink", "PCIE5+PCIE7") == PASS
