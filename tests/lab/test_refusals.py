"""What cannot be done is said in one clear message, with the right exit code, and changes nothing."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.lab


@pytest.fixture
def twins(lab_fleet):
    """The twins' file, put back as it was afterwards."""
    path = lab_fleet.workspace.lab_dir / "twins.json"
    saved = path.read_text()
    yield path
    path.write_text(saved)


def edit(path, rig: str, change) -> None:
    document = json.loads(path.read_text())
    change(document["rigs"][rig])
    path.write_text(json.dumps(document))


def assert_refused(done, code: int, *words: str) -> None:
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    for word in words:
        assert word in text
    assert "Traceback" not in text


@pytest.fixture
def rig01_off(lab_fleet):
    """rig01 switched off, so that ``up`` has to ask its BMC."""
    assert lab_fleet.run("power", "off", "rig01", "--yes").returncode == 0


@pytest.mark.usefixtures("rig01_off")
def test_wrong_bmc_password(lab_fleet, twins, tmp_path):
    wrong = tmp_path / "password"
    wrong.write_text("not-the-password")
    edit(twins, "rig01", lambda twin: twin["bmc"].update(password_file=str(wrong)))
    for command in (["power", "status", "rig01"], ["power", "on", "rig01"], ["up", "rig01", "--yes"]):
        done = lab_fleet.run(*command)
        assert_refused(done, 5, "rig01", "10.90.0.", "password")
        assert "not-the-password" not in done.stdout + done.stderr


@pytest.mark.usefixtures("rig01_off")
def test_unreachable_bmc(lab_fleet, twins):
    edit(twins, "rig01", lambda twin: twin["bmc"].update(address="10.90.0.250"))
    for command in (["power", "status", "rig01"], ["up", "rig01", "--yes"]):
        assert_refused(lab_fleet.run(*command), 5, "rig01", "10.90.0.250")
    assert lab_fleet.status("rig01")["power"] == "off"


def test_unreachable_node(lab_fleet):
    lab_fleet.run("power", "off", "rig02", "--yes")
    assert_refused(lab_fleet.run("verify", "rig02"), 5, "rig02")


def test_changed_host_key(lab_fleet):
    assert lab_fleet.run("up", "--yes").returncode == 0
    lab_fleet.run_lab("fault", "rig02", "--host-key")
    try:
        for command in (["verify", "rig02"], ["up", "rig02", "--yes"]):
            assert_refused(lab_fleet.run(*command), 5, "rig02", "host key")
    finally:
        lab_fleet.run_lab("fault", "rig02", "--clear")
    assert lab_fleet.run("verify", "rig02").returncode == 0


def test_unknown_rig(lab_fleet):
    assert_refused(lab_fleet.run("verify", "rig1"), 4, "rig1", "rig01")


def test_no_terminal_and_no_yes(lab_fleet):
    assert_refused(lab_fleet.run("power", "off", "rig01"), 4, "--yes")


def test_host_vars_of_the_real_rig_do_not_lead_the_rehearsal_astray(lab_fleet):
    assert lab_fleet.run("up", "rig02", "--yes").returncode == 0
    real = lab_fleet.workspace.inventory / "host_vars" / "rig02.yml"
    real.parent.mkdir()
    real.write_text("ansible_host: 192.0.2.99\nansible_port: 2222\nansible_connection: local\n")
    try:
        # The new file may change any role's variables, so the roles run again: on the twin.
        done = lab_fleet.run("up", "rig02", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "base     done" in done.stderr
    finally:
        real.unlink()
        real.parent.rmdir()


def test_nothing_named_is_not_everything_to_switch_off(lab_fleet):
    assert_refused(lab_fleet.run("power", "off", "--yes"), 4, "'*'")
