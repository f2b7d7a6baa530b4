"""What the simulated driver of a twin is told of its cards: the records of nvidia-smi, the configuration of CUDA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rigdeploy.lab import sysfs
from rigdeploy.lab.cards import bar1_mib, cards, memory_mib
from rigdeploy.lab.faults import Faults

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build, Gpu

EFFICIENCY = 0.85
"""Share of a link's theoretical bandwidth that copies reach on a sound rig."""
BAD_MEMORY_AT_MIB = 110
"""Early enough that the smallest share of memory that is tested meets it; the first 100 MiB are not tested."""
BAD_WORDS = 64
BUSY_MIB = 4096
"""What the program of a busy card holds of its memory."""
NVLINKS = 4
"""Links of an RTX 3090's bridge; other cards have two to four."""


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
