"""Which board of the catalogue the node is, which slot each card sits in, and a board that the catalogue lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING

from rigdeploy.capture.links import declarable
from rigdeploy.capture.model import Entry, Note
from rigdeploy.capture.names import is_slot_name, plain, slug
from rigdeploy.fleet.link import Link
from rigdeploy.fleet.models import Board, BoardSlot, Build, LaneGroup, Slot
from rigdeploy.node.values import display
from rigdeploy.verify.cards import match, slot_name

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.node.observation import Host, Observation
    from rigdeploy.verify.cards import Card

_UNNAMED = "unknown-board"
_WATTS = 60
"""What board, fans and drives draw, as for the catalogue's own board of no name: an estimate for the PSU sum."""
_CHANNELS = 8
_MEMORY_GIB = 2048
"""What the largest boards of the catalogue take: a limit that refuses no build."""


@dataclass(frozen=True)
class Place:
    """The slot that a card sits in. ``why_pinned``: the node does not name it, so the build pins the address."""

    slot: str
    why_pinned: str = ""


def recognise(host: Host, catalogue: Catalogue) -> Board | None:
    """The catalogue's board that bears the name which the firmware gives; None when there is none, or no name."""
    if host.board is None:
        return None
    names = {plain(host.board), plain(f"{host.vendor or ''}{host.board}")}
    boards = list(catalogue.boards.values())
    exact = [board for board in boards if host.board in board.dmi]
    alike = [board for board in boards if names & {plain(name) for name in (board.name, *board.dmi)}]
    return next(iter([*exact, *alike]), None)


def label(host: Host, board: Board | None) -> str:
    """What the board is called in the name of a build."""
    return slug(host.board or (board.id if board else _UNNAMED))


def places(
    cards: Iterable[Card], board: Board | None, catalogue: Catalogue, observation: Observation
) -> dict[str, Place]:
    """The slot of each card, by the card's address; every card gets one of its own."""
    found: dict[str, Place] = {}
    if board is not None:
        everywhere = Build(
            name=board.id,
            board=board.id,
            slots={name: Slot(gpu="", link=slot.link) for name, slot in board.slots.items()},
            vram_gib=1,
        )
        for card in match(everywhere, catalogue, observation):
            if card.declared is not None and card.address is not None:
                guessed = card.matched_by == "assignment"
                why = "the node does not name its slots: this one was guessed from widths and order, check it"
                found[card.address] = Place(card.slot, why if guessed else "")
    left = [card for card in cards if card.address is not None and card.address not in found]
    names = Counter(_folded(_name(observation, card)) for card in left)
    taken = {_folded(name) for name in (*(place.slot for place in found.values()), *(board.slots if board else ()))}
    for card in left:
        place = _own_place(_name(observation, card), names, taken)
        found[card.address or ""] = place
        taken.add(_folded(place.slot))
    return found


def _name(observation: Observation, card: Card) -> str:
    """What the node calls the slot of a card; empty when that is nothing that a build could say."""
    name = slot_name(observation, card.device) if card.device else ""
    return name if is_slot_name(name) else ""


def _folded(name: str) -> str:
    """Slots are told apart without regard to case."""
    return name.casefold()


def _own_place(name: str, names: Mapping[str, int], taken: Container[str]) -> Place:
    """A slot that the catalogue does not have: by the node's name for it, or by a number."""
    if not name:
        number = next(n for n in count(1) if f"slot{n}" not in taken)
        return Place(f"SLOT{number}", "the node does not name this slot: find it on the board and name it")
    if names[_folded(name)] == 1 and _folded(name) not in taken:
        return Place(name)
    numbered = chain([name], (f"{name}-{number}" for number in count(2)))
    other = next(other for other in numbered if _folded(other) not in taken)
    return Place(other, f"the node gives more than one card's slot the name {name}")


def describe(observation: Observation, build_slots: Mapping[str, Slot], cards: Mapping[str, Card]) -> Entry[Board]:
    """A board that the catalogue lacks, as far as the node tells of it; ``cards`` are by the name of their slot."""
    host, memory = observation.host, observation.memory
    notes = []
    slots: dict[str, BoardSlot] = {}
    for name, declared in build_slots.items():
        slots[name] = BoardSlot(link=_limit(cards[name], declared.link))
    for firmware in observation.slots:
        if firmware.name in slots or not is_slot_name(firmware.name):
            continue
        link = _link_of(observation, firmware.address)
        if link is None:
            state = "in use" if firmware.used else "empty"
            notes.append(Note(("slots",), f"{firmware.name} is {state}, and what it can do could not be read."))
        else:
            slots[firmware.name] = BoardSlot(link=link)
    notes += [
        Note(
            ("memory_channels",), "As many as are in use; the board may have more." if memory.channels else "A guess."
        ),
        Note(("memory_max_gib",), "A guess, like the watts: what board, fans and drives draw."),
        Note(
            ("slots",),
            "Links are what the port behind the slot and the card in it can do: see the manual for the rest.",
        ),
    ]
    name = display(f"{host.vendor or ''} {host.board or ''}") or "Board of no known name"
    board = Board(
        id=slug(host.board or _UNNAMED),
        name=name,
        dmi=[host.board] if host.board else [],
        memory_channels=min(memory.channels or _CHANNELS, 1024),
        memory_max_gib=_MEMORY_GIB,
        watts=_WATTS,
        slots=slots,
    )
    return Entry(board, tuple(notes))


def _limit(card: Card, declared: Link) -> Link:
    """What a slot with a card in it can do: its port's limit, and at least what was measured."""
    port = card.ports[0].link if card.ports else None
    gen, width = (port.gen_max, port.width_max) if port else (None, None)
    return Link(max(gen or 0, declared.gen), max(declarable(width or 1), declared.width))


def _link_of(observation: Observation, address: str | None) -> Link | None:
    """What the slot at an address can do: the limit of the port, which is there or right above."""
    device = observation.pci.get(address or "")
    if device is None or address is None:
        return None
    is_port = (device.class_code or "").startswith("0604")
    ports = [device] if is_port else observation.ports_above(address)
    link = ports[0].link if ports else None
    if link is None or link.gen_max is None or link.width_max is None:
        return None
    return Link(link.gen_max, declarable(link.width_max))


def attach(entry: Entry[Board], to_chipset: Iterable[str]) -> Entry[Board]:
    """The board with these slots said to hang on the chipset."""
    slots = dict(entry.model.slots)
    for name in to_chipset:
        slots[name] = slots[name].model_copy(update={"attached": "chipset"})
    return Entry(entry.model.model_copy(update={"slots": slots}), entry.notes)


def corrected(board: Board, build: Build) -> Entry[Board] | None:
    """The catalogue's board as the node shows it; None where they agree.

    A slot that it does not have is added, a link that it cannot have widened, lanes that are not shared are not shared.
    """
    slots, notes = dict(board.slots), []
    for name, slot in build.slots.items():
        known = slots.get(name)
        if known is None:
            slots[name] = BoardSlot(link=slot.link)
            notes.append(Note(("slots", name), "Not in the shipped entry."))
        elif not slot.link.fits(known.link):
            wider = Link(max(slot.link.gen, known.link.gen), max(slot.link.width, known.link.width))
            slots[name] = known.model_copy(update={"link": wider})
            notes.append(Note(("slots", name), f"The shipped entry says {known.link}; {slot.link} was found."))
    groups = [group for group in board.lane_groups if _can_be(group, build)]
    if len(groups) < len(board.lane_groups):
        notes.append(Note(("slots",), "The shipped entry has slots share lanes that do not share them here."))
    channels = build.memory.channels if build.memory else None
    limits = {
        "memory_channels": max(board.memory_channels, channels or 0),
        "memory_max_gib": max(board.memory_max_gib, build.memory.size_gib if build.memory else 0),
    }
    made = board.model_copy(update={"slots": slots, "lane_groups": groups, **limits})
    if made == board:
        return None
    return Entry(made, (Note((), f"{board.name} as it was found: the shipped entry says otherwise."), *notes))


def _can_be(group: LaneGroup, build: Build) -> bool:
    return sum(build.slots[name].link.width for name in group.slots if name in build.slots) <= group.lanes
