#!/usr/bin/python3
"""modprobe, rmmod, lsmod and modinfo of a rigdeploy twin: they load simulated modules into a simulated /sys/module.

Real are the names, the messages, the exit codes, blacklists and the order of dependencies. A module is there when the
file /lib/modules/<kernel>/updates/dkms/<name>.ko is, which the simulated driver packages write (nouveau comes with the
kernel).
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import stat
import sys

ROOT = os.environ.get("RIGDEPLOY_TWIN_ROOT", "/")
NEEDS = {
    "nvidia_uvm": ["nvidia"],
    "nvidia_modeset": ["nvidia"],
    "nvidia_drm": ["nvidia_modeset", "nvidia"],
    "nvidia_peermem": ["nvidia"],
    "nouveau": [],
}
NODES = ("nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidiactl")
NULL = os.makedev(1, 3)
SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}
LINK_STATUS = 0x72  # where the link's speed stands in these cards' configuration space
BANNER = {
    "open": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {0}  Release Build  (simulated by rigdeploy)",
    "proprietary": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {0}  (simulated by rigdeploy)",
}


def path(*parts: str) -> str:
    """A path below the root in use."""
    return os.path.join(ROOT, *parts)


def plain(name: str) -> str:
    """A module name as the kernel writes it."""
    return name.replace("-", "_")


def fields(name: str) -> dict[str, str] | None:
    """What modinfo says of a module as a dictionary, None when there is no such module."""
    if plain(name) == "nouveau":
        return {"filename": "kernel/drivers/gpu/drm/nouveau/nouveau.ko", "license": "GPL and additional rights"}
    release = os.uname().release
    for found in glob.glob(path("lib/modules", release, "updates/dkms/*.ko")):
        if plain(os.path.basename(found)[:-3]) == plain(name):
            with open(found) as stream:
                pairs = [line.rstrip("\n").partition(": ") for line in stream]
            return dict([("filename", found)] + [(key, value) for key, sep, value in pairs if sep])
    return None


def loaded() -> list[str]:
    """Names of the loaded modules."""
    return sorted(os.listdir(path("sys/module")))


def holders(name: str) -> list[str]:
    """Loaded modules that need this one."""
    return [other for other in loaded() if name in NEEDS.get(other, [])]


def read_count(name: str) -> int:
    """How many programs hold a module: nvidia-persistenced is one, and so is whoever has a device node open."""
    with open(path("sys/module", name, "refcnt")) as stream:
        counted = int(stream.read())
    return counted + (node_users() if name == "nvidia" else 0)


def node_users() -> int:
    """How many open files there are of the driver's device nodes."""
    count = 0
    for entry in glob.glob(path("proc/[0-9]*/fd/*")):
        try:
            count += os.readlink(entry).startswith("/dev/nvidia")
        except OSError:
            continue  # gone meanwhile
    return count


def make_nodes() -> None:
    """Make device nodes under the driver's names.

    Each is /dev/null: it can be held open and given to a container, and on a host that has real cards it leads to none
    of them.
    """
    names = [f"nvidia{number}" for number in range(len(gpus()))]
    for name in [*NODES, *names]:
        try:
            os.mknod(path("dev", name), 0o666 | stat.S_IFCHR, NULL)
            os.chmod(path("dev", name), 0o666)  # noqa: S103 - as the driver makes them
        except OSError:
            continue  # there already, or nobody may make any (tests)


def remove_nodes() -> None:
    """Take the device nodes away."""
    for found in glob.glob(path("dev/nvidia*")):
        os.unlink(found)


def forget_settings() -> None:
    """What was set at run time (power limits, clocks, persistence mode) is gone with the driver."""
    write("{}\n", "run/rigdeploy-twin/state.json")


def gpus() -> list[str]:
    """Directories of the NVIDIA GPUs on the PCI bus."""
    found = []
    for device in sorted(glob.glob(path("sys/bus/pci/devices/*"))):
        with open(os.path.join(device, "vendor")) as vendor, open(os.path.join(device, "class")) as kind:
            if vendor.read().strip() == "0x10de" and kind.read().startswith("0x0300"):
                found.append(os.path.realpath(device))
    return found


def bound_to() -> set[str]:
    """Names of the drivers that hold a GPU."""
    links = [os.path.join(device, "driver") for device in gpus()]
    return {os.path.basename(os.readlink(link)) for link in links if os.path.islink(link)}


def write(text: str, *parts: str) -> None:
    """Write a file, with the directories above it."""
    os.makedirs(os.path.dirname(path(*parts)), exist_ok=True)
    with open(path(*parts), "w") as stream:
        stream.write(text)


def settle(driver_loaded: bool) -> None:
    """Have the links of cards that do nothing fall back, as the driver lets them; without it, as they were trained."""
    with open(path("run/rigdeploy-twin/gpus.json")) as stream:
        records = json.load(stream)
    for card in records:
        generation = 1 if driver_loaded and not card["busy"] else card["trained"]
        device = path(card["home"])
        for directory in (device, os.path.dirname(device), device[:-1] + "1"):
            with open(os.path.join(directory, "current_link_speed"), "w") as stream:
                stream.write(SPEEDS[generation] + " GT/s PCIe\n")
            with open(os.path.join(directory, "config"), "r+b") as stream:
                stream.seek(LINK_STATUS)
                register = stream.read(1)[0]
                stream.seek(LINK_STATUS)
                stream.write(bytes([register & 0xF0 | generation]))


def bind_cards(driver: str) -> None:
    """Have a driver take every GPU."""
    os.makedirs(path("sys/bus/pci/drivers", driver), exist_ok=True)
    for device in gpus():
        target = os.path.relpath(path("sys/bus/pci/drivers", driver), os.path.dirname(os.path.join(device, "driver")))
        os.symlink(target, os.path.join(device, "driver"))


def release_cards(driver: str) -> None:
    """Have a driver let go of every GPU."""
    for device in gpus():
        link = os.path.join(device, "driver")
        if os.path.islink(link) and os.path.basename(os.readlink(link)) == driver:
            os.unlink(link)
    shutil.rmtree(path("sys/bus/pci/drivers", driver), ignore_errors=True)


def only_signed() -> bool:
    """Whether Secure Boot keeps out what DKMS built here, for nobody has enrolled its key."""
    for found in glob.glob(path("sys/firmware/efi/efivars/SecureBoot-*")):
        with open(found, "rb") as stream:
            return stream.read()[-1:] == b"\x01"
    return False


def insert(name: str) -> str | None:
    """Load one module; returns the message of the failure, or None."""
    name = plain(name)
    if name in loaded():
        return None
    info = fields(name)
    if info is None:
        return "FATAL: Module {0} not found in directory /lib/modules/{1}".format(name, os.uname().release)
    if name != "nouveau" and only_signed():
        return "ERROR: could not insert '{0}': Key was rejected by service".format(name)
    for needed in NEEDS.get(name, []):
        problem = insert(needed)
        if problem:
            return problem
    if name in ("nvidia", "nouveau"):
        if not gpus() or bound_to() - {name}:
            return "ERROR: could not insert '{0}': No such device".format(name)
        bind_cards(name)
    write("{0}\n".format(info.get("version", "")), "sys/module", name, "version")
    write("live\n", "sys/module", name, "initstate")
    write("0\n", "sys/module", name, "refcnt")
    if name == "nvidia":
        flavour = "open" if "GPL" in info["license"] else "proprietary"
        banner = BANNER[flavour].format(info["version"])
        write(banner + "\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)\n", "proc/driver/nvidia/version")
        settle(driver_loaded=True)
        make_nodes()
    return None


def remove(name: str) -> str | None:
    """Unload one module; returns the message of the failure, or None."""
    name = plain(name)
    if name not in loaded():
        return "FATAL: Module {0} is not currently loaded".format(name) if fields(name) is None else None
    if read_count(name):
        return "FATAL: Module {0} is in use.".format(name)
    if holders(name):
        return "FATAL: Module {0} is in use by: {1}.".format(name, " ".join(holders(name)))
    shutil.rmtree(path("sys/module", name))
    if name in ("nvidia", "nouveau"):
        release_cards(name)
    if name == "nvidia":
        shutil.rmtree(path("proc/driver/nvidia"), ignore_errors=True)
        settle(driver_loaded=False)
        remove_nodes()
        forget_settings()
    return None


def blacklisted(name: str) -> bool:
    """Whether modprobe.d keeps the module from being loaded by itself."""
    for found in glob.glob(path("etc/modprobe.d/*.conf")) + glob.glob(path("usr/lib/modprobe.d/*.conf")):
        with open(found) as stream:
            if re.search(
                r"^\s*(blacklist\s+{0}|install\s+{0}\s+/bin/(false|true))\s*$".format(name), stream.read(), re.M
            ):
                return True
    return False


def autoload() -> None:
    """What udev would load at boot by PCI id: the driver, once it is installed."""
    if not blacklisted("nvidia") and fields("nvidia") is not None and gpus():
        insert("nvidia")


def list_modules() -> int:
    """What lsmod does."""
    print("Module                  Size  Used by")
    for name in loaded():
        users = holders(name)
        print("{0:<20} {1:>8}  {2} {3}".format(name, 16384, len(users), ",".join(users)).rstrip())
    return 0


def show_info(arguments: list[str]) -> int:
    """What modinfo does."""
    wanted = None
    if "-F" in arguments:
        at = arguments.index("-F")
        wanted = arguments[at + 1]
        arguments = arguments[:at] + arguments[at + 2 :]
    info = fields(arguments[0])
    if info is None:
        sys.stderr.write("modinfo: ERROR: Module {0} not found.\n".format(arguments[0]))
        return 1
    for key, value in info.items():
        if wanted == key:
            print(value)
        elif wanted is None:
            print("{0:<16}{1}".format(key + ":", value))
    return 0


def change(tool: str, arguments: list[str]) -> int:
    """What modprobe and rmmod do."""
    flags = [word for word in arguments if word.startswith("-")]
    names = [word for word in arguments if not word.startswith("-")]
    if "--autoload" in flags:
        autoload()
        return 0
    if "--version" in flags or "-V" in flags:
        print("{0}: simulated by rigdeploy's lab; it loads simulated modules only".format(tool))
        return 0
    removing = tool == "rmmod" or "-r" in flags or "--remove" in flags
    several = removing or "-a" in flags or "--all" in flags
    if "-b" in flags or "--use-blacklist" in flags:
        names = [name for name in names if not blacklisted(plain(name))]
    for name in names if several else names[:1]:
        if "-n" in flags or "--dry-run" in flags:
            problem = None if fields(name) is not None else "FATAL: Module {0} not found.".format(name)
        else:
            problem = remove(name) if removing else insert(name)
        if problem:
            if "-q" not in flags:
                sys.stderr.write("{0}: {1}\n".format(tool, problem))
            return 1
    return 0


def main() -> int:
    """Act as the tool that the first argument names."""
    tool, arguments = sys.argv[1], sys.argv[2:]
    if tool == "lsmod":
        return list_modules()
    if tool == "modinfo":
        return show_info(arguments)
    return change(tool, arguments)


if __name__ == "__main__":
    sys.exit(main())
