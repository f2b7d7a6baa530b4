"""What differs between a node and a build, in both directions."""

from __future__ import annotations

import pytest

from rigdeploy.capture.diff import differences, exit_code, table
from rigdeploy.fleet.models import Build

BASE = {
    "cpu": {"model": "AMD EPYC 7252", "cores": 8},
    "memory": {"size_gib": 32, "ecc": True, "channels": 8},
    "nics": [{"speed_gbps": 10, "count": 2}],
    "disks": [{"size_gb": 500, "serial": "S0"}],
    "resizable_bar": True,
}
SLOT = {"gpu": "rtx-3090", "link": "4.0 x16"}


@pytest.fixture
def compare(node):
    """The differences of the pro-4x3090 node from a build that is changed, as (field, kind, declared, found)."""

    def run(change=lambda document, node: None, **declared):
        sound = node()
        sound.document["memory"]["channels"] = 8
        change(sound.document, sound)
        slots = {name: dict(SLOT) for name in sound.rig.build.slots}
        base = {"name": "b", "board": "asrock-rack-romed8-2t", "slots": slots, "vram_gib": 96} | BASE
        build = Build.model_validate({key: value for key, value in (base | declared).items() if value is not None})
        found = differences(build, sound.capture())
        return [(one.field, one.kind.value, one.declared, one.found) for one in found]

    return run


def test_nothing_differs(compare):
    assert compare() == []


DECLARED = [
    ({"cpu": {"model": "EPYC 7252", "cores": 8, "watts": 120}, "psu_watts": 1600}, []),
    (
        {"cpu": {"model": "AMD EPYC 7763", "cores": 64}},
        [
            ("cpu.model", "changed", "AMD EPYC 7763", "AMD EPYC 7252"),
            ("cpu.cores", "changed", "64", "8"),
        ],
    ),
    ({"cpu": None}, [("cpu.model", "undeclared", "", "AMD EPYC 7252"), ("cpu.cores", "undeclared", "", "8")]),
    ({"memory": {"size_gib": 64, "ecc": True, "channels": 8}}, [("memory.size_gib", "changed", "64", "32")]),
    ({"memory": {"size_gib": 32, "channels": 8}}, [("memory.ecc", "undeclared", "", "true")]),
    ({"nics": [{"speed_gbps": 10}]}, [("nics", "changed", "1 x 10 Gbit/s", "2 x 10 Gbit/s")]),
    ({"nics": []}, [("nics", "undeclared", "", "2 x 10 Gbit/s")]),
    (
        {"disks": [{"size_gb": 2000}]},
        [("disks", "missing", "2000 GB", ""), ("disks", "undeclared", "", "500 GB, serial S0")],
    ),
    ({"disks": [{"size_gb": 510}]}, []),
    ({"resizable_bar": False}, [("resizable_bar", "changed", "false", "true")]),
    ({"resizable_bar": None}, [("resizable_bar", "undeclared", "", "true")]),
    ({"vram_gib": 120}, [("vram_gib", "changed", "120", "96")]),
    ({"nvlink": [["PCIE1", "PCIE3"]]}, [("nvlink", "unread", "PCIE1 and PCIE3", "")]),
    (
        {"board": "asus-pro-ws-wrx90e-sage-se"},
        [("board", "changed", "asus-pro-ws-wrx90e-sage-se", "asrock-rack-romed8-2t")],
    ),
]


@pytest.mark.parametrize(("declared", "expected"), DECLARED)
def test_another_declaration(compare, declared, expected):
    assert compare(**declared) == expected


def slots(*changes):
    return {name: SLOT | change for name, change in zip(("PCIE1", "PCIE3", "PCIE5", "PCIE7"), changes, strict=False)}


SLOTS = [
    (slots({}, {}, {}), [("slots.PCIE7", "undeclared", "", "rtx-3090 at 4.0 x16")]),
    (slots({}, {}, {}, {}) | {"PCIE2": SLOT}, [("slots.PCIE2", "missing", "rtx-3090 at 4.0 x16", "")]),
    (
        slots({"gpu": "rtx-4090", "link": "3.0 x8"}, {}, {}, {}),
        [
            ("slots.PCIE1.gpu", "changed", "rtx-4090", "rtx-3090"),
            ("slots.PCIE1.link", "changed", "3.0 x8", "4.0 x16"),
        ],
    ),
    (slots({"power_limit_watts": 280}, {}, {}, {}), [("slots.PCIE1.power_limit_watts", "changed", "280", "350")]),
    (slots({"power_limit_watts": 350, "correctable_errors_per_hour": 3}, {}, {}, {}), []),
    (
        slots({"address": "0000:99:00.0"}, {}, {}, {}),
        [("slots.PCIE1.address", "changed", "0000:99:00.0", "0000:11:00.0")],
    ),
]


@pytest.mark.parametrize(("declared", "expected"), SLOTS)
def test_other_slots(compare, declared, expected):
    assert compare(slots=declared) == expected


def at_rest(document, node):
    for part in (node.card, node.reading):
        part("PCIE1")["link"]["gen"] = 1
    for part in (node.card, node.port):
        part("PCIE1")["link"]["gen_max"] = 3


NODES = [
    (lambda document, node: document.update(cpu={}, memory={}), {
        ("cpu.model", "unread"), ("cpu.cores", "unread"),
        ("memory.size_gib", "unread"), ("memory.ecc", "unread"), ("memory.channels", "unread"),
    }),
    (lambda document, node: document["host"].update(board=None), {("board", "unread")}),
    (lambda document, node: document["nics"][1].update(carrier=False), {("nics", "unread")}),
    (lambda document, node: document["nics"].pop(), {("nics", "changed")}),
    (lambda document, node: document.update(nics=[]), {("nics", "missing")}),
    (lambda document, node: node.reading("PCIE1")["power"].update(enforced=250.0, limit=250.0),
     {("slots.PCIE1.power_limit_watts", "undeclared")}),
    (at_rest, {("slots.PCIE1.link", "changed")}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), NODES)
def test_another_node(compare, change, expected):
    assert {(field, kind) for field, kind, *_ in compare(change)} == expected


def test_the_table_and_the_exit_code(node):
    sound = node()
    build = sound.capture().build.model
    assert list(table([])) == []
    assert exit_code([]) == 0
    changed = differences(build.model_copy(update={"vram_gib": 120}), sound.capture())
    assert list(table(changed)) == ["field     declared  found", "vram_gib  120       96"]
    assert exit_code(changed) == 2
    unread = differences(build.model_copy(update={"nvlink": [["PCIE1", "PCIE3"]]}), sound.capture())
    assert list(table(unread))[1:] == ["nvlink  PCIE1 and PCIE3  not to be read"]
    assert exit_code(unread) == 3
