"""``rig_power`` and the role ``power`` under plain ansible-playbook, against a real BMC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PLAY = """\
- hosts: rigs
  gather_facts: false
  connection: local
  tasks:
    - {name: would, rig_power: {state: "on"}, check_mode: true, register: would}
    - {name: first, rig_power: {state: on}, register: first}
    - {name: second, rig_power: {}, register: second}
    - {name: again, rig_power: {state: cycled}, register: again}
    - {name: down, include_role: {name: power}, vars: {power_state: "off", power_soft: true}}
    - {name: rest, rig_power: {state: "off"}, register: rest}
    - name: tell
      copy:
        content: "{{ dict(would=would, first=first, second=second, again=again, rest=rest) | to_json }}"
        dest: "{{ out }}"
"""


@pytest.fixture
def playbook(inventory, tmp_path):
    """Run a playbook on rig01; gives the exit code and all that was printed."""

    def run(text, *arguments):
        play = tmp_path / "play.yml"
        play.write_text(text)
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, "-l", "rig01", play]
        environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_states_under_plain_ansible(playbook, bmc, tmp_path):
    out = tmp_path / "out.json"
    code, shown = playbook(PLAY, "-e", f"out={out}", "-e", f"ansible_python_interpreter={sys.executable}")
    assert code == 0, shown
    results = {
        name: (result["changed"], result["before"], result.get("after"))
        for name, result in json.loads(out.read_text()).items()
    }
    assert results == {
        "would": (True, "off", None),
        "first": (True, "off", "on"),
        "second": (False, "on", "on"),
        "again": (True, "on", "on"),
        "rest": (False, "off", "off"),
    }
    assert (bmc.count("now 1"), bmc.count("now 0")) == (2, 2)
    assert bmc.judge() == "off"
    assert "Planted-Pa55word" not in shown


def test_a_wrong_password_is_one_message(playbook, bmc, monkeypatch):
    monkeypatch.setenv("RIG01_BMC_PASSWORD", "not-this-one")
    code, shown = playbook("- {hosts: rigs, gather_facts: false, tasks: [{name: on, rig_power: {}}]}\n", "-vvv")
    assert code == 2
    assert "the password for user 'admin' (from env:RIG01_BMC_PASSWORD) is wrong" in shown
    assert "Traceback" not in shown
    assert "not-this-one" not in shown
    assert not bmc.is_on
