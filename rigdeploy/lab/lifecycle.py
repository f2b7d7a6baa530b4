"""Build a lab, say how it is, remove it.

Every step of building looks at what is there first, so that a lab left half-made is completed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigdeploy.errors import LabError
from rigdeploy.lab import bmc, mirror, network, node, processes, root, twins, wheels
from rigdeploy.lab.twins import MOST_TWINS, Lab, Twin
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet

COMMANDS = (
    "apt-ftparchive", "chroot", "dpkg-deb", "dpkg-scanpackages", "gcc", "gpg", "ip", "ipmi_sim", "losetup", "mkfs.ext4",
    "mmdebstrap", "mount", "nft", "nsenter", "setsid", "ssh-keygen", "systemd-nspawn",
)  # fmt: skip
Say = Callable[[str], None]


def host_packages() -> list[str]:
    """The Debian packages that the lab needs on the host."""
    lines = (root.HERE / "host-packages.txt").read_text().splitlines()
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def up(workspace: Workspace, fleet: Fleet, say: Say, rigs: Iterable[str] = ()) -> Lab:
    """Build the twins of these rigs (none given: all), powered off; twins that are there stay as they are."""
    check_host()
    lab = Lab.of(workspace)
    with lab.lock():
        cached = root.ensure_root(say)
        nvidia, index = root.ensure_nvidia(say), wheels.ensure_index(say)
        _make_key(lab)
        say("starting the lab's network and package mirror")
        network.create_hub(lab)
        mirror.start(lab, {"debian": cached / "debian", "nvidia": nvidia, "pypi": index})
        for name in list(rigs) or list(fleet.rigs):
            _build(lab, fleet, name, cached / "root", say)
        for twin in lab.twins():
            _start(twin)
        twins.save(lab, nvidia / "key.asc")
    return lab


def down(workspace: Workspace) -> bool:
    """Remove the lab: processes, namespaces, files. Returns whether there was anything."""
    lab = Lab.of(workspace)
    if not lab.directory.exists() and not lab.group.exists() and not network.is_up(lab.netns):
        return False
    _need_root()
    root.end_abandoned_build()
    with lab.lock():
        processes.kill(lab.group)
        network.remove(lab)
        lab.file.unlink(missing_ok=True)
        # The kernel lets go of a disk a moment after its node is gone.
        for twin in lab.twins():
            processes.wait_until(partial(_released, twin), 30, f"{twin.disk} is still in use")
        shutil.rmtree(lab.directory)
        shutil.rmtree(replace(workspace, lab=True).control_dir, ignore_errors=True)
    return True


def status(workspace: Workspace) -> dict[str, Any]:
    """The lab as data: whether it is up, and for each twin its power, address, BMC and faults."""
    lab = Lab.of(workspace)
    is_up = network.is_up(lab.netns)
    found = [_describe(twin) for twin in lab.twins()] if lab.nodes.is_dir() else []
    return {"schema": 1, "id": lab.id, "up": is_up, "directory": str(lab.directory), "netns": lab.netns, "twins": found}


def press(workspace: Workspace, rig: str, what: str) -> None:
    """Press the twin's power button as a person would: after a moment, and not when the light is on already."""
    twin = Lab.of(workspace).twin(rig)
    time.sleep(1)
    if what == "on":
        node.power_on(twin)
    else:
        node.power_off(twin)


def _describe(twin: Twin) -> dict[str, Any]:
    has_bmc = twin.record()["power"] != "manual"
    return {
        "rig": twin.name,
        "power": "on" if node.is_on(twin) else "off",
        "address": twin.address,
        "bmc": twin.bmc_address if has_bmc else None,
        "bmc_running": processes.alive(twin.bmc_group) if has_bmc else None,
        "faults": node.faults(twin).describe(),
        "console": str(twin.console),
    }


def _build(lab: Lab, fleet: Fleet, name: str, shared: Path, say: Say) -> None:
    rig = fleet.rigs[name]
    taken = {twin.number: twin.name for twin in lab.twins()}
    number = next((n for n, other in taken.items() if other == name), None)
    if number is None:
        number = next((n for n in range(1, MOST_TWINS + 1) if n not in taken), None)
        if number is None:
            raise LabError(
                f"a lab holds {MOST_TWINS} twins at most", "name the rigs that you want: rigdeploy lab up RIG..."
            )
        say(f"building the twin of {name}")
    twin = Twin(lab, name, number)
    from rigdeploy.fleet.twins import has_bmc  # late, as the models are

    power = "ipmi" if has_bmc(rig.power) else "manual"
    node.declare(twin, rig.build, fleet.catalogue.boards[rig.build.board], fleet.catalogue.gpus, power)
    node.create_disk(twin, shared)
    if node.is_on(twin):
        node.write_hardware(twin, fresh=False)


def _start(twin: Twin) -> None:
    network.create_node(twin)
    if twin.record()["power"] == "manual":
        processes.kill(twin.bmc_group)  # it may have had one when it was declared otherwise
    else:
        network.create_bmc_address(twin)
        bmc.start(twin)


def _released(twin: Twin) -> bool:
    return not node.disk_in_use(twin)


def _make_key(lab: Lab) -> None:
    if not lab.private_key.with_suffix(".pub").exists():
        lab.private_key.unlink(missing_ok=True)
        processes.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rigdeploy-lab", "-f", lab.private_key])


def _need_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and mounts, which needs root", "run this command as root")


def check_host() -> None:
    """LabError, with the remedy, unless we are root and every tool that the lab runs is there."""
    _need_root()
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise LabError(
            f"the lab needs tools that are not installed: {', '.join(missing)}",
            f"apt-get install --no-install-recommends {' '.join(host_packages())}",
        )
