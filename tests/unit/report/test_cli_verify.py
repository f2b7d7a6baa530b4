"""The verify command: recorded nodes, live ones through a probe that is replaced, and what goes wrong."""

from __future__ import annotations

import errno
import functools
import json
import os

import pytest

from rigdeploy.errors import NodeError, UnreachableError
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.run.active import Measured
from rigdeploy.run.ledger import Ledger
from rigdeploy.run.lock import RigLock

FLEET = """\
plugin: rigdeploy
rigs:
  one: {address: 192.0.2.1, build: dual-4090-no-nvlink, power: {driver: manual}}
  two: {address: 192.0.2.2, build: dual-4090-no-nvlink, power: {driver: manual}}
"""


def document(width=16, *, answers=False, boot="5c1e"):
    link = {"width": width, "width_max": 16, "gen": 4, "gen_max": 4}
    devices = []
    for number in (1, 2):
        port = {"address": f"0000:00:0{number}.0", "vendor": "8086", "device": "1", "class": "060400"}
        card = {"address": f"0000:0{number}:00.0", "vendor": "10de", "device": "2684", "class": "030000"}
        place = {"slot": f"SLOT{number}", "link": dict(link) if number == 1 else dict(link, width=16)}
        devices += [port | place, card | place | {"parent": port["address"]}]
    gpu = {"name": "NVIDIA GeForce RTX 4090", "memory_mib": 24564, "ecc": False, "link": link, "replays": 0}
    gpu |= {"clock_reasons": [], "persistence": True}
    return {
        "schema": 1,
        "host": {"virtualisation": "none", "boot_id": boot},
        "driver": {"loaded": answers, "nouveau": False, "answers": answers},
        "filesystems": [{"mount": "/", "size_mib": 100_000, "free_mib": 50_000}],
        "kernel_log": [],
        "pci": devices,
        "gpus": [gpu | {"address": f"0000:0{number}:00.0"} for number in (1, 2)] if answers else [],
    }


def load(*, boot="5c1e", **card):
    """An active check that found everything right, but for what is given of the first card."""
    aer = {"correctable": 0, "nonfatal": 0, "fatal": 0}
    right = {"h2d_gbps": 25.0, "d2h_gbps": 26.0, "seconds": 5.0, "aer": aer, "replays": 0}
    right["link"] = {"samples": 40, "width_min": 16, "width_max": 16, "gen_max": 4}
    right["memory"] = {"tested_mib": 2400, "wanted_mib": 2400, "errors": 0}
    cards = [right | card | {"address": "0000:01:00.0"}, right | {"address": "0000:02:00.0"}]
    return {"schema": 1, "boot_id": boot, "taken": 1.7e9, "seconds": 20.0, "ended": "done", "cards": cards}


@pytest.fixture
def call(rigdeploy, tmp_path):
    """Run ``rigdeploy verify`` where a fleet is declared."""
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/fleet.yml").write_text(FLEET)
    return functools.partial(rigdeploy, "verify")


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
        (["one", "--force"], "--force is about --active"),
        (["one", "--load", "inventory/fleet.yml"], "--load goes with --observation"),
        (["--observation", "inventory/fleet.yml", "--build", "one", "--active"], "--active needs a rig"),
    ],
)
def test_what_cannot_be_asked(call, arguments, words):
    code, out, err = call(*arguments)
    assert code == 4
    assert words in err
    assert not out


def test_no_fleet_is_needed_for_a_recorded_node(recorded, call, tmp_path):
    (tmp_path / "inventory/fleet.yml").unlink()
    assert recorded(document())[0] == 0
    (tmp_path / "inventory").rmdir()
    assert recorded(document(8))[0] == 2
    assert call()[0] == 4, "without --observation it is"
    assert recorded(document(), "-i", "elsewhere")[0] == 4, "what is named has to be there"
    builds = tmp_path / "elsewhere/builds"
    builds.mkdir(parents=True)
    own = "board: generic-dual-x16\nslots: {SLOT1: {gpu: rtx-4090, link: 4.0 x16}}\nvram_gib: 24\n"
    (builds / "mine.yml").write_text(own)
    assert recorded(document(), "-i", "elsewhere", build="mine")[0] == 2, "a second card is not declared"
    assert not (tmp_path / ".rigdeploy").exists()


def test_a_broken_fleet_is_an_error_for_a_recorded_node_too(recorded, tmp_path):
    (tmp_path / "inventory/fleet.yml").write_text("plugin: rigdeploy\nrigs: {one: {adress: 192.0.2.1}}\n")
    code, _, err = recorded(document())
    assert code == 4
    assert "adress" in err


def test_a_recorded_load_counts(recorded, tmp_path):
    file = tmp_path / "load.json"
    file.write_text(json.dumps(load()))
    assert recorded(document(), "--load", "load.json")[0] == 0
    file.write_text(json.dumps(load(h2d_gbps=6.1)))
    code, out, _ = recorded(document(), "--load", "load.json")
    assert code == 2
    assert "SLOT1: load.bandwidth" in out
    file.write_text("nonsense")
    code, out, _ = recorded(document(), "--load", "load.json")
    assert code == 3
    assert "not valid JSON" in out
    file.write_text(json.dumps(load(boot="0d")))
    code, _, err = recorded(document(), "--load", "load.json")
    assert code == 4
    assert "not of the same boot" in err


def test_reports_are_written_beside_the_answer(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reports = ("--html", "page.html", "--junit", "junit.xml", "--prometheus", "rig.prom")
    (tmp_path / "target.html").write_text("old")
    (tmp_path / "page.html").symlink_to("target.html")
    before = os.umask(0o022)
    code, out, _ = recorded(document(8), *reports)
    os.umask(before)
    assert code == 2
    assert "link.width" in out
    assert "<html" in (tmp_path / "target.html").read_text()
    assert "link.width" in (tmp_path / "junit.xml").read_text()
    assert "rigdeploy_rig_status" in (tmp_path / "rig.prom").read_text()
    assert (tmp_path / "rig.prom").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "page.html").is_symlink()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"inventory", "node.json", "page.html", "target.html", "junit.xml", "rig.prom"}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("absent/page.html", "there is no directory"),
        ("-", "name a file"),
        ("inventory", "is a directory"),
        ("/dev/null", "no regular file"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_before_any_rig_is_touched(live, path, words):
    code, out, err, asked = live({"one": Observation.parse(document())}, "one", "--html", path)
    assert (code, out, asked) == (4, "", [])
    assert words in err


@pytest.fixture
def live(call, monkeypatch):
    """With a probe that finds this, by rig."""

    def make(seen, *arguments):
        asked = []

        def observe(rigs, workspace):
            asked.extend(rig.name for rig in rigs)
            return {rig.name: seen[rig.name] for rig in rigs}

        monkeypatch.setattr("rigdeploy.run.verify.observe", observe)
        return *call(*arguments), asked

    return make


def kept(directory):
    """The verdict on rig "one" that the ledger holds."""
    with Ledger(directory / ".rigdeploy/ledger.sqlite", directory / ".rigdeploy/runs") as ledger:
        return ledger.last_verdict("one")


def test_one_rig_is_asked_for_and_its_verdict_kept(live, tmp_path):
    code, out, _, asked = live({"one": Observation.parse(document())}, "one")
    assert (code, asked) == (0, ["one"])
    assert "one: PASS" in out
    verdict = kept(tmp_path)
    assert (verdict.status, verdict.boot_id, verdict.run) == ("PASS", "5c1e", None)


def test_a_report_that_cannot_be_written_costs_no_verdict(live, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("rigdeploy.files.write_atomically", full)
    code, out, err, _ = live({"one": Observation.parse(document())}, "one", "--html", "page.html")
    assert (code, "one: PASS" in out) == (5, True)
    assert "page.html: No space left on device" in err
    assert kept(tmp_path).status == "PASS"


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


@pytest.fixture
def active(live, monkeypatch):
    """As ``live``, with an active check that gives this, by rig; returns which rigs were put under load as well."""

    def make(seen, answers, *arguments):
        loaded = []

        def put_under_load(rigs, workspace, *, force, stop, heard):
            loaded.extend((rig.name, force) for rig in rigs)
            found = {rig.name: answers[rig.name] for rig in rigs}
            for name, answer in found.items():
                heard(name, answer)
            return found

        monkeypatch.setattr("rigdeploy.run.verify.put_under_load", put_under_load)
        return *live(seen, "--active", *arguments), loaded

    return make


def measured(**card):
    content = load(**card)
    return Measured(Load.parse(content), json.dumps(content).encode())


def test_a_load_is_judged_and_kept_for_the_next_verdict(active, live, tmp_path):
    seen = {"one": Observation.parse(document(answers=True))}
    code, out, err, asked, loaded = active(seen, {"one": measured(h2d_gbps=6.1)}, "one")
    assert (code, asked, loaded) == (2, ["one", "one"], [("one", False)])
    assert "FAIL one SLOT1: load.bandwidth" in out
    assert "at most 120 s" in err
    assert "2 cards measured" in err
    code, again, err, asked = live(seen, "one")
    assert (code, again, err, asked) == (2, out, "", ["one"])
    rebooted = {"one": Observation.parse(document(answers=True, boot="0d"))}
    code, out, _, _ = live(rebooted, "one")
    assert "load.bandwidth" not in out
    kept = tmp_path / ".rigdeploy/load/one.json"
    kept.write_text("{")
    code, out, err, _ = live(seen, "one")
    assert "load.bandwidth" not in out
    assert "one.json is ignored" in err


def test_force_reaches_the_check(active):
    seen = {"one": Observation.parse(document(answers=True))}
    assert active(seen, {"one": measured()}, "one", "--force")[-1] == [("one", True)]


def test_what_keeps_a_load_from_being_put_on_is_unknown(active):
    seen = {"one": Observation.parse(document(answers=True)), "two": Observation.parse(document())}
    error = NodeError("one: the active check failed with exit status 1: killed", "look")
    _, out, _, asked, loaded = active(seen, {"one": error}, "--json")
    findings = {
        rig: [finding for finding in one["findings"] if finding["check"] == "load"]
        for rig, one in json.loads(out)["rigs"].items()
    }
    assert (asked, loaded) == (["one", "two", "one"], [("one", False)])
    assert [finding["cause"] for finding in findings["one"]] == ["not-run"]
    assert "killed; look" in findings["one"][0]["remedy"]
    assert [(finding["status"], finding["cause"]) for finding in findings["two"]] == [("UNKNOWN", "no-driver")]


def test_a_rig_that_another_run_works_on_is_not_put_under_load(active, tmp_path):
    locks = tmp_path / ".rigdeploy/locks"
    locks.mkdir(parents=True)
    seen = {"one": Observation.parse(document(answers=True))}
    with RigLock(locks, "one", command="rigdeploy up one", run="some-run"):
        code, out, _, _, loaded = active(seen, {}, "one")
    assert (code, loaded) == (3, [])
    assert "one is locked by 'rigdeploy up one'" in out


def test_a_rig_that_goes_away_under_load_is_not_verified(active, monkeypatch):
    sights = iter([Observation.parse(document(answers=True)), UnreachableError("one: no route", "is it on?")])

    class Seen(dict):
        def __getitem__(self, name):
            return next(sights)

    code, out, _, _, _ = active(Seen(), {"one": UnreachableError("one: broken pipe")}, "one")
    assert code == 5
    assert "one: gone since its cards were put under load: no route" in out
    assert "power supply" in out
