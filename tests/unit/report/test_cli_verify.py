"""The verify command: recorded nodes, live ones through a probe that is replaced, and what goes wrong."""

from __future__ import annotations

import json

import pytest

from rigdeploy.cli.main import run
from rigdeploy.errors import UnreachableError
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError

FLEET = """\
plugin: rigdeploy
rigs:
  one: {address: 192.0.2.1, build: dual-4090-no-nvlink, power: {driver: manual}}
  two: {address: 192.0.2.2, build: dual-4090-no-nvlink, power: {driver: manual}}
"""


def document(width=16):
    link = {"width": width, "width_max": 16, "gen": 4, "gen_max": 4}
    devices = []
    for number in (1, 2):
        port = {"address": f"0000:00:0{number}.0", "vendor": "8086", "device": "1", "class": "060400"}
        card = {"address": f"0000:0{number}:00.0", "vendor": "10de", "device": "2684", "class": "030000"}
        place = {"slot": f"SLOT{number}", "link": dict(link) if number == 1 else dict(link, width=16)}
        devices += [port | place, card | place | {"parent": port["address"]}]
    host = {"virtualisation": "none", "boot_id": "5c1e"}
    return {"schema": 1, "host": host, "driver": {"loaded": False, "nouveau": False}, "pci": devices}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/fleet.yml").write_text(FLEET)
    monkeypatch.chdir(tmp_path)
    for name in ("RIGDEPLOY_INVENTORY", "RIGDEPLOY_STATE", "RIGDEPLOY_LAB"):
        monkeypatch.delenv(name, raising=False)

    def make(*arguments):
        monkeypatch.setattr("sys.argv", ["rigdeploy", "verify", *arguments])
        code = run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return make


@pytest.fixture
def recorded(call, tmp_path):
    def make(content, *arguments, build="dual-4090-no-nvlink"):
        (tmp_path / "node.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return call("--observation", "node.json", "--build", build, *arguments)

    return make


@pytest.mark.parametrize(("width", "code", "status"), [(16, 0, "PASS"), (8, 2, "FAIL")])
def test_a_recorded_node(recorded, tmp_path, width, code, status):
    got, out, _ = recorded(document(width), "--json")
    assert got == code
    assert json.loads(out)["rigs"]["dual-4090-no-nvlink"]["status"] == status
    assert not (tmp_path / ".rigdeploy").exists(), "judging a file leaves nothing behind"


def test_a_recorded_node_against_a_declared_rig(recorded):
    code, out, _ = recorded(document(8), build="one")
    assert code == 2
    assert "FAIL one SLOT1: link.width: declared x16, measured x8" in out


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"schema": 9}'])
def test_a_file_that_is_no_observation_is_unknown(recorded, text):
    assert recorded(text)[0] == 3
    assert recorded(text, "--strict")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--build", "one"], "go together"),
        (["--observation", "inventory/fleet.yml"], "go together"),
        (["one", "--observation", "inventory/fleet.yml", "--build", "one"], "without rigs"),
        (["--observation", "inventory/fleet.yml", "--build", "onne"], "no build or rig is called 'onne'"),
        (["--observation", "absent.json", "--build", "one"], "absent.json"),
        (["three"], "no rig is called 'three'"),
    ],
)
def test_what_cannot_be_asked(call, arguments, words):
    code, out, err = call(*arguments)
    assert code == 4
    assert words in err
    assert not out


@pytest.fixture
def live(call, monkeypatch):
    """With a probe that finds this, by rig."""

    def make(seen, *arguments):
        asked = []

        def observe(rigs, workspace):
            asked.extend(rig.name for rig in rigs)
            return {rig.name: seen[rig.name] for rig in rigs}

        monkeypatch.setattr("rigdeploy.run.probe.observe", observe)
        return *call(*arguments), asked

    return make


def test_one_rig_is_asked_for_and_its_verdict_kept(live, tmp_path):
    code, out, _, asked = live({"one": Observation.parse(document())}, "one")
    assert (code, asked) == (0, ["one"])
    assert "one: PASS" in out
    from rigdeploy.run.ledger import Ledger

    with Ledger(tmp_path / ".rigdeploy/ledger.sqlite", tmp_path / ".rigdeploy/runs") as ledger:
        verdict = ledger.last_verdict("one")
    assert (verdict.status, verdict.boot_id, verdict.run) == ("PASS", "5c1e", None)


def test_an_unreachable_rig_does_not_hide_the_others(live):
    seen = {"one": Observation.parse(document(8)), "two": UnreachableError("two does not answer", "is it on?")}
    code, out, _, asked = live(seen)
    assert (code, asked) == (5, ["one", "two"])
    assert "one: FAIL" in out
    assert "two: NOT VERIFIED: two does not answer" in out


def test_an_unreachable_rig_in_json(live):
    seen = {"one": UnreachableError("no", "why"), "two": Observation.parse(document())}
    code, out, _, _ = live(seen, "--json")
    rigs = json.loads(out)["rigs"]
    assert code == 5
    assert rigs["one"]["error"] == {"message": "no", "remedy": "why"}
    assert rigs["two"]["status"] == "PASS"


def test_a_node_that_answers_nonsense_is_unknown(live):
    seen = {"one": ObservationError("one: it is not valid JSON", "look at it"), "two": Observation.parse(document())}
    assert live(seen)[0] == 3
