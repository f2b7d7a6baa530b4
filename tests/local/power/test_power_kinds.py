"""``rigdeploy power`` on a fleet that is switched in every way that is not IPMI."""

from __future__ import annotations

import json
import sys
from contextlib import closing

import pytest
from power_servers import PASSWORD, StrictBmc
from test_manual_power import Sshd
from test_webhook import Plug

from rigdeploy.cli import main

FLEET = """\
plugin: rigdeploy
rigs:
  rig01:
    address: 127.1.0.2
    build: pro-4x3090
    power: {{driver: redfish, url: "{bmc}", username: admin, password: {{env: PLANTED}}, timeout_seconds: 20}}
  rig07:
    address: 127.1.0.3
    build: budget-4x3090
    power:
      driver: webhook
      switch_on: {{url: "{plug}/{{rig}}/on", headers: {{Authorization: {{env: PLANTED}}}}}}
      switch_off: {{url: "{plug}/{{rig}}/off", headers: {{Authorization: {{env: PLANTED}}}}}}
      status: {{url: "{plug}/{{rig}}", headers: {{Authorization: {{env: PLANTED}}}}, says_on: tru, says_off: fals}}
      timeout_seconds: 20
  rig08:
    address: "127.1.1"  # the BMC's, in other words: no rig may have the address of a BMC
    build: budget-4x3090
    ssh: {{port: {ssh}}}
    power: {{driver: wol, mac: "02:00:5e:10:00:08", broadcast: 127.1.0.1, timeout_seconds: 3}}
"""


@pytest.fixture
def power(tmp_path, capsys, monkeypatch):
    """Run ``rigdeploy power VERB --json ARGUMENTS`` on that fleet; gives exit code and rows."""
    for name in ("RIGDEPLOY_INVENTORY", "RIGDEPLOY_STATE", "RIGDEPLOY_LAB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLANTED", PASSWORD)
    monkeypatch.setattr("rigdeploy.power.policy.OFF_SECONDS", 0.1)
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    with closing(StrictBmc()) as bmc, closing(Plug()) as plug, closing(Sshd()) as sshd:
        (inventory / "fleet.yml").write_text(FLEET.format(bmc=bmc.url, plug=plug.url, ssh=sshd.port))

        def run(verb, *arguments):
            monkeypatch.setattr(sys, "argv", ["rigdeploy", "power", verb, "-i", str(inventory), "--json", *arguments])
            code = main.run()
            shown = capsys.readouterr()
            assert shown.out, shown.err
            assert PASSWORD not in shown.out + shown.err
            return code, json.loads(shown.out)["rigs"]

        yield run, bmc, plug
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_one_command_for_all_of_them(power):
    run, bmc, plug = power
    code, rows = run("status")
    assert code == 0
    assert {name: row["state"] for name, row in rows.items()} == {"rig01": "off", "rig07": "off", "rig08": "on"}
    code, rows = run("on")
    assert code == 0
    assert {name: row["changed"] for name, row in rows.items()} == {"rig01": True, "rig07": True, "rig08": False}
    code, rows = run("cycle", "--yes", "rig01", "rig07")
    assert code == 0
    assert bmc.resets == ["On", "ForceOff", "On"]
    assert plug.changes == ["on", "off", "on"]
    code, rows = run("status", "rig01", "rig07")
    assert {row["state"] for row in rows.values()} == {"on"}
    assert bmc.tokens == set()


def test_one_that_fails_does_not_stop_the_others(power):
    run, bmc, plug = power
    bmc.password = "another"
    code, rows = run("on")
    assert code == 5
    assert rows["rig01"]["error"]["kind"] == "PowerAuthenticationError"
    assert rows["rig07"]["changed"] is True
    assert plug.on
    assert bmc.log_ins == 1
