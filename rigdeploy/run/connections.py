"""How each rig is reached: the declaration, or the connection variables that group_vars and host_vars set.

Starting Ansible to read variables costs more than the whole probe, so it is asked only when a variable file
names a connection variable at all, and its answer is kept until any file of the inventory changes.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rigdeploy.errors import UsageError
from rigdeploy.fleet.models import Rig
from rigdeploy.fleet.variables import ssh_options
from rigdeploy.run.environment import ansible_environment, ansible_tool
from rigdeploy.run.ssh import Connection
from rigdeploy.workspace import Workspace

_KEPT = (
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_become",
)
"""The variables honoured; passwords are not among them, so the kept answer holds no secret."""


def connections(rigs: list[Rig], workspace: Workspace) -> dict[str, Connection]:
    """The connection of each rig, by name; UsageError when a rig is not reached by ssh."""
    overrides = {} if workspace.lab else _overrides(workspace)
    return {rig.name: _connection(rig, workspace, overrides.get(rig.name, {})) for rig in rigs}


def _connection(rig: Rig, workspace: Workspace, variables: Mapping[str, Any]) -> Connection:
    if templated := next((name for name, value in variables.items() if "{{" in str(value)), None):
        raise UsageError(
            f"{rig.name}: {templated} is a template, which only Ansible can work out",
            "write the value itself, or declare it in fleet.yml",
        )
    kind = variables.get("ansible_connection", "ssh")
    if kind not in ("ssh", "ansible.builtin.ssh", "smart"):
        raise UsageError(
            f"{rig.name}: ansible_connection {kind!r} is not supported: rigdeploy reaches rigs by ssh",
            "remove it, or run the playbooks with ansible-playbook",
        )
    ours = shlex.join(ssh_options(rig, workspace))
    if variables.get("ansible_ssh_common_args", ours) != ours:
        raise UsageError(
            f"{rig.name}: ansible_ssh_common_args is set beside fleet.yml, and would replace the pinned host key",
            "a jump host belongs into fleet.yml (ssh.jump); any other option into ansible_ssh_extra_args",
        )
    user = str(variables.get("ansible_user", rig.ssh.user))
    try:
        port = int(variables.get("ansible_port", rig.ssh.port))
        extra = shlex.split(str(variables.get("ansible_ssh_extra_args", "")))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{rig.name}: ansible_port or ansible_ssh_extra_args cannot be used: {error}") from None
    return Connection(
        address=str(variables.get("ansible_host", rig.address)),
        port=port,
        user=user,
        private_key=variables.get("ansible_ssh_private_key_file", rig.ssh.private_key),
        options=(*ssh_options(rig, workspace), *extra),
        become=bool(variables.get("ansible_become", user != "root")),
        jump=rig.ssh.jump,
    )


_NO_SOURCES = frozenset({"fleet.yml", "builds", "boards", "gpus"})
"""What lies in an inventory directory and sets no variable of Ansible's beyond what we know."""


def _variable_files(inventory: Path) -> list[Path]:
    """The group_vars, host_vars and other inventory sources beside ``fleet.yml``: whatever may say how to connect."""
    places = [place for place in inventory.iterdir() if place.name not in _NO_SOURCES]
    files = [path for place in places for path in (place.rglob("*") if place.is_dir() else [place])]
    return sorted(path for path in files if path.is_file())


def _overrides(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """The connection variables that Ansible computes, by host; empty when no variable file names one."""
    files = _variable_files(workspace.inventory)
    contents = [path.read_bytes() for path in files]
    # An encrypted file may name one, too: only Ansible can tell.
    if not any(b"ansible_" in content or content.startswith(b"$ANSIBLE_VAULT") for content in contents):
        return {}
    digest = hashlib.sha256()
    for path in sorted(path for path in workspace.inventory.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(workspace.inventory)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    kept = workspace.state / "connections.json"
    try:
        document = json.loads(kept.read_text())
        if document["digest"] == digest.hexdigest():
            hosts: dict[str, dict[str, Any]] = document["hosts"]
            return hosts
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing kept yet, or not readable: it is only a copy
    hosts = _ask_ansible(workspace)
    kept.write_text(json.dumps({"digest": digest.hexdigest(), "hosts": hosts}))
    return hosts


def _ask_ansible(workspace: Workspace) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [ansible_tool("ansible-inventory"), "-i", str(workspace.inventory), "--list"],
        env=ansible_environment(workspace),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise UsageError(
            f"Ansible cannot read the inventory: {lines[-1] if lines else 'no reason given'}",
            f"try: ansible-inventory -i {workspace.inventory} --list",
        )
    variables: dict[str, dict[str, Any]] = json.loads(done.stdout).get("_meta", {}).get("hostvars", {})
    return {
        host: {name: value for name, value in values.items() if name in _KEPT} for host, values in variables.items()
    }
