"""The files that a Linux kernel (6.1) shows for PCI devices and slots, in its own formats."""

from __future__ import annotations

import hashlib
import uuid as uuids
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import Link
from rigdeploy.lab import config_space
from rigdeploy.lab.config_space import Function
from rigdeploy.lab.topology import Bridge, Port

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Gpu

_SPEED = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}
_MIB = 1 << 20
_REVISION = 0xA1
_CARD = "10de:147d"
"""The subsystem of NVIDIA's own cards."""

_CORRECTABLE = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout", "NonFatalErr", "CorrIntErr", "HeaderOF")
_UNCORRECTABLE = (
    "Undefined", "DLP", "SDES", "TLP", "FCP", "CmpltTO", "CmpltAbrt", "UnxCmplt", "RxOF", "MalfTLP", "ECRC", "UnsupReq",
    "ACSViol", "UncorrIntErr", "BlockedTLP", "AtomicOpBlocked", "TLPBlockedErr", "PoisonTLPBlocked",
)  # fmt: skip
"""drivers/pci/pcie/aer.c, aer_correctable_error_string and aer_uncorrectable_error_string."""

Content = dict[str, "str | bytes"]
"""A device's files by name."""


@dataclass(frozen=True)
class Symlink:
    """A symbolic link in the tree, relative as the kernel makes them."""

    target: str


def speed(gen: int) -> str:
    """A generation as sysfs writes it: ``16.0 GT/s PCIe``."""
    return f"{_SPEED[gen]} GT/s PCIe"


def port(place: Port, limit: Link, current: Link | None, redirect: bool) -> Content:
    """The port of a slot or a device; ``current`` is the link to what is in it, None when it is empty."""
    bus = int(place.bus[5:], 16)
    buses = (int(place.address[5:7], 16), bus, bus)
    return _bridge(place.pci_id, buses, place.kind, limit, current, redirect)


def bridge(place: Bridge, redirect: bool) -> Content:
    """A port that leads to others, its own link at its best."""
    buses = (int(place.address[5:7], 16), place.bus, place.last)
    return _bridge(place.pci_id, buses, place.kind, place.limit, place.limit, redirect)


def card(gpu: Gpu, current: Link, bar1_mib: int, correctable: int) -> Content:
    """A GPU: function 0 of its card."""
    files = endpoint(gpu.pci_ids[0], "0x030000", gpu.link, current, [16, bar1_mib, 32], subsystem=_CARD)
    files["boot_vga"] = "0\n"
    return files | aer(correctable)


def audio(gpu: Gpu, current: Link) -> Content:
    """The HDMI audio function that sits beside every GeForce (function 1)."""
    return endpoint("10de:1aef", "0x040300", gpu.link, current, [], subsystem=_CARD)


def endpoint(
    pci_id: str, pci_class: str, limit: Link, current: Link, bars_mib: list[int], subsystem: str | None = None
) -> Content:
    """A function that is no port; ``bars_mib`` are the sizes of its memory BARs."""
    vendor, device = _split(pci_id)
    owner = _split(subsystem or pci_id)
    files = _common((vendor, device), pci_class, owner) | _link(limit, current) | aer(0)
    files["resource"] = _resource(bars_mib)
    code = int(pci_class, 16)
    files["config"] = config_space.build(Function(vendor, device, owner, code, _REVISION, "endpoint", limit, current))
    return files


def slot(place: Port, limit: Link, occupied: bool) -> dict[str, str]:
    """A slot as /sys/bus/pci/slots has it; the address names bus and device, no function."""
    return {
        "address": f"{place.bus}:00\n",
        "max_bus_speed": f"{speed(limit.gen)}\n",
        "cur_bus_speed": f"{speed(limit.gen) if occupied else 'Unknown'}\n",
    }


def uuid(rig: str, slot_name: str) -> str:
    """A GPU's UUID as nvidia-smi prints it: the same card keeps it over every boot."""
    digest = hashlib.sha256(f"{rig}/{slot_name}".encode()).digest()
    return f"GPU-{uuids.UUID(bytes=digest[:16], version=4)}"


def aer(correctable: int) -> Content:
    """The error counters of a device that has seen nothing worse than correctable errors."""
    # Bad TLPs and replay timeouts are what a poor riser makes.
    shares = {"BadTLP": correctable - correctable // 3, "Timeout": correctable // 3}
    cor = "".join(f"{name} {shares.get(name, 0)}\n" for name in _CORRECTABLE) + f"TOTAL_ERR_COR {correctable}\n"
    none = "".join(f"{name} 0\n" for name in _UNCORRECTABLE)
    return {
        "aer_dev_correctable": cor,
        "aer_dev_fatal": f"{none}TOTAL_ERR_FATAL 0\n",
        "aer_dev_nonfatal": f"{none}TOTAL_ERR_NONFATAL 0\n",
    }


def _bridge(
    pci_id: str, buses: tuple[int, int, int], kind: str, limit: Link, current: Link | None, redirect: bool
) -> Content:
    vendor, device = _split(pci_id)
    files = _common((vendor, device), "0x060400", (vendor, 0)) | _link(limit, current) | aer(0)
    if kind == "root":
        files |= {f"aer_rootport_total_err_{severity}": "0\n" for severity in ("cor", "fatal", "nonfatal")}
    files["secondary_bus_number"] = f"{buses[1]}\n"
    files["subordinate_bus_number"] = f"{buses[2]}\n"
    files["resource"] = _resource([])
    files["config"] = config_space.build(
        Function(vendor, device, (vendor, 0), 0x060400, _REVISION, kind, limit, current, buses, redirect)
    )
    return files


def _split(pci_id: str) -> tuple[int, int]:
    vendor, _, device = pci_id.partition(":")
    return int(vendor, 16), int(device, 16)


def _common(pci_id: tuple[int, int], pci_class: str, subsystem: tuple[int, int]) -> Content:
    short = [f"{value:04X}" for value in (*pci_id, *subsystem)]
    return {
        "vendor": f"0x{pci_id[0]:04x}\n",
        "device": f"0x{pci_id[1]:04x}\n",
        "class": f"{pci_class}\n",
        "revision": f"0x{_REVISION:02x}\n",
        "subsystem_vendor": f"0x{subsystem[0]:04x}\n",
        "subsystem_device": f"0x{subsystem[1]:04x}\n",
        "numa_node": "0\n",
        "enable": "1\n",
        "irq": "0\n",
        "power_state": "D0\n",
        "uevent": f"PCI_CLASS={pci_class.removeprefix('0x').lstrip('0').upper()}\nPCI_ID={short[0]}:{short[1]}\n"
        f"PCI_SUBSYS_ID={short[2]}:{short[3]}\n",
    }


def _link(limit: Link, current: Link | None) -> Content:
    return {
        "max_link_speed": f"{speed(limit.gen)}\n",
        "max_link_width": f"{limit.width}\n",
        "current_link_speed": f"{speed(current.gen) if current else speed(1)}\n",
        "current_link_width": f"{current.width if current else 0}\n",
    }


def _resource(sizes_mib: list[int]) -> str:
    """Thirteen lines ``start end flags``: BARs (64 bit, so every second line is empty), then the rest."""
    lines = ["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 13
    start = 0x3800 << 32
    for index, mib in enumerate(sizes_mib):
        size = mib * _MIB
        start = (start + size - 1) // size * size
        flags = 0x40200 if index == 0 else 0x14220C
        lines[0 if index == 0 else index * 2 - 1] = f"0x{start:016x} 0x{start + size - 1:016x} 0x{flags:016x}"
        start += size
    return "\n".join(lines) + "\n"
