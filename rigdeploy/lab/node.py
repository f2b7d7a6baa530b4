"""One twin's node: its disk, its hardware files, and its power."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigdeploy.lab import driver_view, hardware, kernel_log, processes, sysfs
from rigdeploy.lab.faults import Faults
from rigdeploy.lab.twins import Twin, write_atomically

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build, Gpu

DISK_BYTES = 16 << 30
"""A sparse file: it takes what the node writes."""
_INODES = 262144

_LINKS_TO_DEVICES = ("sys/bus/pci/devices/*", "sys/bus/pci/drivers/*/*", "sys/class/*/*", "sys/block/*")

HIDDEN = "/run/rigdeploy-twin"
"""Where the node sees ``Twin.hardware``."""


def declare(twin: Twin, build: Build, board: Board, gpus: Mapping[str, Gpu], power: str) -> None:
    """Write down what the twin is a copy of; what it starts from at every boot."""
    used = {slot.gpu for slot in build.slots.values()}
    record = {
        "number": twin.number,
        "power": power,
        "build": build.model_dump(mode="json"),
        "board": board.model_dump(mode="json"),
        "gpus": {name: gpu.model_dump(mode="json") for name, gpu in gpus.items() if name in used},
    }
    twin.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_host_keys(twin)
    write_atomically(twin.directory / "rig.json", json.dumps(record, indent=2) + "\n")


def create_disk(twin: Twin, root: Path) -> None:
    """Make the node's disk unless it has one: an empty ext4 that lies over the shared ``root``.

    A disk fits only the root that it was made for; when the lab has a newer one, a node that is off gets a new disk.
    """
    if twin.disk.exists() and (shared_root(twin) == root or is_on(twin)):
        return
    part = twin.disk.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    os.truncate(part, DISK_BYTES)
    # No journal and no reserve: a power cut leaves the host's page cache alone, and a full disk is to be full.
    options = ["-q", "-F", "-m", "0", "-N", str(_INODES), "-O", "^has_journal", "-E", "lazy_itable_init=1"]
    processes.run(["mkfs.ext4", *options, part])
    twin.disk.unlink(missing_ok=True)
    write_atomically(twin.directory / "root.path", str(root))
    part.rename(twin.disk)


def shared_root(twin: Twin) -> Path:
    """The root file system that the node's disk lies over."""
    return Path((twin.directory / "root.path").read_text())


def disk_in_use(twin: Twin) -> bool:
    """Whether a loop device holds the disk: the node runs, or the kernel has not let go of it yet."""
    return twin.disk.exists() and bool(processes.run(["losetup", "--associated", twin.disk]).strip())


def faults(twin: Twin) -> Faults:
    """The twin's faults; none when the file is not there."""
    try:
        return Faults.from_json((twin.directory / "faults.json").read_text())
    except FileNotFoundError:
        return Faults()


def save_faults(twin: Twin, now: Faults) -> None:
    """Keep the twin's faults."""
    write_atomically(twin.directory / "faults.json", now.to_json())


def is_on(twin: Twin) -> bool:
    """Whether the node has power: anything runs in its control group."""
    return processes.alive(twin.group)


def power_on(twin: Twin) -> None:
    """Press the button of a node that is off; returns before it has booted."""
    with twin.power_lock():
        if is_on(twin):
            return
        processes.kill(twin.group)
        argv: list[str | Path] = [sys.executable, "-m", "rigdeploy.lab.machine", twin.lab.directory, twin.name]
        processes.spawn(argv, group=twin.group, log=twin.console)


def power_off(twin: Twin) -> None:
    """Cut the power: every process of the node is gone at once; the disk stays as it was."""
    with twin.power_lock():
        processes.kill(twin.group)


def shut_down(twin: Twin) -> None:
    """Ask the system to power off, as the ACPI button does; returns at once."""
    for pid in processes.members(twin.group):
        os.kill(pid, signal.SIGTERM)


def parts(twin: Twin) -> tuple[Build, Board, dict[str, Gpu]]:
    """What the twin is a copy of."""
    # Late: a BMC that only switches the power has no need of the models, and should answer fast.
    from rigdeploy.fleet.models import Board, Build, Gpu

    record = twin.record()
    gpus = {name: Gpu.model_validate(data, strict=False) for name, data in record["gpus"].items()}
    return Build.model_validate(record["build"]), Board.model_validate(record["board"]), gpus


def write_hardware(twin: Twin, *, fresh: bool) -> None:
    """Bring the hardware's files up to date with declaration and faults.

    ``fresh`` starts from nothing, as a boot does: no module is loaded, no driver is bound. Otherwise only what differs
    is written, so that a running node sees the change and keeps its driver.
    """
    with twin.hardware_lock():
        now = faults(twin)
        if fresh:
            _empty(twin.hardware)
            if now.mismatch:
                now = dataclasses.replace(now, mismatch="")
                save_faults(twin, now)
        _write_hardware(twin, now)
        if fresh:
            _write(twin.hardware / "state.json", "{}")


def _write_hardware(twin: Twin, now: Faults) -> None:
    build, board, gpus = parts(twin)
    for directory in ("sys/module", "sys/bus/pci/drivers", "sys/bus/pci/devices", "proc/driver", "replays"):
        (twin.hardware / directory).mkdir(parents=True, exist_ok=True)
    declared = (build, board, gpus, now)
    resting = (twin.hardware / "sys/module/nvidia").is_dir()
    write_tree(twin.hardware, hardware.tree(*declared, time.time(), rig=twin.name, resting=resting))
    records = driver_view.gpu_records(*declared, twin.name)
    _write(twin.hardware / "gpus.json", json.dumps(records, indent=1))
    for record in records:
        _write(twin.hardware / "replays" / record["address"], f"{record['replays']}\n")
    _write(twin.hardware / "cuda.conf", driver_view.cuda_conf(*declared))
    _write_log(twin, declared)
    orders: dict[str, Any] = {"disk_full": now.disk_full, "host_key": now.host_key, "nouveau": now.nouveau}
    orders["dkms_fails"] = now.dkms_fails
    _write(twin.hardware / "orders.json", json.dumps(orders))


def count(twin: Twin) -> None:
    """Bring counters and log up to date where a fault has them grow as time passes."""
    with twin.hardware_lock():
        now = faults(twin)
        if now.growing():
            declared = (*parts(twin), now)
            for relative, content in hardware.counters(*declared, time.time()).items():
                _write(twin.hardware / relative, content)
            _write_log(twin, declared)


def _write_log(twin: Twin, declared: tuple[Build, Board, Mapping[str, Gpu], Faults]) -> None:
    _write(twin.hardware / "kmsg", "".join(f"{line}\n" for line in kernel_log.kernel_log(*declared, time.time())))


def write_tree(directory: Path, tree: Mapping[str, str | sysfs.Symlink | bytes]) -> None:
    """Write a tree of files under a directory; devices that are not in it any more go, drivers that are bound stay."""
    for relative, content in tree.items():
        path = directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, sysfs.Symlink):
            if not path.is_symlink():
                path.symlink_to(content.target)
        elif relative.startswith("proc/"):
            # A running node has the file itself mounted, so it must stay the same file.
            with path.open("w") as stream:
                stream.write(str(content))
        else:
            _write(path, content)
    for pattern in _LINKS_TO_DEVICES:
        for link in directory.glob(pattern):
            gone = link.is_symlink() and "/devices/pci" in str(link.readlink())
            if gone and str(link.relative_to(directory)) not in tree:
                shutil.rmtree(link.resolve(), ignore_errors=True)
                link.unlink()


def order(twin: Twin) -> None:
    """Have a running node carry out its system's faults now; one that is off does so when it boots."""
    leader = _leader(twin)
    if leader is None:
        return
    script = ["/usr/bin/python3", "/usr/lib/rigdeploy-twin/boot.py", "faults"]
    # --root: where we run in a chroot ourselves, the top of the node's mount namespace is not the node's root.
    processes.run(["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "--root", *script])


def authorise(twin: Twin, upper: Path) -> None:
    """Put the lab's key and the twin's own identity on its disk (``upper``: what lies over the shared root).

    The identity is the twin's and outlives a disk: to its fleet a twin with a new disk is the same rig.
    """
    ssh = upper / "root/.ssh"
    ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
    (upper / "root").chmod(0o700)
    authorised = ssh / "authorized_keys"
    if not authorised.exists():
        authorised.write_text(twin.lab.private_key.with_suffix(".pub").read_text())
        authorised.chmod(0o600)
    machine_id = upper / "etc/machine-id"
    if not machine_id.exists():
        machine_id.parent.mkdir(exist_ok=True)
        machine_id.write_text(secrets.token_hex(16) + "\n")

    keys = upper / "etc/ssh"
    if not any(keys.glob("ssh_host_*")):
        shutil.copytree(twin.directory / "identity/etc/ssh", keys, dirs_exist_ok=True)


def _make_host_keys(twin: Twin) -> None:
    """Host keys of every type, once in a twin's life."""
    identity = twin.directory / "identity"
    if identity.is_dir():
        return
    part = identity.with_name("identity.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "etc/ssh").mkdir(parents=True)
    processes.run(["ssh-keygen", "-q", "-A", "-f", part])
    part.rename(identity)


def _leader(twin: Twin) -> int | None:
    """The process id of the node's own init."""
    found = processes.members(twin.group / "vm/payload/init.scope")
    return found[0] if found else None


def _write(path: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    # In one step: the node may be reading.
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _empty(directory: Path) -> None:
    if directory.is_dir():
        for entry in directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    directory.mkdir(exist_ok=True)
