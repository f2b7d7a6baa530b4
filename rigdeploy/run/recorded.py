"""Judges what a node once said, with no node and no need of a fleet."""

from __future__ import annotations

from dataclasses import replace

from rigdeploy.errors import UsageError
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.fleet import build_called
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.models import ManualPower, Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.report.result import RigResult, result
from rigdeploy.run.active import failed
from rigdeploy.workspace import Workspace


def judge_recorded(workspace: Workspace, name: str, observation: bytes, load: bytes | None = None) -> RigResult:
    """The result of a recorded observation, judged against the rig or build of this name.

    ``load`` is what the active check printed on the same boot; UsageError when it is of another. A document that cannot
    be read makes a finding.
    """
    catalogue, rig = _declared(workspace, name)
    try:
        seen = Observation.from_json(observation)
    except ObservationError as error:
        return result(rig, catalogue, error)
    if load is None:
        return result(rig, catalogue, seen)
    try:
        loaded = Load.from_json(load)
    except ObservationError as error:
        judged = result(rig, catalogue, seen)
        return replace(judged, findings=(*judged.findings, failed(error)))
    if loaded.boot_id is None or loaded.boot_id != seen.host.boot_id:
        raise UsageError(
            "the load and the observation are not of the same boot",
            "run rigdeploy/node/active.py and then rigdeploy/node/probe.py on the node, without a reboot between them",
        )
    return result(rig, catalogue, seen, loaded)


def _declared(workspace: Workspace, name: str) -> tuple[Catalogue, Rig]:
    """The rig of this name, or a nameless rig of the build of this name; the fleet is read where there is one."""
    fleet = load_fleet(workspace) if workspace.fleet_file.is_file() else None
    catalogue = fleet.catalogue if fleet is not None else Catalogue.load(workspace.inventory)
    if fleet is not None and name in fleet.rigs:
        return catalogue, fleet.rigs[name]
    build = build_called(name, fleet, catalogue)
    return catalogue, Rig(name=name, address="localhost", build=build, power=ManualPower(driver="manual"))
