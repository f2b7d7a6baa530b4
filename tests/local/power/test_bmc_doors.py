"""What IPMI leaves open, and what closes it, on a BMC of another make: OpenIPMI's simulator, judged by ipmitool."""

from __future__ import annotations

import subprocess

import pytest

from rigdeploy.errors import PowerRefusedError
from rigdeploy.fleet.load import load_fleet
from rigdeploy.power.base import Door
from rigdeploy.run.bmc import read_settings, set_as_declared
from rigdeploy.workspace import Workspace


@pytest.fixture
def bmc(start_bmc):
    return start_bmc(nameless=True)


@pytest.fixture
def close(inventory):
    """The rig behind that BMC, on which ``door`` is to be closed, and its workspace."""

    def declared(door):
        file = inventory / "fleet.yml"
        file.write_text(file.read_text().replace("  rig02:", f"    bmc: {{close: [{door}]}}\n  rig02:"))
        workspace = Workspace.from_environment(inventory)
        return load_fleet(workspace).rigs["rig01"], workspace

    return declared


def gets_in(bmc, user: str, suite: int) -> bool:
    """What ipmitool says of a log-in."""
    command = ["ipmitool", "-I", "lanplus", "-C", str(suite), "-H", "127.1.0.1", "-p", str(bmc.port), "-U", user]
    rest = ["-L", "USER", "-f", bmc.directory / "password", "-N", "1", "-R", "1", "chassis", "power", "status"]
    return subprocess.run([*command, *rest], capture_output=True, timeout=30, check=False).returncode == 0


def test_a_user_without_a_name_is_disabled_and_ours_is_not(bmc, close):
    rig, workspace = close("null_user")
    assert gets_in(bmc, "", 3)
    before, after = set_as_declared(rig, workspace)
    assert (before.open, after.open) == ({Door.NULL_USER: True}, {Door.NULL_USER: False})
    assert not gets_in(bmc, "", 3)
    assert gets_in(bmc, "admin", 3)
    assert set_as_declared(rig, workspace) == (after, after)


def test_what_cannot_be_closed_does_not_pass_for_closed(bmc, close):
    rig, workspace = close("cipher_0")
    assert read_settings([rig], workspace)["rig01"].open == {Door.CIPHER_0: True}
    for _ in range(2):
        with pytest.raises(PowerRefusedError, match="cipher_0 cannot be closed this way"):
            set_as_declared(rig, workspace)
    assert gets_in(bmc, "admin", 0)
    assert gets_in(bmc, "admin", 3)
