"""``ansible-playbook -i inventory playbooks/site.yml`` alone does the same work as ``up``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

CHECKOUT = Path(__file__).resolve().parents[2]


def playbook(lab_fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "RIGDEPLOY_LAB": "1",
        "RIGDEPLOY_STATE": str(lab_fleet.workspace.base_state),
        "ANSIBLE_FORCE_COLOR": "0",
    }
    return subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            str(lab_fleet.workspace.inventory),
            "playbooks/site.yml",
            *arguments,
        ],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_site_does_what_up_does(lab_fleet):
    lab_fleet.renew("rig01")
    lab_fleet.renew("rig02")
    done = playbook(lab_fleet)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = json.loads(lab_fleet.run("plan", "--json").stdout)
    for rig in plan["rigs"].values():
        assert [step["phase"] for step in rig["steps"] if step["needed"]] == ["verify"], rig
    up = lab_fleet.run("up", "--yes")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "nothing had to change" in up.stdout + up.stderr

    again = playbook(lab_fleet)
    assert again.returncode == 0, again.stdout + again.stderr
    recap = [line for line in again.stdout.splitlines() if "changed=" in line]
    assert len(recap) == 2
    assert all("changed=0" in line for line in recap), recap
