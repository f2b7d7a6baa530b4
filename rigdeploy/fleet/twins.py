"""In the lab: the declared rig with its twin's addresses and credentials over its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigdeploy.errors import LabError
from rigdeploy.fleet.models import GpuStack, IpmiPower, ManualPower, Mirror, Power, RedfishPower, Rig, Ssh, WebhookPower
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


def has_bmc(power: Power) -> bool:
    """Whether the twin of a rig with this power gets a BMC: it tells off from unreachable, as the real one can."""
    if isinstance(power, WebhookPower):
        return power.status is not None
    return isinstance(power, (IpmiPower, RedfishPower))


def overlay(rig: Rig, twin: dict[str, Any], mirror: dict[str, str] | None = None) -> Rig:
    """The rig as its twin: nothing that would lead to the real one is left.

    A twin knows two ways of being switched. Where ``has_bmc`` says so, it has a BMC that speaks IPMI, whatever the rig
    itself is declared to speak; else the lab presses the button, which also stands for wake on LAN and for a plug
    without a status. The declared time limit is kept.

    ``twin`` is the rig's entry in ``twins.json``; ``mirror`` is the lab's own: ``url`` and ``key`` of its
    NVIDIA packages, ``wheels`` its index of Python packages.
    """
    changes: dict[str, Any] = {
        "address": twin["address"],
        "ssh": Ssh(user=twin["user"], port=twin["port"], private_key=twin["private_key"]),
        "power": _power(rig, twin.get("bmc")),
    }
    if rig.gpu_stack is not None and mirror is not None:
        changes["gpu_stack"] = _stack(rig.gpu_stack, mirror)
    return rig.model_copy(update=changes)


def _stack(stack: GpuStack, mirror: dict[str, str]) -> GpuStack:
    """The GPU stack from the lab's mirror, wherever the real one comes from."""
    changes: dict[str, Any] = {"source": "mirror", "mirror": Mirror(url=mirror["url"], key=mirror["key"])}
    if stack.frameworks is not None:
        changes["frameworks"] = stack.frameworks.model_copy(update={"index": mirror["wheels"]})
    return stack.model_copy(update=changes)


def _power(rig: Rig, bmc: dict[str, Any] | None) -> Power:
    if not has_bmc(rig.power):
        return ManualPower(driver="manual", timeout_seconds=rig.power.timeout_seconds)
    if bmc is None:
        raise LabError(f"the twin of {rig.name} has no BMC, and the rig has one", _REMEDY)
    access: dict[str, Any] = {
        "address": bmc["address"],
        "port": bmc["port"],
        "username": bmc["username"],
        "password": Secret.from_file(Path(bmc["password_file"])),
    }
    if isinstance(rig.power, IpmiPower):
        return rig.power.model_copy(update={"driver": "ipmi", **access})
    return IpmiPower(driver="ipmi", timeout_seconds=rig.power.timeout_seconds, **access)


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
