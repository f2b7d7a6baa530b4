"""Bring a fault about: check that it makes sense for that twin, keep it, and let a running node feel it."""

from __future__ import annotations

import dataclasses
import secrets
import sys
from dataclasses import dataclass, field
from typing import Any

from rigdeploy.errors import LabError, UsageError
from rigdeploy.fleet.link import WIDTHS
from rigdeploy.lab import chassis, network, node, processes
from rigdeploy.lab.faults import Faults
from rigdeploy.lab.packages import VERSIONS
from rigdeploy.lab.twins import Lab, Twin
from rigdeploy.workspace import Workspace

_BMC_FAULTS = ("swallow_power_on", "bmc_lag", "lose_datagrams")
_GENERATIONS = range(1, 7)


@dataclass(frozen=True)
class Request:
    """What is to go wrong: changes by field name for the slot and for the rig (see ``faults``), and what happens once.

    ``power_cut_after`` is in seconds. ``clear`` makes the slot, or without a slot the whole twin, sound again first.
    """

    slot: dict[str, Any] = field(default_factory=dict)
    rig: dict[str, Any] = field(default_factory=dict)
    mismatch: bool = False
    host_key: bool = False
    power_cut_after: float | None = None
    clear: bool = False


def fault(workspace: Workspace, rig: str, slot: str | None, request: Request) -> list[str]:
    """Change a twin's faults and return what is wrong with it now, one line each.

    UsageError when the request makes no sense for that twin; LabError when it cannot be done.
    """
    lab = Lab.of(workspace)
    with lab.lock():
        twin = lab.twin(rig)
        _check(twin, slot, request)
        with twin.hardware_lock():
            now = _changed(twin, slot, request)
            node.save_faults(twin, now)
        _apply(twin, now, request)
    return now.describe()


def _changed(twin: Twin, slot: str | None, request: Request) -> Faults:
    """The twin's faults with the request in force."""
    now = node.faults(twin)
    if request.clear:
        _mend_driver(twin, now)
        now = now.without_slot(slot) if slot else Faults()
    if slot and request.slot:
        now = now.with_slot(slot, **request.slot)
    now = dataclasses.replace(now, **request.rig)
    if request.host_key:
        now = dataclasses.replace(now, host_key=secrets.token_hex(4))
    if request.mismatch:
        now = dataclasses.replace(now, mismatch=_confuse_driver(twin))
    return now


def _check(twin: Twin, slot: str | None, request: Request) -> None:
    build, _, gpus = node.parts(twin)
    if slot is not None and slot not in build.slots:
        raise UsageError(f"{twin.name} has no card in {slot}", f"slots with a card: {', '.join(build.slots)}")
    if request.slot and slot is None:
        raise UsageError("this fault is one card's", f"name its slot: {', '.join(build.slots)}")
    if slot and not (request.slot or request.clear):
        raise UsageError("this fault is the whole rig's", f"leave out {slot}")
    width, gen = request.slot.get("width"), request.slot.get("gen")
    if width is not None and width not in WIDTHS:
        raise UsageError(f"no link is x{width}", f"widths: {', '.join(map(str, WIDTHS))}")
    if gen is not None and gen not in _GENERATIONS:
        raise UsageError(f"there is no PCIe generation {gen}", "generations: 1 to 6")
    if slot and request.slot.get("ecc") and not gpus[build.slots[slot].gpu].memory_mib.ecc_on:
        raise UsageError(f"the card in {slot} ({gpus[build.slots[slot].gpu].name}) has no ECC", "")
    stuck = request.slot.get("stuck_gen")
    if stuck is not None and stuck not in _GENERATIONS:
        raise UsageError(f"there is no PCIe generation {stuck}", "generations: 1 to 6")
    if request.rig.get("nic_speed") is not None and not build.nics:
        raise UsageError(f"{twin.name} has no network port by its build", "")
    if twin.record()["power"] == "manual" and any(name in request.rig for name in _BMC_FAULTS):
        raise UsageError(f"{twin.name} has no BMC", "")


def _apply(twin: Twin, now: Faults, request: Request) -> None:
    """Let the world feel it: the BMC's network, the running node, its power."""
    if network.is_up(twin.lab.netns) and twin.record()["power"] != "manual":
        network.lose_datagrams(twin, now.lose_datagrams)
    if node.is_on(twin):
        node.write_hardware(twin, fresh=False)
        node.order(twin)
    if request.power_cut_after is None:
        return
    if request.power_cut_after <= 0:
        node.power_off(twin)
        return
    lab = twin.lab
    argv = [sys.executable, "-m", chassis.PROGRAM, str(lab.directory), twin.name, chassis.DELAYED]
    log, group = lab.directory / "timers.log", lab.group / f"timer-{twin.name}"
    processes.spawn([*argv, str(request.power_cut_after), "off"], group=group, log=log)


def _confuse_driver(twin: Twin) -> str:
    """Make the loaded module claim another version than the libraries have; returns the true one."""
    loaded = _loaded_version(twin)
    if not loaded:
        raise LabError(
            f"no driver is loaded on {twin.name}", "bring the rig up first; the fault needs a driver to confuse"
        )
    already = node.faults(twin).mismatch
    if already:
        return already
    other = next(version for version in VERSIONS if version != loaded)
    _claim(twin, loaded, other)
    return loaded


def _mend_driver(twin: Twin, now: Faults) -> None:
    if now.mismatch and (loaded := _loaded_version(twin)):
        _claim(twin, loaded, now.mismatch)


def _claim(twin: Twin, old: str, new: str) -> None:
    for name in ("sys/module/nvidia/version", "proc/driver/nvidia/version"):
        path = twin.hardware / name
        path.write_text(path.read_text().replace(old, new))


def _loaded_version(twin: Twin) -> str:
    path = twin.hardware / "sys/module/nvidia/version"
    return path.read_text().strip() if node.is_on(twin) and path.exists() else ""
