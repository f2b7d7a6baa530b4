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
    from rigdeploy.fleet.fleet import Fleet

_REMEDY = "run 'rigdeploy lab up' first"


def overlay_fleet(fleet: Fleet) -> Fleet:
    """The fleet of the lab: the rigs that have a twin, each overlaid with it, and the names of the others.

    LabError when the lab is not up or holds no twin of this fleet.
    """
    path = fleet.workspace.lab_dir / "twins.json"
    lab = _read(path)
    twins, mirror = lab["rigs"], lab.get("mirror")
    try:
        rigs = {name: overlay(rig, twins[name], mirror) for name, rig in fleet.rigs.items() if name in twins}
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None
    if not rigs:
        raise LabError("no rig of this fleet has a twin", _REMEDY)
    return replace(fleet, rigs=rigs, without_twin=tuple(name for name in fleet.rigs if name not in rigs))


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
    except FileNotFoundError:
        raise LabError("the lab is not up", _REMEDY) from None
    except (OSError, ValueError):
        raise _damaged(path) from None
    if not isinstance(document, dict) or not isinstance(document.get("rigs"), dict):
        raise _damaged(path)
    return document


def _damaged(path: Path) -> LabError:
    return LabError(f"{path} is damaged", "run 'rigdeploy lab down' and 'rigdeploy lab up'")
