"""The commands plan, up, status, runs and log, as a person types them, on a rig that nobody answers for."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import yaml

from rigdeploy.cli.main import run
from rigdeploy.node.observation import Observation
from rigdeploy.report.schema import findings_schema
from rigdeploy.run.lock import RigLock
from rigdeploy.workspace import Workspace


@pytest.fixture
def fleet(tmp_path, unused_port, monkeypatch):
    """A fleet of one rig at a port where nobody listens; its workspace."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    rig = {
        "address": "127.0.0.1",
        "build": "pro-4x3090",
        "power": {"driver": "manual"},
        "ssh": {"port": unused_port},
    }
    (inventory / "fleet.yml").write_text(yaml.safe_dump({"plugin": "rigdeploy", "rigs": {"rig01": rig}}))
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.find(inventory)
    yield workspace
    shutil.rmtree(workspace.control_dir, ignore_errors=True)


@pytest.fixture
def rigdeploy(fleet, monkeypatch, capsys):
    """Run the command line; returns (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rigdeploy", *arguments])
        code = run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_plan_says_what_would_be_done_and_json_stands_alone(rigdeploy):
    code, out, err = rigdeploy("plan")
    assert (code, err) == (0, "")
    assert "ask a person to switch it on (off or unreachable)" in out
    code, out, _ = rigdeploy("plan", "--json")
    steps = {step["phase"]: step["needed"] for step in json.loads(out)["rigs"]["rig01"]["steps"]}
    assert steps.pop("verify") is True
    assert steps.pop("base") is None
    assert {phase for phase, needed in steps.items() if needed} == {"power", "connect"}


def test_up_without_anybody_to_ask_is_a_usage_error_that_changes_nothing(rigdeploy, fleet, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    code, _, err = rigdeploy("up")
    assert code == 4
    assert "give --yes" in err
    code, out, _ = rigdeploy("runs", "--json")
    [only] = json.loads(out)["runs"]
    assert (code, only["outcome"], only["command"]) == (0, "declined", "up")
    code, out, _ = rigdeploy("log", "--json")
    assert json.loads(out)["phases"] == []


def test_up_on_a_locked_rig_names_the_holder(rigdeploy, fleet):
    fleet.prepare()
    with RigLock(fleet.locks, "rig01", command="rigdeploy up rig01", run="some-run"):
        code, out, err = rigdeploy("up", "--yes", "--json")
    assert code == 5
    assert "'rigdeploy up rig01' (run some-run" in err
    assert json.loads(out)["rigs"]["rig01"]["error"]["message"] in err.replace("cannot be worked on: ", "")
    assert "Traceback" not in err


def test_up_only_a_role_on_a_silent_rig_fails_in_one_line(rigdeploy):
    code, _, err = rigdeploy("up", "--yes", "--only", "base")
    assert code == 5
    assert err.count("Connection refused") == 1


def test_status_of_a_silent_rig(rigdeploy):
    code, out, _ = rigdeploy("status", "--json")
    [status] = json.loads(out)["rigs"].values()
    assert code == 5
    assert (status["power"], status["reachable"], status["verdict"]) == ("unknown", False, None)
    assert status["roles"] == {"base": "unknown"}
    code, out, _ = rigdeploy("status")
    assert out.startswith("rig01: power unknown, no answer (")


@pytest.mark.parametrize(("boot", "shown"), [("b1", True), ("b2", False)])
def test_status_says_when_the_cards_were_last_under_load_in_this_boot(rigdeploy, fleet, monkeypatch, boot, shown):
    seen = Observation.parse({"schema": 1, "host": {"boot_id": boot}})
    monkeypatch.setattr("rigdeploy.run.status.observe", lambda rigs, *_, **__: {rig.name: seen for rig in rigs})
    fleet.loads.mkdir(parents=True)
    (fleet.loads / "rig01.json").write_text(json.dumps({"schema": 1, "boot_id": "b1", "taken": 1_800_000_000.5}))
    code, out, _ = rigdeploy("status", "--json")
    assert (code, json.loads(out)["rigs"]["rig01"]["loaded_at"]) == (0, 1_800_000_000.5 if shown else None)
    assert ("  load     2027-" in rigdeploy("status")[1]) is shown


def test_the_schema_of_the_findings_is_printed(rigdeploy):
    code, out, _ = rigdeploy("schema", "findings")
    assert code == 0
    assert json.loads(out) == findings_schema()


@pytest.mark.parametrize(
    "arguments", [("plan", "rig9"), ("up", "rig9", "--yes"), ("log", "nothing"), ("up", "--only", "x")]
)
def test_what_does_not_exist_is_a_usage_error(rigdeploy, arguments):
    code, out, err = rigdeploy(*arguments)
    assert code == 4
    assert out == ""
    assert err


def test_the_log_of_one_rig(rigdeploy):
    rigdeploy("up", "--yes", "--only", "verify")
    code, out, _ = rigdeploy("log", "--rig", "rig01")
    assert code == 0
    assert "up --yes --only verify" in out
