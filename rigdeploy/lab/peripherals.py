"""A twin's disks and network ports: their PCI functions, and what /sys/class and /sys/block say of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import Link
from rigdeploy.lab import sysfs
from rigdeploy.lab.topology import Port, disk_ports, network_ports

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build

DEFAULT_DISK_GB = 1000
"""The one disk of a rig whose build lists none."""
_SECTOR = 512
_NVME_ID, _NVME_LINK, _NVME_MODEL = "144d:a80a", Link(4, 4), "Samsung SSD 980 PRO {}"


@dataclass(frozen=True)
class _Chip:
    """A network chip: up to ``gbps``, ``functions`` ports on one of them."""

    gbps: float
    pci_id: str
    driver: str
    link: Link
    functions: int


_CHIPS = (
    _Chip(1, "10ec:8168", "r8169", Link(1, 1), 1),  # RTL8111/8168
    _Chip(2.5, "10ec:8125", "r8169", Link(2, 1), 1),  # RTL8125
    _Chip(10, "8086:1563", "ixgbe", Link(3, 4), 2),  # X550
    _Chip(25, "15b3:1015", "mlx5_core", Link(3, 8), 2),  # ConnectX-4 Lx
    _Chip(100, "15b3:1017", "mlx5_core", Link(3, 16), 2),  # ConnectX-5
    _Chip(200, "15b3:101b", "mlx5_core", Link(4, 16), 1),  # ConnectX-6
    _Chip(400, "15b3:1021", "mlx5_core", Link(5, 16), 1),  # ConnectX-7
)


@dataclass(frozen=True)
class Disk:
    """An NVMe disk behind its port."""

    port: Port
    number: int
    size_gb: int
    serial: str

    @property
    def name(self) -> str:
        """Its block device."""
        return f"nvme{self.number}n1"


@dataclass(frozen=True)
class NetworkPort:
    """One network port: a function of a chip."""

    port: Port
    chip: _Chip
    function: int
    speed_mbps: int
    mac: str

    @property
    def address(self) -> str:
        """Its PCI address."""
        return f"{self.port.bus}:00.{self.function}"

    @property
    def name(self) -> str:
        """What systemd calls it (systemd.net-naming-scheme, the path)."""
        bus = int(self.port.bus[5:], 16)
        return f"enp{bus}s0" + (f"f{self.function}" if self.chip.functions > 1 else "")


def disks(build: Build, board: Board, rig: str, *, missing: bool) -> list[Disk]:
    """The declared disks, else one; ``missing`` takes away the last."""
    wanted = [(disk.size_gb, disk.serial) for disk in build.disks] or [(DEFAULT_DISK_GB, None)]
    places = disk_ports(build, board, len(wanted))
    found = [
        Disk(place, number, size, serial or f"S{_digest(rig, 'disk', number)[:14].upper()}")
        for number, (place, (size, serial)) in enumerate(zip(places, wanted, strict=True))
    ]
    return found[: len(found) - missing]


def network(build: Build, board: Board, rig: str, slow_mbps: int | None) -> list[NetworkPort]:
    """The declared network ports, each at its speed; ``slow_mbps`` is what the first one negotiates instead."""
    chips, speeds = [], []
    for nic in build.nics:
        chip = next((chip for chip in _CHIPS if chip.gbps >= nic.speed_gbps), _CHIPS[-1])
        left = [int(nic.speed_gbps * 1000)] * nic.count
        while left:
            chips.append(chip)
            speeds.append([left.pop() for _ in range(min(chip.functions, len(left)))])
    if slow_mbps is not None and speeds:
        speeds[0][0] = slow_mbps
    places = network_ports(build, board, [chip.link for chip in chips])
    return [
        NetworkPort(place, chip, function, speed, _mac(rig, nth, function))
        for nth, (place, chip, group) in enumerate(zip(places, chips, speeds, strict=True))
        for function, speed in enumerate(group)
    ]


def disk_device(disk: Disk) -> sysfs.Content:
    """The controller's own PCI function."""
    link = Link(min(_NVME_LINK.gen, disk.port.limit.gen), _NVME_LINK.width)
    return sysfs.endpoint(_NVME_ID, "0x010802", _NVME_LINK, link, [1])


def disk_links(disk: Disk) -> dict[str, str]:
    """Links of /sys to the disk, by path: targets from /sys on."""
    controller = f"{disk.port.home}/{disk.port.device}/nvme/nvme{disk.number}"
    return {
        f"sys/class/nvme/nvme{disk.number}": controller,
        f"sys/class/block/{disk.name}": f"{controller}/{disk.name}",
        f"sys/block/{disk.name}": f"{controller}/{disk.name}",
        f"{controller}/device": f"{disk.port.home}/{disk.port.device}",
        f"{controller}/{disk.name}/device": controller,
    }


def disk_files(disk: Disk) -> dict[str, str]:
    """What the nvme driver shows of the disk, by path."""
    controller = f"{disk.port.home}/{disk.port.device}/nvme/nvme{disk.number}"
    block = f"{controller}/{disk.name}"
    model = _NVME_MODEL.format(f"{disk.size_gb // 1000}TB" if disk.size_gb >= 1000 else f"{disk.size_gb}GB")  # noqa: PLR2004
    return {
        f"{controller}/model": f"{model:<40}\n",
        f"{controller}/serial": f"{disk.serial:<20}\n",
        f"{controller}/firmware_rev": "5B2QGXA7\n",
        f"{controller}/address": f"{disk.port.device}\n",
        f"{controller}/transport": "pcie\n",
        f"{controller}/state": "live\n",
        f"{block}/dev": f"259:{disk.number}\n",
        f"{block}/size": f"{disk.size_gb * 10**9 // _SECTOR}\n",
        f"{block}/ro": "0\n",
        f"{block}/removable": "0\n",
        f"{block}/hidden": "0\n",
        f"{block}/wwid": f"eui.{_digest(disk.serial, 'wwid', 0)[:16]}\n",
        f"{block}/queue/rotational": "0\n",
        f"{block}/queue/logical_block_size": f"{_SECTOR}\n",
        f"{block}/uevent": f"MAJOR=259\nMINOR={disk.number}\nDEVNAME={disk.name}\nDEVTYPE=disk\n",
    }


def network_device(port: NetworkPort) -> sysfs.Content:
    """The port's PCI function."""
    link = Link(min(port.chip.link.gen, port.port.limit.gen), min(port.chip.link.width, port.port.limit.width))
    return sysfs.endpoint(port.chip.pci_id, "0x020000", port.chip.link, link, [1])


def network_links(port: NetworkPort) -> dict[str, str]:
    """Links of /sys to the network port, by path: targets from /sys on."""
    function = f"{port.port.home}/{port.address}"
    home = f"{function}/net/{port.name}"
    return {f"sys/class/net/{port.name}": home, f"{home}/device": function}


def network_files(port: NetworkPort, index: int) -> dict[str, str]:
    """What the kernel shows of a network port with a cable, by path; ``index`` is its number of an interface."""
    home = f"{port.port.home}/{port.address}/net/{port.name}"
    values = {
        "address": port.mac,
        "addr_len": "6",
        "type": "1",
        "mtu": "1500",
        "flags": "0x1003",
        "ifindex": f"{index}",
        "iflink": f"{index}",
        "operstate": "up",
        "carrier": "1",
        "speed": f"{port.speed_mbps}",
        "duplex": "full",
        "uevent": f"INTERFACE={port.name}\nIFINDEX={index}",
    }
    return {f"{home}/{name}": f"{value}\n" for name, value in values.items()}


def _mac(rig: str, chip: int, function: int) -> str:
    """A locally administered address that is the same on every boot."""
    digits = _digest(rig, "nic", chip)[:8]
    return ":".join(["02", *(digits[at : at + 2] for at in range(0, 8, 2)), f"{function:02x}"])


def _digest(rig: str, what: str, number: int) -> str:
    return hashlib.sha256(f"{rig}/{what}/{number}".encode()).hexdigest()
