"""In the lab: the declared rig with its twin's addresses and credentials over its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigdeploy.errors import LabError
from rigdeploy.fleet.models import IpmiPower, Mirror, Rig, Ssh
from rigdeploy.fleet.secrets import Secret

if TYPE_CHECKING:
    from rigdeploy.fleet.load import Fleet

_REMEDY = "run 'rigdeploy lab up' first"


def overlay_fleet(fleet: Fleet) -> Fleet:
    """The fleet with every rig overlaid by the lab's ``twins.json``; LabError where a twin is missing."""
    lab = _read(fleet.workspace.lab_dir / "twins.json")
    mirror = lab.get("mirror")
    rigs = {}
    for name, rig in fleet.rigs.items():
        if name not in lab["rigs"]:
            raise LabError(f"{name} has no twin", _REMEDY)
        rigs[name] = overlay(rig, lab["rigs"][name], mirror)
    return replace(fleet, rigs=rigs)


def overlay(rig: Rig, twin: dict[str, Any], mirror: dict[str, str] | None = None) -> Rig:
    """The rig as its twin: nothing that would lead to the real one is left.

    ``twin`` is the rig's entry in ``twins.json``; ``mirror`` (``url``, ``key``) is the lab's package mirror.
    """
    changes: dict[str, Any] = {
        "address": twin["address"],
        "ssh": Ssh(user=twin["user"], port=twin["port"], private_key=twin["private_key"]),
    }
    if isinstance(rig.power, IpmiPower):
        bmc = twin.get("bmc")
        if bmc is None:
            raise LabError(f"the twin of {rig.name} has no BMC, and the rig has one", _REMEDY)
        changes["power"] = rig.power.model_copy(
            update={
                "address": bmc["address"],
                "port": bmc["port"],
                "username": bmc["username"],
                "password": Secret.from_file(Path(bmc["password_file"])),
            }
        )
    if rig.gpu_stack is not None and mirror is not None:
        changes["gpu_stack"] = rig.gpu_stack.model_copy(update={"mirror": Mirror(**mirror)})
    return rig.model_copy(update=changes)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
        rigs = document["rigs"]
    except FileNotFoundError:
        raise LabError("the lab is not up", _REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise LabError(f"{path} cannot be read", "run 'rigdeploy lab down' and 'rigdeploy lab up'") from None
    if not isinstance(rigs, dict):
        raise LabError(f"{path} lists no rigs", _REMEDY)
    return dict(document)
