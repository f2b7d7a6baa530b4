"""A node that lies: whatever it says, the verdict is UNKNOWN or worse, nothing crashes, nothing is carried out."""

from __future__ import annotations

import io
import json
import math
import time

import pytest

from rigdeploy.errors import RigdeployError
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.report.json import as_data
from rigdeploy.report.result import describe, result
from rigdeploy.report.terminal import show

JUNK = [
    "A" * 1_000_000,
    "\x1b]0;owned\x07\x1b[2J\x00\r\n",
    "<script>alert(1)</script>",
    "{{ lookup('pipe', 'id') }}",
    "[bold red]PASS[/bold red][/]",
    "\u202edesrever\u202c",
    "\ud800",
    math.nan,
    math.inf,
    -1,
    10**400,
    True,
    [],
    {},
    [[[[]]]],
    {"width": 16},
    None,
]


def paths(value, path=()):
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def put(document, path, value):
    """A copy of the document with one place replaced."""
    copy = json.loads(json.dumps(document))
    target = copy
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return copy


@pytest.fixture
def small(bench):
    """A small sound node, every part of the document in use."""
    node = bench("dual-4090-no-nvlink")
    node.document["managed"] = {"base": {"inputs": "aa", "recorded": "", "drift": [{"kind": "file", "name": "x"}]}}
    node.document["unread"] = [{"what": "host", "why": "because"}]
    return node


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:30])
def test_junk_in_any_place(small, junk):
    for path in list(paths(small.document))[1:]:
        document = put(small.document, path, junk)
        try:
            observation = Observation.parse(document)
        except ObservationError:
            assert path == ("schema",)
            continue
        found = result(small.rig, small.catalogue, observation)
        assert found.findings
        stream = io.StringIO()
        show([found], stream)
        text = stream.getvalue()
        assert all(c.isprintable() or c == "\n" for c in text)
        assert len(text) < 20_000
        json.dumps(as_data([found]), allow_nan=False)


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:30])
def test_junk_for_a_width_is_never_a_pass(small, junk):
    small.card("SLOT1")["link"]["width"] = small.reading("SLOT1")["link"]["width"] = junk
    assert small.finding("link.width", "SLOT1").status == "UNKNOWN"


@pytest.mark.parametrize(
    "junk", [junk for junk in JUNK if not isinstance(junk, list)], ids=lambda junk: repr(junk)[:30]
)
def test_junk_for_a_list_of_differences_is_never_a_pass(small, junk):
    small.document["managed"]["base"]["drift"] = junk
    assert small.finding("managed", "base").status == "UNKNOWN"


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:30])
def test_junk_for_a_memory_size_is_never_a_pass(small, junk):
    small.reading("SLOT1")["memory_mib"] = junk
    assert small.finding("memory.card", "SLOT1").status == "UNKNOWN"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"a"',
        "{}",
        '{"schema": 2}',
        '{"schema": true}',
        "{" * 100_000,
        "[" * 100_000,
        '{"schema":1,"pci":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"schema": 1' + "0" * 10_000 + "}",
        "\x00",
        b"\xff\xfe",
        "x" * 17_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_observation_says_so(bench, text):
    with pytest.raises(ObservationError) as caught:
        Observation.from_json(text)
    found = result(bench().rig, bench().catalogue, caught.value)
    assert found.status == "UNKNOWN"
    assert found.error is None


def test_a_flood_of_cards_is_bounded(bench):
    node = bench()
    card = node.card("PCIE1")
    flood = [card | {"address": f"{n:04x}:{n % 256:02x}:00.0", "slot": None} for n in range(1, 60_000)]
    node.document["pci"] += flood
    started = time.monotonic()
    found = describe(node.rig, node.catalogue, node.observation(), node.findings())
    assert time.monotonic() - started < 5
    assert found.status == "FAIL"
    assert len(found.rows) < 100


def test_ports_in_a_circle_end(bench):
    node = bench()
    node.forget_slots()
    node.port("PCIE1")["parent"] = node.card("PCIE1")["address"]
    node.port("PCIE3")["parent"] = node.port("PCIE3")["address"]
    assert not node.wrong()


def test_of_two_devices_with_one_address_the_first_counts(bench):
    node = bench()
    node.document["pci"].append(node.card("PCIE1") | {"link": {"width": 1}})
    assert not node.wrong()


def test_no_answer_is_an_error_and_no_verdict(bench):
    node = bench()
    found = result(node.rig, node.catalogue, RigdeployError("no route to host", "look at the cable"))
    assert found.error is not None
    assert as_data([found])["rigs"]["rig01"]["status"] is None
