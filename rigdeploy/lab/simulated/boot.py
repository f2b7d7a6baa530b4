#!/usr/bin/python3
"""Puts the simulated hardware of a rigdeploy twin in its place; runs in the twin, before sshd.

``boot.py`` mounts, loads what udev and /etc/modules-load.d would load, and follows the orders of the lab (a full disk,
new host keys, nouveau); ``boot.py faults`` does only the last, on a running twin.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import Any

HARDWARE = "/run/rigdeploy-twin"
REAL = "/run/rigdeploy-real-sys"
FIRST_KEYS = "/etc/ssh/rigdeploy-twin-first-keys"
BALLAST = "/var/lib/rigdeploy-twin.ballast"
CONFIGURED = ("/etc/modules-load.d/*.conf", "/usr/lib/modules-load.d/*.conf", "/run/modules-load.d/*.conf")


def bind(source: str, target: str) -> None:
    """Show a file or directory at another place."""
    subprocess.run(["mount", "--bind", source, target], check=True)


def mount_hardware() -> None:
    """The simulated hardware over /sys and /proc, with the real parts that the twin itself needs put back."""
    os.makedirs(REAL, exist_ok=True)
    bind("/sys", REAL)
    for place in (REAL, HARDWARE):
        # Private, or what is mounted over /sys next would show up here as well.
        subprocess.run(["mount", "--make-private", place], check=True)
    for name in ("sys/bus", "sys/devices", "sys/module", "sys/class", "sys/block", "sys/firmware", "proc/driver"):
        bind(os.path.join(HARDWARE, name), os.path.join("/", name))
    for name in ("devices", "devices/system", "class", "class/net", "class/block", "block"):
        keep_real(name)
    groups = "sys/kernel/iommu_groups"
    if os.path.isdir(os.path.join(HARDWARE, groups)) and os.path.isdir(os.path.join("/", groups)):
        bind(os.path.join(HARDWARE, groups), os.path.join("/", groups))
    for name in ("proc/cpuinfo", "proc/meminfo", "proc/cmdline"):
        bind(os.path.join(HARDWARE, name), os.path.join("/", name))


def open_network() -> None:
    """Let the twin set up its network as a rig may: docker forwards packets between its containers and the world."""
    bind("/proc/sys/net", "/proc/sys/net")
    subprocess.run(["mount", "-o", "remount,bind,rw", "/proc/sys/net"], check=True)


def keep_real(name: str) -> None:
    """In a directory of /sys show, beside what is simulated, what the twin really has and is not of the host's PCI.

    A link is copied, so a network interface that the twin makes later has no entry in /sys/class/net.
    """
    for entry in os.scandir(os.path.join(REAL, name)):
        target = os.path.join("/sys", name, entry.name)
        if entry.is_symlink():
            if "devices/virtual/" in os.readlink(entry.path) and not os.path.lexists(target):
                os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir() and not entry.name.startswith("pci") and not os.path.isdir(target):
            os.mkdir(target)
            bind(entry.path, target)


def load_modules(nouveau: bool) -> None:
    """First what udev finds by PCI id, then what is configured; a module that cannot be loaded stops nothing."""
    take_nouveau(nouveau)
    wanted = ["--autoload"]
    for pattern in CONFIGURED:
        for path in sorted(glob.glob(pattern)):
            with open(path) as stream:
                lines = [line.strip() for line in stream]
            wanted += [line for line in lines if line and line[0] not in "#;"]
    for name in wanted:
        subprocess.run(["/usr/sbin/modprobe", name], check=False)


def take_nouveau(wanted: bool) -> None:
    """Have nouveau take the cards, unless it is blacklisted; or let go of them."""
    command = ["modprobe", "-q", "-b", "nouveau"] if wanted else ["modprobe", "-q", "-r", "nouveau"]
    subprocess.run(command, check=False)


def apply_faults(orders: dict[str, Any], booting: bool) -> None:
    """Do what the lab ordered for this system."""
    change_host_keys(orders["host_key"], booting)
    fill_disk(orders["disk_full"])


def fill_disk(full: bool) -> None:
    """Take all the room that is left on the disk, or give it back."""
    if not full:
        if os.path.exists(BALLAST):
            os.unlink(BALLAST)
        return
    with open(BALLAST, "ab") as stream:
        room = os.statvfs("/")
        size = room.f_bavail * room.f_frsize
        while size > room.f_frsize:
            try:
                os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, size)
            except OSError:
                size //= 2
            else:
                room = os.statvfs("/")
                size = min(size, room.f_bavail * room.f_frsize)


def change_host_keys(order: str, booting: bool) -> None:
    """New host keys, once for each order; the first ones again when the order is withdrawn."""
    done = read(os.path.join(FIRST_KEYS, "order")) or ""
    if order == done:
        return
    if not order:
        for path in glob.glob(os.path.join(FIRST_KEYS, "ssh_host_*")):
            shutil.copy2(path, "/etc/ssh")
        shutil.rmtree(FIRST_KEYS)
    else:
        if not done:
            os.makedirs(FIRST_KEYS, mode=0o700)
            for path in glob.glob("/etc/ssh/ssh_host_*"):
                shutil.copy2(path, FIRST_KEYS)
        for path in glob.glob("/etc/ssh/ssh_host_*"):
            os.unlink(path)
        subprocess.run(["ssh-keygen", "-q", "-A"], check=True)
        with open(os.path.join(FIRST_KEYS, "order"), "w") as stream:
            stream.write(order)
    # At boot sshd starts after us, and to wait for it here would be to wait for ever.
    subprocess.run(["systemctl", "try-restart", *(["--no-block"] if booting else []), "ssh"], check=False)
    end_ssh_sessions()


def end_ssh_sessions() -> None:
    """Cut the connections that were made under the old keys: another machine would not know them either."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        if (read(path) or "").startswith("sshd: ") and "[listener]" not in (read(path) or ""):
            try:
                os.kill(int(path.split("/")[2]), signal.SIGKILL)
            except ProcessLookupError:
                continue


def read(path: str) -> str | None:
    """The text of a file, None when there is none."""
    try:
        with open(path) as stream:
            return stream.read()
    except OSError:
        return None


def main() -> None:
    """At boot put everything in place; with ``faults`` only follow the orders."""
    with open(os.path.join(HARDWARE, "orders.json")) as stream:
        orders = json.load(stream)
    booting = sys.argv[1:] != ["faults"]
    if booting:
        mount_hardware()
        open_network()
        load_modules(orders["nouveau"])
    else:
        take_nouveau(orders["nouveau"])
    apply_faults(orders, booting)


if __name__ == "__main__":
    main()
