"""PCIe errors and replays against what a link may make, and the driver's error messages."""

from __future__ import annotations

import random

import pytest

from rigdeploy.fleet.link import Link
from rigdeploy.verify import rates

HALF_AN_HOUR, A_DAY = 1800.0, 86400.0


def wrong_links(node):
    return [line for line in node.wrong() if line[0].startswith("link.")]


def count(end, severity, number):
    """``number`` errors at one end of a link."""
    end["aer"][severity]["total"] = number


# --- rates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "gbps"),
    [("1.0 x1", 0.25), ("2.0 x4", 2), ("3.0 x1", 0.985), ("4.0 x8", 15.752), ("4.0 x16", 31.504), ("5.0 x16", 63.008)],
)
def test_what_a_link_carries(link, gbps):
    assert rates.bandwidth_gbps(Link.parse(link)) == pytest.approx(gbps)


@pytest.mark.parametrize(
    ("link", "minutes", "replays"),
    # DCGM's own figures: 16 a minute for 4.0 x16, 1 for 3.0 x1.
    [("4.0 x16", 1, 16), ("3.0 x1", 1, 1), ("4.0 x16", 60, 960), ("3.0 x1", 60, 60), ("1.0 x1", 0.5, 1)],
)
def test_replays_of_a_sound_link(link, minutes, replays):
    assert rates.allowed_replays(Link.parse(link), minutes) == replays


@pytest.mark.parametrize(
    ("declared", "link", "hours", "errors"),
    [
        (36, "4.0 x16", 0.5, 18),
        (36, "4.0 x16", 1 / 60, 1),
        (36, "3.0 x1", 0.5, 18),
        (0, "4.0 x16", 100, 0),
        (None, "4.0 x16", 1, 922),
        (None, "3.0 x1", 1, 29),
        (None, "3.0 x1", 0.001, 1),
    ],
)
def test_errors_of_a_sound_link(declared, link, hours, errors):
    assert rates.allowed_errors(declared, Link.parse(link), hours) == errors


# --- link.errors -------------------------------------------------------------------------------------------------


# slot of the build with seven cards (PCIE7 declares 36 an hour), uptime, errors at card and port -> status, cause
RISERS = [
    ("none", "PCIE7", HALF_AN_HOUR, 0, 0, "PASS", ""),
    ("a dozen in half an hour", "PCIE7", HALF_AN_HOUR, 12, 0, "PASS", ""),
    ("a dozen at the port", "PCIE7", HALF_AN_HOUR, 0, 12, "PASS", ""),
    ("the same dozen at both ends is one dozen", "PCIE7", HALF_AN_HOUR, 12, 12, "PASS", ""),
    ("just as many as allowed", "PCIE7", HALF_AN_HOUR, 18, 0, "PASS", ""),
    ("one more", "PCIE7", HALF_AN_HOUR, 19, 0, "WARN", "link-errors"),
    ("one more at the port, the card all zero", "PCIE7", HALF_AN_HOUR, 0, 19, "WARN", "link-errors"),
    ("the same number in a day", "PCIE7", A_DAY, 19, 0, "PASS", ""),
    ("a dozen where nothing was declared", "PCIE1", HALF_AN_HOUR, 12, 0, "PASS", ""),
    ("the bit error rate of 4.0 x16", "PCIE1", HALF_AN_HOUR, 461, 0, "PASS", ""),
    ("above it", "PCIE1", HALF_AN_HOUR, 462, 0, "WARN", "link-errors"),
]


@pytest.mark.parametrize("row", RISERS, ids=[row[0] for row in RISERS])
def test_the_build_with_seven_cards(bench, row):
    _, slot, uptime, card, port, status, cause = row
    node = bench("romed8-7x4090")
    node.document["host"]["uptime_seconds"] = uptime
    count(node.card(slot), "correctable", card)
    count(node.port(slot), "correctable", port)
    assert wrong_links(node) == ([("link.errors", slot, status, cause)] if cause else [])
    finding = node.finding("link.errors", slot)
    assert finding.observed == str(max(card, port))
    if cause:
        assert f"{slot} of the ASRock Rack ROMED8-2T" in finding.remedy


def test_none_allowed_is_none(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"correctable_errors_per_hour": 0})
    node = bench(slots=slots)
    assert not node.wrong()
    count(node.card("PCIE3"), "correctable", 1)
    assert node.wrong() == [("link.errors", "PCIE3", "WARN", "link-errors")]


# what is changed: severity, end, number -> status, cause
GRAVE = [
    ([("nonfatal", "card", 1)], "WARN", "nonfatal-errors"),
    ([("nonfatal", "port", 1)], "WARN", "nonfatal-errors"),
    ([("fatal", "card", 1)], "FAIL", "fatal-errors"),
    ([("fatal", "port", 1)], "FAIL", "fatal-errors"),
    ([("fatal", "port", 1), ("nonfatal", "card", 9)], "FAIL", "fatal-errors"),
    ([("nonfatal", "card", 1), ("correctable", "card", 10**6)], "WARN", "nonfatal-errors"),
]


@pytest.mark.parametrize(("changes", "status", "cause"), GRAVE)
def test_grave_errors(bench, changes, status, cause):
    node = bench()
    for severity, end, number in changes:
        count(getattr(node, end)("PCIE3"), severity, number)
    assert node.wrong() == [("link.errors", "PCIE3", status, cause)]
    assert f"{changes[0][2]} {changes[0][0]}" in node.finding("link.errors", "PCIE3").observed


def log(kind, address, number):
    return {"kind": kind, "address": address, "count": number, "code": None, "text": "PCIe Bus Error"}


CARD, PORT, ELSEWHERE = "0000:21:00.0", "0000:20:01.1", "0000:41:00.0"

# counters of card and port there, kernel log, uptime -> status, cause
SOURCES = [
    ("no counters, nothing in the log", False, [], A_DAY, "PASS", ""),
    ("no counters, no log", False, None, A_DAY, "UNKNOWN", "unreadable"),
    ("no counters, few in the log", False, [log("aer-correctable", CARD, 5)], A_DAY, "PASS", ""),
    ("no counters, many in the log", False, [log("aer-correctable", PORT, 10**5)], A_DAY, "WARN", "link-errors"),
    ("no counters, another link's in the log", False, [log("aer-fatal", ELSEWHERE, 1)], A_DAY, "PASS", ""),
    ("no counters, a grave one in the log", False, [log("aer-nonfatal", PORT, 1)], A_DAY, "WARN", "nonfatal-errors"),
    ("no counters, a fatal one in the log", False, [log("aer-fatal", CARD, 1)], A_DAY, "FAIL", "fatal-errors"),
    ("counters come before the log", True, [log("aer-correctable", CARD, 10**5)], A_DAY, "PASS", ""),
    ("a fatal one that nothing counted", True, [log("aer-fatal", CARD, 1)], A_DAY, "FAIL", "fatal-errors"),
    ("a grave one that nothing counted", True, [log("aer-nonfatal", PORT, 1)], A_DAY, "WARN", "nonfatal-errors"),
    ("counters need no log", True, None, A_DAY, "PASS", ""),
    ("nothing counted, in no known time", True, [], None, "PASS", ""),
    ("some in the log, in no known time", False, [log("aer-correctable", CARD, 5)], None, "UNKNOWN", "unreadable"),
]


@pytest.mark.parametrize("row", SOURCES, ids=[row[0] for row in SOURCES])
def test_where_errors_are_read(bench, row):
    _, counters, kernel_log, uptime, status, cause = row
    node = bench()
    node.document["kernel_log"] = kernel_log
    node.document["host"]["uptime_seconds"] = uptime
    if not counters:
        node.card("PCIE3")["aer"] = node.port("PCIE3")["aer"] = None
    finding = node.finding("link.errors", "PCIE3")
    assert (finding.status, finding.cause) == (status, cause)
    assert bool(finding.remedy) == bool(cause)


NOT_COUNTED = {"what": "aer", "why": "the kernel counts no PCIe errors: it was started with pci=noaer"}
IN_PART = {"what": "kernel_log", "why": "only its first 9 lines were read"}
DOUBTFUL = [
    (NOT_COUNTED, True, [], 0, "UNKNOWN"),
    (NOT_COUNTED, True, [log("aer-fatal", CARD, 1)], 0, "FAIL"),
    (NOT_COUNTED, True, [], 10**6, "WARN"),
    (IN_PART, True, [], 0, "PASS"),
    (IN_PART, False, [], 0, "UNKNOWN"),
    (IN_PART, False, [log("aer-correctable", CARD, 10**5)], 0, "WARN"),
]


@pytest.mark.parametrize(("why", "counters", "kernel_log", "number", "status"), DOUBTFUL)
def test_what_does_not_count_shows_no_link_sound(bench, why, counters, kernel_log, number, status):
    node = bench()
    node.document["unread"].append(why)
    node.document["kernel_log"] = kernel_log
    count(node.port("PCIE3"), "correctable", number)
    if not counters:
        node.card("PCIE3")["aer"] = node.port("PCIE3")["aer"] = None
    finding = node.finding("link.errors", "PCIE3")
    assert finding.status == status
    assert ("noaer" in finding.remedy) == (status == "UNKNOWN" and counters)


def test_one_end_is_enough(bench):
    node = bench()
    node.card("PCIE3")["aer"] = None
    count(node.port("PCIE3"), "correctable", 10**6)
    assert node.wrong() == [("link.errors", "PCIE3", "WARN", "link-errors")]


def test_other_functions_and_ports_are_not_this_links(bench):
    node = bench()
    grave = {"correctable": {"total": 10**6}, "fatal": {"total": 3}}
    node.document["pci"].append(
        {"address": "0000:60:01.0", "parent": None, "class": "060400", "vendor": "1022", "aer": grave}
    )
    node.port("PCIE3")["parent"] = "0000:60:01.0"
    next(d for d in node.document["pci"] if d["address"] == "0000:21:00.1")["aer"] = grave
    assert node.finding("link.errors", "PCIE3").status == "PASS"


# --- link.replays ------------------------------------------------------------------------------------------------


# uptime, replays -> status, cause; a 4.0 x16 may make 16 a minute
REPLAYS = [
    ("none", A_DAY, 0, "PASS", ""),
    ("a few, as sound cards have", A_DAY, 9, "PASS", ""),
    ("as many as allowed", HALF_AN_HOUR, 480, "PASS", ""),
    ("one more", HALF_AN_HOUR, 481, "WARN", "link-replays"),
    ("unread", A_DAY, None, "UNKNOWN", "unreadable"),
    ("none, in no known time", None, 0, "PASS", ""),
    ("some, in no known time", None, 1, "UNKNOWN", "unreadable"),
]


@pytest.mark.parametrize("slot", ["PCIE1", "PCIE7"])
@pytest.mark.parametrize("row", REPLAYS, ids=[row[0] for row in REPLAYS])
def test_replays(bench, row, slot):
    """The allowance that PCIE7 declares is of PCIe's own counters, and changes nothing here."""
    _, uptime, replays, status, cause = row
    node = bench("romed8-7x4090")
    node.document["host"]["uptime_seconds"] = uptime
    node.reading(slot)["replays"] = replays
    assert wrong_links(node) == ([("link.replays", slot, status, cause)] if cause else [])


def test_without_a_driver_that_answers_nobody_counts_replays(bench):
    assert not [f for f in bench(driver=False).findings() if f.check == "link.replays"]
    node = bench()
    node.document["driver"]["answers"] = False
    assert not [f for f in node.findings() if f.check == "link.replays"]


# --- gpu.xid -----------------------------------------------------------------------------------------------------


def xid(code, address=CARD, number=1):
    return {"kind": "xid", "address": address, "code": code, "count": number, "text": f"Xid {code}"}


XIDS = [
    *[([code], "FAIL", "xid-fatal") for code in (48, 56, 57, 58, 62, 64, 65, 68, 69, 73, 74, 79, 80, 81, 95)],
    *[([code], "FAIL", "xid-fatal") for code in (109, 119, 120, 140, 143, 155, 158)],
    *[([code], "WARN", "xid-noted") for code in (63, 92, 94, 154, 8, 32, 61, 160, 9999)],
    *[([code], "PASS", "") for code in (13, 31, 43, 45, 137, 157)],
    ([], "PASS", ""),
    ([13, 31, 79], "FAIL", "xid-fatal"),
    ([79, 31, 13], "FAIL", "xid-fatal"),
    ([13, 63], "WARN", "xid-noted"),
    ([63, 48], "FAIL", "xid-fatal"),
]


@pytest.mark.parametrize(("codes", "status", "cause"), XIDS, ids=[str(row[0]) for row in XIDS])
def test_the_worst_xid_of_a_card(bench, codes, status, cause):
    node = bench()
    node.document["kernel_log"] = [xid(code, number=len(codes) - place) for place, code in enumerate(codes)]
    assert node.wrong() == ([("gpu.xid", "PCIE3", status, cause)] if cause else [])
    finding = node.finding("gpu.xid", "PCIE3")
    assert [line["code"] for line in finding.evidence.get("xids", [])] == codes
    assert bool(finding.remedy) == bool(cause)


def test_the_function_in_the_drivers_address_says_nothing(bench):
    node = bench()
    node.document["kernel_log"] = [xid(79, "0000:21:00.1")]
    assert node.wrong() == [("gpu.xid", "PCIE3", "FAIL", "xid-fatal")]


@pytest.mark.parametrize(("code", "expected"), [(79, ["FAIL"]), (63, ["WARN"]), (31, [])])
@pytest.mark.parametrize("address", ["0000:99:00.0", None])
def test_an_xid_of_a_card_that_is_gone(bench, address, code, expected):
    node = bench()
    node.document["kernel_log"] = [xid(code, address)]
    assert [line[1:3] for line in node.wrong()] == [("rig", status) for status in expected]


def test_a_log_that_could_not_be_read_is_one_unknown(bench):
    node = bench()
    node.document["kernel_log"] = None
    node.document["unread"].append({"what": "kernel_log", "why": "journalctl: no permission"})
    assert node.wrong() == [("gpu.xid", "rig", "UNKNOWN", "unreadable")]
    assert "no permission" in node.finding("gpu.xid", "rig").remedy
    assert len([f for f in node.findings() if f.check == "gpu.xid"]) == 1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], [("rig", "UNKNOWN")]),
        ([xid(31)], [("rig", "UNKNOWN")]),
        ([xid(79)], [("PCIE3", "FAIL"), ("rig", "UNKNOWN")]),
        ([xid(79, "0000:99:00.0")], [("rig", "FAIL")]),
    ],
)
def test_a_log_that_was_read_in_part_clears_nobody(bench, lines, expected):
    node = bench()
    node.document["kernel_log"] = lines
    node.document["unread"].append({"what": "kernel_log", "why": "only its first 9 lines were read"})
    assert [(f.subject, f.status) for f in node.findings() if f.check == "gpu.xid"] == expected


def test_other_lines_of_the_log_are_no_xids(bench):
    node = bench()
    node.document["kernel_log"] = [{"kind": "aer-fatal", "address": CARD, "code": 79, "count": 1, "text": ""}]
    assert node.finding("gpu.xid", "PCIE3").status == "PASS"


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_lines_changes_nothing(bench, seed):
    node = bench()
    codes = [13, 63, 79, 48, 94, 31]
    lines = [xid(code, address, 2) for code in codes for address in (CARD, ELSEWHERE, "0000:99:00.0")]
    node.document["kernel_log"] = lines
    expected = [(f.subject, f.status, f.observed) for f in node.findings() if f.check == "gpu.xid"]
    random.Random(seed).shuffle(lines)
    assert [(f.subject, f.status, f.observed) for f in node.findings() if f.check == "gpu.xid"] == expected
