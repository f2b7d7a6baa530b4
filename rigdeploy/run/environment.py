"""The environment that Ansible's tools get from us: a list of what may pass, and every setting that we rely on.

Nothing else of the caller's environment reaches Ansible, its artefacts or the modules it starts locally: that
is where secrets live (``password: {env: …}``). The settings come from here alone: ``ANSIBLE_CONFIG`` points at
an empty file of ours, so that an ``ansible.cfg`` that happens to lie in the current or home directory cannot
change what a run does. Settings of one's own belong to plain ``ansible-playbook -i inventory``, which works as
ever; what concerns the rigs themselves (variables, vault) goes into group_vars and host_vars and is honoured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rigdeploy.content import PLUGINS, content_dir
from rigdeploy.errors import RigdeployError
from rigdeploy.run.ssh import multiplexing
from rigdeploy.workspace import Workspace

PASSED_ON = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "LANG", "LANGUAGE", "TZ"),
        *("SSH_AUTH_SOCK", "KRB5CCNAME", "ANSIBLE_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_IDENTITY_LIST"),
    }
)
"""Variables of the caller that Ansible and ssh may see, beside ``LC_*``; the last two name files, no secrets."""


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that may pass."""
    return {name: value for name, value in environment.items() if name in PASSED_ON or name.startswith("LC_")}


def ansible_tool(name: str) -> str:
    """The path of one of Ansible's programs, from the environment that this Python runs in."""
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise RigdeployError(f"{name} is not installed beside {sys.executable}", "install rigdeploy again with pip")
    return str(path)


def ansible_environment(workspace: Workspace, *, forks: int = 50) -> dict[str, str]:
    """The whole environment for Ansible's tools."""
    content = content_dir()
    home = workspace.state / "ansible"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = home / "ansible.cfg"
    settings.touch()
    ours = {
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_COLLECTIONS_PATH": f"{Path.home()}/.ansible/collections:/usr/share/ansible/collections",
        "ANSIBLE_ROLES_PATH": str(content / "roles"),
        "ANSIBLE_INVENTORY_PLUGINS": str(PLUGINS / "inventory"),
        "ANSIBLE_INVENTORY_ENABLED": "rigdeploy,host_list,yaml,ini,toml",
        # What a fleet keeps beside fleet.yml and is no inventory source: its catalogue, the mirror's key.
        "ANSIBLE_INVENTORY_IGNORE_REGEX": r"^(builds|boards|gpus|\..*|.*\.(asc|gpg))$",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
        "ANSIBLE_LIBRARY": str(PLUGINS / "modules"),
        "ANSIBLE_ACTION_PLUGINS": str(PLUGINS / "action"),
        # Empty, so that ansible-runner does not put its own beside the caller's.
        "ANSIBLE_CALLBACK_PLUGINS": "",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(workspace.control_dir),
        # Ansible expands this text with Python's % operator: %%C reaches ssh as %C.
        "ANSIBLE_SSH_CONTROL_PATH": "%(directory)s/%%C",
        "ANSIBLE_SSH_ARGS": " ".join(_without_path(multiplexing(workspace))),
        "RIGDEPLOY_CONTENT": str(content),
        "RIGDEPLOY_STATE": str(workspace.base_state),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    if workspace.lab:
        ours["RIGDEPLOY_LAB"] = "1"
    return passed_on(os.environ) | ours


def _without_path(options: list[str]) -> list[str]:
    """The multiplexing options without ControlPath, which Ansible adds itself."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return [word for pair in pairs if not pair[1].startswith("ControlPath=") for word in pair]
