"""``rig_power``, ``rig_bmc`` and their roles under plain ansible-playbook, on real and on failing BMCs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rigdeploy.power.base import RestorePolicy
from tests.bmc import FakeBmc, FakeBmcs, Faults

PASSWORD = "Planted-Pa55word"
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


RIG = """\
  {name}:
    address: 127.1.1.{number}
    build: pro-4x3090
    power:
      driver: ipmi
      address: {address}
      port: {port}
      username: admin
      password: {{env: {secret}}}
      timeout_seconds: 5
{more}"""


@pytest.fixture
def start():
    with FakeBmcs() as bmcs:
        yield lambda **arguments: bmcs.start(FakeBmc(PASSWORD, **arguments))


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """Declare a rig for each BMC, by name; gives what runs tasks on all of them."""
    for name in ("RIGDEPLOY_INVENTORY", "RIGDEPLOY_STATE", "RIGDEPLOY_LAB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RIG_BMC_PASSWORD", PASSWORD)
    monkeypatch.setenv("OTHER_PASSWORD", "not-this-one")
    directory = tmp_path / "inventory"
    directory.mkdir()

    def declare(bmcs, more="", wrong=""):
        rigs = [
            RIG.format(
                name=name,
                number=number,
                address=bmc.address,
                port=bmc.port,
                secret="OTHER_PASSWORD" if name == wrong else "RIG_BMC_PASSWORD",
                more=more,
            )
            for number, (name, bmc) in enumerate(bmcs.items(), 1)
        ]
        (directory / "fleet.yml").write_text("plugin: rigdeploy\nrigs:\n" + "".join(rigs))
        return Ansible(tmp_path, directory)

    return declare


class Ansible:
    """Plain ansible-playbook; ``shown`` is all that it printed in the last run."""

    def __init__(self, tmp_path, inventory):
        self._tmp = tmp_path
        self._inventory = inventory
        self.shown = ""

    def each(self, action, arguments, check=False):
        """Run one task on every rig; its results by rig."""
        keep = {"content": "{{ result | to_json }}", "dest": f"{self._tmp}/{{{{ inventory_hostname }}}}.json"}
        tasks = [
            {"name": "do", action: arguments, "register": "result", "ignore_errors": True},
            {"name": "keep", "copy": keep, "check_mode": False, "connection": "local"},
        ]
        (self._tmp / "play.json").write_text(json.dumps([{"hosts": "rigs", "gather_facts": False, "tasks": tasks}]))
        python = f"ansible_python_interpreter={sys.executable}"
        assert self.run(self._tmp / "play.json", "-e", python, *(["--check"] if check else [])) == 0, self.shown
        return {file.stem: json.loads(file.read_text()) for file in self._tmp.glob("rig*.json")}

    def run(self, playbook, *arguments):
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", self._inventory, playbook, *arguments]
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(self._tmp / "home")}
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
        )
        self.shown = done.stdout + done.stderr
        return done.returncode


def test_every_rig_has_a_result_of_its_own(start, fleet):
    bmcs = {f"rig{number:02}": start(on=number % 2 == 0) for number in range(1, 9)}
    ansible = fleet(bmcs, wrong="rig08")
    results = ansible.each("rig_power", {"state": "on"})
    assert {name: result["changed"] for name, result in results.items() if name != "rig08"} == {
        f"rig{number:02}": number % 2 == 1 for number in range(1, 8)
    }
    assert [name for name, result in results.items() if result["failed"]] == ["rig08"]
    assert all(bmc.events("power") == ["on"] for name, bmc in bmcs.items() if int(name[3:]) % 2)
    assert "not-this-one" not in ansible.shown
    assert PASSWORD not in ansible.shown


def test_soft_reset_and_what_a_rig_boots_from(start, fleet):
    bmc = start(on=True)
    ansible = fleet({"rig01": bmc})
    reset = ansible.each("rig_power", {"state": "reset", "boot": "bios"})["rig01"]
    assert (reset["changed"], reset["before"], reset["after"]) == (True, "on", "on")
    assert bmc.events("power") == ["reset"]
    soft = ansible.each("rig_power", {"state": "soft"})["rig01"]
    assert (soft["changed"], soft["after"]) == (True, "off")
    assert bmc.events("control") == ["reset", "soft"]
    off = ansible.each("rig_power", {"state": "reset"})["rig01"]
    assert "nothing to reset" in off["msg"]
    would = ansible.each("rig_power", {"state": "cycled", "boot": "pxe"}, check=True)["rig01"]
    assert (would["changed"], len(bmc.events("power"))) == (True, 2)
    ansible.each("rig_power", {"state": "cycled", "boot": "pxe", "boot_efi": True})
    assert bmc.events("power")[2:] == ["on"]
    assert bmc.events("boot")[-1] == "a0 04 00 00 00"


def test_a_boot_device_alone_is_a_change_once(start, fleet):
    ansible = fleet({"rig01": start(on=True)})
    assert ansible.each("rig_power", {"boot": "pxe"}, check=True)["rig01"]["changed"]
    assert [ansible.each("rig_power", {"boot": "pxe"})["rig01"]["changed"] for _ in range(2)] == [True, False]


def test_what_a_bmc_drops_is_a_warning(start, fleet):
    ansible = fleet({"rig01": start(on=False, faults=Faults(efi_ignored=True))})
    result = ansible.each("rig_power", {"boot": "pxe", "boot_efi": True})["rig01"]
    assert result["changed"]
    assert "dropped efi" in ansible.shown


def test_the_playbook_alone(start, fleet):
    bmcs = {"rig01": start(on=True), "rig02": start(on=True)}
    ansible = fleet(bmcs)
    assert ansible.run(ROOT / "playbooks" / "power.yml", "-e", "power_state=off", "-l", "rig01") == 0, ansible.shown
    assert [bmc.events("control") for bmc in bmcs.values()] == [["off"], []]
    assert ansible.run(ROOT / "playbooks" / "power.yml", "-e", "power_boot=moon") != 0


ALWAYS_ON = "    bmc: {power_restore: always-on}\n"


def test_a_bmc_is_set_as_declared_once(start, fleet):
    bmc = start()
    ansible = fleet({"rig01": bmc}, more=ALWAYS_ON)
    would = ansible.each("rig_bmc", {}, check=True)["rig01"]
    assert (would["changed"], would["before"], "after" in would) == (True, {"power_restore": "always-off"}, False)
    first, second = (ansible.each("rig_bmc", {})["rig01"] for _ in range(2))
    assert (first["changed"], first["after"]) == (True, {"power_restore": "always-on"})
    assert (second["changed"], second["before"]) == (False, {"power_restore": "always-on"})
    assert ansible.run(ROOT / "playbooks" / "bmc.yml", "-e", "bmc_power_restore=previous") == 0, ansible.shown
    assert ansible.each("rig_bmc", {}, check=True)["rig01"]["before"] == {"power_restore": RestorePolicy.PREVIOUS}


def test_what_is_open_on_a_bmc_is_closed_as_declared(start, fleet):
    bmc = start(suites=(0, 3, 17))
    bmc.state.users[1].enabled, bmc.state.users[1].privilege = True, 4
    ansible = fleet({"rig01": bmc}, more="    bmc: {close: [cipher_0, null_user]}\n")
    would = ansible.each("rig_bmc", {}, check=True)["rig01"]
    assert (would["changed"], would["changes"]) == (True, ["close cipher_0", "close null_user"])
    assert bmc.state.suites[0] == 4
    assert ansible.run(ROOT / "playbooks" / "bmc.yml") == 0, ansible.shown
    assert (bmc.state.suites[0], bmc.state.users[1].enabled) == (0, False)
    assert "bmc.null_user" not in ansible.shown
    again = ansible.each("rig_bmc", {})["rig01"]
    assert (again["changed"], again["after"]) == (False, {"cipher_0": "closed", "null_user": "closed"})


def test_what_is_open_on_a_bmc_is_a_warning(start, fleet):
    bmc = start()
    bmc.state.users[1].enabled = True
    bmc.state.users[1].privilege = 4
    ansible = fleet({"rig01": bmc})
    result = ansible.each("rig_bmc", {"audit": True})["rig01"]
    assert result["changed"] is False
    assert ("bmc.null_user", "FAIL") in [(one["check"], one["status"]) for one in result["findings"]]
    assert "bmc.null_user: enabled" in ansible.shown
    assert PASSWORD not in ansible.shown + json.dumps(result)


def test_nothing_declared_is_skipped_and_no_bmc_is_asked(start, fleet):
    bmc = start()
    result = fleet({"rig01": bmc}).each("rig_bmc", {})["rig01"]
    assert (result["skipped"], result["changed"]) == (True, False)
    assert bmc.events("log-in") == []


def test_a_rig_without_a_bmc_is_skipped_with_the_reason(inventory, tmp_path):
    result = Ansible(tmp_path, inventory).each("rig_bmc", {"power_restore": "always-on"})["rig02"]
    assert result["skipped"]
    assert "power.driver manual is no BMC" in result["msg"]
