"""What no rig can be: the declaration against itself and against the catalogue. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rigdeploy.errors import Problem
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.document import Document, Place
from rigdeploy.fleet.lint_power import inline_remarks, power_remarks, shared_power
from rigdeploy.fleet.lint_stack import stack_remarks
from rigdeploy.fleet.models import Board, Build, Gpu, Rig, Slot
from rigdeploy.fleet.remark import Remark
from rigdeploy.fleet.validate import did_you_mean

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet

__all__ = ["Remark", "build_remarks", "lint", "located", "remarks"]

TRAINING_MEMORY_FACTOR = 2
"""System memory over VRAM that training with offload needs."""


def lint(fleet: Fleet) -> list[Problem]:
    """Every problem of a loaded fleet, with file and line."""
    return located(remarks(fleet.rigs, fleet.catalogue), fleet.source.locate)


def located(found: Iterable[Remark], locate: Callable[[Place], tuple[Document, Place]]) -> list[Problem]:
    """Remarks with their places turned into files and lines."""
    problems = []
    for remark in found:
        document, place = locate(remark.place)
        problems.append(document.problem(place, remark.message, remark.remedy, remark.severity))
    return problems


def remarks(rigs: dict[str, Rig], catalogue: Catalogue) -> list[Remark]:
    """Everything that is impossible, or probably not meant, about these rigs together and each alone."""
    found = [*_shared_addresses(rigs), *shared_power(rigs)]
    for name, rig in rigs.items():
        found += build_remarks(rig.build, catalogue, ("rigs", name, "build"))
        found += _rig_remarks(rig)
        found += power_remarks(rig, catalogue)
        found += stack_remarks(rig, catalogue)
    return found


def build_remarks(build: Build, catalogue: Catalogue, at: Place = ()) -> list[Remark]:
    """What cannot be about a build, which stands at a place."""
    board = catalogue.boards.get(build.board)
    found: list[Remark] = []
    if board is None:
        hint = did_you_mean(build.board, catalogue.boards)
        remedy = f"known: {', '.join(sorted(catalogue.boards))}; describe yours in boards/{build.board}.yml"
        found.append(Remark((*at, "board"), f"no board is called '{build.board}'{hint}", remedy))
    for name, slot in build.slots.items():
        gpu = catalogue.gpus.get(slot.gpu)
        found += _slot_remarks((*at, "slots", name), name, slot, board, gpu)
        if gpu is None:
            hint = did_you_mean(slot.gpu, catalogue.gpus)
            remedy = f"known: {', '.join(sorted(catalogue.gpus))}; describe yours in gpus/{slot.gpu}.yml"
            found.append(Remark((*at, "slots", name, "gpu"), f"no GPU is called '{slot.gpu}'{hint}", remedy))
    if board is not None:
        found += _lane_remarks(at, build, board)
        found += _memory_remarks(at, build, board)
        found += _ambiguous_slots(at, board)
    found += _sum_remarks(at, build, board, catalogue)
    found += _pinned_twice(at, build)
    found += _bridge_remarks(at, build, catalogue)
    found += _disks_twice(at, build)
    return found


def _slot_remarks(at: Place, name: str, slot: Slot, board: Board | None, gpu: Gpu | None) -> Iterator[Remark]:
    if board is not None and name not in board.slots:
        known = ", ".join(board.slots)
        yield Remark(at, f"{board.name} has no slot '{name}'{did_you_mean(name, board.slots)}", f"its slots: {known}")
    elif board is not None and not slot.link.fits(limit := board.slots[name].link):
        able = [other for other, that in board.slots.items() if slot.link.fits(that.link)]
        remedy = f"slots of this board that can: {', '.join(able)}" if able else ""
        yield Remark((*at, "link"), f"slot {name} of {board.name} cannot do {slot.link}: its limit is {limit}", remedy)
    if gpu is None:
        return
    if not slot.link.fits(gpu.link):
        yield Remark((*at, "link"), f"{gpu.name} cannot do {slot.link}: its limit is {gpu.link}", f"declare {gpu.link}")
    watts = slot.power_limit_watts
    if watts is None:
        return
    at_watts = (*at, "power_limit_watts")
    if not gpu.power.minimum <= watts <= gpu.power.maximum:
        allowed = f"{gpu.power.minimum} to {gpu.power.maximum} W"
        yield Remark(at_watts, f"{gpu.name} takes no power limit of {watts} W", f"what such cards allow: {allowed}")
    else:
        message = "the power limit is declared; this version verifies it, and does not set it"
        yield Remark.warning(at_watts, message, f"'nvidia-smi -pl {watts}' sets it until the next boot")


def _lane_remarks(at: Place, build: Build, board: Board) -> Iterator[Remark]:
    for group in board.lane_groups:
        used = {name: build.slots[name].link.width for name in group.slots if name in build.slots}
        if sum(used.values()) > group.lanes:
            slots = " and ".join(f"{name} x{width}" for name, width in used.items())
            yield Remark(
                (*at, "slots", next(iter(used)), "link"),
                f"{slots} need {sum(used.values())} lanes, and {', '.join(group.slots)} share {group.lanes}",
                f"with {len(used)} cards there each gets x{group.lanes // len(used)}",
            )


def _memory_remarks(at: Place, build: Build, board: Board) -> Iterator[Remark]:
    if build.memory is None:
        return
    size, channels = build.memory.size_gib, build.memory.channels
    if size > board.memory_max_gib:
        yield Remark((*at, "memory", "size_gib"), f"{board.name} takes {board.memory_max_gib} GiB at most, not {size}")
    if channels is not None and channels > board.memory_channels:
        message = f"{board.name} has {board.memory_channels} memory channels, not {channels}"
        yield Remark((*at, "memory", "channels"), message)


def _sum_remarks(at: Place, build: Build, board: Board | None, catalogue: Catalogue) -> Iterator[Remark]:
    """The totals: VRAM must be the cards' sum, the power supply must carry it."""
    cards = [(slot, catalogue.gpus[slot.gpu]) for slot in build.slots.values() if slot.gpu in catalogue.gpus]
    if not build.slots:
        yield Remark((*at, "slots"), "no slot holds a card")
        return
    if len(cards) < len(build.slots):
        return  # an unknown card has no memory and no watts to add
    vram = sum(gpu.memory_gib for _, gpu in cards)
    if build.vram_gib != vram:
        terms = " + ".join(str(gpu.memory_gib) for _, gpu in cards)
        yield Remark((*at, "vram_gib"), f"found {build.vram_gib}; the declared cards have {terms} = {vram} GiB")
    if build.psu_watts is None:
        return
    limits = sum(slot.power_limit_watts or gpu.power.default for slot, gpu in cards)
    cpu = build.cpu.watts or 0 if build.cpu else 0
    rest = board.watts if board else 0
    if build.psu_watts < limits + cpu + rest:
        yield Remark(
            (*at, "psu_watts"),
            f"{build.psu_watts} W cannot carry the cards' {limits} W, the CPU's {cpu} W and {rest} W of the rest",
            f"at least {limits + cpu + rest} W are needed, or lower power limits",
        )


def _pinned_twice(at: Place, build: Build) -> Iterator[Remark]:
    first: dict[str, str] = {}
    for name, slot in build.slots.items():
        if slot.address is None:
            continue
        if slot.address in first:
            message = f"{first[slot.address]} and {name} are pinned to one PCI address, {slot.address}"
            yield Remark((*at, "slots", name, "address"), message)
        first.setdefault(slot.address, name)


def _ambiguous_slots(at: Place, board: Board) -> Iterator[Remark]:
    """Names that the firmware's tables would give to two slots: a card there could be in either."""
    first: dict[str, str] = {}
    for name, slot in board.slots.items():
        for known in {known.strip().casefold() for known in (name, *slot.designations)}:
            if (other := first.setdefault(known, name)) != name:
                message = f"{board.name} calls both {other} and {name} '{known}'"
                yield Remark((*at, "board"), message, "each of a board's designations names one slot")


def _bridge_remarks(at: Place, build: Build, catalogue: Catalogue) -> Iterator[Remark]:
    """NVLink bridges join two cards that have the connector, and a card takes one."""
    first: dict[str, int] = {}
    for index, pair in enumerate(build.nvlink):
        here = (*at, "nvlink", index)
        if len(set(pair)) < len(pair):
            yield Remark(here, f"a bridge joins two slots, not {pair[0]} with itself")
            continue
        for name in pair:
            gpu = catalogue.gpus.get(build.slots[name].gpu) if name in build.slots else None
            if name not in build.slots:
                hint = did_you_mean(name, build.slots)
                yield Remark(here, f"no card is declared in slot '{name}'{hint}", f"slots: {', '.join(build.slots)}")
            elif gpu is not None and not gpu.nvlink:
                able = sorted(other.name for other in catalogue.gpus.values() if other.nvlink)
                yield Remark(
                    here, f"{gpu.name} in {name} has no NVLink connector", f"cards that have: {', '.join(able)}"
                )
            if (other := first.setdefault(name, index)) != index:
                joined = "+".join(build.nvlink[other])
                yield Remark(here, f"{name} is joined already, by {joined}", "one bridge joins two cards")


def _disks_twice(at: Place, build: Build) -> Iterator[Remark]:
    serials: set[str] = set()
    for index, disk in enumerate(build.disks):
        if disk.serial is not None and disk.serial in serials:
            message = f"a disk with the serial number '{disk.serial}' is declared already"
            yield Remark((*at, "disks", index, "serial"), message)
        serials.add(disk.serial or "")


def _rig_remarks(rig: Rig) -> Iterator[Remark]:
    at: Place = ("rigs", rig.name)
    build = rig.build
    if rig.training and build.memory and build.memory.size_gib < TRAINING_MEMORY_FACTOR * build.vram_gib:
        yield Remark.warning(
            (*at, "training"),
            f"training wants {TRAINING_MEMORY_FACTOR * build.vram_gib} GiB of system memory "
            f"(twice the VRAM); the build has {build.memory.size_gib}",
        )
    yield from inline_remarks((*at, "ssh", "password"), rig.ssh.password)
    if not _is_time_zone(rig.base.timezone):
        yield Remark(
            (*at, "base", "timezone"), f"no time zone is called '{rig.base.timezone}'", "such as Europe/Berlin"
        )
    names: set[str] = set()
    for index, user in enumerate(rig.base.users):
        place = (*at, "base", "users", index, "name")
        if user.name in ("root", rig.ssh.user):
            remedy = "its keys are the way in, and stay as they are: declare the people beside it"
            yield Remark(place, f"{user.name} can not be a declared user", remedy)
        if user.name in names:
            yield Remark(place, f"{user.name} is declared already")
        names.add(user.name)


def _is_time_zone(name: str) -> bool:
    """Whether the time zone database, which is as constant as our own catalogue, knows a name."""
    if name == "Etc/UTC":
        return True
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only where somebody declares one

    for known in (name, "Etc/UTC"):
        try:
            ZoneInfo(known)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
        return known == name
    return True  # no database here: nothing can be said


def _shared_addresses(rigs: dict[str, Rig]) -> Iterator[Remark]:
    """Two rigs that would be one on the network."""
    nodes: dict[tuple[str, int, str | None], str] = {}
    hosts: dict[str, str] = {}
    for name, rig in rigs.items():
        node = (rig.address, rig.ssh.port, rig.ssh.jump)
        if (other := nodes.setdefault(node, name)) != name:
            yield Remark(("rigs", name, "address"), f"{rig.address} is the address of {other} already")
        host = rig.base.hostname or name
        if (other := hosts.setdefault(host, name)) != name:
            yield Remark(("rigs", name, "base", "hostname"), f"{other} is called {host} already")
