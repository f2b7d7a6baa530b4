"""A node that lies: whatever it says, the verdict is UNKNOWN or worse, nothing crashes, nothing is carried out."""

from __future__ import annotations

import copy
import io
import json
import math
import random
import time

import pytest

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.models import Cpu, Disk, Memory, Nic
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.report.json import as_data
from rigdeploy.report.result import describe, result
from rigdeploy.report.terminal import show
from rigdeploy.verify.rules import judge

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


def kinds_of_places(document):
    """One place of each kind: of the items of a list, the first that has such a place."""
    kinds = {}
    for path in paths(document):
        kinds.setdefault(tuple(key if isinstance(key, str) else 0 for key in path), path)
    return [path for path in kinds.values() if path]


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


@pytest.fixture
def whole(bench, catalogue, rig):
    """A sound node of which all is declared, observed and measured that there is."""
    shipped = catalogue.builds["pro-4x3090"].slots
    build = {
        "slots": {
            name: shipped[name].model_copy(update={"power_limit_watts": 300, "correctable_errors_per_hour": 10})
            for name in ("PCIE1", "PCIE3")
        },
        "vram_gib": 48,
        "cpu": Cpu(model="AMD EPYC 7252", cores=8),
        "memory": Memory(size_gib=32, ecc=True, channels=4),
        "nics": [Nic(speed_gbps=10, count=2)],
        "disks": [Disk(size_gb=2000), Disk(size_gb=4000, serial="A1")],
        "resizable_bar": True,
        "peer_to_peer": True,
        "nvlink": [["PCIE1", "PCIE3"]],
    }
    node = bench(**build)
    node.rig = rig(stack={"driver": "580"}, **build)
    for device in node.document["pci"]:
        device |= {"driver": "x", "numa_node": 0, "iommu_group": 1, "bars_mib": [16, 32768], "acs": ["SrcValid"]}
    for reading in node.document["gpus"]:
        reading["health"] = dict.fromkeys(("remap_pending", "remap_failed", "ecc_uncorrectable"), 0)
    node.document["slots"] = [{"name": "PCIE1", "address": "0000:11:00.0", "used": True}]
    node.document["kernel_log"] = [
        {"kind": "xid", "address": "0000:11:00.0", "code": 31, "count": 2, "text": "NVRM: Xid 31"},
        {"kind": "aer-correctable", "address": "0000:11:00.0", "count": 1, "text": "AER"},
    ]
    node.document["managed"] = {"base": {"inputs": "aa", "recorded": "", "drift": []}}
    node.put_under_load()
    return node


def verdict(node):
    """Every finding, through JSON, as a node sends it; what no finding may be."""
    observation = Observation.from_json(json.dumps(node.document))
    found = judge(node.rig, node.catalogue, observation, Load.from_json(json.dumps(node.load)))
    assert found
    for finding in found:
        texts = (finding.check, finding.subject, finding.declared, finding.observed, finding.cause, finding.remedy)
        assert all(text.isprintable() and len(text) < 3000 for text in texts), finding
        assert (finding.status == "PASS") == (not finding.cause), finding
        assert (finding.status == "PASS") == (not finding.remedy), finding
        assert len(json.dumps(finding.as_dict(), allow_nan=False)) < 200_000
    assert len(found) < 200
    return found


def passed(found):
    return sum(finding.status == "PASS" for finding in found)


def test_the_whole_node_is_sound(whole):
    found = verdict(whole)
    assert not whole.wrong()
    assert len({finding.check for finding in found}) >= 35


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:30])
@pytest.mark.parametrize("part", ["document", "load"])
def test_junk_in_any_place_of_the_whole_node(whole, part, junk):
    before, document = passed(verdict(whole)), getattr(whole, part)
    for path in kinds_of_places(document):
        if path == ("schema",):
            continue
        target = document
        for key in path[:-1]:
            target = target[key]
        kept, target[path[-1]] = target[path[-1]], junk
        assert passed(verdict(whole)) <= before, path
        target[path[-1]] = kept


def whole_paths(document):
    return [path for path in paths(document) if path and path != ("schema",)]


def at(document, path):
    for key in path:
        document = document[key]
    return document


def mutate(document, dice):
    """One random change: something is taken away, doubled, changed a little, or put in another's place."""
    path = dice.choice(whole_paths(document))
    holder, key = at(document, path[:-1]), path[-1]
    value = holder[key]
    kind = dice.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(value, list):
        holder[key] = value * dice.choice((0, 2, 3))
    elif kind == 2 and isinstance(value, (int, float)):
        holder[key] = dice.choice((value + 1, value - 1, -value, value * 10**6, value / 7, not value))
    elif kind == 3 and isinstance(value, str):
        holder[key] = dice.choice((value[1:], value + value, value.upper(), value[::-1], value + "\x00\x1b[2J"))
    else:
        other = at(document, dice.choice(whole_paths(document)))
        holder[key] = dice.choice((copy.deepcopy(other), dice.choice(JUNK)))
    return path


@pytest.mark.parametrize("batch", range(10))
def test_random_mutations(whole, batch):
    before = passed(verdict(whole))
    sound = copy.deepcopy((whole.document, whole.load))
    for seed in range(batch * 50, (batch + 1) * 50):
        dice = random.Random(seed)
        whole.document, whole.load = copy.deepcopy(sound)
        touched = [mutate(dice.choice((whole.document, whole.load)), dice) for _ in range(dice.choice((1, 1, 2, 5)))]
        found = verdict(whole)
        # A role more than before may be recorded as sound; a card more than before is never a PASS.
        if all(path[0] != "managed" for path in touched):
            assert passed(found) <= before, (seed, touched)


# where junk is put, of the document or the load -> the check that can not pass then, and its subject
MEASURED = [
    ("document", ("cpu",), "host.cpu", "rig"),
    ("document", ("cpu", "model"), "host.cpu", "rig"),
    ("document", ("cpu", "cores"), "host.cpu", "rig"),
    ("document", ("memory",), "host.memory", "rig"),
    ("document", ("memory", "channels"), "host.channels", "rig"),
    ("document", ("nics",), "host.network", "rig"),
    ("document", ("nics", 0), "host.network", "rig"),
    ("document", ("nics", 0, "speed_mbps"), "host.network", "rig"),
    ("document", ("disks",), "host.disk", "2000 GB"),
    ("document", ("disks", 1, "size_mib"), "host.disk", "2000 GB"),
    ("document", ("disks", 2, "serial"), "host.disk", "A1"),
    ("document", ("filesystems",), "host.space", "rig"),
    ("document", ("filesystems", 0, "free_mib"), "host.space", "rig"),
    ("document", ("gpus", 0, "power"), "gpu.power", "PCIE1"),
    ("document", ("gpus", 0, "power", "enforced"), "gpu.power", "PCIE1"),
    ("load", ("ended",), "load", "rig"),
    ("load", ("cards",), "load.bandwidth", "PCIE1"),
    ("load", ("cards", 0, "h2d_gbps"), "load.bandwidth", "PCIE1"),
    ("load", ("cards", 0, "memory", "errors"), "load.memory", "PCIE1"),
    ("load", ("cards", 0, "memory", "tested_mib"), "load.memory", "PCIE1"),
    ("load", ("pairs",), "load.p2p", "PCIE1+PCIE3"),
    ("load", ("pairs", 0, "gbps"), "load.p2p", "PCIE1+PCIE3"),
    ("load", ("nvlinks",), "load.nvlink", "PCIE1+PCIE3"),
    ("load", ("nvlinks", 0, "active"), "load.nvlink", "PCIE1+PCIE3"),
    ("load", ("nvlinks", 0, "peers"), "load.nvlink", "PCIE1+PCIE3"),
]


@pytest.mark.parametrize(("part", "path", "check", "subject"), MEASURED)
def test_junk_for_what_is_measured_is_never_a_pass(whole, part, path, check, subject):
    document = getattr(whole, part)
    for junk in JUNK:
        setattr(whole, part, put(document, path, junk))
        found = {(f.check, f.subject): f.status for f in verdict(whole)}
        assert found[check, subject] != "PASS", junk


FLAGS = [
    (("memory", "ecc"), "host.ecc", "rig"),
    (("gpus", 0, "clock_reasons"), "gpu.health", "PCIE1"),
    (("gpus", 0, "bar1_mib"), "gpu.bar1", "PCIE1"),
]


@pytest.mark.parametrize(("path", "check", "subject"), FLAGS)
@pytest.mark.parametrize("junk", ["yes", 1, math.nan, {"a": 1}, -1, None], ids=repr)
def test_what_only_looks_like_a_value_is_unknown(whole, path, check, subject, junk):
    whole.document = put(whole.document, path, junk)
    for device in whole.document["pci"]:
        device["bars_mib"] = junk
    whole.document["gpus"][0]["health"] = None
    if (check, junk) == ("gpu.bar1", 1):
        return  # a MiB is a size
    assert whole.finding(check, subject).status == "UNKNOWN"


# a list that a node may make as long as it likes, and one item of it
FLOODS = [
    ("document", "disks", {"name": "sd{}", "size_mib": 5, "address": "{:04x}:f1:00.0"}),
    ("document", "filesystems", {"mount": "/{}", "size_mib": 100_000, "free_mib": 0}),
    ("document", "nics", {"name": "eno{}", "speed_mbps": 10, "carrier": True}),
    ("document", "slots", {"name": "PCIE{}", "address": "{:04x}:11:00.0", "used": True}),
    ("document", "kernel_log", {"kind": "xid", "address": "{:04x}:11:00.0", "code": 79, "text": "x" * 100}),
    ("load", "cards", {"address": "{:04x}:11:00.0", "h2d_gbps": 1.0}),
    ("load", "pairs", {"source": "{:04x}:11:00.0", "target": "0000:11:00.0", "gbps": 1.0}),
    ("load", "nvlinks", {"address": "{:04x}:11:00.0", "total": 4}),
]


@pytest.mark.parametrize(("part", "name", "item"), FLOODS, ids=[row[1] for row in FLOODS])
def test_a_flood_is_bounded(whole, part, name, item):
    document = getattr(whole, part)
    document[name] = [
        {key: value.format(number) if isinstance(value, str) else value for key, value in item.items()}
        for number in range(20_000)
    ]
    started = time.monotonic()
    verdict(whole)
    assert time.monotonic() - started < 5
    document[name] = [0] * 1_000_000
    verdict(whole)
    assert time.monotonic() - started < 10


def test_a_flood_of_modules_is_bounded(whole):
    whole.document["memory"] |= {"installed_mib": 7, "modules": [{"locator": "A" * 300, "size_mib": 1}] * 20_000}
    assert len(whole.finding("host.memory", "rig").remedy) < 3000
    verdict(whole)


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:30])
def test_junk_in_any_place(small, junk):
    for path in kinds_of_places(small.document):
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
    with pytest.raises(ObservationError):
        Load.from_json(text)
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
