"""What Ansible is told about a rig, and when a role has to run again."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from small_fleet import FLEET, MakeFleet

from rigdeploy.content import content_dir
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.variables import connection_variables, groups, host_variables, inputs_hash, ssh_options
from rigdeploy.workspace import Workspace

CONTENT = content_dir()


def variables_of(fleet: Fleet, rig: str, content: Path = CONTENT) -> dict[str, object]:
    return host_variables(fleet, fleet.rigs[rig], content)


def test_variables(make_fleet: MakeFleet, tmp_path: Path) -> None:
    ssh = "    ssh: {user: ops, port: 2222, private_key: /keys/id, jump: gate}\n"
    ssh += "    base: {hostname: ai3, ntp_servers: [a.example]}\n"
    workspace = make_fleet(FLEET.replace("    gpu_stack:", f"{ssh}    gpu_stack:"))
    (workspace.inventory / "nvidia.asc").write_text("KEY\n")
    found = variables_of(load_fleet(workspace), "rig01")
    hashes = {name: found.pop(name) for name in ("base_inputs_hash", "nvidia_driver_inputs_hash")}
    assert all(len(str(value)) == 64 for value in hashes.values())
    assert found == {
        "ansible_host": "192.0.2.11",
        "ansible_port": 2222,
        "ansible_user": "ops",
        "ansible_become": True,
        "ansible_ssh_private_key_file": "/keys/id",
        "ansible_ssh_common_args": f"-o 'UserKnownHostsFile=\"{tmp_path}/.rigdeploy/known_hosts\"'"
        " -o StrictHostKeyChecking=accept-new -o HostKeyAlias=rig01 -o IdentitiesOnly=yes -o ProxyJump=gate",
        "base_hostname": "ai3",
        "base_timezone": "Etc/UTC",
        "base_ntp_servers": ["a.example"],
        "base_packages": [],
        "base_ssh_hardening": False,
        "base_users": [],
        "base_security_updates": None,
        "base_data_disk": {},
        "nvidia_driver_branch": "580",
        "nvidia_driver_modules": "auto",
        "nvidia_driver_source": "mirror",
        "nvidia_driver_mirror_url": "https://mirror.example.com/nvidia",
        "nvidia_driver_mirror_key": "KEY\n",
    }


STACK = """\
    gpu_stack:
      driver: "580"
      cuda: ["13.0", "12.9"]
      cudnn: true
      containers: docker
      frameworks: {pytorch: "2.9"}
      metrics: true
"""
"""Without a mirror: all of it comes from where its makers publish it."""


def test_only_the_roles_that_are_asked_for_have_variables(make_fleet: MakeFleet) -> None:
    text = FLEET.replace("    gpu_stack:", "    x-old:", 1).replace("    x-old:", f"{STACK}    x-old:", 1)
    text = re.sub(r"    x-old:.*\n(      .*\n)*", "", text, count=1)
    found = variables_of(load_fleet(make_fleet(text)), "rig01")
    own = {name: value for name, value in found.items() if not name.startswith(("ansible_", "base_"))}
    assert {name for name in own if name.endswith("_inputs_hash")} == {
        f"{role}_inputs_hash"
        for role in ("nvidia_driver", "cuda_toolkit", "docker", "nvidia_container_toolkit", "frameworks", "metrics")
    }
    assert {name: value for name, value in own.items() if not name.endswith("_inputs_hash")} == {
        "nvidia_driver_branch": "580",
        "nvidia_driver_modules": "auto",
        "nvidia_driver_source": "nvidia",
        "cuda_toolkit_versions": ["13.0", "12.9"],
        "cuda_toolkit_cudnn": True,
        "cuda_toolkit_nccl": False,
        "cuda_toolkit_source": "nvidia",
        "docker_enabled": True,
        "nvidia_container_toolkit_engine": "docker",
        "nvidia_container_toolkit_source": "nvidia",
        "frameworks_pytorch": "2.9",
        "frameworks_index_url": "",
        "frameworks_deepspeed": False,
        "frameworks_llama_factory": False,
        "frameworks_driver_branch": "580",
        "metrics_enabled": True,
        "metrics_source": "release",
    }


def test_limits_of_cards_reach_the_role_that_sets_them(make_fleet: MakeFleet) -> None:
    limits = "    override: {slots: {PCIE1: {clock_limit_mhz: 1700}}}\n"
    found = variables_of(load_fleet(make_fleet(FLEET.replace("    gpu_stack:", f"{limits}    gpu_stack:", 1))), "rig01")
    assert found["gpu_tuning_limits"]["PCIE1"]["clock_limit_mhz"] == 1700


def test_a_rig_without_driver_has_no_driver_variables(make_fleet: MakeFleet) -> None:
    found = variables_of(load_fleet(make_fleet()), "rig02")
    assert not [name for name in found if name.startswith("nvidia_driver_")]
    assert found["base_hostname"] == "rig02"
    assert "ansible_become" not in found


def test_groups(make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet())
    assert groups(fleet.rigs["rig01"]) == ["rigs", "build_pro_4x3090", "power_ipmi"]


@pytest.mark.parametrize("directory", ["plain", "with blank", "100%h", "q'uote"])
def test_ssh_understands_the_known_hosts_path(directory: str, make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = load_fleet(make_fleet())
    workspace = Workspace(fleet.workspace.inventory, tmp_path / directory)
    shown = subprocess.run(
        ["ssh", "-G", *ssh_options(fleet.rigs["rig01"], workspace), "192.0.2.11"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    settings = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    # -G prints the value before %% is reduced to %.
    assert settings["userknownhostsfile"].replace("%%", "%") == str(workspace.known_hosts)
    assert settings["hostkeyalias"] == "rig01"


def copy_of_content(tmp_path: Path) -> Path:
    for part in ("roles", "playbooks"):
        shutil.copytree(CONTENT / part, tmp_path / "content" / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "content"


def test_the_hash_follows_what_decides_and_nothing_else(make_fleet: MakeFleet, tmp_path: Path) -> None:
    workspace = make_fleet()
    content = copy_of_content(tmp_path)

    def now(text: str = FLEET) -> tuple[object, object]:
        workspace.fleet_file.write_text(text)
        found = variables_of(load_fleet(workspace), "rig01", content)
        return found["base_inputs_hash"], found["nvidia_driver_inputs_hash"]

    base, driver = now()
    assert (base, driver) == now()
    assert now(FLEET.replace("192.0.2.11\n", "192.0.2.21\n")) == (base, driver)
    assert now(FLEET.replace("    gpu_stack:", "    base: {timezone: Europe/Berlin}\n    gpu_stack:"))[1] == driver
    assert now(FLEET.replace("    gpu_stack:", "    base: {timezone: Europe/Berlin}\n    gpu_stack:"))[0] != base
    assert now(FLEET.replace("580", "595")) == (base, now(FLEET.replace("580", "595"))[1])
    assert now(FLEET.replace("580", "595"))[1] != driver
    # The key's content counts, not where it lies.
    (workspace.inventory / "nvidia.asc").write_text("KEY")
    assert now()[1] != driver
    # A role's README and tests change nothing on a node; its tasks do.
    base, driver = now()
    (content / "roles" / "base" / "README.md").write_text("new words")
    (content / "roles" / "base" / "molecule" / "default").mkdir(parents=True, exist_ok=True)
    (content / "roles" / "base" / "molecule" / "default" / "extra.yml").write_text("new")
    assert now() == (base, driver)
    with (content / "roles" / "base" / "tasks" / "main.yml").open("a") as tasks:
        tasks.write("# new\n")
    assert now()[0] != base
    assert now()[1] == driver


def test_the_hash_follows_the_owners_variable_files(make_fleet: MakeFleet) -> None:
    workspace = make_fleet()
    seen = [variables_of(load_fleet(workspace), "rig01")["base_inputs_hash"]]
    for name in ("group_vars/all.yml", "host_vars/rig01.yml", "host_vars/rig01/more.yml"):
        path = workspace.inventory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("base_packages: [htop]\n")
        seen.append(variables_of(load_fleet(workspace), "rig01")["base_inputs_hash"])
    assert len(set(seen)) == len(seen)
    (workspace.inventory / "host_vars" / "rig011.yml").write_text("a: 1\n")
    assert variables_of(load_fleet(workspace), "rig01")["base_inputs_hash"] == seen[-1]


def test_inputs_hash_takes_the_roles_own_variables() -> None:
    one = inputs_hash("base", {"base_a": 1, "other": 2, "base_inputs_hash": "x"}, "files")
    assert one == inputs_hash("base", {"base_a": 1, "other": 3}, "files")
    assert one != inputs_hash("base", {"base_a": 2}, "files")
    assert one != inputs_hash("base", {"base_a": 1}, "other files")


def test_no_way_out_of_the_lab(make_fleet: MakeFleet) -> None:
    workspace = make_fleet()
    rig = load_fleet(workspace).rigs["rig01"]
    lab = replace(workspace, lab=True)
    assert ssh_options(rig, lab)[-2:] == ["-o", "ProxyJump=none"]
    assert "ansible_control_path_dir" not in connection_variables(rig, workspace)
    assert connection_variables(rig, lab)["ansible_control_path_dir"] == str(lab.control_dir)
