"""The report for people and for programs."""

from __future__ import annotations

import io
import json
import re

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


def test_a_rig_is_named_once():
    lost = RigResult("rig02", error=UnreachableError("rig02: 192.0.2.12 does not answer", "is it on?"))
    assert list(plain([lost]))[0::3] == [
        "rig02: 192.0.2.12 does not answer", "rig02: NOT VERIFIED: 192.0.2.12 does not answer",
    ]  # fmt: skip


def test_how_fast_cards_copied_stands_in_the_table_when_it_is_known(sample):
    made = sample()
    made.loaded("PCIE3")["h2d_gbps"] = None
    lines = list(plain([made.result()]))
    assert "GB/s to/from" in lines[0]
    assert lines[0].index("GB/s") == lines[1].index("26.1 / 26.1") == lines[2].index("-", lines[2].index("MiB"))
    assert "GB/s" not in next(plain([made.result(active=False)]))


def test_what_was_judged_beside_the_cards():
    findings = (FINE, Finding("host.cpu", "rig", Status.FAIL), Finding("disk.link", "nvme0n1", Status.PASS))
    assert "rig01 beside its cards: rig FAIL, nvme0n1 PASS" in list(plain([RigResult("rig01", (GOOD,), findings)]))


def test_one_reason_in_several_slots_is_one_paragraph():
    remedy = "the card in {} is at rest"
    slots = ("PCIE1", "PCIE3", "PCIE5")
    findings = [Finding("link.generation", s, Status.UNKNOWN, "4.0", "1.0", "idle", remedy.format(s)) for s in slots]
    text = "\n".join(plain([RigResult("rig01", findings=tuple(findings))]))
    assert text.count("UNKNOWN rig01 PCIE1, PCIE3, PCIE5: link.generation: declared 4.0, measured 1.0") == 1
    assert text.count("at rest") == text.count("the card in PCIE1, PCIE3, PCIE5 is at rest") == 1


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_narrow_terminal(monkeypatch, sample, columns, no_color):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    made = sample()
    made.degrade("PCIE3", 8)
    made.reading("PCIE5")["name"] = "NVIDIA " + "very " * 30 + "long"
    stream = Terminal()
    show([made.result()], stream)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in stream.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert re.search(r"^FAIL +PCIE3\n +4.0 x8 \(declared 4.0 x16\)", text, re.MULTILINE)
    assert re.search(r"^FAIL rig01 PCIE3: link.width", text, re.MULTILINE)


def test_a_pipe_gets_the_whole_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    show([RIG], stream)
    assert stream.getvalue().splitlines() == list(plain([RIG]))


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
        "link": dict.fromkeys(("width", "gen", "card_width", "card_gen", "port_width", "port_gen")),
        "bandwidth_gbps": None,
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
        "board": "",
        "host": dict.fromkeys(("cpu", "memory", "board", "bios", "system", "kernel", "driver")),
        "loaded_at": None,
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
