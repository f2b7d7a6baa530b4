"""The report for people and for programs."""

from __future__ import annotations

import io
import json

import pytest

from rigdeploy.errors import UnreachableError
from rigdeploy.report.json import as_data
from rigdeploy.report.result import RigResult, Row, results_exit_code
from rigdeploy.report.terminal import plain, show
from rigdeploy.verify.findings import Finding, Status

GOOD = Row("PCIE1", "NVIDIA GeForce RTX 3090", "0000:41:00.0", "4.0 x16", "4.0 x16", 24576, Status.PASS)
BAD = Row("PCIE3", "[bold]<b>{{ x }}", None, "4.0 x16", "4.0 x8", None, Status.FAIL)
NARROW = Finding(
    "link.width", "PCIE3", Status.FAIL, "x16", "x8", "link-degraded", "reseat the card [/]", {"port": "0000:40:01.1"}
)
FINE = Finding("link.width", "PCIE1", Status.PASS, "x16", "x16")
IDLE = Finding("link.generation", "PCIE1", Status.UNKNOWN, "4.0", "1.0", "idle", "verify under load")
RIG = RigResult("rig01", (GOOD, BAD), (FINE, IDLE, NARROW))
LOST = RigResult("rig02", error=UnreachableError("192.0.2.12 does not answer", "is it on?"))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_table_is_aligned_and_complete():
    lines = list(plain([RIG]))
    head, good, bad = lines[:3]
    assert head.split() == ["rig", "slot", "model", "declared", "measured", "memory", "verdict"]
    for line, cells in ((good, ("4.0 x16", "24576 MiB", "PASS")), (bad, ("4.0 x8", "-", "FAIL"))):
        for cell in cells:
            assert cell in line
    assert good.index("PASS") == bad.index("FAIL") == head.index("verdict")


def test_only_what_is_wrong_follows_the_gravest_first():
    text = "\n".join(plain([RIG]))
    assert text.index("FAIL rig01 PCIE3: link.width: declared x16, measured x8") < text.index("UNKNOWN rig01 PCIE1")
    assert "cause:  link-degraded" in text
    assert "remedy: reseat the card [/]" in text
    assert "PASS rig01" not in text
    assert text.endswith("rig01: FAIL (1 of 3 checks passed)")


def test_an_unreachable_rig_stands_beside_the_others():
    text = "\n".join(plain([RIG, LOST]))
    assert "rig02: NOT VERIFIED: 192.0.2.12 does not answer" in text
    assert "is it on?" in text
    assert "rig01: FAIL" in text


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colour_only_on_a_terminal_that_wants_it(monkeypatch, terminal, no_color, coloured):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    stream = Terminal() if terminal else io.StringIO()
    show([RIG, LOST], stream)
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_in_colour_nothing_that_a_node_says_is_markup(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    show([RIG], stream)
    assert "[bold]<b>{{ x }}" in stream.getvalue()
    assert "[/]" in stream.getvalue()


def test_json():
    data = json.loads(json.dumps(as_data([RIG, LOST])))
    assert data["schema"] == 1
    rig = data["rigs"]["rig01"]
    assert rig["status"] == "FAIL"
    assert rig["error"] is None
    assert rig["cards"][0] == {
        "slot": "PCIE1",
        "model": "NVIDIA GeForce RTX 3090",
        "address": "0000:41:00.0",
        "declared": "4.0 x16",
        "measured": "4.0 x16",
        "memory_mib": 24576,
        "verdict": "PASS",
    }
    assert rig["findings"][2] == {
        "check": "link.width",
        "subject": "PCIE3",
        "status": "FAIL",
        "declared": "x16",
        "observed": "x8",
        "cause": "link-degraded",
        "remedy": "reseat the card [/]",
        "evidence": {"port": "0000:40:01.1"},
    }
    assert data["rigs"]["rig02"] == {
        "status": None,
        "cards": [],
        "findings": [],
        "error": {"message": "192.0.2.12 does not answer", "remedy": "is it on?"},
    }


@pytest.mark.parametrize(
    ("results", "strict", "code"),
    [
        ([RigResult("a", findings=(FINE,))], False, 0),
        ([RigResult("a", findings=(FINE,)), RigResult("b", findings=(IDLE,))], False, 3),
        ([RigResult("a", findings=(IDLE,))], True, 2),
        ([RIG], False, 2),
        ([RIG, LOST], False, 5),
        ([LOST, RigResult("a", findings=(FINE,))], False, 5),
        ([], False, 3),
    ],
)
def test_exit_codes(results, strict, code):
    assert results_exit_code(results, strict=strict) == code
