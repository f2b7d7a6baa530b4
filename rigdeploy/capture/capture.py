"""The capture itself: a draft, what verification says of it, and the build that follows from both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rigdeploy.capture import boards, gpus, host, links
from rigdeploy.capture import cards as properties
from rigdeploy.capture.model import Capture, CapturedCard, Entry, Note, warning
from rigdeploy.capture.names import slug
from rigdeploy.errors import NodeError
from rigdeploy.fleet.lint import build_remarks
from rigdeploy.fleet.models import Build, ManualPower, Rig, Slot
from rigdeploy.node.values import display
from rigdeploy.verify.cards import Card, observed_cards
from rigdeploy.verify.findings import Finding, Status
from rigdeploy.verify.rules import judge

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.models import Board, Gpu
    from rigdeploy.node.load import Load
    from rigdeploy.node.observation import Observation


_MOST_VRAM_GIB = 65536
"""What a build can declare."""


@dataclass(frozen=True)
class _Draft:
    """A capture in the making. ``places`` are the slots of the cards, by name."""

    observation: Observation
    catalogue: Catalogue
    build: Build
    cards: Mapping[str, Card]
    assumed: Mapping[str, bool]
    board: Board | None
    notes: tuple[Note, ...]
    added: tuple[Entry[Board] | Entry[Gpu], ...]


def capture(
    observation: Observation,
    catalogue: Catalogue,
    source: str,
    name: str | None = None,
    load: Load | None = None,
) -> Capture:
    """The build that this node is right by, with what it needs beside the catalogue.

    ``source`` is the first line of the file: what was captured and when. ``name`` is the build's, else it is made of
    board and cards. ``load`` is an active check, and counts when it is of the same boot. NodeError when there is no
    card, or one that nobody knows.
    """
    if load is not None and (load.boot_id is None or load.boot_id != observation.host.boot_id):
        load = None
    draft = _seen_slow(_described(_draft(observation, catalogue, name, load)), load)
    notes = (
        *_header(observation, source),
        *draft.notes,
        *_at_rest(draft),
        *_wrong(draft, load),
        *_refused(draft),
    )
    cards = {
        slot: CapturedCard(card.address or "", draft.build.slots[slot], card.reading, draft.assumed[slot])
        for slot, card in draft.cards.items()
    }
    board_is_known = observation.host.board is not None
    return Capture(observation, draft.catalogue, Entry(draft.build, notes), board_is_known, draft.added, cards)


def _header(observation: Observation, source: str) -> list[Note]:
    """The first lines of the file: what was looked at."""
    host, driver = observation.host, observation.driver
    said = {
        "board": " ".join(text for text in (host.vendor, host.board) if text),
        "BIOS": host.bios,
        "kernel": host.kernel,
        "NVIDIA driver": driver.version and " ".join(text for text in (driver.version, driver.flavour) if text),
    }
    node = ", ".join(f"{what} {text or 'not read'}" for what, text in said.items())
    advice = "Everything here was measured, or says otherwise. What you do not want to be judged by, take out."
    return [Note((), source), Note((), f"The node: {node}."), Note((), advice)]


def _draft(observation: Observation, catalogue: Catalogue, name: str | None, load: Load | None) -> _Draft:
    """Everything as it was read; links as they can be."""
    loads = load.cards if load is not None else {}
    found = [
        Card(
            slot=device.address,
            device=device,
            reading=observation.gpus.get(device.address),
            ports=tuple(observation.ports_above(device.address)),
            load=loads.get(device.address),
        )
        for device in observed_cards(observation)
    ]
    if not found:
        why = observation.why_unread("pci")
        raise NodeError("the node shows no NVIDIA card" + (f": {why}" if why else ""), "there is nothing to capture")
    models, catalogue, described = gpus.collect(found, catalogue)
    board = boards.recognise(observation.host, catalogue)
    places = boards.places(found, board, catalogue, observation)
    virtual = observation.host.virtualisation not in (None, "none")
    notes = _about_the_node(observation, virtual=virtual)
    slots: dict[str, Slot] = {}
    cards: dict[str, Card] = {}
    assumed: dict[str, bool] = {}
    for card in _in_order(found, places, board, observation):
        place, gpu = places[card.address or ""], models[card.address or ""]
        link = links.find(replace(card, gpu=gpu), gpu, virtual=virtual)
        watts, about_power = properties.limited(card, gpu, place.slot)
        pinned = card.address if place.why_pinned else None
        slots[place.slot] = Slot(gpu=gpu.id, link=link.link, power_limit_watts=watts, address=pinned)
        cards[place.slot], assumed[place.slot] = replace(card, slot=place.slot, gpu=gpu), link.gen_is_assumed
        at = ("slots", place.slot)
        notes += [warning(at, place.why_pinned)] if place.why_pinned else []
        notes += [*(warning(at, text) for text in link.warnings), *about_power]
        notes += properties.errors(observation, card, place.slot, link.link)
        notes += properties.memory_not_read(card, gpu, place.slot)
    cpu, about_cpu = host.cpu(observation.cpu)
    memory, about_memory = host.memory(observation.memory)
    nics, about_nics = host.nics(observation.nics)
    disks, about_disks = host.disks(observation.disks)
    rebar, about_rebar = properties.resizable_bar(cards.values())
    notes += [*about_cpu, *about_memory, *about_nics, *about_disks, *about_rebar]
    notes.append(
        Note(("psu_watts",), "psu_watts is not to be read: add it, and 'rigdeploy check' sees whether it is enough.")
    )
    build = Build(
        name=name or _name(observation, board, cards.values()),
        description=_description(cards.values()),
        board=board.id if board else "",
        cpu=cpu,
        memory=memory,
        nics=nics,
        disks=disks,
        slots=slots,
        vram_gib=min(sum(card.gpu.memory_gib for card in cards.values() if card.gpu), _MOST_VRAM_GIB),
        resizable_bar=rebar,
        nvlink=properties.bridges(cards, load),
    )
    return _Draft(observation, catalogue, build, cards, assumed, board, tuple(notes), tuple(described))


def _described(draft: _Draft) -> _Draft:
    """The draft with a board: one that is described here, or the catalogue's, corrected where the node is otherwise."""
    if draft.board is not None:
        entry = boards.corrected(draft.board, draft.build)
        return draft if entry is None else _with_board(draft, entry)
    entry = boards.describe(draft.observation, draft.build.slots, draft.cards)
    if draft.observation.host.board is None:
        text = "the node does not tell which board it is: give this one its name"
        entry = replace(entry, notes=(warning((), text), *entry.notes))
    made = _with_board(draft, entry)
    on_chipset = [finding.subject for finding in _judged(made, None) if finding.cause == "chipset-attached"]
    return _with_board(draft, boards.attach(entry, on_chipset))


def _with_board(draft: _Draft, entry: Entry[Board]) -> _Draft:
    catalogue = replace(draft.catalogue, boards=draft.catalogue.boards | {entry.name: entry.model})
    build = draft.build.model_copy(update={"board": entry.name})
    others = [other for other in draft.added if other.path != entry.path]
    return replace(draft, catalogue=catalogue, build=build, added=(*others, entry))


def _seen_slow(draft: _Draft, load: Load | None) -> _Draft:
    """Links that were seen at work, and slower than card and port can be, as they were seen."""
    slots, notes, assumed = dict(draft.build.slots), list(draft.notes), dict(draft.assumed)
    for finding in _judged(draft, load):
        card = draft.cards.get(finding.subject)
        if finding.check != "link.generation" or finding.status is not Status.FAIL or card is None or card.gen is None:
            continue
        able = slots[finding.subject].link
        link = replace(able, gen=card.gen)
        slots[finding.subject] = slots[finding.subject].model_copy(update={"link": link})
        assumed[finding.subject] = False
        text = f"the link is degraded: at work it runs at {card.gen}.0, and card and port can both do {able.gen}.0"
        notes.append(warning(("slots", finding.subject), text))
    build = draft.build.model_copy(update={"slots": slots})
    return replace(draft, build=build, notes=tuple(notes), assumed=assumed)


def _judged(draft: _Draft, load: Load | None) -> list[Finding]:
    """What 'rigdeploy verify' would say now."""
    rig = Rig(name="rig", address="localhost", build=draft.build, power=ManualPower(driver="manual"))
    return judge(rig, draft.catalogue, draft.observation, load)


def _wrong(draft: _Draft, load: Load | None) -> list[Note]:
    """What verification finds wrong although everything is declared as it is: the node's own faults."""
    notes = []
    for finding in _judged(draft, load):
        if finding.status not in (Status.FAIL, Status.WARN):
            continue
        place = ("slots", finding.subject) if finding.subject in draft.build.slots else ()
        said = ": ".join(text for text in (finding.cause, finding.observed) if text)
        text = f"'rigdeploy verify' will say {finding.status.value} {finding.check}: {said}; {finding.remedy}"
        notes.append(warning(place, text))
    return notes


def _at_rest(draft: _Draft) -> list[Note]:
    return [
        Note(
            ("slots", slot),
            f"The card was at rest: {draft.build.slots[slot].link.gen}.0 is what card and port can do; "
            "'rigdeploy verify --active' proves it.",
        )
        for slot, assumed in draft.assumed.items()
        if assumed
    ]


def _refused(draft: _Draft) -> list[Note]:
    """What 'rigdeploy check' would not let pass."""
    remarks = build_remarks(draft.build, draft.catalogue)
    return [
        warning((), f"'rigdeploy check' will say: {remark.message}") for remark in remarks if remark.severity == "error"
    ]


def _in_order(
    cards: Iterable[Card], places: Mapping[str, boards.Place], board: Board | None, observation: Observation
) -> list[Card]:
    """The cards as the board or, where that is not known, its firmware counts the slots; then as the bus does."""
    names = board.slots if board else [slot.name for slot in observation.slots]
    order = {name: index for index, name in enumerate(names)}
    return sorted(cards, key=lambda card: (order.get(places[card.address or ""].slot, len(order)), card.address or ""))


def _about_the_node(observation: Observation, *, virtual: bool) -> list[Note]:
    """What makes the whole capture doubtful."""
    notes, driver = [], observation.driver
    if virtual:
        text = "the node is a virtual machine: links, slots and board are what its host makes up; capture the host"
        notes.append(warning((), text))
    if not driver.answers:
        state = "does not answer" if driver.loaded else "is not loaded"
        text = f"the NVIDIA driver {state}: memory, power limits and errors of the cards were not read; capture again"
        notes.append(warning((), text))
    return notes


def _name(observation: Observation, board: Board | None, cards: Iterable[Card]) -> str:
    """``romed8-2t-4x3090``."""
    counts = Counter(card.gpu.id.removeprefix("rtx-") for card in cards if card.gpu)
    return slug("-".join([boards.label(observation.host, board), *(f"{count}x{gpu}" for gpu, count in counts.items())]))


def _description(cards: Iterable[Card]) -> str:
    counts = Counter(card.gpu.name for card in cards if card.gpu)
    return display(", ".join(f"{count} x {name}" for name, count in counts.items()))
