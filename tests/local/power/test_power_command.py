"""``rigdeploy power`` as a user meets it, against a real BMC."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from command_line import PASSWORD

from rigdeploy.cli import main
from rigdeploy.run.lock import RigLock
from tests.bmc import Faults


@pytest.fixture
def power(inventory, capsys, monkeypatch):
    """Run ``rigdeploy power ARGUMENTS``; gives exit code, standard output, standard error."""

    def run(*arguments):
        verb, *rest = arguments
        monkeypatch.setattr(sys, "argv", ["rigdeploy", "power", verb, "-i", str(inventory), *rest])
        code = main.run()
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def rows(output):
    document = json.loads(output)
    assert document["schema"] == 1
    return document["rigs"]


def test_status_of_a_fleet(power, bmc):
    bmc.write("power", 1)
    code, out, err = power("status")
    assert code == 0
    assert sorted(line.split()[:2] for line in out.splitlines()) == [["rig01", "on"], ["rig02", "unknown"]]
    assert err == ""
    bmc.write("power", 0)
    code, out, _ = power("status", "--json")
    assert code == 0
    assert {name: row["state"] for name, row in rows(out).items()} == {"rig01": "off", "rig02": "unknown"}
    assert rows(out)["rig01"]["changed"] is False


def test_on_is_done_once_and_told_truthfully(power, bmc):
    code, out, err = power("on", "rig01", "--json")
    assert (code, rows(out)["rig01"]["state"], rows(out)["rig01"]["changed"]) == (0, "on", True)
    assert "rig01: switching on" in err
    code, out, _ = power("on", "rig01", "--json")
    assert (code, rows(out)["rig01"]["changed"]) == (0, False)
    assert bmc.count("now 1") == 1


def test_off_and_cycle_with_yes(power, bmc, monkeypatch):
    monkeypatch.setattr("rigdeploy.power.policy.OFF_SECONDS", 0.1)
    bmc.write("power", 1)
    code, out, _ = power("cycle", "rig01", "--yes")
    assert code == 0
    assert "rig01  on" in out
    code, out, _ = power("off", "rig01", "--yes", "--soft")
    assert code == 0
    assert "rig01  off" in out
    assert (bmc.count("now 0"), bmc.count("now 1")) == (2, 1)


@pytest.mark.parametrize("verb", ["off", "cycle"])
def test_off_and_cycle_need_a_yes(power, bmc, monkeypatch, verb):
    bmc.write("power", 1)
    code, _, err = power(verb, "rig01")
    assert code == 4
    assert "--yes" in err
    assert "rig01" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *a, **k: False)
    code, _, err = power(verb, "rig01")
    assert code == 4
    assert "nothing was changed" in err
    assert bmc.is_on
    assert (bmc.directory / "log").read_text() == ""


def test_a_failing_rig_does_not_hold_back_the_others(power, bmc, monkeypatch):
    monkeypatch.setenv("RIG01_BMC_PASSWORD", "not-this-one")
    code, out, err = power("status")
    assert code == 5
    assert "rig02" in out
    assert "password for user 'admin' (from env:RIG01_BMC_PASSWORD) is wrong" in err
    assert "not-this-one" not in out + err
    code, out, _ = power("status", "--json")
    assert code == 5
    error = rows(out)["rig01"]["error"]
    assert error["kind"] == "PowerAuthenticationError"
    assert rows(out)["rig01"]["state"] is None


def test_a_missing_secret_is_a_declaration_error(power, monkeypatch):
    monkeypatch.delenv("RIG01_BMC_PASSWORD")
    code, _, err = power("status", "rig01")
    assert code == 4
    assert "RIG01_BMC_PASSWORD is not set" in err


def test_a_person_who_does_not_come_is_waited_for_in_vain(power):
    code, _, err = power("on", "rig02")
    assert code == 5
    assert "rig02: please switch it on" in err
    assert "rig02 (switched by hand): asked" in err


def test_a_rig_that_is_in_a_run_is_not_switched(power, bmc, inventory):
    power("status")  # makes the state directory
    locks = inventory.parent / ".rigdeploy" / "locks"
    with RigLock(locks, "rig01", command="rigdeploy up", run="7"):
        code, _, err = power("on", "rig01")
        assert code == 5
        assert "rig01 is locked by 'rigdeploy up' (run 7" in err
        assert power("status", "rig01")[0] == 0
    assert not bmc.is_on


def test_unknown_rig_is_a_usage_error(power):
    code, _, err = power("status", "rig09")
    assert code == 4
    assert "rig09" in err


def test_soft_asks_the_system_and_then_cuts(fleet, monkeypatch):
    monkeypatch.setattr("rigdeploy.power.policy.SOFT_SECONDS", 0.5)
    heeds, ignores = fleet.add("rig01", on=True), fleet.add("rig02", on=True, faults=Faults(soft_ignored=True))
    code, out, err = fleet.run("power", "soft", "rig01", "rig02", "--yes")
    assert code == 0
    assert sorted(line.split()[:2] for line in out.splitlines()) == [["rig01", "off"], ["rig02", "off"]]
    assert (heeds.events("control"), ignores.events("control")) == (["soft"], ["soft", "off"])
    assert "rig02: the system did not shut down; cutting its power" in err
    assert "rig01: the system did not" not in err


def test_soft_without_hard_cuts_nothing(fleet, monkeypatch):
    monkeypatch.setattr("rigdeploy.power.policy.SOFT_SECONDS", 0.5)
    bmc = fleet.add("rig01", on=True, faults=Faults(soft_ignored=True))
    code, rows = fleet.rows("power", "soft", "rig01", "--no-hard", "--yes")
    assert code == 5
    assert rows["rig01"]["error"]["kind"] == "PowerTimeoutError"
    assert "its power was not cut" in rows["rig01"]["error"]["message"]
    assert bmc.events("control") == ["soft"]
    assert bmc.state.power


@pytest.mark.parametrize("driver", ["ipmi", "ipmitool"])
def test_reset_is_for_rigs_that_are_on(fleet, driver):
    on, off = fleet.add("rig01", driver=driver, on=True), fleet.add("rig02", driver=driver)
    code, rows = fleet.rows("power", "reset", "rig01", "rig02", "--yes")
    assert code == 5
    assert (rows["rig01"]["state"], rows["rig01"]["changed"]) == ("on", True)
    assert rows["rig02"]["error"]["kind"] == "PowerRefusedError"
    assert (on.events("control"), off.events("control")) == (["reset"], [])


@pytest.mark.parametrize("verb", ["soft", "reset"])
def test_soft_and_reset_need_names_and_a_yes(fleet, verb):
    bmc = fleet.add("rig01", on=True)
    assert fleet.run("power", verb, "--yes")[0] == 4
    code, _, err = fleet.run("power", verb, "rig01")
    assert code == 4
    assert "--yes" in err
    assert bmc.events("control") == []


@pytest.mark.parametrize("verb", ["soft", "reset"])
def test_what_a_hand_cannot_do_is_said_before_it_is_asked(fleet, verb):
    fleet.add("rig01")
    code, _, err = fleet.run("power", verb, "hand", "--yes")
    assert code == 5
    assert "hand (switched by hand): cannot" in err
    assert "please" not in err


@pytest.mark.skipif(not all(map(shutil.which, ("ipmitool", "ipmipower"))), reason="needs ipmitool and FreeIPMI")
@pytest.mark.parametrize("driver", ["ipmi", "ipmitool"])
def test_freeipmi_sees_what_is_reported(fleet, driver, tmp_path):
    bmc = fleet.add("rig01", driver=driver, on=True)
    config = tmp_path / "freeipmi.conf"
    config.write_text(f"driver-type LAN_2_0\nusername admin\npassword {PASSWORD}\ncipher-suite-id 17\n")
    asked = ["ipmipower", "--config-file", config, "-h", f"{bmc.address}:{bmc.port}", "--stat"]
    for verb, reported in (("off", "off"), ("cycle", "on"), ("reset", "on"), ("soft", "off"), ("on", "on")):
        yes = [] if verb == "on" else ["--yes"]
        code, found = fleet.rows("power", verb, "rig01", *yes)
        assert (code, found["rig01"]["state"]) == (0, reported)
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout
        assert said.split()[-1] == reported
    assert bmc.events("power") == ["off", "on", "reset", "off", "on"]
