"""Everything a rig may declare above its driver: brought up, left alone when right, and mended role by role."""

from __future__ import annotations

import json

import pytest

from rigdeploy.fleet.variables import PHASE_ROLES

pytestmark = pytest.mark.lab

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJxVZ3Y2p3rY1v8m6bq3u5o0mE2k8m0m4p6cJ7cYxW3f ada@example"
FLEET = f"""\
plugin: rigdeploy
rigs:
  rig01:
    address: 192.0.2.11
    build: home-dual-4090
    override:
      slots: {{PCI_E1: {{power_limit_watts: 350}}, PCI_E2: {{power_limit_watts: 350, clock_limit_mhz: 2000}}}}
    power: {{driver: manual}}
    base: {{users: [{{name: ada, keys: ["{KEY}"], sudo: true}}], security_updates: true}}
    gpu_stack:
      driver: "580"
      cuda: ["13.0", "12.9"]
      cudnn: true
      containers: docker
      frameworks: {{pytorch: "2.9"}}
      metrics: true
"""
ROLES = {role for roles in PHASE_ROLES.values() for role in roles} - {"podman"}

# What somebody does on the node, and the role that it is seen by and mended by.
DRIFTS = [
    ("rm /etc/sudoers.d/rigdeploy", "base"),
    ("apt-get -qq -y purge libcudnn9-cuda-13 >/dev/null 2>&1", "cuda_toolkit"),
    ("systemctl disable --now --quiet rigdeploy-gpu-tuning", "gpu_tuning"),
    ("systemctl disable --now --quiet docker.service docker.socket", "docker"),
    (": >/etc/default/prometheus-node-exporter", "metrics"),
]


@pytest.fixture(scope="module")
def stacked(make_fleet):
    fleet = make_fleet()
    (fleet.workspace.inventory / "fleet.yml").write_text(FLEET)
    done = fleet.run_lab("up")
    assert done.returncode == 0, done.stdout + done.stderr
    done = fleet.run("up", "--yes", timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return fleet


def managed(fleet) -> dict:
    """What status says of each role on the rig."""
    return json.loads(fleet.run("status", "--json").stdout)["rigs"]["rig01"]["roles"]


def due(fleet) -> dict[str, list[str]]:
    """The roles that the plan would run, by phase."""
    steps = json.loads(fleet.run("plan", "--json").stdout)["rigs"]["rig01"]["steps"]
    return {step["phase"]: step["roles"] for step in steps if step["needed"] and step["phase"] != "verify"}


def test_every_role_has_been_applied_and_nothing_is_left_to_do(stacked):
    assert managed(stacked) == dict.fromkeys(ROLES, "applied")
    assert due(stacked) == {}
    done = stacked.run("up", "--yes")
    assert done.returncode == 0
    assert "nothing had to change" in done.stdout + done.stderr


def test_the_node_has_what_was_declared(stacked):
    said = stacked.node(
        "rig01",
        "readlink -f /usr/local/cuda; id -nG ada; nvidia-smi --query-gpu=power.limit --format=csv,noheader,nounits;"
        " python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:9835/metrics\").read().decode())'"
        " | grep -c ^nvidia_smi_memory_total_bytes",
    ).splitlines()
    assert said == ["/usr/local/cuda-13.0", "ada", "350.00", "350.00", "2"]


@pytest.mark.parametrize(("harm", "role"), DRIFTS, ids=[role for _, role in DRIFTS])
def test_drift_is_seen_and_mended_by_its_role_alone(stacked, harm, role):
    stacked.node("rig01", harm)
    verdict = json.loads(stacked.run("verify", "rig01", "--json").stdout)
    drifted = {
        f["subject"] for f in verdict["rigs"]["rig01"]["findings"] if f["check"] == "managed" and f["status"] != "PASS"
    }
    assert role in drifted
    planned = due(stacked)
    assert [name for roles in planned.values() for name in roles] == [role]
    done = stacked.run("up", "rig01", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert managed(stacked) == dict.fromkeys(ROLES, "applied")
