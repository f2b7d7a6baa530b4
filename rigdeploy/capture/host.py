"""Processor, memory, network and disks as a build declares them."""

from __future__ import annotations

import re
from collections import Counter
from math import log2
from typing import TYPE_CHECKING

from rigdeploy.capture.model import Note, warning
from rigdeploy.fleet.models import Cpu, Disk, Memory, Nic

if TYPE_CHECKING:
    from rigdeploy.node import observation as seen

_MEMORY_KEPT = 0.9
"""The part of the memory that kernel and firmware leave: what 'host.memory' takes for all of it."""
_STEPS = 8
"""Memory is sold in powers of two and multiples of an eighth of them."""
_COUNT, _GIBIBYTES = 1024, 65536
"""The most of anything that a build can declare, and the most memory."""


def cpu(observed: seen.Cpu) -> tuple[Cpu | None, list[Note]]:
    """The processor, by the words of its name that tell it from others."""
    if observed.model is None or observed.cores is None or observed.cores > _COUNT:
        return None, [warning(("cpu",), "model or cores of the processor could not be read")]
    sockets = f" in {observed.sockets} sockets" if observed.sockets not in (None, 1) else ""
    text = f"{observed.cores} cores{sockets}; watts are not to be read: add them, for the sum of the power supply."
    return Cpu(model=model_words(observed.model), cores=observed.cores), [Note(("cpu",), text)]


def model_words(model: str) -> str:
    """A processor's name without marks, clock and the count of its cores."""
    words = re.sub(r"\((R|TM|r|tm)\)|@.*", " ", model).split()
    kept = [word for word in words if not re.fullmatch("CPU|Processor|[0-9]+-Core", word)]
    return " ".join(kept or words or [model])


def memory(observed: seen.Memory) -> tuple[Memory | None, list[Note]]:
    """The memory: the modules' sum where it is known, else what the kernel has, rounded up to a size that is sold."""
    place = ("memory",)
    notes = []
    if max(observed.installed_mib or 0, observed.total_mib or 0) > _GIBIBYTES * 1024:
        return None, [warning(place, "the size of the memory is none that can be declared")]
    if observed.installed_mib and observed.installed_mib % 1024 == 0:
        size = observed.installed_mib // 1024
    elif observed.total_mib:
        size = sold_gib(observed.total_mib)
        notes.append(
            Note(place, f"The kernel has {observed.total_mib} MiB; firmware and kernel keep the rest of {size} GiB.")
        )
    else:
        return None, [warning(place, "the size of the memory could not be read")]
    if observed.ecc is None:
        notes.append(Note(place, "Whether it corrects errors (ecc) could not be read: as root it can be."))
    if observed.channels is None:
        notes.append(Note(place, "How many channels are in use could not be read."))
    channels = observed.channels if observed.channels and observed.channels <= _COUNT else None
    return Memory(size_gib=size, ecc=observed.ecc, channels=channels), notes


def sold_gib(total_mib: int) -> int:
    """The size of the modules behind what the kernel counts."""
    gib = total_mib / 1024
    step = max(1, 2 ** int(log2(max(gib, 1))) // _STEPS)
    size = -int(-gib // step) * step
    return size if gib >= _MEMORY_KEPT * size else -int(-gib // 1)


def nics(observed: tuple[seen.Nic, ...]) -> tuple[list[Nic], list[Note]]:
    """Ports by speed, the fastest first; one without a cable does not tell its speed."""
    speeds = Counter(nic.speed_mbps for nic in observed if nic.carrier and nic.speed_mbps)
    silent = [nic.name for nic in observed if not (nic.carrier and nic.speed_mbps)]
    notes = []
    if silent:
        text = f"Without a cable, so that their speed is not to be read: {', '.join(silent)}."
        notes.append(Note(("nics",), text))
    ordered = sorted(speeds.items(), reverse=True)
    return [Nic(speed_gbps=mbps / 1000, count=min(count, _COUNT)) for mbps, count in ordered], notes


def disks(observed: tuple[seen.Disk, ...]) -> tuple[list[Disk], list[Note]]:
    """Disks by size and serial number; a number that two of them show names neither."""
    serials = Counter(disk.serial for disk in observed if disk.serial)
    found: list[Disk] = []
    notes = []
    for disk in observed:
        size = size_gb(disk)
        if not 0 < size <= 10**6:
            notes.append(Note(("disks",), f"{disk.name} is left out: its size could not be read, or is none."))
            continue
        serial = disk.serial if disk.serial and serials[disk.serial] == 1 else None
        notes.append(Note(("disks", len(found)), " ".join(text for text in (disk.name, disk.model) if text)))
        found.append(Disk(size_gb=size, serial=serial))
    return found, notes


def size_gb(disk: seen.Disk) -> int:
    """A disk's size in GB (10^9 bytes), as it is sold."""
    return round((disk.size_mib or 0) * 1024**2 / 10**9)
