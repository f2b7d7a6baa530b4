#!/usr/bin/env python3
"""Look at this node, change nothing, and print what was seen as one JSON document.

One file, standard library only, Python 3.9 or later: it is sent over SSH and run by whatever Python the node has.
Every part may fail alone; what could not be read is null, and stands in ``unread`` with the reason. PCI addresses are
``dddd:bb:dd.f`` in lower case, sizes MiB, speeds PCIe generations (1 to 6), widths lanes, powers watts.

``--root DIR`` prefixes every path and ``--nvidia-smi CMD`` replaces the tool, so that a recorded node replays exactly;
with ``--root`` no program of this machine is run.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from typing import Any, Callable
from xml.parsers import expat

SCHEMA = 1

# Two cards take some 100 KB of nvidia-smi's XML, a package database a few MB: beyond this, something is wrong.
TEXT_LIMIT = 32 * 1024 * 1024
PIECE = 64 * 1024
FILE_LIMIT = 256 * 1024 * 1024
XML_DEPTH = 16
# Without persistence mode each card takes 1 to 3 s to wake up.
SMI_TIMEOUT_SECONDS = 60
SYSTEMCTL_TIMEOUT_SECONDS = 10

ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
WHOLE = re.compile(r"P?(\d{1,15})(?: MiB)?")  # P: a performance state
WATTS = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) W")
UNKNOWN_TEXT = re.compile(
    r"\[?(N/A|Unknown( Error)?|Not Supported|ERR!|GPU is lost|GPU requires reset|Requested functionality .*)\]?", re.I
)
GEN_OF_SPEED = {2.5: 1, 5: 2, 8: 3, 16: 4, 32: 5, 64: 6}  # GT/s
# 0: no link. 63 and 255: the register read as all ones, so the device no longer answers.
NO_WIDTH = (0, 63, 255)
PCI_DEVICES = "/sys/bus/pci/devices"
PCI_SLOTS = "/sys/bus/pci/slots"
MANAGED = "/var/lib/rigdeploy/managed.d"


class Node:
    """The node's files below a root directory, and what could not be read there."""

    def __init__(self, root: str, nvidia_smi: str | None) -> None:
        self.root = root.rstrip("/")
        self.nvidia_smi = nvidia_smi
        self.unread: list[dict[str, str]] = []

    def note(self, what: str, why: str) -> None:
        """Record that something could not be read."""
        self.unread.append({"what": what, "why": why[:300]})

    def path(self, name: str) -> str:
        """Where a file of the node lies on this machine."""
        return self.root + name

    def text(self, name: str, what: str = "") -> str | None:
        """A file's content without surrounding space; None, noted under ``what`` if that is given, without it."""
        try:
            with open(self.path(name), "rb") as file:
                # In pieces: the kernel allocates what is asked for, and refuses much of it for /proc/sys.
                pieces = iter(lambda: file.read(PIECE), b"")
                return b"".join(itertools.islice(pieces, TEXT_LIMIT // PIECE)).decode("utf-8", "replace").strip()
        except OSError as error:
            if what:
                self.note(what, f"{name}: {error.strerror}")
            return None

    def names(self, name: str) -> list[str]:
        """What a directory holds, sorted; raises OSError."""
        return sorted(os.listdir(self.path(name)))


# --- host ------------------------------------------------------------------------------------------------------


def read_host(node: Node) -> dict[str, Any]:
    """Who the node is: names, kernel, system, uptime, and whether it is a virtual machine."""
    release = dict(
        line.split("=", 1) for line in (os_release(node) or "").splitlines() if "=" in line and line[0] != "#"
    )
    uptime = node.text("/proc/uptime", "host.uptime_seconds")
    architecture = node.text("/proc/sys/kernel/arch")  # since Linux 6.1
    if architecture is None and not node.root:
        architecture = os.uname().machine
    if architecture is None:
        node.note("host.architecture", "/proc/sys/kernel/arch: not there")
    return {
        "hostname": node.text("/proc/sys/kernel/hostname", "host.hostname"),
        "boot_id": node.text("/proc/sys/kernel/random/boot_id", "host.boot_id"),
        "kernel": node.text("/proc/sys/kernel/osrelease", "host.kernel"),
        "os_id": release.get("ID", "").strip("\"'") or None,
        "os_version": release.get("VERSION_ID", "").strip("\"'") or None,
        "virtualisation": virtualisation(node),
        "uptime_seconds": float(uptime.split()[0]) if uptime else None,
        "architecture": architecture,
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
    vendor = node.text("/sys/class/dmi/id/sys_vendor") or ""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    if flags:
        return (vendor or "unknown hypervisor") if "hypervisor" in flags[1].split() else "none"
    if re.search(r"QEMU|KVM|VMware|Xen|Microsoft|Amazon|Google|innotek|Parallels|Alibaba", vendor):
        return vendor
    return "none"


# --- PCI -------------------------------------------------------------------------------------------------------


def read_pci(node: Node) -> list[dict[str, Any]]:
    """Every PCI function with its parent port, its link and its error counters.

    ``link`` is null for a function that has no PCIe link at all; a display card and the ports above it always
    have one, so there its absence is noted. ``aer`` is null where the kernel offers no counters.
    """
    try:
        addresses = [name for name in node.names(PCI_DEVICES) if ADDRESS.fullmatch(name)]
    except OSError as error:
        node.note("pci", f"{PCI_DEVICES}: {error.strerror}")
        return []
    devices = {address: read_device(node, address) for address in addresses}
    matter = display_paths(devices)
    for address in sorted(matter):
        note_missing(node, devices[address])
    name_slots(node, devices)
    return list(devices.values())


def read_device(node: Node, address: str) -> dict[str, Any]:
    """One function; its parent comes from where its entry of the bus really lies."""
    base = f"{PCI_DEVICES}/{address}"
    real = os.path.realpath(node.path(base))
    chain = [part for part in real.split("/") if ADDRESS.fullmatch(part)]
    what = f"pci[{address}]"
    return {
        "address": address,
        "vendor": hexadecimal(node.text(f"{base}/vendor", f"{what}.vendor")),
        "device": hexadecimal(node.text(f"{base}/device", f"{what}.device")),
        "class": hexadecimal(node.text(f"{base}/class", f"{what}.class")),
        "parent": chain[-2] if len(chain) > 1 else None,
        "slot": None,
        "link": read_link(node, base, what),
        "aer": read_aer(node, base),
    }


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
    match = re.fullmatch(r"(\d+(?:\.\d)?) GT/s(?: PCIe)?", text)
    return GEN_OF_SPEED.get(float(match[1])) if match else None


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


def display_paths(devices: dict[str, dict[str, Any]]) -> set[str]:
    """The addresses of NVIDIA's display functions and of every port above them."""
    found = set()
    for device in devices.values():
        if device["vendor"] == "10de" and (device["class"] or "")[:4] in ("0300", "0302"):
            address: str | None = device["address"]
            while address in devices and address not in found:
                found.add(address)
                address = devices[address]["parent"]
    return found


def note_missing(node: Node, device: dict[str, Any]) -> None:
    """Note what a card or a port above one should show and does not."""
    what = f"pci[{device['address']}]"
    if device["link"] is None:
        node.note(f"{what}.link", "the kernel shows no link")
    if device["aer"] is None:
        node.note(f"{what}.aer", "the kernel shows no error counters (firmware-first error handling, or too old)")


def name_slots(node: Node, devices: dict[str, dict[str, Any]]) -> None:
    """Give the functions in a named slot, and the port that feeds it, the slot's name.

    A slot's ``address`` file holds ``dddd:bb:dd`` without a function (Documentation/ABI/testing/sysfs-bus-pci).
    """
    try:
        slots = node.names(PCI_SLOTS)
    except OSError:
        return  # Many boards name no slot; then none is known, which ``slot: null`` says.
    for slot in slots:
        address = (node.text(f"{PCI_SLOTS}/{slot}/address") or "").lower()
        inside = [device for key, device in devices.items() if address and key.rpartition(".")[0] == address]
        ports = {device["parent"] for device in inside} & set(devices)
        for device in inside + [devices[port] for port in sorted(ports)]:
            device["slot"] = slot


# --- nvidia-smi ------------------------------------------------------------------------------------------------


class SmiError(Exception):
    """nvidia-smi is there and gave nothing that can be used."""


def smi_command(node: Node) -> list[str] | None:
    """The command to run, or None where the node has no nvidia-smi."""
    if node.nvidia_smi:
        return shlex.split(node.nvidia_smi)
    if node.root:
        return None
    found = shutil.which("nvidia-smi", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
    return [found] if found else None


def run_smi(command: list[str]) -> str:
    """What ``-q -x`` prints; raises SmiError when it fails or does not come back."""
    try:
        process = subprocess.Popen(
            [*command, "-q", "-x"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise SmiError(f"{command[0]}: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=SMI_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        process.kill()  # Not waited for: with a card that fell off the bus it may never end.
        raise SmiError(f"no answer in {SMI_TIMEOUT_SECONDS} s") from error
    text = output[: TEXT_LIMIT + 1].decode("utf-8", "replace")
    if process.returncode != 0 and "<nvidia_smi_log" not in text:
        message = " ".join((text + " " + errors.decode("utf-8", "replace")).split())
        raise SmiError(f"exit code {process.returncode}: {message[:200]}")
    return text


def parse_smi(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Split nvidia-smi's XML into the head's values and each card's, by path (``pci/replay_counter``).

    Nothing but plain elements is accepted: a document that declares entities, or is too large or too deep, is
    refused before it can cost anything. Raises SmiError.
    """
    if len(text) > TEXT_LIMIT:
        raise SmiError("the document is too large")
    head: dict[str, str] = {}
    cards: list[dict[str, str]] = []
    stack: list[str] = []
    words: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) == XML_DEPTH or (not stack and name != "nvidia_smi_log"):
            raise SmiError("not a document of nvidia-smi")
        stack.append(name)
        words.clear()
        if stack[1:] == ["gpu"]:
            cards.append({"id": attributes.get("id", "")})

    def end(_name: str) -> None:
        value = "".join(words).strip()
        in_card = stack[1:2] == ["gpu"]
        if value:
            (cards[-1] if in_card else head).setdefault("/".join(stack[2 if in_card else 1 :]), value)
        stack.pop()
        words.clear()

    def refuse(*_declaration: Any) -> None:
        raise SmiError("the document declares entities")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = words.append
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise SmiError(f"broken XML: {error}") from error
    return head, cards


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

    def integer(self, name: str, *paths: str) -> Any:
        """A whole number, its unit dropped."""
        return self.first(name, paths, lambda text: int(match[1]) if (match := WHOLE.fullmatch(text)) else None)

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
        return self.first(name, paths, lambda text: None if UNKNOWN_TEXT.fullmatch(text) else text)

    def generation(self, name: str, *paths: str) -> Any:
        """A PCIe generation, 1 to 6."""
        return self.first(name, paths, lambda text: int(text) if re.fullmatch("[1-6]", text) else None)


def smi_address(text: str) -> str | None:
    """``00000000:0C:00.0`` as ``0000:0c:00.0``."""
    match = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2}\.[0-7])", text.lower())
    return f"{int(match[1], 16):04x}:{match[2]}:{match[3]}" if match else None


def smi_pci_id(text: str) -> str | None:
    """``220410DE`` (or with ``0x``) as ``10de:2204``; None where a capture blanked it."""
    match = re.fullmatch(r"(?:0x)?([0-9a-f]{4})(10de)", text.lower())
    return f"{match[2]}:{match[1]}" if match else None


def read_card(node: Node, values: dict[str, str], address: str) -> dict[str, Any]:
    """One card as nvidia-smi shows it, in the words of any version from 2016's to today's."""
    fields = Fields(node, values, f"gpus[{address}]")
    link, power = "pci/pci_gpu_link_info/", ("gpu_power_readings/", "power_readings/")
    return {
        "address": address,
        "name": fields.words("name", "product_name"),
        "uuid": fields.words("uuid", "uuid"),
        "pci_id": fields.first("pci_id", ("pci/pci_device_id",), smi_pci_id),
        "memory_mib": fields.integer("memory_mib", "fb_memory_usage/total"),
        "memory_used_mib": fields.integer("memory_used_mib", "fb_memory_usage/used"),
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
    }


def read_gpus(node: Node, text: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The head of nvidia-smi's document and its cards; a card without a usable address is left out, and noted."""
    head, cards = parse_smi(text)
    gpus = []
    for values in cards:
        address = smi_address(values["id"]) or smi_address(values.get("pci/pci_bus_id", ""))
        if address is None:
            node.note("gpus[]", f"nvidia-smi gives a card the address {values['id'][:40]!r}")
            continue
        gpus.append(read_card(node, values, address))
    return head, gpus


def read_driver(node: Node) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The driver, and the cards as it shows them.

    ``loaded`` is the kernel module's state; ``answers`` is whether nvidia-smi works: null where there is none, and
    where it ran but its answer cannot be read.
    ``library`` is the version that nvidia-smi's own library has; ``flavour`` is ``open`` or ``proprietary``.
    """
    banner = node.text("/proc/driver/nvidia/version")
    version = re.search(r"(?:Kernel Module|x86_64|aarch64)\s+(\d+\.\d+(?:\.\d+)?)", banner or "")
    module = node.text("/sys/module/nvidia/version")
    loaded = banner is not None or os.path.isdir(node.path("/sys/module/nvidia"))
    driver: dict[str, Any] = {
        "loaded": loaded,
        "version": version[1] if version else module,
        "flavour": None if banner is None else "open" if "Open Kernel Module" in banner else "proprietary",
        "nouveau": os.path.isdir(node.path("/sys/module/nouveau")),
        "answers": None,
        "library": None,
    }
    gpus: list[dict[str, Any]] = []
    command = smi_command(node)
    if command is None:
        if loaded:
            node.note("gpus", "the driver is loaded, but nvidia-smi is not installed")
        return driver, gpus
    try:
        text = run_smi(command)
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
            "drift": file_drift(node, record) + package_drift(record, packages) + service_drift(record, services),
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
    """The whole document."""
    driver, gpus = attempt(node, "driver", read_driver, ({}, []))
    return {
        "schema": SCHEMA,
        "host": attempt(node, "host", read_host, {}),
        "driver": driver,
        "pci": attempt(node, "pci", read_pci, []),
        "gpus": gpus,
        "managed": attempt(node, "managed", read_managed, {}),
        "users_root": os.geteuid() == 0,
        "unread": node.unread,
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the observation of this node, or of a recorded one."""
    parser = argparse.ArgumentParser(description="Print what this node is, as one JSON document. Changes nothing.")
    parser.add_argument("--root", default="", metavar="DIR", help="read every path below DIR (a recorded node)")
    parser.add_argument("--nvidia-smi", metavar="CMD", help="run CMD in place of nvidia-smi")
    options = parser.parse_args(arguments)
    json.dump(observe(Node(options.root, options.nvidia_smi)), sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
