"""A twin's hardware as files: what /sys and /proc of a sound rig of that build show, and what each fault changes.

Pure: (build, board, cards, faults, time) -> texts by path. The lab writes them under a directory that the node mounts
over the real ones; tests write them under any directory and point the probe at it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import Link
from rigdeploy.lab import host, memory, peripherals, smbios, sysfs
from rigdeploy.lab.cards import bar1_mib, cards, faulty
from rigdeploy.lab.faults import Faults
from rigdeploy.lab.topology import Port, is_intel, ports, switch_port

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build, Gpu

NVSWITCH = "10de:22a3"
"""GH100 NVSwitch (pci.ids)."""
_FIRST_INTERFACE = 10
"""Above the numbers of the twin's own network."""

Tree = dict[str, str | sysfs.Symlink | bytes]
"""Content by path relative to the root (``sys/bus/...``): text, bytes, or a symbolic link."""


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
        limit = faulty(port, faults.slot(port.slot)).limit
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
    if faults.nvswitch:
        _nvswitch(files, build, board)
    if redirect:
        _iommu_groups(files, "dmar0" if is_intel(build.cpu.model if build.cpu else "") else "ivhd0")
    missing = faults.dimm_missing
    files["proc/cpuinfo"] = host.cpuinfo(build)
    files["proc/meminfo"] = memory.meminfo(build, board, missing=missing)
    files["proc/cmdline"] = host.kernel_arguments(iommu=redirect)
    for home, content in (
        ("sys/class/dmi/id", smbios.ids(board)),
        ("sys/firmware/dmi/tables", smbios.tables(build, board, set(by_slot), missing)),
        ("sys/firmware/efi/efivars", host.efi_variables(secure_boot=faults.secure_boot)),
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


def _nvswitch(files: Tree, build: Build, board: Board) -> None:
    """A switch between cards, as HGX boards have them."""
    port = switch_port(build, board)
    _port(files, port, port.limit, port.limit, not build.peer_to_peer)
    device = sysfs.endpoint(NVSWITCH, "0x068000", port.limit, port.limit, [32])
    _device(files, f"{port.home}/{port.device}", device)


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
