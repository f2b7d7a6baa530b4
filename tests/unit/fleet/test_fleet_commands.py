"""Ansible's own tools on the inventory, and the commands init, check and schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from small_fleet import BUILD, FLEET, MakeFleet

from rigdeploy.cli import main
from rigdeploy.fleet.schema import FILES, schema
from rigdeploy.fleet.starter import ANSIBLE_CFG

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent


def run(*words: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "RIGDEPLOY_"))}
    environment |= {"ANSIBLE_DEPRECATION_WARNINGS": "True", "PATH": f"{BIN}:{environment['PATH']}", **extra}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("inventory", ["inventory", "inventory/fleet.yml"])
def test_ansible_reads_the_example_fleet(inventory: str) -> None:
    done = run("ansible-inventory", "-i", inventory, "--list", cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(done.stdout)
    assert listed["rigs"]["hosts"] == ["rig01", "rig02"]
    assert set(listed) == {
        "_meta",
        "all",
        "rigs",
        "build_pro_4x3090",
        "build_budget_4x3090",
        "power_ipmi",
        "power_manual",
    }
    assert "RIG01_BMC" not in done.stdout


def test_group_vars_work_beside_the_fleet(make_fleet: MakeFleet, tmp_path: Path) -> None:
    make_fleet(files={"group_vars/rigs.yml": "mine: 1\n", "host_vars/rig02.yml": "base_timezone: Europe/Berlin\n"})
    (tmp_path / "ansible.cfg").write_text(ANSIBLE_CFG.format(content=f"{ROOT}/", plugins=f"{ROOT}/rigdeploy/plugins/"))
    done = run("ansible-inventory", "--host", "rig02", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["mine"] == 1
    assert found["base_timezone"] == "Europe/Berlin"


def test_ansible_shows_our_own_message(make_fleet: MakeFleet, tmp_path: Path) -> None:
    make_fleet(FLEET.replace("username", "usrname"))
    (tmp_path / "ansible.cfg").write_text(ANSIBLE_CFG.format(content=f"{ROOT}/", plugins=f"{ROOT}/rigdeploy/plugins/"))
    done = run("ansible-inventory", "--graph", cwd=tmp_path)
    assert done.returncode != 0
    assert (
        "inventory/fleet.yml:9: rigs.rig01.power.usrname: unknown key 'usrname'; did you mean 'username'?"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_the_checkout_and_init_agree_on_ansible_cfg() -> None:
    assert (ROOT / "ansible.cfg").read_text() == ANSIBLE_CFG.format(content="", plugins="rigdeploy/plugins/")


def test_init_starts_a_fleet_that_works(tmp_path: Path) -> None:
    done = run("rigdeploy", "init", "new", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    checked = run("rigdeploy", "check", cwd=tmp_path / "new")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "2 rigs, 8 cards, no problem\n", "")
    graph = run("ansible-inventory", "--graph", cwd=tmp_path / "new")
    assert (graph.returncode, graph.stderr) == (0, "")
    assert "rig02" in graph.stdout
    assert (tmp_path / "new" / ".gitignore").read_text() == ".rigdeploy/\n"


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    done = run("rigdeploy", "init", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("error: ansible.cfg is there already")
    assert [path.name for path in tmp_path.iterdir()] == ["ansible.cfg"]


def test_init_keeps_what_gitignore_says(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log")
    assert run("rigdeploy", "init", cwd=tmp_path).returncode == 0
    assert (tmp_path / ".gitignore").read_text() == "*.log\n.rigdeploy/\n"


def test_check_is_quick() -> None:
    """A person waits for it after every save. Processor time, so that a busy machine does not decide."""
    assert min(_seconds("rigdeploy", "check") for _ in range(3)) < 0.5


def _seconds(*words: str) -> float:
    before = os.times()
    assert run(*words, cwd=ROOT).returncode == 0
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_check_json(make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_fleet()
    monkeypatch.setattr("sys.argv", ["rigdeploy", "check", "--json"])
    assert main.run() == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "rigs": 2, "cards": 6, "problems": []}


@pytest.mark.parametrize("command", ["check", "init", "schema"])
def test_help_has_an_example(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["rigdeploy", command, "--help"])
    assert main.run() == 0
    assert f"rigdeploy {command}" in capsys.readouterr().out.split("Example:")[1]


def validator(what: str) -> Any:
    made = schema(what)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("what", FILES)
def test_the_schema_is_printed(what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["rigdeploy", "schema", what])
    assert main.run() == 0
    assert json.loads(capsys.readouterr().out) == schema(what)


def test_the_schema_accepts_every_shipped_file() -> None:
    files = [("fleet", ROOT / "inventory" / "fleet.yml")]
    files += [("build", path) for path in (ROOT / "inventory" / "builds").glob("*.yml")]
    for kind in ("build", "board", "gpu"):
        files += [(kind, path) for path in (ROOT / "rigdeploy" / "fleet" / "catalogue" / f"{kind}s").glob("*.yml")]
    assert len(files) > 30
    for what, path in files:
        assert list(validator(what).iter_errors(yaml.safe_load(path.read_text()))) == [], path


OVERRIDE = "    override: {psu_watts: null, slots: {PCI_E1: null, PCI_E2: {link: 3.0 x8}}, vram_gib: 24}\n"


def test_the_schema_knows_a_partial_override() -> None:
    assert list(validator("fleet").iter_errors(yaml.safe_load(FLEET + OVERRIDE))) == []


@pytest.mark.parametrize(
    ("what", "text", "old", "new"),
    [
        ("fleet", FLEET, "address: 192.0.2.12", "adress: 192.0.2.12"),
        ("fleet", FLEET, "plugin: rigdeploy", "plugin: other"),
        ("fleet", FLEET, "{env: RIG01_BMC_PASSWORD}", "{vault: x}"),
        ("fleet", FLEET, '"580"', '"580.95"'),
        ("fleet", FLEET, "driver: manual", "driver: manul"),
        ("fleet", FLEET + OVERRIDE, "link: 3.0 x8", "link: 3.0 x12"),
        ("fleet", FLEET + OVERRIDE, "vram_gib", "vram"),
        ("build", BUILD, "link: 4.0 x8", "link: 4"),
        ("build", BUILD, "vram_gib: 48\n", ""),
    ],
)
def test_the_schema_refuses(what: str, text: str, old: str, new: str) -> None:
    assert list(validator(what).iter_errors(yaml.safe_load(text))) == []
    assert old in text
    assert list(validator(what).iter_errors(yaml.safe_load(text.replace(old, new)))) != []


@pytest.mark.parametrize(
    ("name", "text", "ours"),
    [
        ("fleet.yml", "plugin: rigdeploy\n", True),
        ("fleet.yml", "---\n# a fleet\nplugin:   rigdeploy  # ours\nrigs: {}\n", True),
        ("fleet.yml", 'plugin: "rigdeploy"\n', True),
        ("fleet.yml", "plugin: aws_ec2\n", False),
        ("hosts.yml", "plugin: rigdeploy\n", False),
        ("fleet.yaml", "plugin: rigdeploy\n", False),
    ],
)
def test_the_plugin_takes_a_fleet_and_nothing_else(name: str, text: str, ours: bool, tmp_path: Path) -> None:
    from rigdeploy.plugins.inventory.rigdeploy import InventoryModule

    (tmp_path / name).write_text(text)
    assert InventoryModule().verify_file(str(tmp_path / name)) is ours
