"""The declared rig behind an Ansible host, for action plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rigdeploy.errors import UsageError
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.workspace import Workspace

_READ: dict[Workspace, Fleet] = {}


def remember(fleet: Fleet) -> None:
    """Keep the fleet that Ansible's inventory was made from.

    Ansible forks a process for every host of every task: one that finds the fleet here need not read all of it again.
    """
    _READ[fleet.workspace] = fleet


def ways_of_power() -> set[str]:
    """The power drivers that the fleets kept here name."""
    return {rig.power.driver for fleet in _READ.values() for rig in fleet.rigs.values()}


def host_rig(variables: Mapping[str, Any]) -> tuple[Fleet, Rig]:
    """The fleet and the rig of the host with these task variables; UsageError when no ``fleet.yml`` declares it.

    In the lab the process is in the lab's network already: the inventory plugin entered it before the play began.
    """
    name, directory = variables.get("inventory_hostname"), variables.get("inventory_dir")
    if not directory:
        raise UsageError(f"{name} comes from no inventory directory", "it has to be a rig that a fleet.yml declares")
    workspace = Workspace.from_environment(Path(directory))
    fleet = _READ.get(workspace) or load_fleet(workspace)
    if name not in fleet.rigs:
        raise UsageError(f"{name} is not declared in {fleet.workspace.fleet_file}")
    return fleet, fleet.rigs[name]
