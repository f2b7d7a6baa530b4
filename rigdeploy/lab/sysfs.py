"""The files that a Linux kernel (6.1) shows for PCI devices, slots and processors, in its own formats."""

from __future__ import annotations

import hashlib
import uuid as uuids
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import Link
from rigdeploy.lab.topology import Port

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Build, Gpu

_SPEED = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}
_MIB = 1 << 20
_VENDORS = {"intel": "0x8086", "amd": "0x1022"}
_PORT_DEVICES = {"0x8086": "0x43b8", "0x1022": "0x1483"}
"""An Intel 500-series chipset's root port, and AMD's Starship/Matisse GPP bridge."""

_CORRECTABLE = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout", "NonFatalErr", "CorrIntErr", "HeaderOF")
_UNCORRECTABLE = (
    "Undefined", "DLP", "SDES", "TLP", "FCP", "CmpltTO", "CmpltAbrt", "UnxCmplt", "RxOF", "MalfTLP", "ECRC", "UnsupReq",
    "ACSViol", "UncorrIntErr", "BlockedTLP", "AtomicOpBlocked", "TLPBlockedErr", "PoisonTLPBlocked",
)  # fmt: skip
"""drivers/pci/pcie/aer.c, aer_correctable_error_string and aer_uncorrectable_error_string."""

_FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx lm"
    " constant_tsc rep_good nopl cpuid pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx avx2 lahf_lm"
)
"""What a current processor can do; without ``hypervisor``, which only a virtual machine's shows."""


@dataclass(frozen=True)
class Symlink:
    """A symbolic link in the tree, relative as the kernel makes them."""

    target: str


def speed(gen: int) -> str:
    """A generation as sysfs writes it: ``16.0 GT/s PCIe``."""
    return f"{_SPEED[gen]} GT/s PCIe"


def port_vendor(cpu: str) -> str:
    """The vendor id of the root ports beside such a processor."""
    intel = any(word in cpu.lower() for word in ("intel", "celeron", "pentium", "xeon", "core i"))
    return _VENDORS["intel" if intel else "amd"]


def port(place: Port, vendor: str, limit: Link, current: Link | None) -> dict[str, str | bytes]:
    """A root port; ``current`` is the link to its card, None when the slot is empty."""
    device = _PORT_DEVICES[vendor]
    files = _common(vendor, device, "0x060400", (vendor, "0x0000"))
    files |= _link(limit, current)
    files |= _aer(0) | {f"aer_rootport_total_err_{kind}": "0\n" for kind in ("cor", "fatal", "nonfatal")}
    files["secondary_bus_number"] = f"{int(place.bus[5:], 16)}\n"
    files["subordinate_bus_number"] = files["secondary_bus_number"]
    files["resource"] = _resource([])
    files["config"] = _config(files, bridge=int(place.bus[5:], 16))
    return files


def card(gpu: Gpu, current: Link, bar1_mib: int, correctable: int) -> dict[str, str | bytes]:
    """A GPU: function 0 of its card."""
    vendor, _, device = gpu.pci_ids[0].partition(":")
    files = _common(f"0x{vendor}", f"0x{device}", "0x030000", ("0x10de", "0x147d"))
    files |= _link(gpu.link, current) | _aer(correctable)
    files["boot_vga"] = "0\n"
    files["resource"] = _resource([16, bar1_mib, 32])
    files["config"] = _config(files)
    return files


def audio(gpu: Gpu, current: Link) -> dict[str, str | bytes]:
    """The HDMI audio function that sits beside every GeForce (function 1)."""
    files = _common("0x10de", "0x1aef", "0x040300", ("0x10de", "0x147d"))
    files |= _link(gpu.link, current) | _aer(0)
    files["resource"] = _resource([])
    files["config"] = _config(files)
    return files


def slot(place: Port, limit: Link, occupied: bool) -> dict[str, str]:
    """A slot as /sys/bus/pci/slots has it; the address names bus and device, no function."""
    return {
        "address": f"{place.bus}:00\n",
        "max_bus_speed": f"{speed(limit.gen)}\n",
        "cur_bus_speed": f"{speed(limit.gen) if occupied else 'Unknown'}\n",
    }


def cpuinfo(build: Build) -> str:
    """/proc/cpuinfo of the declared processor (two threads per core from four cores on), no hypervisor in sight."""
    model, cores = (build.cpu.model, build.cpu.cores) if build.cpu else ("unknown", 1)
    intel = port_vendor(model) == _VENDORS["intel"]
    threads = cores * 2 if cores >= 4 else cores  # noqa: PLR2004 - stated above
    blocks = []
    for number in range(threads):
        fields = {
            "processor": number,
            "vendor_id": "GenuineIntel" if intel else "AuthenticAMD",
            "cpu family": 6 if intel else 23,
            "model": 165 if intel else 49,
            "model name": model,
            "stepping": 0,
            "cpu MHz": "3100.000",
            "physical id": 0,
            "siblings": threads,
            "core id": number % cores,
            "cpu cores": cores,
            "flags": _FLAGS,
            "bogomips": "6200.00",
        }
        blocks.append("".join(f"{name:<16}: {value}\n" for name, value in fields.items()))
    return "\n".join(blocks) + "\n"


def uuid(rig: str, slot_name: str) -> str:
    """A GPU's UUID as nvidia-smi prints it: the same card keeps it over every boot."""
    digest = hashlib.sha256(f"{rig}/{slot_name}".encode()).digest()
    return f"GPU-{uuids.UUID(bytes=digest[:16], version=4)}"


def _common(vendor: str, device: str, pci_class: str, subsystem: tuple[str, str]) -> dict[str, str | bytes]:
    short = [value.removeprefix("0x").upper() for value in (vendor, device, *subsystem)]
    return {
        "vendor": f"{vendor}\n",
        "device": f"{device}\n",
        "class": f"{pci_class}\n",
        "revision": "0xa1\n",
        "subsystem_vendor": f"{subsystem[0]}\n",
        "subsystem_device": f"{subsystem[1]}\n",
        "numa_node": "0\n",
        "enable": "1\n",
        "irq": "0\n",
        "power_state": "D0\n",
        "uevent": f"PCI_CLASS={pci_class.removeprefix('0x').lstrip('0').upper()}\nPCI_ID={short[0]}:{short[1]}\n"
        f"PCI_SUBSYS_ID={short[2]}:{short[3]}\n",
    }


def _link(limit: Link, current: Link | None) -> dict[str, str | bytes]:
    return {
        "max_link_speed": f"{speed(limit.gen)}\n",
        "max_link_width": f"{limit.width}\n",
        "current_link_speed": f"{speed(current.gen) if current else speed(1)}\n",
        "current_link_width": f"{current.width if current else 0}\n",
    }


def _aer(correctable: int) -> dict[str, str | bytes]:
    # Bad TLPs and replay timeouts are what a poor riser makes.
    shares = {"BadTLP": correctable - correctable // 3, "Timeout": correctable // 3}
    cor = "".join(f"{name} {shares.get(name, 0)}\n" for name in _CORRECTABLE) + f"TOTAL_ERR_COR {correctable}\n"
    none = "".join(f"{name} 0\n" for name in _UNCORRECTABLE)
    return {
        "aer_dev_correctable": cor,
        "aer_dev_fatal": f"{none}TOTAL_ERR_FATAL 0\n",
        "aer_dev_nonfatal": f"{none}TOTAL_ERR_NONFATAL 0\n",
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


def _config(files: dict[str, str | bytes], bridge: int | None = None) -> bytes:
    """The standard header (64 bytes), so that ``lspci`` works."""

    def number(name: str) -> int:
        return int(str(files[name]).strip(), 16)

    header = bytearray(64)
    header[0:2] = number("vendor").to_bytes(2, "little")
    header[2:4] = number("device").to_bytes(2, "little")
    header[4:6] = (0x0007).to_bytes(2, "little")
    header[8] = number("revision")
    header[9:12] = number("class").to_bytes(3, "little")
    if bridge is None:
        header[0x2C:0x2E] = number("subsystem_vendor").to_bytes(2, "little")
        header[0x2E:0x30] = number("subsystem_device").to_bytes(2, "little")
    else:
        header[0x0E] = 0x01
        header[0x19:0x1B] = bytes([bridge, bridge])
    return bytes(header)
