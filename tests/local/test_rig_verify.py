import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rigdeploy.verify.findings import Finding, Status
from tests.unit.plugins.conftest import PLUGINS, load

rig_verify = load("action", "rig_verify")
ROOT = Path(str(PLUGINS)).parents[1]

GOOD = Finding("link.width", "PCIE1", Status.PASS, "x16", "x16")
BAD = Finding("link.width", "PCIE3", Status.FAIL, "x16", "x8", "the riser", "reseat it")
DIM = Finding("memory.size", "PCIE3", Status.UNKNOWN, "24576 MiB", "", "no driver")


def test_a_finding_reads_as_one_line():
    assert rig_verify.describe(BAD) == "FAIL: PCIE3: link.width: declared x16, found x8 (the riser); reseat it"


@pytest.mark.parametrize(
    ("findings", "strict", "failed", "verdict"),
    [
        ([GOOD], False, False, "PASS"),
        ([GOOD, BAD], False, True, "FAIL"),
        ([GOOD, DIM], False, False, "UNKNOWN"),
        ([GOOD, DIM], True, True, "UNKNOWN"),
        ([], False, False, "UNKNOWN"),
        ([], True, True, "UNKNOWN"),
    ],
)
def test_what_fails_a_host(findings, strict, failed, verdict):
    result = rig_verify.summarise(findings, strict=strict)
    assert (result["failed"], result["verdict"]) == (failed, verdict)
    assert len(result["findings"]) + result["passed"] == len(findings)


def test_what_is_not_pass_is_shown_and_the_rest_is_counted():
    message = rig_verify.summarise([GOOD, BAD, DIM], strict=False)["msg"]
    assert message.splitlines()[0] == "FAIL: 1 of 3 checks passed"
    assert "PCIE3: link.width" in message
    assert "UNKNOWN: PCIE3: memory.size" in message
    assert "PCIE1" not in message


PLAY = """
- hosts: rig01
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.include_role: {name: verify}
      rescue:
        - ansible.builtin.copy:
            dest: RESULT
            mode: "0600"
            content: "{{ [ansible_failed_result, __verify_node, __verify_load] | to_json }}"
"""


@pytest.fixture
def play(tmp_path):
    """Run the role with plain ansible-playbook on this machine; what failed it, and what the tasks before it gave."""

    def run(*arguments):
        return _play(tmp_path, *arguments)

    return run


def _play(tmp_path, *arguments):
    inventory = tmp_path / "inventory"
    (inventory / "host_vars").mkdir(parents=True)
    rig = {"address": "127.0.0.1", "build": "pro-4x3090", "power": {"driver": "manual"}, "verify": {"seconds": 7}}
    (inventory / "fleet.yml").write_text(yaml.safe_dump({"plugin": "rigdeploy", "rigs": {"rig01": rig}}))
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (inventory / "host_vars/rig01.yml").write_text(yaml.safe_dump(here))
    (tmp_path / "play.yml").write_text(PLAY.replace("RESULT", str(tmp_path / "result.json")))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE", "RIGDEPLOY"))}
    environment["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "play.yml", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((tmp_path / "result.json").read_text())


def test_plain_ansible_probes_and_judges(play):
    judged, observed, load = play()
    assert observed["observation"]["host"]["boot_id"]
    assert "source" not in observed.get("invocation", {})
    # No machine that runs the tests has four cards in the slots of that board.
    bad = {finding["subject"] for finding in judged["findings"] if finding["status"] == "FAIL"}
    assert "PCIE1" in bad
    assert judged["msg"].startswith("FAIL: ")
    assert "PCIE1" in judged["msg"]
    assert load["skipped"]
    assert "load" not in {finding["check"] for finding in judged["findings"]}


def test_plain_ansible_puts_the_cards_under_load_when_asked_to(play):
    judged, observed, load = play("-e", "verify_active=true", "-e", "verify_memory_share=0.05")
    assert load["load"]["boot_id"] == observed["observation"]["host"]["boot_id"]
    assert "source" not in load.get("invocation", {})
    if not load["load"]["cards"]:
        found = {finding["check"]: finding["cause"] for finding in judged["findings"]}
        assert found["load"] == "no-library"
