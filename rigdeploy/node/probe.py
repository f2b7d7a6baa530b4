#!/usr/bin/env python3
"""Look at this node, change nothing, and print what was seen as one JSON document.

One file, standard library only, Python 3.9 or later: it is sent over SSH and run by whatever Python the node has.
Every part may fail alone; what could not be read is null, and stands in ``unread`` with the reason. PCI addresses are
``dddd:bb:dd.f`` in lower case, sizes MiB, speeds PCIe generations (1 to 6), widths lanes, powers watts.

``--root DIR`` prefixes every path, ``--nvidia-smi CMD`` and ``--kernel-log CMD`` replace the tools that are asked, so
that a recorded node replays exactly; with ``--root`` no program of this machine is run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import struct
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Iterator
from xml.parsers import expat

SCHEMA = 1

# Two cards take some 100 KB of nvidia-smi's XML, a package database a few MB: beyond this, something is wrong.
TEXT_LIMIT = 32 * 1024 * 1024
PAGE = 4096
PIECE = 64 * 1024
FILE_LIMIT = 256 * 1024 * 1024
VALUE_LIMIT = 1000  # characters of one value
LIST_LIMIT = 4096  # things of one kind
XML_DEPTH = 16
# Without persistence mode each card takes 1 to 3 s to wake up.
SMI_TIMEOUT_SECONDS = 60
SYSTEMCTL_TIMEOUT_SECONDS = 10
MODINFO_TIMEOUT_SECONDS = 5
# A journal gives some 300 000 lines in a second; a log that takes longer is a flood of one message.
LOG_TIMEOUT_SECONDS = 10
LINE_LIMIT = 4096

HEX_ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
ADDRESS = re.compile(HEX_ADDRESS)
WHOLE = re.compile(r"P?(\d{1,15})(?: (?:MiB|C))?")  # P: a performance state
WATTS = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) W")
NOT_THERE = re.compile(r"\[?(N/A|Not Supported|Requested functionality .*)\]?", re.IGNORECASE)
UNKNOWN_TEXT = re.compile(
    r"\[?(N/A|Unknown( Error)?|Not Supported|ERR!|GPU is lost|GPU requires reset|Requested functionality .*)\]?", re.I
)
GEN_OF_SPEED = {2.5: 1, 5: 2, 8: 3, 16: 4, 32: 5, 64: 6}  # GT/s
# 0: no link. 63 and 255: the register read as all ones, so the device no longer answers.
NO_WIDTH = (0, 63, 255)
MIB = 1 << 20
PCI_DEVICES = "/sys/bus/pci/devices"
PCI_SLOTS = "/sys/bus/pci/slots"
DMI = "/sys/class/dmi/id"
DMI_TABLE = "/sys/firmware/dmi/tables/DMI"
MANAGED = "/var/lib/rigdeploy/managed.d"


class Node:
    """The node's files below a root directory, and what could not be read there."""

    def __init__(self, root: str, nvidia_smi: str | None = None, kernel_log: str | None = None) -> None:
        self.root = root.rstrip("/")
        self.nvidia_smi = nvidia_smi
        self.kernel_log = kernel_log
        self.unread: list[dict[str, str]] = []

    def note(self, what: str, why: str) -> None:
        """Record that something could not be read."""
        if len(self.unread) < LIST_LIMIT:
            self.unread.append({"what": what[:VALUE_LIMIT], "why": why[:300]})

    def path(self, name: str) -> str:
        """Where a file of the node lies on this machine."""
        return self.root + name

    def data(self, name: str, what: str = "", limit: int = TEXT_LIMIT) -> bytes | None:
        """A file's first bytes; None, noted under ``what`` if that is given, when it cannot be read."""
        try:
            # A pipe in a file's place must not stop the probe.
            file = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                # In pieces: the kernel allocates what is asked for, and refuses much of it for /proc/sys. Small ones
                # first: nearly every file is one of sysfs, of a line.
                pieces = [os.read(file, PAGE)]
                size = len(pieces[0])
                while pieces[-1] and size < limit:
                    pieces.append(os.read(file, PAGE if len(pieces) == 1 else PIECE))
                    size += len(pieces[-1])
            finally:
                os.close(file)
        except OSError as error:
            if what:
                self.note(what, f"{name}: {error.strerror}")
            return None
        return b"".join(pieces)[:limit]

    def text(self, name: str, what: str = "") -> str | None:
        """A file's content without surrounding space; None, noted under ``what`` if that is given, without it."""
        data = self.data(name, what)
        return None if data is None else data.decode("utf-8", "replace").strip()

    def line(self, name: str, what: str = "") -> str | None:
        """A short text on one line; None also where it is empty."""
        return (self.text(name, what) or "").partition("\n")[0][:VALUE_LIMIT].strip() or None

    def number(self, name: str, what: str = "") -> int | None:
        """A whole number, which may be negative."""
        text = self.text(name, what)
        if text is None:
            return None
        if re.fullmatch(r"-?\d{1,18}", text):
            return int(text)
        if what:
            self.note(what, f"{name} reads {text[:40]!r}")
        return None

    def names(self, name: str) -> list[str]:
        """What a directory holds, sorted; raises OSError."""
        return sorted(os.listdir(self.path(name)))[:LIST_LIMIT]

    def entries(self, name: str) -> list[str] | None:
        """What a directory holds, sorted; None where it cannot be listed."""
        try:
            return self.names(name)
        except OSError:
            return None

    def target(self, name: str) -> str | None:
        """The last part of where a symbolic link leads; None where there is none."""
        try:
            return os.path.basename(os.readlink(self.path(name)))[:VALUE_LIMIT]
        except OSError:
            return None


class ProgramError(Exception):
    """A program could not be started, or did not come back."""


class Program:
    """A program that runs while other things are read.

    What it prints is kept up to a limit, or handed to ``sift`` line by line as it comes.
    """

    def __init__(self, command: list[str], seconds: float, sift: Callable[[bytes], None] | None = None) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.printed: list[bytes] = []
        self.complained: list[bytes] = []
        self.threads: list[threading.Thread] = []
        self.problem = ""
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            self.problem = f"{command[0]}: {error.strerror}"
            return
        if sift:
            self.follow(keep_lines, self.process.stdout, sift)
        else:
            self.follow(keep, self.process.stdout, self.printed)
        self.follow(keep, self.process.stderr, self.complained)

    def follow(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do something with a stream beside everything else."""
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self.threads.append(thread)

    def finish(self) -> int:
        """Its exit status; raises ProgramError when it did not start, or has not ended when its time is over."""
        if self.problem:
            raise ProgramError(self.problem)
        for thread in self.threads:
            thread.join(max(0.0, self.until - time.monotonic()))
        try:
            return self.process.wait(max(0.05, self.until - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            self.process.kill()  # Not waited for: with a card that fell off the bus it may never end.
            raise ProgramError(f"no answer in {self.seconds} s") from error

    @property
    def output(self) -> str:
        """What it printed so far."""
        return b"".join(self.printed).decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """What it said on its error output so far, on one line."""
        return " ".join(b"".join(self.complained).decode("utf-8", "replace").split())[:VALUE_LIMIT]


def keep(stream: Any, pieces: list[bytes]) -> None:
    """Keep what a stream brings up to the limit; the rest is read too, so that its program can end."""
    left = TEXT_LIMIT + 1
    with stream:
        for piece in iter(lambda: stream.read1(PIECE), b""):
            if left > 0:
                pieces.append(piece[:left])
                left -= len(piece)


def keep_lines(stream: Any, sift: Callable[[bytes], None]) -> None:
    """Hand on the lines of a stream; one that is too long comes in parts."""
    with stream:
        for line in iter(lambda: stream.readline(LINE_LIMIT), b""):
            sift(line)


def tool(name: str) -> str | None:
    """Where a program of this machine is; its PATH may lack the places for root's tools."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin:/usr/sbin:/sbin:/bin")


# --- host ------------------------------------------------------------------------------------------------------

# What a maker leaves in the firmware when nobody filled it in.
PLACEHOLDERS = re.compile(
    r"to be filled by o\.?e\.?m\.?|default string|system (manufacturer|product name|version)|not (specified|applicable)"
    r"|unknown|none|n/a|o\.e\.m\.|oem|x\.x|0+|\.*",
    re.IGNORECASE,
)
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def read_host(node: Node) -> dict[str, Any]:
    """Who the node is: names, kernel, system, uptime, firmware, and whether it is a virtual machine."""
    release = dict(
        line.split("=", 1) for line in (os_release(node) or "").splitlines() if "=" in line and line[0] != "#"
    )
    uptime = node.text("/proc/uptime", "host.uptime_seconds")
    architecture = node.line("/proc/sys/kernel/arch")  # since Linux 6.1
    if architecture is None and not node.root:
        architecture = os.uname().machine
    if architecture is None:
        node.note("host.architecture", "/proc/sys/kernel/arch: not there")
    arguments = node.line("/proc/cmdline", "aer")
    if re.search(r"(?:^| )pci=(?:[^ ]*,)?noaer(?:[, ]|$)", arguments or ""):
        # The counters are there all the same, and stay at zero.
        node.note("aer", "the kernel counts no PCIe errors: it was started with pci=noaer")
    return {
        "hostname": node.line("/proc/sys/kernel/hostname", "host.hostname"),
        "boot_id": node.line("/proc/sys/kernel/random/boot_id", "host.boot_id"),
        "kernel": node.line("/proc/sys/kernel/osrelease", "host.kernel"),
        "os_id": release.get("ID", "").strip("\"'")[:VALUE_LIMIT] or None,
        "os_version": release.get("VERSION_ID", "").strip("\"'")[:VALUE_LIMIT] or None,
        "virtualisation": virtualisation(node),
        "uptime_seconds": float(uptime.split()[0]) if uptime else None,
        "architecture": architecture,
        "vendor": firmware_text(node, "sys_vendor") or firmware_text(node, "board_vendor"),
        "product": firmware_text(node, "product_name"),
        "board": firmware_text(node, "board_name", "host.board"),
        "bios": firmware_text(node, "bios_version", "host.bios"),
        "secure_boot": secure_boot(node),
        "iommu": iommu(node),
    }


def os_release(node: Node) -> str | None:
    """The system's os-release file; on a minimal system only the second place has it."""
    text = node.text("/etc/os-release")
    return text if text is not None else node.text("/usr/lib/os-release", "host.os_id")


def virtualisation(node: Node) -> str | None:
    """``none`` on bare metal (or in a container on it), the vendor's name in a virtual machine.

    On x86 the processor says so itself (flag ``hypervisor``, CPUID leaf 1); elsewhere only DMI gives it away.
    """
    cpuinfo = node.text("/proc/cpuinfo", "host.virtualisation")
    if cpuinfo is None:
        return None
    vendor = node.line(f"{DMI}/sys_vendor") or ""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    if flags:
        return (vendor or "unknown hypervisor") if "hypervisor" in flags[1].split() else "none"
    if re.search(r"QEMU|KVM|VMware|Xen|Microsoft|Amazon|Google|innotek|Parallels|Alibaba", vendor):
        return vendor
    return "none"


def firmware_text(node: Node, name: str, what: str = "") -> str | None:
    """What the firmware says of the machine, unless nobody filled it in."""
    text = node.line(f"{DMI}/{name}", what)
    return None if text is None or PLACEHOLDERS.fullmatch(text) else text


def secure_boot(node: Node) -> bool | None:
    """Whether the firmware checks signatures: the last of the variable's five bytes (UEFI 2.10, section 3.3).

    A machine that was not started by UEFI has no directory for it, and firmware that cannot do it no such variable.
    """
    if node.entries("/sys/firmware") is None:
        node.note("host.secure_boot", "/sys/firmware cannot be listed")
        return None
    if not os.path.isdir(node.path("/sys/firmware/efi")):
        return False
    if node.entries(os.path.dirname(SECURE_BOOT)) and not os.path.exists(node.path(SECURE_BOOT)):
        return False
    data = node.data(SECURE_BOOT, "host.secure_boot")
    if data is not None and len(data) != 5:  # noqa: PLR2004 - four bytes of attributes, one of value
        node.note("host.secure_boot", f"the variable has {len(data)} bytes")
        return None
    return None if data is None else data[4] == 1


def iommu(node: Node) -> bool | None:
    """Whether the kernel uses an IOMMU."""
    found = [node.entries("/sys/class/iommu"), node.entries("/sys/kernel/iommu_groups")]
    if found == [None, None]:
        node.note("host.iommu", "neither /sys/class/iommu nor /sys/kernel/iommu_groups can be listed")
        return None
    return any(found)


# --- the firmware's tables (SMBIOS) ----------------------------------------------------------------------------

DMI_LIMIT = 1 << 20
SYSTEM_MEMORY = 3  # the use of a memory array (DMTF DSP0134 3.7, 7.17.2)
ECC_OF_ARRAY = {3: False, 4: False, 5: True, 6: True, 7: True}  # 7.17.3: none, parity, single bit, multi-bit, CRC
MEMORY_TYPES = {
    0x0F: "SDRAM", 0x12: "DDR", 0x13: "DDR2", 0x14: "DDR2 FB-DIMM", 0x18: "DDR3", 0x1A: "DDR4", 0x1B: "LPDDR",
    0x1C: "LPDDR2", 0x1D: "LPDDR3", 0x1E: "LPDDR4", 0x20: "HBM", 0x21: "HBM2", 0x22: "DDR5", 0x23: "LPDDR5",
    0x24: "HBM3",
}  # fmt: skip
"""DSP0134, 7.18.2."""
DIMMS_PER_CHANNEL = 3
"""No platform has more; where a locator says so, its letter means something else (a socket, at Dell)."""
MODULE_LIMIT = 256


class Structure:
    """One structure of the tables; a field beyond its length, which grew from version to version, is None."""

    def __init__(self, data: bytes, strings: list[bytes]) -> None:
        self.data = data
        self.strings = strings

    def number(self, offset: int, size: int) -> int | None:
        """A little-endian number of one, two or four bytes."""
        part = self.data[offset : offset + size]
        return int.from_bytes(part, "little") if len(part) == size else None

    def string(self, offset: int) -> str | None:
        """The string that the byte there numbers, from 1; None for 0, an empty one, and one that is not there."""
        index = self.number(offset, 1) or 0
        if not 1 <= index <= len(self.strings):
            return None
        return self.strings[index - 1][:VALUE_LIMIT].decode("latin-1").strip() or None


def read_firmware(node: Node) -> dict[int, list[Structure]] | None:
    """The structures by type; None, noted for each part that comes from them, where they cannot be read.

    Only root may read the table, and a virtual machine or an ARM board may have none.
    """
    data = node.data(DMI_TABLE, "memory.modules", DMI_LIMIT)
    if data is None:
        node.note("slots", node.unread[-1]["why"])
        return None
    found: dict[int, list[Structure]] = {}
    for structure in structures(data):
        found.setdefault(structure.data[0], []).append(structure)
    return found


def structures(table: bytes) -> Iterator[Structure]:
    """Walk the table: a formatted part, whose second byte is its length, then strings, then two zero bytes."""
    at = 0
    while at + 4 <= len(table) and table[at + 1] >= 4:  # noqa: PLR2004 - type, length, handle
        strings_at = at + table[at + 1]
        end = table.find(b"\0\0", strings_at)
        if end < 0:
            return
        yield Structure(table[at:strings_at], table[strings_at:end].split(b"\0"))
        at = end + 2


# --- processor and memory --------------------------------------------------------------------------------------


def read_cpu(node: Node, firmware: dict[int, list[Structure]] | None) -> dict[str, Any]:
    """The processors: on x86 /proc/cpuinfo says it all; elsewhere the firmware names it and sysfs counts."""
    text = node.text("/proc/cpuinfo", "cpu")
    if text is None:
        return {}
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    name = model[1].strip()[:VALUE_LIMIT] if model else processor_name(node, firmware)
    if name is None:
        node.note("cpu.model", "neither /proc/cpuinfo nor the firmware names it")
    threads = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    packages = re.findall(r"^physical id\s*: (\d+)$", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*: (\d+)$", text, re.MULTILINE)
    places = list(zip(packages, cores)) if len(packages) == len(cores) == threads else topology(node)  # noqa: B905
    if not places:
        node.note("cpu.cores", "neither /proc/cpuinfo nor sysfs tells which threads share a core")
    return {
        "model": name,
        "sockets": len({package for package, _ in places}) or None,
        "cores": len(set(places)) or None,
        "threads": threads or None,
    }


def processor_name(node: Node, firmware: dict[int, list[Structure]] | None) -> str | None:
    """The first processor's name by the firmware (SMBIOS type 4, version), or the board's by the device tree."""
    names = [structure.string(0x10) for structure in (firmware or {}).get(4, [])]
    name = next((name for name in names if name and not PLACEHOLDERS.fullmatch(name)), None)
    return name or (node.line("/proc/device-tree/model") or "").strip("\0") or None


def topology(node: Node) -> list[tuple[str, str]]:
    """Package and core of each thread that is on, as sysfs has them."""
    places = []
    for name in node.entries("/sys/devices/system/cpu") or []:
        home = f"/sys/devices/system/cpu/{name}/topology"
        package, core = node.line(f"{home}/physical_package_id"), node.line(f"{home}/core_id")
        if re.fullmatch(r"cpu\d+", name) and package and core:
            places.append((package, core))
    return places


def read_memory(node: Node, firmware: dict[int, list[Structure]] | None) -> dict[str, Any]:
    """System memory: what the kernel has, which modules the firmware sees, and what EDAC counted since boot."""
    total = re.search(r"^MemTotal:\s+(\d{1,15}) kB$", node.text("/proc/meminfo", "memory.total_mib") or "", re.M)
    memory: dict[str, Any] = {
        "total_mib": int(total[1]) // 1024 if total else None,
        "installed_mib": None,
        "ecc": None,
        "channels": None,
        "modules": [],
        "correctable": None,
        "uncorrectable": None,
    }
    if firmware is not None:
        memory.update(modules_of(node, firmware))
    controllers = [name for name in node.entries("/sys/devices/system/edac/mc") or [] if re.fullmatch(r"mc\d+", name)]
    for key, file in (("correctable", "ce_count"), ("uncorrectable", "ue_count")):
        counts = [node.number(f"/sys/devices/system/edac/mc/{name}/{file}", f"memory.{key}") for name in controllers]
        memory[key] = (
            sum(count for count in counts if count is not None) if controllers and None not in counts else None
        )
    if firmware is None and controllers:
        memory["ecc"] = True  # A controller registers only where its errors can be counted.
    return memory


def modules_of(node: Node, firmware: dict[int, list[Structure]]) -> dict[str, Any]:
    """What SMBIOS types 16 (arrays) and 17 (sockets) say of system memory."""
    arrays = {array.number(2, 2): array for array in firmware.get(16, []) if array.number(5, 1) == SYSTEM_MEMORY}
    sockets = [socket for socket in firmware.get(17, [])[:MODULE_LIMIT] if not arrays or socket.number(4, 2) in arrays]
    modules = [socket for socket in sockets if socket.number(0x0C, 2) != 0]
    if not modules:
        node.note("memory.modules", "the firmware's tables hold no memory module")
        return {}
    sizes = [module_mib(module) for module in modules]
    if None in sizes:
        node.note("memory.installed_mib", "the firmware does not say how large a module is")
    checks = [ECC_OF_ARRAY.get(array.number(6, 1) or 0) for array in arrays.values()]
    if not checks or None in checks:
        node.note("memory.ecc", "the firmware does not say how memory errors are corrected")
    places = [channel_of(module.string(0x10) or "", module.string(0x11) or "") for module in modules]
    return {
        "installed_mib": sum(size for size in sizes if size is not None) if None not in sizes else None,
        "ecc": all(checks) if checks and None not in checks else None,
        "channels": channel_count(node, sockets, modules),
        "modules": [
            {
                "locator": module.string(0x10),
                "channel": place[-1] if place else None,
                "size_mib": size,
                "speed_mts": module_speed(module),
                "type": MEMORY_TYPES.get(module.number(0x12, 1) or 0),
            }
            for module, size, place in zip(modules, sizes, places)  # noqa: B905 - Python 3.9 has no strict=
        ],
    }


def module_mib(module: Structure) -> int | None:
    """A module's size: 0xFFFF is unknown, 0x7FFF points to the extended field, bit 15 means KiB (DSP0134, 7.18.1)."""
    size = module.number(0x0C, 2)
    if size is None or size == 0xFFFF:  # noqa: PLR2004
        return None
    if size == 0x7FFF:  # noqa: PLR2004
        extended = module.number(0x1C, 4)
        return None if extended is None else extended & 0x7FFFFFFF
    return (size & 0x7FFF) // 1024 if size & 0x8000 else size


def module_speed(module: Structure) -> int | None:
    """The configured speed in MT/s; where that is not told, what the module can do. 0xFFFF: see the extended field."""
    for short, extended in ((0x20, 0x58), (0x15, 0x54)):
        speed = module.number(short, 2)
        if speed == 0xFFFF:  # noqa: PLR2004
            speed = (module.number(extended, 4) or 0) & 0x7FFFFFFF
        if speed:
            return speed
    return None


CHANNEL_WORD = re.compile(r"channel[ _-]?([a-p]|\d{1,2})(?![a-z])", re.IGNORECASE)
CHANNEL_LETTER = re.compile(r"(?:^|dimm|[ _-])([a-p])[ _-]?\d{1,2}$|dimm[ _-]?([a-p])$", re.IGNORECASE)
PART_OF_SYSTEM = re.compile(
    r"(?<![a-z])(?:p|cpu|proc|socket|node|mc|controller)[ _-]?(\d{1,2})(?![0-9])", re.IGNORECASE
)


def channel_of(locator: str, bank: str) -> tuple[str, ...] | None:
    """The channel that a socket belongs to: socket, node or controller as far as named, last the channel itself.

    ``P0 CHANNEL A`` (AMD's bank locators), ``P0_Node0_Channel0_Dimm0``, ``Controller1-ChannelA-DIMM0`` (Intel since
    the 12th generation), ``DIMM_A1``, ``P1-DIMMA1``, ``DIMM_P0_A0``, ``A1``. None where neither says it:
    ``DIMM1``, ``BANK 0``.
    """
    for text in (bank, locator):
        word = CHANNEL_WORD.search(text)
        if word:
            return (*PART_OF_SYSTEM.findall(text), word[1].upper())
    letter = CHANNEL_LETTER.search(locator)
    # "P1" and "P0" alone are processors.
    if letter is None or re.fullmatch(r"p\d{1,2}", locator, re.IGNORECASE):
        return None
    return (*PART_OF_SYSTEM.findall(locator[: letter.start()] + " "), (letter[1] or letter[2]).upper())


def channel_count(node: Node, sockets: list[Structure], modules: list[Structure]) -> int | None:
    """How many channels have a module; None, noted, where the names of the sockets do not tell.

    All sockets are looked at: where more than three share a "channel", the name means something else.
    """
    places = [channel_of(socket.string(0x10) or "", socket.string(0x11) or "") for socket in sockets]
    crowded = any(places.count(place) > DIMMS_PER_CHANNEL for place in set(places))
    filled = [channel_of(module.string(0x10) or "", module.string(0x11) or "") for module in modules]
    if None in filled or crowded:
        names = ", ".join(f"{module.string(0x10)} / {module.string(0x11)}" for module in modules[:4])
        node.note("memory.channels", f"the firmware's names of the sockets do not tell: {names}")
        return None
    return len(set(filled))


# --- PCI -------------------------------------------------------------------------------------------------------

EXTENDED_CONFIG = 0x100
CONFIG_SIZE = 4096
ACS = 0x000D  # extended capability (PCI Express Base Specification 6.0, 7.7.11)
ACS_BITS = ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans")
"""The control register's bits from 0 on, as lspci names them."""
MEMORY_BAR = 0x200  # IORESOURCE_MEM (include/linux/ioport.h)


def read_pci(node: Node, slots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every PCI function with its parent port, its link and its error counters; ``slots`` are the firmware's.

    ``link`` is null for a function that has no PCIe link at all; a display card and the ports above it always
    have one, so there its absence is noted. ``aer`` is null where the kernel offers no counters. Counters, BARs and
    Access Control Services are read for display cards, NVMe disks and network cards, and for the ports above them.
    """
    try:
        addresses = [name for name in node.names(PCI_DEVICES) if ADDRESS.fullmatch(name)]
    except OSError as error:
        node.note("pci", f"{PCI_DEVICES}: {error.strerror}")
        return []
    devices = {address: read_device(node, address) for address in addresses}
    displays = paths_of(devices, lambda device: device["vendor"] == "10de" and device["class"][:4] in ("0300", "0302"))
    others = paths_of(devices, lambda device: device["class"][:4] == "0108" or device["class"][:2] == "02")
    for address in sorted(displays | others):
        read_details(node, devices[address], address in displays)
    name_slots(node, devices)
    name_slots_by_firmware(node, devices, slots)
    return list(devices.values())


def read_device(node: Node, address: str) -> dict[str, Any]:
    """One function; its parent comes from where its entry of the bus leads."""
    base = f"{PCI_DEVICES}/{address}"
    chain = chain_of(node, base)
    what = f"pci[{address}]"
    numa_node = node.number(f"{base}/numa_node")
    group = node.target(f"{base}/iommu_group")
    return {
        "address": address,
        "vendor": hexadecimal(node.text(f"{base}/vendor", f"{what}.vendor")),
        "device": hexadecimal(node.text(f"{base}/device", f"{what}.device")),
        "class": hexadecimal(node.text(f"{base}/class", f"{what}.class")),
        "parent": chain[-2] if len(chain) > 1 else None,
        "slot": None,
        "link": read_link(node, base, what),
        "aer": None,
        "driver": node.target(f"{base}/driver"),
        "numa_node": numa_node if numa_node is not None and numa_node >= 0 else None,  # -1: none
        "iommu_group": int(group) if group and re.fullmatch(r"\d{1,9}", group) else None,
        "bars_mib": [],
        "acs": None,
    }


def chain_of(node: Node, name: str) -> list[str]:
    """The PCI functions on the way to where a path really lies, the uppermost port first."""
    return [part for part in os.path.realpath(node.path(name)).split("/") if ADDRESS.fullmatch(part)]


def hexadecimal(text: str | None) -> str | None:
    """``0x10DE`` as ``10de``; None for anything else."""
    return text[2:].lower() if text and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text) else None


def read_link(node: Node, base: str, what: str) -> dict[str, int | None] | None:
    """The negotiated and the greatest link of one function; None where the kernel shows none."""
    link: dict[str, int | None] = {}
    found = False
    for key, file, parse in (
        ("width", "current_link_width", width),
        ("width_max", "max_link_width", width),
        ("gen", "current_link_speed", generation),
        ("gen_max", "max_link_speed", generation),
    ):
        text = node.text(f"{base}/{file}")
        found = found or text is not None
        link[key] = parse(text) if text is not None else None
        if text is not None and link[key] is None:
            node.note(f"{what}.link.{key}", f"reads {text[:40]!r}: no link, or the device does not answer")
    return link if found else None


def width(text: str) -> int | None:
    """Lanes: ``16``, or ``16x`` as nvidia-smi writes it; None where the number means that there is no link."""
    match = re.fullmatch(r"(\d{1,3})x?", text)
    return int(match[1]) if match and int(match[1]) not in NO_WIDTH else None


def generation(text: str) -> int | None:
    """The generation of a speed: ``8 GT/s`` (older kernels) and ``8.0 GT/s PCIe`` are both 3."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d)?) GT/s(?: PCIe)?", text)
    return GEN_OF_SPEED.get(float(match[1])) if match else None


def paths_of(devices: dict[str, dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> set[str]:
    """The addresses of the functions that are wanted and of every port above them."""
    found = set()
    for device in devices.values():
        address: str | None = device["address"] if device["class"] and wanted(device) else None
        while address in devices and address not in found:
            found.add(address)
            address = devices[address]["parent"]
    return found


def read_details(node: Node, device: dict[str, Any], display: bool) -> None:
    """Add counters, BARs and ACS; what a display card or a port above one should show and does not is noted."""
    base, what = f"{PCI_DEVICES}/{device['address']}", f"pci[{device['address']}]"
    device["aer"] = read_aer(node, base)
    resource = node.text(f"{base}/resource")
    device["bars_mib"] = bars_mib(resource or "")
    device["acs"] = access_control(node.data(f"{base}/config", limit=CONFIG_SIZE) or b"")
    if not display:
        return
    if device["link"] is None:
        node.note(f"{what}.link", "the kernel shows no link")
    if device["aer"] is None:
        node.note(f"{what}.aer", "the kernel shows no error counters (firmware-first error handling, or too old)")
    if resource is None:
        node.note(f"{what}.bars_mib", "the kernel shows no resources")
    if device["acs"] is None:
        node.note(f"{what}.acs", "the extended configuration space cannot be read (only root may)")


def read_aer(node: Node, base: str) -> dict[str, dict[str, int]] | None:
    """Error counters since boot: per severity ``total`` and each counter that is not zero."""
    result = {}
    for severity in ("correctable", "nonfatal", "fatal"):
        text = node.text(f"{base}/aer_dev_{severity}")
        if text is None:
            continue
        counters = {name: int(count) for name, count in re.findall(r"^(\w{1,40}) (\d{1,19})$", text, re.MULTILINE)}
        total = next((counters.pop(name) for name in list(counters) if name.startswith("TOTAL_ERR")), None)
        result[severity] = {"total": sum(counters.values()) if total is None else total}
        result[severity].update({name: count for name, count in counters.items() if count})
    return result or None


def bars_mib(resource: str) -> list[int]:
    """The sizes of the memory BARs of 1 MiB and more: the first six lines, each ``start end flags``."""
    sizes = []
    for line in resource.splitlines()[:6]:
        match = re.fullmatch(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16})", line)
        start, end, flags = (int(number, 16) for number in match.groups()) if match else (0, 0, 0)
        if flags & MEMORY_BAR and end - start + 1 >= MIB:
            sizes.append((end - start + 1) // MIB)
    return sizes


def access_control(config: bytes) -> list[str] | None:
    """The Access Control Services that are switched on, by the control register in the extended configuration space.

    None where that space was not read whole (64 bytes: not root) or the device does not answer (all ones).
    """
    if len(config) < CONFIG_SIZE or config[:4] == b"\xff" * 4:
        return None
    at, seen = EXTENDED_CONFIG, set()
    while EXTENDED_CONFIG <= at <= CONFIG_SIZE - 8 and at not in seen:
        seen.add(at)
        (header,) = struct.unpack_from("<I", config, at)
        if header & 0xFFFF == ACS:
            (control,) = struct.unpack_from("<H", config, at + 6)
            return [name for bit, name in enumerate(ACS_BITS) if control >> bit & 1]
        at = header >> 20
    return []


def read_slots(firmware: dict[int, list[Structure]]) -> list[dict[str, Any]]:
    """Every slot that the firmware names (SMBIOS type 9; DSP0134, 7.10): its address is a card's or a port's.

    0000:00:00.0 is the host bridge itself, and bus or function FF says that there is none.
    """
    slots = []
    for slot in firmware.get(9, [])[:MODULE_LIMIT]:
        name = slot.string(4)
        segment, bus, function = slot.number(0x0D, 2), slot.number(0x0F, 1), slot.number(0x10, 1)
        address = None
        if segment is not None and bus is not None and function is not None:
            known = 0xFF not in (bus, function) and (segment, bus, function) != (0, 0, 0) and segment != 0xFFFF  # noqa: PLR2004
            address = f"{segment:04x}:{bus:02x}:{function >> 3:02x}.{function & 7}" if known else None
        if name:
            slots.append({"name": name, "address": address, "used": {3: False, 4: True}.get(slot.number(7, 1) or 0)})
    return slots


def name_slots(node: Node, devices: dict[str, dict[str, Any]]) -> None:
    """Give the functions in a named slot, and the port that feeds it, the slot's name.

    A slot's ``address`` file holds ``dddd:bb:dd`` without a function (Documentation/ABI/testing/sysfs-bus-pci).
    """
    # Many boards name no slot; then none is known, which ``slot: null`` says.
    for slot in node.entries(PCI_SLOTS) or []:
        address = (node.text(f"{PCI_SLOTS}/{slot}/address") or "").lower()
        inside = [device for key, device in devices.items() if address and key.rpartition(".")[0] == address]
        ports = {device["parent"] for device in inside} & set(devices)
        for device in inside + [devices[port] for port in sorted(ports)]:
            device["slot"] = slot


def name_slots_by_firmware(node: Node, devices: dict[str, dict[str, Any]], slots: list[dict[str, Any]]) -> None:
    """Do the same by the firmware's names, which are the ones on the board; they win over sysfs's numbers.

    Boards give slots that are empty the address of another, or of anything: a slot that is said to be empty names no
    more than a port with nothing behind it. Of several slots that mean the same function (by one address, or by those
    of a card and its port) the one in use is meant, or none.
    """
    secondary = secondary_buses(node, devices)
    claims: dict[str, list[dict[str, Any]]] = {}
    for slot in slots:
        found = of_slot(devices, secondary, slot["address"]) if slot["address"] else []
        occupied = len(found) > 1 or any(not (device["class"] or "").startswith("0604") for device in found)
        if slot["used"] is not False or not occupied:
            for device in found:
                claims.setdefault(device["address"], []).append(slot)
    for address, claiming in claims.items():
        meant = claiming if len(claiming) == 1 else [slot for slot in claiming if slot["used"]]
        if len(meant) == 1:
            devices[address]["slot"] = meant[0]["name"]


def secondary_buses(node: Node, devices: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The port above each bus, by ``dddd:bb``."""
    found = {}
    for address, device in devices.items():
        if (device["class"] or "").startswith("0604"):
            bus = node.number(f"{PCI_DEVICES}/{address}/secondary_bus_number")
            if bus is not None and 0 < bus <= 0xFF:  # noqa: PLR2004
                found[f"{address.partition(':')[0]}:{bus:02x}"] = address
    return found


def of_slot(devices: dict[str, dict[str, Any]], secondary: dict[str, str], address: str) -> list[dict[str, Any]]:
    """The functions in the slot with this address, and the port that feeds it.

    The address may be the port's, the card's (any of its functions), or lead nowhere but to a bus behind a port.
    """
    there = devices.get(address)
    if there is not None and (there["class"] or "").startswith("0604"):
        return [there, *(device for device in devices.values() if device["parent"] == address)]
    inside = [device for key, device in devices.items() if key.rpartition(".")[0] == address.rpartition(".")[0]]
    if any((device["class"] or "").startswith("06") for device in inside):
        return []  # A host bridge, which AMD's processors show beside the ports: which of them is meant cannot be told.
    ports = {device["parent"] for device in inside}
    if not inside:
        ports = {secondary.get(address.rpartition(":")[0])}
        inside = [device for device in devices.values() if device["parent"] is not None and device["parent"] in ports]
    return [devices[port] for port in ports if port in devices] + inside


# --- disks, file systems, network --------------------------------------------------------------------------------

NO_DISK = re.compile(r"(loop|ram|zram|dm-|md|sr|nbd|rbd|drbd|bcache|nullb|ublkb|fd|zd|mmcblk\d+(boot|rpmb)).*")
SECTORS_PER_MIB = 2048  # sysfs counts in 512 bytes, whatever the disk's own sectors are
DISK_LIMIT = 256
MOUNT_LIMIT = 64


def read_disks(node: Node) -> list[dict[str, Any]]:
    """Every disk that is fitted: no partition, no removable one, none that is made of others."""
    try:
        names = [name for name in node.names("/sys/block") if not NO_DISK.fullmatch(name)]
    except OSError as error:
        node.note("disks", f"/sys/block: {error.strerror}")
        return []
    disks = []
    for name in names[:DISK_LIMIT]:
        base = f"/sys/block/{name}"
        sectors = node.number(f"{base}/size", f"disks[{name}].size_mib")
        if "1" in (node.text(f"{base}/removable"), node.text(f"{base}/hidden")) or sectors == 0:
            continue  # Hidden: one of several paths to an NVMe disk. Empty: a card reader.
        wwid = node.line(f"{base}/wwid") or node.line(f"{base}/device/wwid")
        rotational = node.number(f"{base}/queue/rotational", f"disks[{name}].rotational")
        disks.append(
            {
                "name": name,
                "model": node.line(f"{base}/device/model") or node.line(f"{base}/device/name"),
                "serial": serial_of(node, base, wwid),
                "wwn": wwid if wwid and re.match(r"naa\.|eui\.|uuid\.|nvme\.", wwid) else None,
                "size_mib": sectors // SECTORS_PER_MIB if sectors is not None else None,
                "rotational": rotational == 1 if rotational is not None else None,
                "address": nvme_controller(node, base) if name.startswith("nvme") else None,
            }
        )
    return disks


def serial_of(node: Node, base: str, wwid: str | None) -> str | None:
    """A disk's serial number: NVMe and MMC's own file, virtio's, SCSI's page 0x80, or the end of a SATA disk's name."""
    text = node.line(f"{base}/device/serial") or node.line(f"{base}/serial")
    page = node.data(f"{base}/device/vpd_pg80", limit=PIECE) or b""
    text = text or page[4:].decode("latin-1").strip(" \0")[:VALUE_LIMIT]
    return text or (wwid.split()[-1] if wwid and wwid.startswith("t10.ATA") else None)


def nvme_controller(node: Node, base: str) -> str | None:
    """The PCI address of an NVMe disk's controller; one with several ports hangs below a subsystem that lists them."""
    names = [name for name in node.entries(f"{base}/device") or [] if re.fullmatch(r"nvme\d+", name)]
    chains = [chain_of(node, place) for place in (base, *(f"{base}/device/{name}" for name in names))]
    return next((chain[-1] for chain in chains if chain), None)


def read_filesystems(node: Node) -> list[dict[str, Any]]:
    """What is mounted from disks, once per device, and always the root; sizes are this machine's alone."""
    text = node.text("/proc/self/mounts", "filesystems")
    if text is None:
        return []
    if node.root:
        node.note("filesystems", "a recorded node's free space cannot be asked for")
    found: dict[str, str] = {}
    for line in text.splitlines():
        fields = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field) for field in line.split(" ")]
        if len(fields) < 4:  # noqa: PLR2004 - device, place, type, options
            continue
        device, place, kind = fields[:3]
        # What has no free space by nature (snaps, CD images) or takes no more (read-only) is no disk that fills up.
        on_disk = device.startswith("/dev/") and not device.startswith(("/dev/loop", "/dev/fuse"))
        on_disk = on_disk and kind not in ("squashfs", "iso9660", "erofs") and "ro" not in fields[3].split(",")
        if place == "/":
            found = {key: value for key, value in found.items() if value != "/"}  # The last one lies on top.
        # A part of a disk that stands in for a file of the kernel's (as in a container) is none either.
        on_disk = on_disk and not place.startswith(("/dev/", "/proc/", "/run/", "/sys/"))
        if place == "/" or (on_disk and len(place) < len(found.get(device, place + "/"))):
            found[device] = place
    # Where a program sees only a part of the tree (chroot), its root need not be mounted at all.
    places = sorted({"/", *found.values()})[:MOUNT_LIMIT]
    return [{"mount": place, **space(node, place)} for place in places]


def space(node: Node, place: str) -> dict[str, int | None]:
    """Size of a file system, and what of it anyone may still fill."""
    if node.root:
        return {"size_mib": None, "free_mib": None}
    try:
        status = os.statvfs(place)
    except OSError as error:
        node.note(f"filesystems[{place}]", error.strerror or "cannot be asked")
        return {"size_mib": None, "free_mib": None}
    return {
        "size_mib": status.f_blocks * status.f_frsize // MIB,
        "free_mib": status.f_bavail * status.f_frsize // MIB,
    }


def read_nics(node: Node) -> list[dict[str, Any]]:
    """Every network port that is hardware: no bridge, no bond, no virtual function, no radio."""
    try:
        names = node.names("/sys/class/net")
    except OSError as error:
        node.note("nics", f"/sys/class/net: {error.strerror}")
        return []
    return [read_nic(node, name) for name in names[:DISK_LIMIT] if is_port(node, f"/sys/class/net/{name}")]


def is_port(node: Node, base: str) -> bool:
    """Whether a network interface is a socket of its own for a cable."""
    others = ("device/physfn", "wireless", "phy80211")
    return os.path.isdir(node.path(f"{base}/device")) and not any(
        os.path.exists(node.path(f"{base}/{other}")) for other in others
    )


def read_nic(node: Node, name: str) -> dict[str, Any]:
    """One port. The kernel refuses ``carrier`` while it is switched off, and has no ``speed`` without a cable (-1)."""
    base = f"/sys/class/net/{name}"
    speed = node.number(f"{base}/speed")
    carrier = node.number(f"{base}/carrier")
    if carrier is None:
        node.note(f"nics[{name}].carrier", "not told: the port is switched off")
    chain = [] if "/usb" in os.path.realpath(node.path(f"{base}/device")) else chain_of(node, f"{base}/device")
    return {
        "name": name,
        "address": chain[-1] if chain else None,
        "mac": node.line(f"{base}/address"),
        "speed_mbps": speed if speed is not None and 0 < speed < 10**7 else None,  # Old kernels: 2^32 - 1.
        "carrier": carrier == 1 if carrier is not None else None,
    }


# --- nvidia-smi ------------------------------------------------------------------------------------------------

CARD_LIMIT = 256
COMPUTES = "processes/process_info/type"
DOCUMENT_START = re.compile(r"<(?:\?xml|!DOCTYPE|nvidia_smi_log)\b")
DOCUMENT_END = "</nvidia_smi_log>"


class SmiError(Exception):
    """nvidia-smi is there and gave nothing that can be used."""


def start_smi(node: Node) -> Program | None:
    """nvidia-smi, started: the slowest part of all. None where the node has none."""
    if node.nvidia_smi:
        command = shlex.split(node.nvidia_smi)
    else:
        found = None if node.root else tool("nvidia-smi")
        if found is None:
            return None
        command = [found]
    return Program([*command, "-q", "-x"], SMI_TIMEOUT_SECONDS)


def smi_output(program: Program) -> str:
    """What ``-q -x`` prints; raises SmiError when it fails or does not come back."""
    try:
        status = program.finish()
    except ProgramError as error:
        raise SmiError(str(error)) from error
    text = program.output
    if status != 0 and "<nvidia_smi_log" not in text:
        message = " ".join(f"{text[:VALUE_LIMIT]} {program.errors}".split())
        raise SmiError(f"exit code {status}: {message[:200]}")
    return text


class SmiDocument:
    """nvidia-smi's XML as the head's values and each card's, by path (``pci/replay_counter``).

    Of an element that comes several times the first is kept; ``processes`` holds how many programs compute. Nothing
    but plain elements is accepted: a document that declares entities, or is too large or too deep, is refused before
    it can cost anything (SmiError).
    """

    def __init__(self, text: str) -> None:
        self.head: dict[str, str] = {}
        self.cards: list[dict[str, str]] = []
        self.stack: list[str] = []
        self.words: list[str] = []
        self.computing = 0
        if len(text) > TEXT_LIMIT:
            raise SmiError("the document is too large")
        parser = expat.ParserCreate()
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.words.append
        parser.EntityDeclHandler = self.refuse
        try:
            parser.Parse(text, True)
        except expat.ExpatError as error:
            raise SmiError(f"broken XML: {error}") from error

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if len(self.stack) == XML_DEPTH or (not self.stack and name != "nvidia_smi_log"):
            raise SmiError("not a document of nvidia-smi")
        self.stack.append(name)
        self.words.clear()
        if self.stack[1:] == ["gpu"]:
            self.cards.append({"id": attributes.get("id", "")})

    def end(self, _name: str) -> None:
        """An element ends; its text is what came since the last tag."""
        value = "".join(self.words).strip()[:VALUE_LIMIT]
        in_card = self.stack[1:2] == ["gpu"]
        path = "/".join(self.stack[2 if in_card else 1 :])
        if path == COMPUTES:
            self.computing += "C" in value.split("+")  # C, C+G, M+C (through MPS); G draws only.
        elif path == "processes":
            value, self.computing = value or str(self.computing), 0
        if value:
            (self.cards[-1] if in_card else self.head).setdefault(path, value)
        self.stack.pop()
        self.words.clear()

    def refuse(self, *_declaration: Any) -> None:
        """An entity is declared."""
        raise SmiError("the document declares entities")


class Fields:
    """One card's values, read by the first of several paths that has one (names changed between versions)."""

    def __init__(self, node: Node, values: dict[str, str], what: str) -> None:
        self.node = node
        self.values = values
        self.what = what

    def first(self, name: str, paths: tuple[str, ...], parse: Callable[[str], Any]) -> Any:
        """The first value that ``parse`` accepts; None, noted with what stood there instead."""
        texts = [self.values[path] for path in paths if path in self.values]
        for text in texts:
            value = parse(text)
            if value is not None:
                return value
        self.node.note(f"{self.what}.{name}", f"nvidia-smi says {texts[0][:80]!r}" if texts else "nvidia-smi: absent")
        return None

    def if_any(self, name: str, paths: tuple[str, ...], parse: Callable[[str], Any]) -> Any:
        """The same of a field that not every card and driver has: its absence, or N/A, is no news."""
        texts = [self.values[path] for path in paths if path in self.values]
        if all(NOT_THERE.fullmatch(text) for text in texts):
            return None
        return self.first(name, paths, parse)

    def integer(self, name: str, *paths: str) -> Any:
        """A whole number, its unit dropped."""
        return self.first(name, paths, whole)

    def watts(self, name: str, *paths: str) -> Any:
        """A power."""
        return self.first(name, paths, lambda text: float(match[1]) if (match := WATTS.fullmatch(text)) else None)

    def lanes(self, name: str, *paths: str) -> Any:
        """A link width."""
        return self.first(name, paths, width)

    def flag(self, name: str, *paths: str) -> Any:
        """``Enabled``/``Active`` or their opposites."""
        words = {"Enabled": True, "Disabled": False, "Active": True, "Not Active": False}
        return self.first(name, paths, words.get)

    def words(self, name: str, *paths: str) -> Any:
        """Any text that is not one of nvidia-smi's ways to say that it does not know."""
        return self.first(name, paths, known_text)

    def generation(self, name: str, *paths: str) -> Any:
        """A PCIe generation, 1 to 6."""
        return self.first(name, paths, lambda text: int(text) if re.fullmatch("[1-6]", text) else None)


def whole(text: str) -> int | None:
    """A whole number, its unit dropped."""
    match = WHOLE.fullmatch(text)
    return int(match[1]) if match else None


def known_text(text: str) -> str | None:
    """A text, unless it is one of nvidia-smi's ways to say that it does not know."""
    return None if UNKNOWN_TEXT.fullmatch(text) else text


def smi_address(text: str) -> str | None:
    """``00000000:0C:00.0`` as ``0000:0c:00.0``."""
    match = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2}\.[0-7])", text.lower())
    return f"{int(match[1], 16):04x}:{match[2]}:{match[3]}" if match else None


def smi_pci_id(text: str) -> str | None:
    """``220410DE`` (or with ``0x``) as ``10de:2204``; None where a capture blanked it."""
    match = re.fullmatch(r"(?:0x)?([0-9a-f]{4})(10de)", text.lower())
    return f"{match[2]}:{match[1]}" if match else None


def clock_reasons(fields: Fields) -> list[str] | None:
    """What holds the clocks down now: the ends of the names of the active elements (``gpu_idle``, ``hw_slowdown``).

    The elements were called throttle reasons until driver 535.
    """
    states = {
        match[1]: text
        for path, text in fields.values.items()
        if (
            match := re.fullmatch(
                r"clocks_(?:event|throttle)_reasons/clocks_(?:event|throttle)_reason_(\w{1,60})", path
            )
        )
    }
    if not {"Active", "Not Active"} & set(states.values()):
        whole_text = fields.values.get("clocks_event_reasons") or fields.values.get("clocks_throttle_reasons")
        said = next(iter(states.values()), whole_text)
        fields.node.note(
            f"{fields.what}.clock_reasons", f"nvidia-smi says {said[:80]!r}" if said else "nvidia-smi: absent"
        )
        return None
    return [name for name, text in states.items() if text == "Active"]


def recovery_action(fields: Fields) -> str | None:
    """The driver's own advice; drivers around 535 said it in two fields, older ones had none."""
    action: str | None = fields.if_any("recovery_action", ("gpu_recovery_action",), known_text)
    old = {"reset_required": "Reset", "drain_and_reset_recommended": "Drain and Reset"}
    asked = [words for name, words in old.items() if fields.values.get(f"gpu_reset_status/{name}") == "Yes"]
    return action or (asked[0] if asked else None)


def health(fields: Fields) -> dict[str, int]:
    """Counters and flags of the card's memory, by name, as far as it has them (a GeForce may have none)."""
    volatile = "ecc_errors/volatile/"

    def flag(text: str) -> int | None:
        return {"Yes": 1, "No": 0}.get(text)

    parts = {
        "remapped_correctable": fields.if_any("remapped_correctable", ("remapped_rows/remapped_row_corr",), whole),
        "remapped_uncorrectable": fields.if_any("remapped_uncorrectable", ("remapped_rows/remapped_row_unc",), whole),
        "remap_pending": fields.if_any("remap_pending", ("remapped_rows/remapped_row_pending",), flag),
        "remap_failed": fields.if_any("remap_failed", ("remapped_rows/remapped_row_failure",), flag),
        "retired_pending": fields.if_any(
            "retired_pending", ("retired_pages/pending_retirement", "retired_pages/pending_blacklist"), flag
        ),
    }
    # One count until driver 440, two after it, and static memory's in two kinds since 545.
    kinds = ["double_bit/total", "dram_uncorrectable", "sram_uncorrectable"]
    kinds += ["sram_uncorrectable_parity", "sram_uncorrectable_secded"]
    counts = [fields.if_any(f"ecc_uncorrectable.{kind}", (volatile + kind,), whole) for kind in kinds]
    if counts != [None] * len(kinds):
        parts["ecc_uncorrectable"] = sum(count for count in counts if count is not None)
    return {name: value for name, value in parts.items() if value is not None}


def read_card(node: Node, values: dict[str, str], address: str) -> dict[str, Any]:
    """One card as nvidia-smi shows it, in the words of any version from 2016's to today's."""
    fields = Fields(node, values, f"gpus[{address}]")
    link, power = "pci/pci_gpu_link_info/", ("gpu_power_readings/", "power_readings/")
    return {
        "address": address,
        "name": fields.words("name", "product_name"),
        "uuid": fields.words("uuid", "uuid"),
        "pci_id": fields.first("pci_id", ("pci/pci_device_id",), smi_pci_id),
        "vbios": fields.words("vbios", "vbios_version"),
        "memory_mib": fields.integer("memory_mib", "fb_memory_usage/total"),
        "memory_used_mib": fields.integer("memory_used_mib", "fb_memory_usage/used"),
        "processes": fields.integer("processes", "processes"),
        "ecc": fields.flag("ecc", "ecc_mode/current_ecc"),
        "mig": fields.flag("mig", "mig_mode/current_mig"),
        "persistence": fields.flag("persistence", "persistence_mode"),
        "pstate": fields.integer("pstate", "performance_state"),
        "idle": fields.flag(
            "idle",
            "clocks_event_reasons/clocks_event_reason_gpu_idle",
            "clocks_throttle_reasons/clocks_throttle_reason_gpu_idle",
        ),
        "link": {
            "width": fields.lanes("link.width", f"{link}link_widths/current_link_width"),
            "width_max": fields.lanes("link.width_max", f"{link}link_widths/max_link_width"),
            "gen": fields.generation("link.gen", f"{link}pcie_gen/current_link_gen"),
            "gen_max": fields.generation("link.gen_max", f"{link}pcie_gen/max_link_gen"),
            "gen_device_max": fields.generation("link.gen_device_max", f"{link}pcie_gen/max_device_link_gen"),
            "gen_host_max": fields.generation("link.gen_host_max", f"{link}pcie_gen/max_host_link_gen"),
        },
        "bar1_mib": fields.integer("bar1_mib", "bar1_memory_usage/total"),
        "replays": fields.integer("replays", "pci/replay_counter"),
        "power": {
            "draw": fields.watts(
                "power.draw", *(p + name for p in power for name in ("instant_power_draw", "power_draw"))
            ),
            "limit": fields.watts(
                "power.limit", *(p + name for p in power for name in ("requested_power_limit", "power_limit"))
            ),
            "enforced": fields.watts(
                "power.enforced", *(p + name for p in power for name in ("current_power_limit", "enforced_power_limit"))
            ),
            "default": fields.watts("power.default", *(p + "default_power_limit" for p in power)),
            "minimum": fields.watts("power.minimum", *(p + "min_power_limit" for p in power)),
            "maximum": fields.watts("power.maximum", *(p + "max_power_limit" for p in power)),
        },
        "clock_reasons": clock_reasons(fields),
        "temperature_c": fields.integer("temperature_c", "temperature/gpu_temp"),
        "recovery_action": recovery_action(fields),
        "health": health(fields),
    }


def without_remarks(node: Node, text: str) -> str:
    """The document alone. A card that is lost, or one whose infoROM is corrupted, has a line before it or after it."""
    start = DOCUMENT_START.search(text)
    end = text.rfind(DOCUMENT_END)
    if start is None or end < start.end():
        return text
    end += len(DOCUMENT_END)
    remarks = " ".join(f"{text[: start.start()][:VALUE_LIMIT]} {text[end:][:VALUE_LIMIT]}".split())
    if remarks:
        node.note("nvidia-smi", f"says beside its document: {remarks}")
    return text[start.start() : end]


def read_gpus(node: Node, text: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The head of nvidia-smi's document and its cards; a card without a usable address is left out, and noted."""
    document = SmiDocument(without_remarks(node, text))
    gpus = []
    for values in document.cards[:CARD_LIMIT]:
        address = smi_address(values["id"]) or smi_address(values.get("pci/pci_bus_id", ""))
        if address is None:
            node.note("gpus[]", f"nvidia-smi gives a card the address {values['id'][:40]!r}")
            continue
        gpus.append(read_card(node, values, address))
    return document.head, gpus


# --- the driver --------------------------------------------------------------------------------------------------

# Debian's own packages call the module by these names, and let modprobe.d map the usual one to it.
MODULE_NAMES = ("nvidia", "nvidia-current", "nvidia-current-open")


def start_modinfo(node: Node) -> Program | None:
    """The module that this kernel would load: modinfo, started; None where it cannot be asked."""
    found = None if node.root else tool("modinfo")
    return Program([found, *MODULE_NAMES], MODINFO_TIMEOUT_SECONDS) if found else None


def installed_module(program: Program | None) -> dict[str, str | None]:
    """Version and flavour of the module on disk. That there is none is no trouble: then the answer is empty."""
    if program is None:
        return {"installed": None, "installed_flavour": None}
    try:
        program.finish()
    except ProgramError:
        return {"installed": None, "installed_flavour": None}
    text = program.output
    version = re.search(r"^version:\s+(\d[\w.+-]{0,40})$", text, re.MULTILINE)
    licence = re.search(r"^license:\s+(.{1,60})$", text, re.MULTILINE)
    flavours = {"NVIDIA": "proprietary", "Dual MIT/GPL": "open"}
    return {
        "installed": version[1] if version else None,
        "installed_flavour": flavours.get(licence[1].strip()) if licence else None,
    }


def has_nouveau(node: Node) -> bool | None:
    """Whether nouveau is in the kernel, by the list of its modules; None, noted, where there is no such list."""
    modules = node.entries("/sys/module")
    if modules is None:
        text = node.text("/proc/modules", "driver.nouveau")
        modules = None if text is None else [line.split(" ")[0] for line in text.splitlines()]
    return None if modules is None else "nouveau" in modules


def read_driver(
    node: Node, smi: Program | None, modinfo: Program | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The driver, and the cards as it shows them.

    ``loaded`` is the kernel module's state; ``answers`` is whether nvidia-smi works: null where there is none, and
    where it ran but its answer cannot be read. ``library`` is the version that nvidia-smi's own library has;
    ``flavour`` is ``open`` or ``proprietary``; ``installed`` is the module on disk.
    """
    banner = node.text("/proc/driver/nvidia/version")
    version = re.search(r"(?:Kernel Module|x86_64|aarch64)\s+(\d+\.\d+(?:\.\d+)?)", banner or "")
    loaded = banner is not None or os.path.isdir(node.path("/sys/module/nvidia"))
    driver: dict[str, Any] = {
        "loaded": loaded,
        "version": version[1][:VALUE_LIMIT] if version else node.line("/sys/module/nvidia/version"),
        "flavour": None if banner is None else "open" if "Open Kernel Module" in banner else "proprietary",
        "nouveau": has_nouveau(node),
        "answers": None,
        "library": None,
        **installed_module(modinfo),
    }
    gpus: list[dict[str, Any]] = []
    if smi is None:
        if loaded:
            node.note("gpus", "the driver is loaded, but nvidia-smi is not installed")
        return driver, gpus
    try:
        text = smi_output(smi)
    except SmiError as error:
        driver["answers"] = False
        node.note("gpus", f"nvidia-smi: {error}")
        return driver, gpus
    try:
        head, gpus = read_gpus(node, text)
    except SmiError as error:
        node.note("gpus", f"nvidia-smi: {error}")
        return driver, gpus
    driver.update(answers=True, loaded=True, library=head.get("driver_version"))
    driver["version"] = driver["version"] or driver["library"]
    return driver, gpus


# --- the kernel's log --------------------------------------------------------------------------------------------

LOG_KEYS = 500
PENDING_LIMIT = 100
# "NVRM: Xid (PCI:0000:41:00): 79, ..."; before 2016 without "PCI:", with MIG "(PCI:0000:41:00 GPU-I:05)".
XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2})(?:\.[0-7])?[^)]{0,40}\): (\d{1,4})\b", re.IGNORECASE
)
# drivers/pci/pcie/aer.c: aer_print_port_info (severities were "Corrected" until 6.9, ids "id=00e5" until 4.20) and
# aer_print_error, which names the device itself and is printed for each device that the event concerns.
SEVERITY = r"(Corr|Uncorr)ect(?:ed|able)(?: \((Non-Fatal|Fatal)\))?"
RECEIVED = re.compile(
    rf"({HEX_ADDRESS}): (?:AER: )?(?:Multiple )?{SEVERITY} error (?:message )?received(?: from|:) "
    rf"(?:id=([0-9a-f]{{4}})|({HEX_ADDRESS}))"
)
DETAILS = re.compile(rf"({HEX_ADDRESS}): (?:AER: )?PCIe Bus Error: severity={SEVERITY}")
# Firmware-first: a block of lines with one number (drivers/firmware/efi/cper.c), then aer.c's own view of it.
HARDWARE = re.compile(r"\{\d{1,9}\}\[Hardware Error\]: +(.*)")
HARDWARE_KINDS = {"corrected": "aer-correctable", "recoverable": "aer-nonfatal", "fatal": "aer-fatal"}
STATUS = re.compile(rf"({HEX_ADDRESS}): (?:AER: )?aer_status: 0x")
STATUS_BIT = re.compile(rf"({HEX_ADDRESS}): (?:AER:)?\s+\[ ?\d{{1,2}}\] (\w{{1,40}})")
CORRECTABLE = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout", "NonFatalErr", "CorrIntErr", "HeaderOF")


class KernelLog:
    """Counts Xid and AER events in the lines of the kernel's log, each event once however many lines it takes."""

    def __init__(self) -> None:
        self.lines = 0
        self.found: dict[tuple[str, str | None, int | None], dict[str, Any]] = {}
        # Announced by a port, the device not yet named: (kind, source, port, text), and whether one came just before.
        self.announced: list[tuple[str, str, str, str]] = []
        self.just_announced = False
        self.severity: str | None = None
        self.in_pcie = False
        # Devices of blocks of the firmware whose lines by the kernel are still to come, and a line without a block.
        self.owed: dict[str, int] = {}
        self.unnamed: str | None = None
        self.closed = False
        # What a line must hold to be worth looking at closely.
        self.readers = (
            (b"NVRM: Xid", self.xid),
            (b"PCIe Bus Error", self.details),
            (b" received", self.received),
            (b"[Hardware Error]", self.hardware),
            (b"aer_status", self.status),
            (b"] ", self.status_bit),
        )

    def add(self, data: bytes) -> None:
        """Take one line; nearly all of them say nothing of interest."""
        if self.closed:
            return
        self.lines += 1
        for words, reader in self.readers:
            if words in data and reader(data.decode("utf-8", "replace").strip()):
                return

    def count(self, kind: str, address: str | None, text: str, code: int | None = None) -> None:
        """One event more."""
        key = (kind, address, code)
        if key in self.found or len(self.found) < LOG_KEYS:
            entry = self.found.setdefault(key, {"kind": kind, "address": address, "code": code, "count": 0})
            entry.update(count=entry["count"] + 1, text=text[:300])

    def xid(self, line: str) -> bool:
        """An error that the driver reports of its card."""
        match = XID.search(line)
        if match:
            self.count("xid", smi_address(f"{match[1]}.0"), line, int(match[2]))
        return match is not None

    def received(self, line: str) -> bool:
        """A port announces an error; it counts by itself only if no device is named for it afterwards."""
        match = RECEIVED.search(line)
        if match:
            port, source = match[1], match[5]
            if source is None:
                bus, function = int(match[4][:2], 16), int(match[4][2:], 16)
                source = f"{port.partition(':')[0]}:{bus:02x}:{function >> 3:02x}.{function & 7}"
            if len(self.announced) == PENDING_LIMIT:
                self.settle(self.announced.pop(0))
            self.announced.append((severity_kind(match[2], match[3]), source, port, line))
            self.just_announced = True
        return match is not None

    def details(self, line: str) -> bool:
        """A device's own error; the announcement that led to it is no second one."""
        match = DETAILS.search(line)
        if match:
            self.count(severity_kind(match[2], match[3]), smi_address(match[1]), line)
            own = [index for index, entry in enumerate(self.announced) if match[1] in entry[1:3]]
            if own or self.just_announced:
                self.announced.pop(own[-1] if own else -1)
            self.just_announced = False
        return match is not None

    def settle(self, entry: tuple[str, str, str, str]) -> None:
        """Count an announcement that stayed alone."""
        kind, source, _port, text = entry
        self.count(kind, smi_address(source), text)

    def hardware(self, line: str) -> bool:
        """Firmware-first handling: the severity of a section, its kind, then the device."""
        match = HARDWARE.search(line)
        if match is None:
            return False
        text = match[1]
        said = re.match(r"(?:event severity|Error \d{1,3}, type): (\w{1,20})", text)
        device = re.match(rf"device_id: ({HEX_ADDRESS})", text)
        if said:
            self.severity, self.in_pcie = said[1], False
        elif text.startswith("section_type: "):
            self.in_pcie = text == "section_type: PCIe error"
        elif device and self.in_pcie:
            self.in_pcie = False
            if self.severity in HARDWARE_KINDS:
                self.count(HARDWARE_KINDS[self.severity], smi_address(device[1]), line)
                if device[1] in self.owed or len(self.owed) < LOG_KEYS:
                    self.owed[device[1]] = self.owed.get(device[1], 0) + 1
        return True

    def status(self, line: str) -> bool:
        """The kernel's lines on an error that the firmware handled; its block comes before, unless too many came."""
        match = STATUS.search(line)
        if match and self.owed.get(match[1], 0):
            self.owed[match[1]] -= 1
        elif match:
            self.unnamed = match[1]
        return match is not None

    def status_bit(self, line: str) -> bool:
        """The first name below such a line tells what it was."""
        if self.unnamed is None:
            return False
        bit = STATUS_BIT.search(line)
        if bit and bit[1] == self.unnamed:
            self.count("aer-correctable" if bit[2] in CORRECTABLE else "aer-nonfatal", smi_address(bit[1]), line)
            self.unnamed = None
        return bit is not None

    def result(self) -> list[dict[str, Any]]:
        """What was found, by kind, address and code; lines that come later are left alone."""
        self.closed = True
        for entry in self.announced:
            self.settle(entry)
        self.announced.clear()
        return [self.found[key] for key in sorted(self.found, key=str)]


def severity_kind(correct: str, fatal: str | None) -> str:
    """``Corr`` or ``Uncorr`` with ``Fatal`` or ``Non-Fatal`` as the observation calls it."""
    if correct == "Corr":
        return "aer-correctable"
    return "aer-fatal" if fatal == "Fatal" else "aer-nonfatal"


def log_commands(node: Node) -> list[list[str]]:
    """What to ask for the kernel's log, one after the other: journald keeps all of it, dmesg the last part."""
    if node.kernel_log:
        return [shlex.split(node.kernel_log)]
    journal = [tool("journalctl") or "journalctl", "--dmesg", "--boot", "--output=cat", "--no-pager", "--quiet"]
    return [] if node.root else [journal, [tool("dmesg") or "dmesg"]]


def start_log(node: Node) -> tuple[KernelLog, Program] | None:
    """The first command, started; None where there is none."""
    commands = log_commands(node)
    log = KernelLog()
    return (log, Program(commands[0], LOG_TIMEOUT_SECONDS, log.add)) if commands else None


def read_kernel_log(node: Node, started: tuple[KernelLog, Program] | None) -> list[dict[str, Any]] | None:
    """What the first command that gives any line says since boot; null, noted, when none does."""
    if started is None:
        node.note("kernel_log", "a recorded node's log cannot be asked for")
        return None
    reasons: list[str] = []
    log, program = started
    for command in log_commands(node):
        if reasons:
            log = KernelLog()
            program = Program(command, LOG_TIMEOUT_SECONDS, log.add)
        try:
            status = program.finish()
            reasons.append(f"{command[0]}: exit code {status}, no line {program.errors[:100]}".strip())
        except ProgramError as error:
            reasons.append(f"{command[0]}: {error}")
            if log.lines:
                node.note("kernel_log", f"only its first {log.lines} lines were read: {error}")
        if log.lines:
            return log.result()
    node.note("kernel_log", "; ".join(reasons))
    return None


# --- what roles recorded -----------------------------------------------------------------------------------------


def read_managed(node: Node) -> dict[str, Any]:
    """What each role recorded as its own, and how the node differs from it now."""
    try:
        names = [name for name in node.names(MANAGED) if name.endswith(".json")]
    except FileNotFoundError:
        return {}
    except OSError as error:
        node.note("managed", f"{MANAGED}: {error.strerror}")
        return {}
    records = {}
    for name in names:
        record = read_record(node, name)
        if record is not None:
            records[name[: -len(".json")]] = record
    packages = installed_packages(node) if any(record.get("packages") for record in records.values()) else {}
    services = service_states(node, records)
    return {
        role: {
            "inputs": record.get("inputs"),
            "recorded": record.get("recorded"),
            "drift": [
                *file_drift(node, record),
                *setting_drift(node, record),
                *package_drift(record, packages),
                *service_drift(record, services),
            ],
        }
        for role, record in records.items()
    }


def read_record(node: Node, name: str) -> dict[str, Any] | None:
    """One role's record; None, noted, when it is no JSON object."""
    what = f"managed[{name[: -len('.json')]}]"
    text = node.text(f"{MANAGED}/{name}", what)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        node.note(what, "the record is no JSON object")
        return None
    return record


def drifted(kind: str, name: str, expected: Any, found: Any) -> dict[str, Any]:
    """One difference between the record and the node."""
    return {"kind": kind, "name": name, "expected": expected, "found": found}


def file_drift(node: Node, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Files that changed, vanished, or have another mode; one that may not be read is noted instead."""
    drift = []
    for item in record.get("files") or []:
        path = item["path"]
        try:
            status = os.stat(node.path(path))
            if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_LIMIT:
                drift.append(drifted("file", path, item["sha256"], "no regular file"))
                continue
            with open(node.path(path), "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
        except FileNotFoundError:
            drift.append(drifted("file", path, item["sha256"], "absent"))
            continue
        except OSError as error:
            node.note(f"managed.file[{path}]", error.strerror or "cannot be read")
            continue
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        if digest != item["sha256"]:
            drift.append(drifted("file", path, item["sha256"], digest))
        if item.get("mode") and mode != item["mode"]:
            drift.append(drifted("mode", path, item["mode"], mode))
    return drift


def setting_drift(node: Node, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Values in JSON files with several writers that are gone or are others now."""
    items = record.get("settings") or []
    documents = {path: json_file(node, path) for path in sorted({item["path"] for item in items})}
    drift = []
    for item in items:
        if documents[item["path"]] is not None:
            found = value_digest(documents[item["path"]], item["key"])
            if found != item["sha256"]:
                name = f"{item['path']}: {'.'.join(item['key'])}"
                drift.append(drifted("setting", name, item["sha256"], found))
    return drift


def json_file(node: Node, path: str) -> Any:
    """What a JSON file holds; nothing where there is none or it is no JSON; None, noted, where it may not be read."""
    if not os.path.exists(node.path(path)):
        return {}
    data = node.data(path, f"managed.file[{path}]")
    if data is None:
        return None
    try:
        return json.loads(data.decode("utf-8-sig")) or {}
    except (ValueError, RecursionError):
        return {}


def value_digest(document: Any, key: list[str]) -> str:
    """SHA-256 (hex) of the value that a list of names leads to: it can be a password, which no observation shows."""
    for name in key:
        if not isinstance(document, dict) or name not in document:
            return "absent"
        document = document[name]
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def installed_packages(node: Node) -> dict[str, set[str]] | None:
    """Versions of each package that dpkg has installed (several where several architectures are)."""
    text = node.text("/var/lib/dpkg/status", "managed.packages")
    if text is None:
        return None
    found: dict[str, set[str]] = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.+)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found.setdefault(fields["Package"], set()).add(fields.get("Version", ""))
    return found


def package_drift(record: dict[str, Any], packages: dict[str, set[str]] | None) -> list[dict[str, Any]]:
    """Packages that are gone or have another version."""
    drift: list[dict[str, Any]] = []
    if packages is None:
        return drift
    for item in record.get("packages") or []:
        versions = packages.get(item["name"], set())
        if item["version"] not in versions:
            drift.append(drifted("package", item["name"], item["version"], ", ".join(sorted(versions)) or "absent"))
    return drift


def service_states(node: Node, records: dict[str, Any]) -> dict[str, dict[str, str]] | None:
    """``UnitFileState`` and ``ActiveState`` of every recorded service, by one call for all of them."""
    names = sorted({item["name"] for record in records.values() for item in record.get("services") or []})
    if not names:
        return {}
    if node.root:
        node.note("managed.services", "a recorded node's services cannot be asked for")
        return None
    command = ["systemctl", "show", "--property=UnitFileState,ActiveState", "--", *names]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        node.note("managed.services", f"systemctl: {error}")
        return None
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in done.stdout.split("\n\n")]
    return {name: block for name, block in zip(names, blocks)}  # noqa: B905,C416 - Python 3.9 has no strict=


def service_drift(record: dict[str, Any], states: dict[str, dict[str, str]] | None) -> list[dict[str, Any]]:
    """Services that are not enabled or not running as recorded."""
    drift: list[dict[str, Any]] = []
    if states is None:
        return drift
    for item in record.get("services") or []:
        state = states.get(item["name"], {})
        for key, property_name, good in (
            ("enabled", "UnitFileState", ("enabled", "enabled-runtime")),
            ("active", "ActiveState", ("active", "reloading")),
        ):
            found = state.get(property_name, "")
            if key in item and (found in good) != item[key]:
                expected = key if item[key] else f"not {key}"
                drift.append(drifted("service", item["name"], expected, found or "unknown"))
    return drift


# --- the document --------------------------------------------------------------------------------------------------


def attempt(node: Node, what: str, part: Callable[[Node], Any], otherwise: Any) -> Any:
    """One part's result; a part that fails leaves a note and takes no other part with it."""
    try:
        return part(node)
    except Exception as error:  # noqa: BLE001 - whatever a strange node does to one part, the others must be told
        node.note(what, f"{type(error).__name__}: {error}")
        return otherwise


def observe(node: Node) -> dict[str, Any]:
    """The whole document. Programs are started first and waited for last; files are read meanwhile."""
    smi = attempt(node, "gpus", start_smi, None)
    modinfo = attempt(node, "driver.installed", start_modinfo, None)
    log = attempt(node, "kernel_log", start_log, None)
    firmware = attempt(node, "memory.modules", read_firmware, None)
    slots = attempt(node, "slots", lambda _node: read_slots(firmware or {}), [])
    document = {
        "schema": SCHEMA,
        "taken": round(time.time(), 3),
        "host": attempt(node, "host", read_host, {}),
        "cpu": attempt(node, "cpu", lambda node: read_cpu(node, firmware), {}),
        "memory": attempt(node, "memory", lambda node: read_memory(node, firmware), {}),
        "slots": slots,
        "pci": attempt(node, "pci", lambda node: read_pci(node, slots), []),
        "disks": attempt(node, "disks", read_disks, []),
        "filesystems": attempt(node, "filesystems", read_filesystems, []),
        "nics": attempt(node, "nics", read_nics, []),
        "managed": attempt(node, "managed", read_managed, {}),
        "users_root": os.geteuid() == 0,
    }
    driver, gpus = attempt(node, "driver", lambda node: read_driver(node, smi, modinfo), ({}, []))
    kernel_log = attempt(node, "kernel_log", lambda node: read_kernel_log(node, log), None)
    return {**document, "driver": driver, "gpus": gpus, "kernel_log": kernel_log, "unread": node.unread}


def main(arguments: list[str] | None = None) -> int:
    """Print the observation of this node, or of a recorded one."""
    parser = argparse.ArgumentParser(description="Print what this node is, as one JSON document. Changes nothing.")
    parser.add_argument("--root", default="", metavar="DIR", help="read every path below DIR (a recorded node)")
    parser.add_argument("--nvidia-smi", metavar="CMD", help="run CMD in place of nvidia-smi")
    parser.add_argument("--kernel-log", metavar="CMD", help="run CMD in place of journalctl and dmesg")
    options = parser.parse_args(arguments)
    node = Node(options.root, options.nvidia_smi, options.kernel_log)
    json.dump(observe(node), sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
