"""Ansible's way in to the declaration: ``fleet.yml`` as an inventory source; rigdeploy.fleet decides everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

from rigdeploy.content import content_dir
from rigdeploy.errors import DeclarationError, RigdeployError
from rigdeploy.fleet.host import remember
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.variables import groups, host_variables
from rigdeploy.workspace import Workspace

DOCUMENTATION = """
name: rigdeploy
short_description: The rigs of a rigdeploy fleet
description:
  - Reads C(fleet.yml), with the builds in C(builds/) beside it.
  - Makes each rig a host, with its connection variables and those of the roles.
  - No variable holds a secret.
options:
  plugin:
    description: Marks the file as ours.
    required: true
    choices: [rigdeploy]
  rigs:
    description: The rigs by name; C(rigdeploy schema fleet) prints what each may say.
    type: dict
    required: true
notes:
  - RIGDEPLOY_STATE names the state directory (default C(.rigdeploy) beside the inventory).
  - RIGDEPLOY_LAB=1 makes the hosts the lab's twins.
"""


_OURS = re.compile(r"""^plugin:[ \t]+["']?rigdeploy["']?[ \t]*(#.*)?$""", re.MULTILINE)


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # Ansible ships no types
    """One host per rig."""

    NAME = "rigdeploy"

    def verify_file(self, path: str) -> bool:
        """Whether this is a fleet's declaration: a ``fleet.yml`` that names this plugin."""
        file = Path(path)
        if file.name != "fleet.yml" or not super().verify_file(path):
            return False
        try:
            text = file.read_text(errors="replace")
        except OSError:
            return False
        return _OURS.search(text) is not None

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add every rig to the inventory."""
        super().parse(inventory, loader, path, cache)
        try:
            workspace = Workspace.from_environment(Path(path))
            if workspace.lab:
                from rigdeploy.lab import enter

                enter(workspace)
            fleet = load_fleet(workspace)
            remember(fleet)
            content = content_dir()
            for rig in fleet.rigs.values():
                for group in groups(rig):
                    inventory.add_group(group)
                    inventory.add_host(rig.name, group=group)
                for name, value in host_variables(fleet, rig, content).items():
                    inventory.set_variable(rig.name, name, value)
        except RigdeployError as error:
            raise AnsibleParserError(_text(error)) from error


def _text(error: RigdeployError) -> str:
    if isinstance(error, DeclarationError):
        return "\n".join(f"{problem}{f' ({problem.remedy})' if problem.remedy else ''}" for problem in error.problems)
    return f"{error.message} ({error.remedy})" if error.remedy else error.message
