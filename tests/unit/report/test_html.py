"""The page as text, and the geometry of its drawing; how it looks is seen in tests/browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rigdeploy.errors import UnreachableError
from rigdeploy.report.drawing import NARROW, WIDE, drawing, fit, link_verdict, text_width, wrap
from rigdeploy.report.html import page
from rigdeploy.report.result import RigResult, Row, SlotView
from rigdeploy.verify.findings import Finding, Status

MADE = datetime(2026, 11, 21, 13, 5, tzinfo=UTC)


def test_the_same_verdict_makes_the_same_page(sample):
    text = page([sample().result()], MADE)
    assert text == page([sample().result()], MADE.astimezone(timezone(timedelta(hours=9))))
    assert 'Verified <time datetime="2026-11-21T13:05:00+00:00">2026-11-21 13:05 UTC</time>' in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    for word in ("<script", "http:", "https:", "url(", "@import", " src="):
        assert word not in text, word


@pytest.mark.parametrize(
    ("results", "title"),
    [
        ([], "No rigs"),
        ([RigResult("a", findings=(Finding("x", "rig", Status.WARN),))], "a: WARN"),
        ([RigResult("a", error=UnreachableError("no")), RigResult("b")], "2 rigs: 1 NOT VERIFIED, 1 UNKNOWN"),
    ],
)
def test_title(results, title):
    assert f"<title>{title}</title>" in page(results, MADE)


@pytest.mark.parametrize(
    ("taken", "words"),
    [
        (None, "not tested"),
        (1_795_266_240.0, "2026-11-21 13:04 UTC"),
        (1e15, "tested, at a time that the node"),
        (-1e15, "tested, at a time that the node"),
    ],
)
def test_when_it_was_under_load(sample, taken, words):
    made = sample()
    made.load["taken"] = taken
    assert words in page([made.result()], MADE)


def test_all_is_escaped_and_evidence_is_bounded():
    nasty = "<b>&\"'\u202e{{ 7*7 }}"
    evidence = {nasty: "x" * 100_000}
    text = page([RigResult("a", findings=(Finding(nasty, nasty, Status.FAIL, *[nasty] * 4, evidence),))], MADE)
    assert "<b>&" not in text
    assert "\u202e" not in text
    assert text.count("{{ 7*7 }}") >= 8
    assert len(text) < 40_000


def test_what_reads_alike_is_one_row_and_what_is_wrong_has_its_own():
    findings = [Finding("link.width", f"S{n}", Status.FAIL if n == 3 else Status.PASS, "x16", "x16") for n in range(4)]
    text = page([RigResult("a", findings=tuple(findings))], MADE)
    assert "S0, S1, S2</bdi>" in text
    assert text.count("<code>link.width</code>") == 3


@pytest.mark.parametrize(
    ("findings", "heading"),
    [
        ([("x", "WARN")], "What is wrong"),
        ([("x", "UNKNOWN")], "What could not be judged"),
        ([("x", "PASS")], None),
    ],
)
def test_heading_of_what_needs_a_person(findings, heading):
    made = tuple(Finding(check, "rig", Status(status)) for check, status in findings)
    text = page([RigResult("a", findings=made)], MADE)
    for words in ("What is wrong", "What could not be judged"):
        assert (words in text) is (words == heading)


def test_the_line_of_a_link_has_the_verdict_on_the_link():
    row = Row("S", "m", "0000:01:00.0", "4.0 x16", "4.0 x16", None, Status.FAIL)
    memory, width = Finding("memory.card", "S", Status.FAIL), Finding("link.width", "S", Status.PASS)
    assert link_verdict(RigResult("a", (row,), (memory, width)), "S") == "PASS"
    assert link_verdict(RigResult("a", (row,), (memory,)), "S") == "FAIL"


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_slots_stand_below_each_other_inside_the_picture(sample, layout):
    made = drawing(sample("budget-4x3090").result(), layout)
    edges = [edge for place in made.places for edge in (place.card.y, place.card.y + place.card.height)]
    assert edges == sorted(edges)
    assert edges[-1] < made.height
    starts = {place.name: place.link_from for place in made.places}
    assert starts["PCIE1"] == made.cpu.x + made.cpu.width
    assert {starts[f"PCIE{n}"] for n in range(2, 7)} == {layout.chipset_x + layout.chipset}
    (chipset,) = made.chipsets
    assert (chipset.y, chipset.y + chipset.height) == (made.places[1].card.y, edges[-1])


def test_slots_of_the_chipset_on_both_sides_of_one_of_the_cpu():
    feeders = ("chipset", "cpu", "chipset", "chipset")
    slots = tuple(SlotView(f"S{index}", feeder) for index, feeder in enumerate(feeders))
    made = drawing(RigResult("a", slots=slots), WIDE)
    assert [chipset.y for chipset in made.chipsets] == [made.places[0].card.y, made.places[2].card.y]


@pytest.mark.parametrize("text", ["RTX 3090", "W" * 200, "\u6f22" * 50, "", "a b" * 90])
def test_texts_are_cut_to_their_room(text):
    for width in (20, 100, 300):
        cut = fit(text, width, 12)
        assert text_width(cut, 12) <= width
        assert cut == text or cut.endswith("…")
        lines = wrap(text, width, 12, 3)
        assert len(lines) <= 3
        assert all(text_width(line, 12) <= width for line in lines)


def test_a_wrapped_text_keeps_its_words():
    assert wrap("AMD EPYC 7252 Processor", 100, 12, 3) == ["AMD EPYC 7252", "Processor"]
    assert wrap("one two three four", 30, 12, 2)[-1].endswith("…")
    assert wrap("one", 30, 12, 0) == []
