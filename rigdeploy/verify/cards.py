"""Which observed card sits in which declared slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rigdeploy.node.observation import GPU_LIMIT, GpuReading, LinkReading, Observation, PciDevice
from rigdeploy.verify.assignment import assign

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.models import Build, Gpu, Slot
    from rigdeploy.node.load import CardLoad, Load

# What an assignment pays for a card that cannot be the declared model, for each halving or doubling between two link
# widths, and for each place out of order: each outweighs any sum of the next, for as many cards as are looked at.
_OTHER_MODEL = 10_000_000
_WIDTH_STEP = 10_000
_OUT_OF_ORDER = 1

# GeForce cards sit in P2 under a CUDA load, others in P0; slower states lower the link's speed to save power.
_LOADED_PSTATE = 2

_FRESH_SECONDS = 60
"""What may pass between the end of an active check and the look at the node that follows it at once."""


@dataclass(frozen=True)
class Card:
    """A declared slot with the card observed in it, or one of the two alone (missing, extra).

    ``slot`` is the declared name; of an extra card, the board's or the node's name, else its PCI address.
    ``ports`` are the ports above the card, nearest first. ``matched_by`` is ``slot name``, ``address`` or
    ``assignment``, and empty when there is nothing to match; ``node_slot`` is the slot's name as the node gives it.
    ``load`` is what the active check measured of the card; it is fresh when the node was looked at right after it.
    """

    slot: str
    declared: Slot | None = None
    gpu: Gpu | None = None
    device: PciDevice | None = None
    reading: GpuReading | None = None
    ports: tuple[PciDevice, ...] = ()
    matched_by: str = ""
    node_slot: str = ""
    load: CardLoad | None = None
    load_is_fresh: bool = False

    @property
    def address(self) -> str | None:
        """The card's PCI address; None where there is no card."""
        return self.device.address if self.device else None

    @property
    def is_declared_model(self) -> bool | None:
        """Whether the card is of the declared model; None when its PCI id could not be read, or nothing is there."""
        if self.gpu is None or self.device is None or self.device.pci_id is None:
            return None
        return self.device.pci_id in self.gpu.pci_ids

    @property
    def width(self) -> int | None:
        """The negotiated width now or, if that was more, under a load of a moment ago: a link may be narrower at rest.

        A load of long ago proves nothing about a link that has narrowed since. Sysfs reads the width anew each time, so
        it comes before nvidia-smi.
        """
        under_load = self.load.link.width_max if self.load is not None and self.load_is_fresh and self.samples else None
        now = first(link.width for link in self._links())
        return max((width for width in (now, under_load) if width is not None), default=None)

    @property
    def samples(self) -> int:
        """How often the link was looked at while the active check kept it at work."""
        return (self.load.link.samples or 0) if self.load is not None else 0

    @property
    def width_max(self) -> int | None:
        """The width that the card can do, never what its slot can; the catalogue's when the node does not say."""
        own = self.device.link.width_max if self.device and self.device.link else None
        if own is None and self.gpu is not None and self.is_declared_model:
            return self.gpu.link.width
        return own

    @property
    def port_width_max(self) -> int | None:
        """The width that the port above can do: what the slot offers."""
        return self.ports[0].link.width_max if self.ports and self.ports[0].link else None

    @property
    def gen(self) -> int | None:
        """The fastest generation that any reading shows: a link that was seen fast is fast.

        A load of long ago proves nothing about a link that is slow at work now.
        """
        seen = [link.gen for link in self._links()]
        if self.load is not None and self.samples and (self.load_is_fresh or not self.is_at_work):
            seen.append(self.load.link.gen_max)
        return max((gen for gen in seen if gen is not None), default=None)

    @property
    def is_at_work(self) -> bool:
        """Whether the driver showed the card at work just now."""
        if self.reading is None or self.reading.pstate is None:
            return False
        return self.reading.pstate <= _LOADED_PSTATE and self.reading.idle is False

    @property
    def gen_max(self) -> int | None:
        """The generation that the card can do."""
        return first(value for link in self._links() for value in (link.gen_device_max, link.gen_max))

    @property
    def port_gen_max(self) -> int | None:
        """The slowest of what the port above and, by nvidia-smi, the root port can do."""
        port = self.ports[0].link.gen_max if self.ports and self.ports[0].link else None
        host = self.reading.link.gen_host_max if self.reading else None
        return min((value for value in (port, host) if value is not None), default=None)

    def _links(self) -> list[LinkReading]:
        links = [self.device.link if self.device else None, self.reading.link if self.reading else None]
        return [link for link in links if link is not None]


def first(values: Iterable[int | None]) -> int | None:
    """The first value that is not None."""
    return next((value for value in values if value is not None), None)


def match(build: Build, catalogue: Catalogue, observation: Observation, load: Load | None = None) -> list[Card]:
    """Every declared slot, in declared order, with its card; then the cards that were not declared.

    By the address that the slot is pinned to, which a person declared because names mislead; then by the slot's name
    where the node has it; then by the assignment of what is left that agrees best with the declared models, widths and
    order.
    """
    seen = [_seen(observation, device, load) for device in observed_cards(observation)]
    slots = _slots_by_name(build, catalogue)
    placed = _by_address(build, seen)
    placed = _by_name(build, _left(seen, placed), slots) | placed
    free = [slot for slot in build.slots if slot not in placed]
    # A card in a slot that the board has and the build leaves empty is extra, not a stand-in for a missing one.
    loose = [card for card in _left(seen, placed) if _may_be_declared(build, slots.get(_folded(card.node_slot)))]
    placed |= _by_assignment(build, catalogue, free, loose)
    cards = []
    for name, slot in build.slots.items():
        card, how = placed.get(name, (Card(name), ""))
        cards.append(replace(card, slot=name, declared=slot, gpu=catalogue.gpus.get(slot.gpu), matched_by=how))
    return cards + _extra(build, _left(seen, placed), slots)


def observed_cards(observation: Observation) -> list[PciDevice]:
    """The NVIDIA cards by address; those that only nvidia-smi shows stand with what it says."""
    found = {device.address: device for device in observation.pci.values() if device.is_gpu}
    for address, gpu in observation.gpus.items():
        if address not in found and address not in observation.pci:
            vendor, _, device = (gpu.pci_id or "").partition(":")
            found[address] = PciDevice(address, vendor or None, device or None, link=gpu.link)
    return [found[address] for address in sorted(found)][:GPU_LIMIT]


def slot_name(observation: Observation, device: PciDevice) -> str:
    """The slot's name at the card, or at the nearest port above that has one; empty when none has.

    A bare number is the kernel's own count of hot-plug slots, and says less than any name of the firmware's.
    """
    names = [d.slot for d in (device, *observation.ports_above(device.address)) if d.slot]
    return next((name for name in names if not name.strip().isdecimal()), names[0] if names else "")


def _seen(observation: Observation, device: PciDevice, load: Load | None) -> Card:
    """A card with all that is known of it, before it has a slot."""
    return Card(
        slot="",
        device=device,
        reading=observation.gpus.get(device.address),
        ports=tuple(observation.ports_above(device.address)),
        node_slot=slot_name(observation, device),
        load=load.cards.get(device.address) if load is not None else None,
        load_is_fresh=load is not None and _is_fresh(observation, load),
    )


def _is_fresh(observation: Observation, load: Load) -> bool:
    """Whether the node was looked at right after its cards were under load; both times are by the node's clock."""
    if load.kept or observation.taken is None or load.taken is None:
        return False
    return 0 <= observation.taken - load.taken <= (load.seconds or 0) + _FRESH_SECONDS


_Placed = dict[str, tuple[Card, str]]
_Slots = dict[str, set[str]]


def _folded(name: str) -> str:
    return name.strip().casefold()


def _slots_by_name(build: Build, catalogue: Catalogue) -> _Slots:
    """The slots of build and board that a name may mean: their own, and what the board's firmware calls them.

    A slot whose own name is a bare number is not meant by the kernel's count, unless the board says so.
    """
    board = catalogue.boards.get(build.board)
    named = {name: list[str]() for name in build.slots}
    named |= {name: slot.designations for name, slot in (board.slots if board else {}).items()}
    slots: _Slots = {}
    for name, designations in named.items():
        for known in designations if name.strip().isdecimal() else (name, *designations):
            slots.setdefault(_folded(known), set()).add(name)
    return slots


def _left(seen: list[Card], placed: _Placed) -> list[Card]:
    taken = {card.address for card, _ in placed.values()}
    return [card for card in seen if card.address not in taken]


def _may_be_declared(build: Build, slots: set[str] | None) -> bool:
    return not slots or any(slot in build.slots for slot in slots)


def _by_name(build: Build, seen: list[Card], slots: _Slots) -> _Placed:
    """The cards whose slot has a name that means one declared slot, and that no other card bears."""
    bearers: dict[str, list[Card]] = {}
    for card in seen:
        bearers.setdefault(_folded(card.node_slot), []).append(card)
    placed: _Placed = {}
    ambiguous = set()
    for name, cards in bearers.items():
        meant = slots.get(name, set())
        # A card that bears the name itself comes before those that only sit somewhere below a port of that name.
        own = [card for card in cards if card.device is not None and _folded(card.device.slot or "") == name] or cards
        if len(meant) != 1 or not meant <= build.slots.keys():
            continue
        (slot,) = meant
        if len(own) > 1 or slot in placed:
            ambiguous.add(slot)
        placed[slot] = (own[0], "slot name")
    return {slot: found for slot, found in placed.items() if slot not in ambiguous}


def _by_address(build: Build, seen: list[Card]) -> _Placed:
    by_address = {card.address: card for card in seen}
    pinned = {name: slot.address for name, slot in build.slots.items()}
    return {name: (by_address[at], "address") for name, at in pinned.items() if at in by_address}


def _by_assignment(build: Build, catalogue: Catalogue, slots: list[str], cards: list[Card]) -> _Placed:
    if not slots or not cards:
        return {}
    costs = [
        [
            _disagreement(build.slots[slot], catalogue, card) + _OUT_OF_ORDER * abs(row - column)
            for column, card in enumerate(cards)
        ]
        for row, slot in enumerate(slots)
    ]
    return {slots[row]: (cards[column], "assignment") for row, column in assign(costs)}


def _disagreement(slot: Slot, catalogue: Catalogue, card: Card) -> int:
    card = replace(card, gpu=catalogue.gpus.get(slot.gpu))
    cost = _OTHER_MODEL if card.is_declared_model is False else 0
    for width in (card.width, card.port_width_max):
        if width is not None:
            cost += _WIDTH_STEP * abs(width.bit_length() - slot.link.width.bit_length())
    return cost


def _extra(build: Build, left: list[Card], slots: _Slots) -> list[Card]:
    """The cards that no declared slot holds, under a name that is no other's: else under their address."""
    names = []
    for card in left:
        meant = slots.get(_folded(card.node_slot), {card.node_slot})
        names.append(next(iter(meant)) if len(meant) == 1 else "")
    return [
        replace(card, slot=name if name and name not in build.slots and names.count(name) == 1 else card.address or "")
        for card, name in zip(left, names, strict=True)
    ]
