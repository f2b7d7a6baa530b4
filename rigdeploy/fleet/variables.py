"""The Ansible variables of a rig, and the hashes that say whether a role has to run again.

The inventory plugin emits exactly these, and the plan compares the same hashes with what the nodes recorded.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.fleet.models import GpuStack, Rig, Slot
    from rigdeploy.workspace import Workspace

TWIN = "rigdeploy_twin"
"""In the lab: the variable that holds a twin's connection variables once more, out of reach of host_vars."""

_CONNECTION = (
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
)

PHASE_ROLES = {
    "base": ("base",),
    "driver": ("nvidia_driver", "cuda_toolkit", "gpu_tuning"),
    "containers": ("docker", "podman", "nvidia_container_toolkit"),
    "serve": ("frameworks", "metrics"),
}
"""The phases of ``up`` that a playbook does (``playbooks/PHASE.yml``), and the roles of each in their order.

Every role records on the node what it did, and from which inputs.
"""

_SHARED_ROLES = ("package_manager", "package_source")
"""Roles that those include: what they do is part of what those do."""

_NOT_THE_ROLE = frozenset({"molecule", "tests", "__pycache__", "README.md"})
"""Parts of a role's directory that change nothing on a node."""


def host_variables(fleet: Fleet, rig: Rig, content: Path) -> dict[str, Any]:
    """Everything the inventory says about one rig; ``content`` holds the roles (``content.content_dir``).

    No value is a secret.
    """
    variables = connection_variables(rig, fleet.workspace) | role_variables(rig)
    beside = list(_variable_files(fleet.workspace.inventory, rig.name))
    for role in (role for roles in PHASE_ROLES.values() for role in roles):
        if any(name.startswith(f"{role}_") for name in variables):
            own = [file for part in (role, *_SHARED_ROLES) for file in _role_files(content / "roles" / part)]
            extra = digest([*own, *beside])
            variables[f"{role}_inputs_hash"] = inputs_hash(role, variables, extra)
    return variables


def groups(rig: Rig) -> list[str]:
    """The inventory groups of a rig (dashes become underscores: a group name is an identifier)."""
    return ["rigs", f"build_{rig.build.name.replace('-', '_')}", f"power_{rig.power.driver}"]


def connection_variables(rig: Rig, workspace: Workspace) -> dict[str, Any]:
    """How Ansible reaches the rig."""
    variables: dict[str, Any] = {
        "ansible_host": rig.address,
        "ansible_port": rig.ssh.port,
        "ansible_user": rig.ssh.user,
        "ansible_ssh_common_args": shlex.join(ssh_options(rig, workspace)),
    }
    if rig.ssh.private_key is not None:
        variables["ansible_ssh_private_key_file"] = rig.ssh.private_key
    if rig.ssh.user != "root":
        variables["ansible_become"] = True
    if workspace.lab:
        # Every lab has the same addresses: a connection that Ansible keeps to one must not serve for another.
        variables["ansible_control_path_dir"] = str(workspace.control_dir)
        variables[TWIN] = {name: variables.get(name) for name in _CONNECTION}
    return variables


def twin_overrides() -> dict[str, Any]:
    """Extra variables for a play on twins: their own connection, whatever host_vars say of the real rigs.

    ``ansible_connection: local`` in some group_vars would be this very machine.
    """
    own = {name: f"{{{{ {TWIN}.{name} }}}}" for name in _CONNECTION}
    return own | {"ansible_connection": "ssh", "ansible_become": False}


def ssh_options(rig: Rig, workspace: Workspace) -> list[str]:
    """The ``-o`` arguments of every ssh to a rig: its host key is pinned under its name, in the fleet's own file.

    Address, port, user and key file are not among them (``rig.address`` and ``rig.ssh`` have those).
    """
    # ssh splits the value at blanks and expands % in it.
    known_hosts = '"' + str(workspace.known_hosts).replace("%", "%%") + '"'
    options = {
        "UserKnownHostsFile": known_hosts,
        "StrictHostKeyChecking": "accept-new",
        "HostKeyAlias": rig.name,
    }
    if rig.ssh.private_key is not None:
        # Else ssh offers the agent's keys first, and a server that allows few tries hangs up before ours.
        options["IdentitiesOnly"] = "yes"
    if rig.ssh.jump is not None:
        options["ProxyJump"] = rig.ssh.jump
    elif workspace.lab:
        # A jump host of ssh_config could be reached over a connection that it keeps open outside the lab's network.
        options["ProxyJump"] = "none"
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def role_variables(rig: Rig) -> dict[str, Any]:
    """The variables of the roles that follow from the declaration; a role that is not asked for has none.

    The hashes are added by ``host_variables``.
    """
    base = rig.base
    variables: dict[str, Any] = {
        "base_hostname": base.hostname or rig.name,
        "base_timezone": base.timezone,
        "base_ntp_servers": base.ntp_servers,
        "base_packages": base.packages,
        "base_ssh_hardening": base.ssh_hardening,
        "base_users": [user.model_dump() for user in base.users],
        "base_security_updates": base.security_updates,
        "base_data_disk": {} if base.data_disk is None else base.data_disk.model_dump(),
    }
    if rig.gpu_stack is not None:
        variables |= _stack_variables(rig.gpu_stack)
    limits = {name: limit for name, slot in rig.build.slots.items() if (limit := _limits(slot))}
    if limits and rig.gpu_stack is not None:
        variables["gpu_tuning_limits"] = limits
    return variables


def _stack_variables(stack: GpuStack) -> dict[str, Any]:
    source = stack.package_source
    variables: dict[str, Any] = {
        "nvidia_driver_branch": stack.driver,
        "nvidia_driver_modules": stack.modules,
    } | _source_variables("nvidia_driver", stack, source)
    if stack.cuda:
        own = {"versions": stack.cuda, "cudnn": stack.cudnn, "nccl": stack.nccl}
        variables |= {f"cuda_toolkit_{name}": value for name, value in own.items()}
        variables |= _source_variables("cuda_toolkit", stack, source)
    if stack.containers is not None:
        variables |= {f"{stack.containers}_enabled": True, "nvidia_container_toolkit_engine": stack.containers}
        # The distributions have no container toolkit.
        toolkit = "mirror" if source == "mirror" else "nvidia"
        variables |= _source_variables("nvidia_container_toolkit", stack, toolkit)
    if (frameworks := stack.frameworks) is not None:
        variables |= {
            "frameworks_pytorch": frameworks.pytorch,
            "frameworks_index_url": frameworks.index or "",
            "frameworks_deepspeed": frameworks.deepspeed,
            "frameworks_llama_factory": frameworks.llama_factory,
            # PyTorch's build follows from it: the role is due when it changes.
            "frameworks_driver_branch": stack.driver,
        }
    if stack.metrics:
        variables |= {"metrics_enabled": True}
        variables |= _source_variables("metrics", stack, "mirror" if source == "mirror" else "release")
    return variables


def _source_variables(role: str, stack: GpuStack, source: str) -> dict[str, Any]:
    """Where a role's packages come from; a mirror with its key, which is no secret."""
    variables = {f"{role}_source": source}
    if source == "mirror" and stack.mirror is not None:
        variables |= {f"{role}_mirror_url": stack.mirror.url, f"{role}_mirror_key": _text(Path(stack.mirror.key))}
    return variables


def _limits(slot: Slot) -> dict[str, int]:
    """What is declared to be set on a slot's card."""
    declared = {"power_limit_watts": slot.power_limit_watts, "clock_limit_mhz": slot.clock_limit_mhz}
    return {name: value for name, value in declared.items() if value is not None}


def inputs_hash(role: str, variables: dict[str, Any], extra: str) -> str:
    """SHA-256 (hex) over a role's own variables and ``extra``, the digest of the files that decide with them."""
    own = {
        name: value
        for name, value in variables.items()
        if name.startswith(f"{role}_") and name != f"{role}_inputs_hash"
    }
    canonical = json.dumps([role, own, extra], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def digest(files: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 (hex) over the names and contents of files."""
    total = hashlib.sha256()
    for name, path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content} {name}\n".encode())
    return total.hexdigest()


def _role_files(directory: Path) -> Iterator[tuple[str, Path]]:
    """What a role does: its files under names relative to all roles, so that every installation counts the same."""
    for path in directory.rglob("*"):
        relative = path.relative_to(directory.parent)
        if path.is_file() and not _NOT_THE_ROLE.intersection(relative.parts):
            yield relative.as_posix(), path


def _variable_files(inventory: Path, rig: str) -> Iterator[tuple[str, Path]]:
    """The group_vars of the inventory and the rig's own host_vars, which may set any role's variable."""
    for path in inventory.glob("group_vars/**/*"):
        if path.is_file():
            yield path.relative_to(inventory).as_posix(), path
    for path in inventory.glob(f"host_vars/{rig}*"):
        if rig in (path.stem, path.name):
            found = path.rglob("*") if path.is_dir() else [path]
            yield from ((file.relative_to(inventory).as_posix(), file) for file in found if file.is_file())


def _text(path: Path) -> str:
    """A file's text; empty when there is none, which the role that needs it refuses in its own words."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
