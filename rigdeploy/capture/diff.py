"""How a node differs from a build: field by field, in both directions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rigdeploy.capture.cards import WATT, power_limit
from rigdeploy.capture.host import model_words
from rigdeploy.errors import EXIT_FAIL, EXIT_PASS, EXIT_UNKNOWN
from rigdeploy.verify.cards import match

if TYPE_CHECKING:
    from rigdeploy.capture.model import Capture, CapturedCard
    from rigdeploy.fleet.models import Build, Disk, Slot

_DISK_TOLERANCE = 0.03
"""How far from the declared size a disk is still that disk, as for 'host.disk'."""


class Kind(StrEnum):
    """In which direction the two differ; ``unread``: declared, and the node does not tell."""

    CHANGED = "changed"
    MISSING = "missing"
    UNDECLARED = "undeclared"
    UNREAD = "unread"


@dataclass(frozen=True)
class Difference:
    """One field: ``declared`` and ``found`` as short texts; empty where one of the two says nothing."""

    field: str
    kind: Kind
    declared: str
    found: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return asdict(self) | {"kind": self.kind.value}


def differences(build: Build, capture: Capture) -> list[Difference]:
    """All that differs between a declared build and a captured node.

    What no node can tell is not compared: power supply, watts of the processor, what is allowed to a riser.
    """
    found = capture.build.model
    board = found.board if capture.board_is_known else None
    result = [
        *_field("board", build.board, board),
        *_processor(build, capture),
        *_memory(build, found),
        *_network(build, capture),
        *_disks(build, found),
        *_slots(build, capture),
        *_field("vram_gib", build.vram_gib, found.vram_gib),
        *_field("resizable_bar", build.resizable_bar, found.resizable_bar),
    ]
    return result + list(_bridges(build, found))


def _field(name: str, declared: Any, found: Any) -> Iterator[Difference]:
    """One value on both sides; None is nothing said."""
    if declared == found:
        return
    if found is None:
        yield Difference(name, Kind.UNREAD, _words(declared), "")
    else:
        kind = Kind.UNDECLARED if declared is None else Kind.CHANGED
        yield Difference(name, kind, "" if declared is None else _words(declared), _words(found))


def _words(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _processor(build: Build, capture: Capture) -> Iterator[Difference]:
    declared, found = build.cpu, capture.build.model.cpu
    if declared is None or found is None or not _is_that_model(declared.model, capture):
        yield from _field("cpu.model", declared and declared.model, found and found.model)
    yield from _field("cpu.cores", declared and declared.cores, found and found.cores)


def _is_that_model(declared: str, capture: Capture) -> bool:
    """Whether every word that was declared of the processor stands in the name that it gives itself."""
    observed = model_words(capture.observation.cpu.model or "").lower().split()
    return set(model_words(declared).lower().split()) <= set(observed)


def _memory(build: Build, found: Build) -> Iterator[Difference]:
    for name in ("size_gib", "ecc", "channels"):
        yield from _field(f"memory.{name}", getattr(build.memory, name, None), getattr(found.memory, name, None))


def _network(build: Build, capture: Capture) -> Iterator[Difference]:
    """The ports as one field: by speed, and how many have no cable and so no speed."""
    declared = Counter({nic.speed_gbps: 0 for nic in build.nics})
    for nic in build.nics:
        declared[nic.speed_gbps] += nic.count
    found = Counter({nic.speed_gbps: nic.count for nic in capture.build.model.nics})
    if declared == found:
        return
    dark = len(capture.observation.nics) - found.total()
    missing, extra = declared - found, found - declared
    shown = _ports(found) + (f" and {dark} without a cable" if dark else "")
    if not declared:
        yield Difference("nics", Kind.UNDECLARED, "", shown)
    elif not extra and missing.total() <= dark:
        yield Difference("nics", Kind.UNREAD, _ports(declared), shown)
    else:
        yield Difference("nics", Kind.CHANGED if found or dark else Kind.MISSING, _ports(declared), shown)


def _ports(speeds: Counter[float]) -> str:
    return ", ".join(f"{count} x {speed:g} Gbit/s" for speed, count in sorted(speeds.items(), reverse=True))


def _disks(build: Build, found: Build) -> Iterator[Difference]:
    """Disks by serial number, then by size; each stands for one that was declared."""
    left = list(found.disks)
    for declared in sorted(build.disks, key=lambda disk: disk.serial is None):
        same = next((disk for disk in left if _is_that_disk(declared, disk)), None)
        if same is None:
            yield Difference("disks", Kind.MISSING, _disk(declared), "")
        else:
            left.remove(same)
    for disk in left:
        yield Difference("disks", Kind.UNDECLARED, "", _disk(disk))


def _is_that_disk(declared: Disk, found: Disk) -> bool:
    if declared.serial is not None:
        return declared.serial == found.serial
    return abs(declared.size_gb - found.size_gb) <= _DISK_TOLERANCE * declared.size_gb


def _disk(disk: Disk) -> str:
    return f"{disk.size_gb} GB" + (f", serial {disk.serial}" if disk.serial else "")


def _slots(build: Build, capture: Capture) -> Iterator[Difference]:
    """Every declared slot beside the card that verification takes for its own; then the cards that nobody declared."""
    by_address = {card.address: card for card in capture.cards.values()}
    for card in match(build, capture.catalogue, capture.observation):
        name = f"slots.{card.slot}"
        found = by_address.get(card.address or "")
        if card.declared is None and found is not None:
            yield Difference(name, Kind.UNDECLARED, "", _card(found.slot))
        elif card.declared is not None and found is None:
            yield Difference(name, Kind.MISSING, _card(card.declared), "")
        elif card.declared is not None and found is not None:
            yield from _slot(name, card.declared, found)


def _card(slot: Slot) -> str:
    return f"{slot.gpu} at {slot.link}"


def _slot(name: str, declared: Slot, found: CapturedCard) -> Iterator[Difference]:
    yield from _field(f"{name}.gpu", declared.gpu, found.slot.gpu)
    if declared.link != found.slot.link:
        shown = (
            f"{found.slot.link} (at rest: what card and port can do)" if found.gen_is_assumed else str(found.slot.link)
        )
        yield Difference(f"{name}.link", Kind.CHANGED, str(declared.link), shown)
    watts = power_limit(found.reading)
    if declared.power_limit_watts is None or watts is None or abs(watts - declared.power_limit_watts) > WATT:
        limit = found.slot.power_limit_watts if declared.power_limit_watts is None else watts and round(watts)
        yield from _field(f"{name}.power_limit_watts", declared.power_limit_watts, limit)
    if declared.address is not None:
        yield from _field(f"{name}.address", declared.address, found.address)


def _bridges(build: Build, found: Build) -> Iterator[Difference]:
    """Pairs that NVLink joins; the node tells of them under load alone."""
    declared = {tuple(sorted(pair)) for pair in build.nvlink}
    seen = {tuple(sorted(pair)) for pair in found.nvlink}
    for pair in sorted(declared ^ seen):
        shown = " and ".join(pair)
        if pair in seen:
            yield Difference("nvlink", Kind.UNDECLARED, "", shown)
        else:
            yield Difference("nvlink", Kind.MISSING if seen else Kind.UNREAD, shown, "")


_COLUMNS = ("field", "declared", "found")
_SAID = {Kind.MISSING: "missing", Kind.UNREAD: "not to be read"}
_NOT_DECLARED = "not declared"


def table(found: list[Difference]) -> Iterator[str]:
    """The differences as aligned lines with a head; none, when there are none."""
    rows = [(one.field, one.declared or _NOT_DECLARED, one.found or _SAID.get(one.kind, "")) for one in found]
    if not rows:
        return
    lines = [_COLUMNS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def exit_code(found: list[Difference]) -> int:
    """0 when nothing differs, 2 when something does, 3 when only what could not be read may."""
    if any(one.kind is not Kind.UNREAD for one in found):
        return EXIT_FAIL
    return EXIT_UNKNOWN if found else EXIT_PASS
