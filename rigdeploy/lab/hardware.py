"""A twin's hardware as files: what /sys and /proc of a sound rig of that build show, and what each fault changes.

Pure: (build, board, cards, faults, time) -> texts by path. The lab writes them under a directory that the node mounts
over the real ones; tests write them under any directory and point the probe at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rigdeploy.fleet.link import Link
from rigdeploy.lab import sysfs
from rigdeploy.lab.faults import Faults, SlotFault
from rigdeploy.lab.topology import Port, ports

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
        return f"{self.port.bus}:00.0"


def cards(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults) -> list[Card]:
    """The cards that can be seen, in bus order as nvidia-smi lists them; ``gpus`` is the catalogue by id."""
    found = []
    for port in ports(build, board):
        slot, fault = build.slots.get(port.slot), faults.slot(port.slot)
        if slot is not None and not fault.missing:
            gpu = gpus[slot.gpu]
            found.append(Card(port.slot, gpu, _faulty(port, fault), _measured(slot.link, port, gpu, fault), fault))
    return sorted(found, key=lambda card: card.address)


def tree(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults, now: float = 0.0) -> Tree:
    """Everything that the node shows of its hardware, before any driver is loaded (nouveau excepted)."""
    files: Tree = {}
    by_slot = {card.slot: card for card in cards(build, board, gpus, faults)}
    vendor = sysfs.port_vendor(build.cpu.model if build.cpu else "")
    for port in ports(build, board):
        card = by_slot.get(port.slot)
        limit = _faulty(port, faults.slot(port.slot)).limit
        home = f"sys/devices/pci{port.root}/{port.address}"
        _device(files, home, sysfs.port(port, vendor, limit, card.link if card else None))
        files |= {
            f"sys/bus/pci/slots/{port.slot}/{name}": text
            for name, text in sysfs.slot(port, limit, card is not None).items()
        }
        if card is not None:
            gpu = sysfs.card(card.gpu, card.link, bar1_mib(card), card.fault.aer_count(now))
            _device(files, f"{home}/{card.address}", gpu)
            _device(files, f"{home}/{port.bus}:00.1", sysfs.audio(card.gpu, card.link))
    files["proc/cpuinfo"] = sysfs.cpuinfo(build)
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
                "idle": card.fault.idle,
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


def kernel_log(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults) -> list[str]:
    """Lines of the kernel's log that the faults leave there."""
    lines = []
    for card in cards(build, board, gpus, faults):
        if card.fault.xid is not None:
            text = XID_TEXTS.get(card.fault.xid, "")
            place = card.address.rpartition(".")[0]
            lines.append(
                f"NVRM: Xid (PCI:{place}): {card.fault.xid}, pid='<unknown>', name=<unknown>, {text}".rstrip(", ")
            )
    return lines


def _measured(declared: Link, port: Port, gpu: Gpu, fault: SlotFault) -> Link:
    """The link that a rig built as declared would train, then what the fault makes of it."""
    sound = Link(min(declared.gen, port.limit.gen, gpu.link.gen), min(declared.width, port.limit.width, gpu.link.width))
    gen = fault.gen or (IDLE_GENERATION if fault.idle else sound.gen)
    return Link(gen, fault.width or sound.width)


def _faulty(port: Port, fault: SlotFault) -> Port:
    if fault.at != "port" or (fault.width is None and fault.gen is None):
        return port
    limit = Link(fault.gen or port.limit.gen, fault.width or port.limit.width)
    return Port(port.slot, port.root, port.address, port.bus, limit, port.attached)


def _device(files: Tree, home: str, content: Mapping[str, str | bytes]) -> None:
    """Add a device's files, its link under /sys/bus/pci/devices, and what it is linked to."""
    address = home.rpartition("/")[2]
    files |= {f"{home}/{name}": text for name, text in content.items()}
    files[f"{home}/subsystem"] = sysfs.Symlink("../" * home.count("/") + "bus/pci")
    files[f"sys/bus/pci/devices/{address}"] = sysfs.Symlink("../../../" + home.removeprefix("sys/"))
