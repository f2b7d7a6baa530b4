"""A twin's hardware as files: what /sys and /proc of a sound rig of that build show, and what each fault changes.

Pure: (build, board, cards, faults, time) -> texts by path. The lab writes them under a directory that the node mounts
over the real ones; tests write them under any directory and point the probe at it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rigdeploy.fleet.link import Link
from rigdeploy.lab import host, memory, peripherals, smbios, sysfs
from rigdeploy.lab.faults import Faults, SlotFault
from rigdeploy.lab.topology import Port, is_intel, ports

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build, Gpu

IDLE_GENERATION = 1
"""What a GeForce falls back to in P8."""
MODDED_FACTOR = 2
"""A rebuilt card carries twice the memory of the original (RTX 4090 with 48 GB)."""
XID_TEXTS = {
    13: "Graphics Engine Exception",
    31: "MMU Fault",
    43: "GPU stopped processing",
    48: "DBE (double bit error)",
    62: "Internal micro-controller halt",
    74: "NVLink error",
    79: "GPU has fallen off the bus.",
    94: "Contained ECC error",
    95: "Uncontained ECC error",
    119: "Timeout waiting for RPC from GSP",
}
"""What the driver prints behind the number (docs.nvidia.com/deploy/xid-errors)."""

AER_LOGGED = 10
"""So many corrected errors of a card are logged before the kernel's rate limit sets in (10 in 5 s since Linux 6.16)."""
EFFICIENCY = 0.85
"""Share of a link's theoretical bandwidth that copies reach on a sound rig."""
BAD_MEMORY_AT_MIB = 110
"""Early enough that the smallest share of memory that is tested meets it; the first 100 MiB are not tested."""
BAD_WORDS = 64
BUSY_MIB = 4096
"""What the program of a busy card holds of its memory."""
NVLINKS = 4
"""Links of an RTX 3090's bridge; other cards have two to four."""
_FIRST_INTERFACE = 10
"""Above the numbers of the twin's own network."""

Tree = dict[str, str | sysfs.Symlink | bytes]
"""Content by path relative to the root (``sys/bus/...``): text, bytes, or a symbolic link."""


@dataclass(frozen=True)
class Card:
    """A card in a slot: what it is, where it sits, and the link that would be measured now."""

    slot: str
    gpu: Gpu
    port: Port
    link: Link
    fault: SlotFault

    @property
    def address(self) -> str:
        """The GPU's PCI address, ``dddd:bb:dd.f``."""
        return self.port.device

    def link_now(self, resting: bool) -> Link:
        """The link at this moment; ``resting``: a driver is loaded that lets idle links fall back."""
        if not resting:
            return self.link
        if self.fault.busy:
            return Link(min(self.link.gen, self.fault.stuck_gen or self.link.gen), self.link.width)
        return Link(IDLE_GENERATION, self.link.width)

    def errors(self, now: float) -> int:
        """Correctable PCIe errors up to ``now`` (Unix time)."""
        return self.fault.aer_count(now)


def cards(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults) -> list[Card]:
    """The cards that can be seen, in bus order as nvidia-smi lists them; ``gpus`` is the catalogue by id."""
    found = []
    for port in ports(build, board):
        slot, fault = build.slots.get(port.slot), faults.slot(port.slot)
        if slot is not None and not fault.missing:
            gpu = gpus[slot.gpu]
            found.append(Card(port.slot, gpu, _faulty(port, fault), _measured(slot.link, port, gpu, fault), fault))
    return sorted(found, key=lambda card: card.address)


def tree(
    build: Build,
    board: Board,
    gpus: Mapping[str, Gpu],
    faults: Faults,
    now: float = 0.0,
    *,
    rig: str = "",
    resting: bool = False,
) -> Tree:
    """Everything that the node shows of its hardware.

    ``resting``: the driver is loaded, and lets the links of cards that do nothing fall back; without it they stay as
    they were trained. ``rig`` makes the disks and network ports of two rigs with the same build different ones.
    """
    files: Tree = {}
    by_slot = {card.slot: card for card in cards(build, board, gpus, faults)}
    redirect = not build.peer_to_peer
    for number, port in enumerate(ports(build, board), 1):
        card = by_slot.get(port.slot)
        limit = _faulty(port, faults.slot(port.slot)).limit
        link = card.link_now(resting) if card else None
        _port(files, port, limit, link, redirect)
        files |= {
            f"sys/bus/pci/slots/{number}/{name}": text
            for name, text in sysfs.slot(port, limit, card is not None).items()
        }
        if card is not None and link is not None:
            _device(files, f"{port.home}/{card.address}", sysfs.card(card.gpu, link, bar1_mib(card), card.errors(now)))
            _device(files, f"{port.home}/{port.bus}:00.1", sysfs.audio(card.gpu, link))
    _disks(files, build, board, faults, rig or build.name)
    _network(files, build, board, faults, rig or build.name)
    if redirect:
        _iommu_groups(files, "dmar0" if is_intel(build.cpu.model if build.cpu else "") else "ivhd0")
    missing = faults.dimm_missing
    files["proc/cpuinfo"] = host.cpuinfo(build)
    files["proc/meminfo"] = memory.meminfo(build, board, missing=missing)
    files["proc/cmdline"] = host.kernel_arguments(iommu=redirect)
    for home, content in (
        ("sys/class/dmi/id", smbios.ids(board)),
        ("sys/firmware/dmi/tables", smbios.tables(build, board, set(by_slot), missing)),
        ("sys/firmware/efi/efivars", host.efi_variables()),
        ("sys/devices/system/edac", memory.edac(build, board, missing=missing)),
    ):
        files |= {f"{home}/{name}": text for name, text in content.items()}
    return files


def counters(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults, now: float) -> sysfs.Content:
    """Of the tree only what grows by itself."""
    files: sysfs.Content = {}
    for card in cards(build, board, gpus, faults):
        if card.fault.aer_per_minute:
            files |= {
                f"{card.port.home}/{card.address}/{name}": text for name, text in sysfs.aer(card.errors(now)).items()
            }
    return files


def gpu_records(
    build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults, rig: str = ""
) -> list[dict[str, Any]]:
    """What the simulated nvidia-smi needs to know beside the PCI tree; one record per visible card, sizes in MiB.

    ``rig`` makes the cards of two rigs with the same build different ones.
    """
    records = []
    for index, card in enumerate(cards(build, board, gpus, faults)):
        total, ecc = memory_mib(card)
        records.append(
            {
                "index": index,
                "address": card.address,
                "port": card.port.address,
                "home": f"{card.port.home}/{card.address}",
                "slot": card.slot,
                "name": card.gpu.name,
                "architecture": card.gpu.architecture,
                "pci_id": card.gpu.pci_ids[0],
                "uuid": sysfs.uuid(rig or build.name, card.slot),
                "memory_mib": total,
                "ecc": ecc,
                "bar1_mib": bar1_mib(card),
                "link_max": {"gen": card.gpu.link.gen, "width": card.gpu.link.width},
                "host_max": {"gen": card.port.limit.gen, "width": card.port.limit.width},
                "trained": card.link.gen,
                "busy": card.fault.busy,
                "hw_slowdown": card.fault.hw_slowdown,
                "persistent": not faults.no_persistence,
                "replays": card.fault.replays,
                "enforced_watts": card.fault.power_limit,
                "power": card.gpu.power.model_dump(),
            }
        )
    return records


def memory_mib(card: Card) -> tuple[int, bool | None]:
    """The card's ``memory.total`` in MiB, and its ECC state (None: the card has none to switch)."""
    known, fault = card.gpu.memory_mib, card.fault
    switchable = bool(known.ecc_on)
    ecc = (fault.ecc or not known.ecc_off) if switchable else None
    total = (known.ecc_on if ecc else known.ecc_off)[0]
    if fault.memory_mib is not None:
        total = fault.memory_mib
    elif fault.modded:
        total *= MODDED_FACTOR
    return total, ecc


def bar1_mib(card: Card) -> int:
    """The size of BAR1 in MiB: with Resizable BAR the next power of two that holds the memory."""
    if card.fault.bar1_mib is not None:
        return card.fault.bar1_mib
    size = 256
    while size < card.gpu.memory_gib * 1024:
        size *= 2
    return size if size > card.gpu.memory_gib * 1024 else size * 2


def kernel_log(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults, now: float = 0.0) -> list[str]:
    """The kernel's log since boot: how it greets the machine, and what the faults leave there."""
    named = smbios.identity(board)
    lines = [
        "Linux version 6.1.0 (rigdeploy's lab: this log is simulated)",
        f"Command line: {host.kernel_arguments(iommu=not build.peer_to_peer).strip()}",
        f"DMI: {named.vendor} {named.board}, BIOS {smbios.BIOS_VERSION} {smbios.BIOS_DATE}",
    ]
    for card in cards(build, board, gpus, faults):
        pci_id = card.gpu.pci_ids[0]
        for number in range(min(card.errors(now), AER_LOGGED)):
            bit, name = ("    [12] Timeout", 0x1000) if number % 3 == 2 else ("    [ 6] BadTLP", 0x40)  # noqa: PLR2004
            lines += [
                f"pcieport {card.port.address}: AER: Corrected error received: {card.address}",
                f"nvidia {card.address}: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)",
                f"nvidia {card.address}:   device [{pci_id}] error status/mask={name:08x}/0000a000",
                f"nvidia {card.address}: {bit}",
            ]
        if card.fault.xid is not None:
            text = XID_TEXTS.get(card.fault.xid, "")
            place = card.address.rpartition(".")[0]
            lines.append(
                f"NVRM: Xid (PCI:{place}): {card.fault.xid}, pid='<unknown>', name=<unknown>, {text}".rstrip(", ")
            )
    return lines


def cuda_conf(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults) -> str:
    """What the simulated CUDA driver needs to know (the format: ``simulated/cuda.c``)."""
    lines = ["module=/sys/module/nvidia"]
    if faults.mismatch:
        lines += ["cuinit=803", "nvmlinit=18"]
    found = {card.slot: card for card in cards(build, board, gpus, faults)}
    for card in sorted(found.values(), key=lambda card: card.address):
        words: dict[str, Any] = {
            "address": card.address,
            "memory_mib": memory_mib(card)[0],
            "gen": card.link.gen if card.fault.stuck_gen is None else min(card.fault.stuck_gen, card.link.gen),
            "width": card.link.width,
            "efficiency": EFFICIENCY * card.fault.bandwidth / 100,
            "link_dir": f"/{card.port.home}/{card.address}",
            "port_dir": f"/{card.port.home}",
            "replays_file": f"/run/rigdeploy-twin/replays/{card.address}",
        }
        if card.fault.bad_memory:
            words |= {"bad_memory_at_mib": BAD_MEMORY_AT_MIB, "bad_words": BAD_WORDS}
        if card.fault.busy:
            words |= {"processes": 1, "used_mib": BUSY_MIB}
        if build.peer_to_peer:
            words["p2p"] = 1
        others = [other for pair in build.nvlink if card.slot in pair for other in pair if other != card.slot]
        if others:
            ends = [found[other].address if other in found else "-" for other in others for _ in range(NVLINKS)]
            words["nvlink"] = ",".join(ends)
        lines.append(" ".join(f"{name}={value}" for name, value in words.items()))
    return "\n".join(lines) + "\n"


def _measured(declared: Link, port: Port, gpu: Gpu, fault: SlotFault) -> Link:
    """The link that a rig built as declared would train, then what the fault makes of it."""
    sound = Link(min(declared.gen, port.limit.gen, gpu.link.gen), min(declared.width, port.limit.width, gpu.link.width))
    return Link(fault.gen or sound.gen, fault.width or sound.width)


def _faulty(port: Port, fault: SlotFault) -> Port:
    if fault.at != "port" or (fault.width is None and fault.gen is None):
        return port
    return replace(port, limit=Link(fault.gen or port.limit.gen, fault.width or port.limit.width))


def _port(files: Tree, port: Port, limit: Link, current: Link | None, redirect: bool) -> None:
    """A port, and those above it."""
    home = f"sys/devices/pci{port.root}"
    for above in port.above:
        home += f"/{above.address}"
        _device(files, home, sysfs.bridge(above, redirect), "pcieport")
    _device(files, port.home, sysfs.port(port, limit, current, redirect), "pcieport")


def _disks(files: Tree, build: Build, board: Board, faults: Faults, rig: str) -> None:
    for disk in peripherals.disks(build, board, rig, missing=faults.disk_missing):
        _port(files, disk.port, disk.port.limit, disk.port.limit, not build.peer_to_peer)
        _device(files, f"{disk.port.home}/{disk.port.device}", peripherals.disk_device(disk), "nvme")
        files |= peripherals.disk_files(disk)
        _links(files, peripherals.disk_links(disk))


def _network(files: Tree, build: Build, board: Board, faults: Faults, rig: str) -> None:
    for index, nic in enumerate(peripherals.network(build, board, rig, faults.nic_speed), _FIRST_INTERFACE):
        port = nic.port
        _port(files, port, port.limit, port.limit, not build.peer_to_peer)
        _device(files, f"{port.home}/{nic.address}", peripherals.network_device(nic), nic.chip.driver)
        files |= peripherals.network_files(nic, index)
        _links(files, peripherals.network_links(nic))


def _links(files: Tree, targets: Mapping[str, str]) -> None:
    """Symbolic links by path, relative as the kernel makes them."""
    for path, target in targets.items():
        files[path] = sysfs.Symlink(os.path.relpath(target, PurePosixPath(path).parent))


def _iommu_groups(files: Tree, unit: str) -> None:
    """A group for each port and for each device behind one: what there is with an IOMMU and ACS at every port."""
    homes = {str(path).removesuffix("/subsystem") for path in files if path.endswith("/subsystem")}
    groups: dict[str, int] = {}
    for home in sorted(homes):
        is_port = files[f"{home}/class"] == "0x060400\n"
        number = groups.setdefault(home if is_port else home.rpartition(".")[0], len(groups))
        address = home.rpartition("/")[2]
        group = f"sys/kernel/iommu_groups/{number}"
        files[f"{group}/type"] = "DMA-FQ\n"
        _links(files, {f"{group}/devices/{address}": home, f"{home}/iommu_group": group})
    files[f"sys/class/iommu/{unit}/uevent"] = ""


def _device(files: Tree, home: str, content: Mapping[str, str | bytes], driver: str | None = None) -> None:
    """Add a device's files, its link under /sys/bus/pci/devices, and what it is linked to."""
    address = home.rpartition("/")[2]
    files |= {f"{home}/{name}": text for name, text in content.items()}
    links = {f"{home}/subsystem": "sys/bus/pci", f"sys/bus/pci/devices/{address}": home}
    if driver is not None:
        links |= {f"{home}/driver": f"sys/bus/pci/drivers/{driver}", f"sys/bus/pci/drivers/{driver}/{address}": home}
    _links(files, links)
