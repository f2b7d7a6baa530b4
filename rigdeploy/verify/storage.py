"""Disks against the build, their links, and the room that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rigdeploy.node.observation import Disk, Filesystem, LinkReading
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import LIMIT, Finding, Status, named

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Disk as Declared

_NEAR = 0.03
"""How far a disk's size may be from the declared one: makers round, and 1000 and 1024 GB are sold as one size."""

_LEAST_FREE_MIB = 2048
_LEAST_SHARE, _SMALL_SHARE = 0.02, 0.10
"""A file system is full below 2 % and below 2 GiB; of a small one, such as an EFI partition, a tenth is enough."""


def disks(case: Case) -> Iterator[Finding]:
    """Each declared disk: by its serial number, else one of about that size which no other declared disk took."""
    declared, seen = case.rig.build.disks, list(case.observation.disks)
    unread = next((line.why for line in case.observation.unread if line.what == "disks"), "")
    found = _matched(declared, seen)
    used = {id(disk) for disk in found.values()}
    spare = [disk for disk in seen if id(disk) not in used]
    for index, (wanted, subject) in enumerate(zip(declared, _subjects(declared), strict=True)):
        text = f"{wanted.size_gb} GB" + (f", serial number {wanted.serial}" if wanted.serial else "")
        disk = found.get(index)
        if disk is not None:
            yield _found(wanted, subject, text, disk)
        elif not seen and unread:
            yield Finding("host.disk", subject, Status.UNKNOWN, text, "", "unreadable", unread)
        elif nameless := [disk.name for disk in spare if (disk.serial if wanted.serial else disk.size_mib) is None]:
            what = "serial number" if wanted.serial else "size"
            remedy = (
                f"{named(nameless)} could be it, but the node does not show the {what}: look at 'lsblk -d -O' there"
            )
            yield Finding("host.disk", subject, Status.UNKNOWN, text, "", "unreadable", remedy)
        else:
            others = f"; disks that nothing declares: {named([_described(disk) for disk in spare])}" if spare else ""
            remedy = f"check the disk's power and data cable or its M.2 screw, and the BIOS's list of disks{others}"
            yield Finding("host.disk", subject, Status.FAIL, text, "no such disk", "disk-missing", remedy)


def _subjects(declared: list[Declared]) -> list[str]:
    """A name for each: serial number or size; of several that share it the later ones are numbered."""
    counts: Counter[str] = Counter()
    names = []
    for disk in declared:
        name = disk.serial or f"{disk.size_gb} GB"
        counts[name] += 1
        names.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return names


def _matched(declared: list[Declared], seen: list[Disk]) -> dict[int, Disk]:
    """The observed disk of each declared one that has one, by the declared one's index."""
    found: dict[int, Disk] = {}
    by_serial = {disk.serial: disk for disk in reversed(seen) if disk.serial}
    for index, wanted in enumerate(declared):
        if wanted.serial and (disk := by_serial.pop(wanted.serial.strip(), None)):
            found[index] = disk
    used = {id(disk) for disk in found.values()}
    sized = sorted((_gb(disk.size_mib), at) for at, disk in enumerate(seen) if disk.size_mib and id(disk) not in used)
    # Both in order of size: the smallest disk that will do is never missed by a larger wish.
    for size, index in sorted((wanted.size_gb, index) for index, wanted in enumerate(declared) if not wanted.serial):
        while sized and sized[0][0] < size * (1 - _NEAR):
            sized.pop(0)
        if sized and sized[0][0] <= size * (1 + _NEAR):
            found[index] = seen[sized.pop(0)[1]]
    return found


def _found(wanted: Declared, subject: str, text: str, disk: Disk) -> Finding:
    size = None if disk.size_mib is None else _gb(disk.size_mib)
    evidence = {"name": disk.name, "serial": disk.serial, "size_mib": disk.size_mib, "model": disk.model}
    if size is not None and abs(size - wanted.size_gb) > _NEAR * wanted.size_gb:
        remedy = f"{disk.name} has the serial number, and another size than declared: correct the declaration"
        observed = _described(disk)
        return Finding("host.disk", subject, Status.WARN, text, observed, "spec-mismatch", remedy, evidence)
    return Finding("host.disk", subject, Status.PASS, text, _described(disk), evidence=evidence)


def _described(disk: Disk) -> str:
    return disk.name + ("" if disk.size_mib is None else f" ({_gb(disk.size_mib):.0f} GB)")


def _gb(mib: int) -> float:
    """A size in MiB as disks are sold: in GB of 10^9 bytes."""
    return mib * 2**20 / 10**9


def links(case: Case) -> Iterator[Finding]:
    """The PCIe link of each NVMe disk against what disk and port can both do; one finding per controller."""
    by_name = {disk.name: disk for disk in case.observation.disks[:LIMIT]}
    controllers = {disk.address: disk for disk in reversed(by_name.values()) if disk.address}
    for address, disk in reversed(controllers.items()):
        device, ports = case.observation.pci.get(address), case.observation.ports_above(address)
        own, above = device.link if device else None, ports[0].link if ports else None
        if own is None or above is None or own.width_max is None or above.width_max is None:
            continue
        width = min(own.width_max, above.width_max)
        gen = None if own.gen_max is None or above.gen_max is None else min(own.gen_max, above.gen_max)
        yield _link(case, disk, own, width, gen)


def _link(case: Case, disk: Disk, link: LinkReading, width: int, gen: int | None) -> Finding:
    declared, observed = _text(gen, width), _text(link.gen, link.width)
    evidence = {"address": disk.address, "width": link.width, "gen": link.gen}
    narrow = link.width is not None and link.width < width
    slow = link.gen is not None and gen is not None and link.gen < gen
    if not narrow and not slow:
        if link.width is None or (gen is not None and link.gen is None):
            remedy = case.observation.why_unread(f"pci[{disk.address}].link") or "the node does not show the link"
            return Finding("disk.link", disk.name, Status.UNKNOWN, declared, observed, "unreadable", remedy, evidence)
        return Finding("disk.link", disk.name, Status.PASS, declared, observed, evidence=evidence)
    if case.is_virtual:
        remedy = "the node is a virtual machine, whose ports are emulated: look at the disk's link on its host"
        return Finding("disk.link", disk.name, Status.UNKNOWN, declared, observed, "unknown", remedy, evidence)
    remedy = (
        f"disk and slot can both do {declared}, the link came up as {observed}: power off, reseat the disk and its "
        "adapter, and check the speed of its slot in the BIOS"
    )
    return Finding("disk.link", disk.name, Status.WARN, declared, observed, "link-degraded", remedy, evidence)


def _text(gen: int | None, width: int | None) -> str:
    return " ".join(([f"{gen}.0"] if gen else []) + ([f"x{width}"] if width else []))


def space(case: Case) -> Iterator[Finding]:
    """Whether every file system has room: one finding for all."""
    seen = case.observation.filesystems
    full = [system for system in seen if _is_full(system)]
    unread = [system.mount for system in seen if system.size_mib is None or system.free_mib is None]
    evidence = {"filesystems": [vars(system) for system in seen[:LIMIT]]}
    status, observed, cause, remedy = Status.PASS, "room on all", "", ""
    if full:
        texts = [f"{system.mount} {system.free_mib} of {system.size_mib} MiB free" for system in full]
        status, observed, cause = Status.WARN, named(texts, 3), "disk-full"
        mounts = named([system.mount for system in full])
        remedy = f"make room on {mounts}: 'du -xh MOUNT | sort -h | tail' shows what takes it"
    elif unread or not seen:
        status, observed, cause = Status.UNKNOWN, "", "unreadable"
        otherwise = f"the node does not say how much room is left on {named(unread) or 'its file systems'}"
        remedy = case.observation.why_unread("filesystems") or otherwise
    yield Finding("host.space", "rig", status, "room on every file system", observed, cause, remedy, evidence)


def _is_full(system: Filesystem) -> bool:
    if system.size_mib is None or system.free_mib is None:
        return False
    floor = min(_LEAST_FREE_MIB, _SMALL_SHARE * system.size_mib)
    return system.free_mib < max(floor, _LEAST_SHARE * system.size_mib)
