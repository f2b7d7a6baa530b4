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


@dataclass(frozen=True)
class Card:
    """A declared slot with the card observed in it, or one of the two alone (missing, extra).

    ``slot`` is the declared name; of an extra card, the name that the node gives, else its PCI address.
    ``ports`` are the ports above the card, nearest first. ``matched_by`` is ``slot name``, ``address`` or
    ``assignment``, and empty when there is nothing to match. ``load`` is what the active check measured of it.
    """

    slot: str
    declared: Slot | None = None
    gpu: Gpu | None = None
    device: PciDevice | None = None
    reading: GpuReading | None = None
    ports: tuple[PciDevice, ...] = ()
    matched_by: str = ""
    load: CardLoad | None = None

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
        """The negotiated width; sysfs reads it anew each time, so it comes before nvidia-smi."""
        return first(link.width for link in self._links())

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
        """The fastest generation that any reading shows: a link that was seen fast is fast."""
        return max((link.gen for link in self._links() if link.gen is not None), default=None)

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

    By the slot's name where the node has it, then by the declared address, then by the assignment of what is left
    that agrees best with the declared models, widths and order.
    """
    devices = observed_cards(observation)
    names = {device.address: slot_name(observation, device) for device in devices}
    placed = _by_name(build, devices, names)
    placed |= _by_address(build, devices, placed)
    free = [slot for slot in build.slots if slot not in placed]
    known = set(build.slots) | set(catalogue.boards[build.board].slots if build.board in catalogue.boards else ())
    taken = {device.address for device, _ in placed.values()}
    # A card in a slot that the board has and the build leaves empty is extra, not a stand-in for a missing one.
    loose = [d for d in devices if d.address not in taken and names[d.address] not in known]
    placed |= _by_assignment(build, catalogue, observation, free, loose)
    taken = {device.address for device, _ in placed.values()}
    cards = []
    for name, slot in build.slots.items():
        device, how = placed.get(name, (None, ""))
        cards.append(_card(observation, name, device, how, slot, catalogue.gpus.get(slot.gpu)))
    extra = [device for device in devices if device.address not in taken]
    cards += [_card(observation, names[d.address] or d.address, d, "") for d in extra]
    loads = load.cards if load is not None else {}
    return [replace(card, load=loads.get(card.address or "")) for card in cards]


def observed_cards(observation: Observation) -> list[PciDevice]:
    """The NVIDIA cards by address; those that only nvidia-smi shows stand with what it says."""
    found = {device.address: device for device in observation.pci.values() if device.is_gpu}
    for address, gpu in observation.gpus.items():
        if address not in found and address not in observation.pci:
            vendor, _, device = (gpu.pci_id or "").partition(":")
            found[address] = PciDevice(address, vendor or None, device or None, link=gpu.link)
    return [found[address] for address in sorted(found)][:GPU_LIMIT]


def slot_name(observation: Observation, device: PciDevice) -> str:
    """The slot's name at the card, or at the nearest port above that has one; empty when none has."""
    return next((d.slot for d in (device, *observation.ports_above(device.address)) if d.slot), "")


def _card(
    observation: Observation,
    name: str,
    device: PciDevice | None,
    how: str,
    slot: Slot | None = None,
    gpu: Gpu | None = None,
) -> Card:
    reading = observation.gpus.get(device.address) if device else None
    ports = tuple(observation.ports_above(device.address)) if device else ()
    return Card(name, slot, gpu, device, reading, ports, how)


_Placed = dict[str, tuple[PciDevice, str]]


def _by_name(build: Build, devices: list[PciDevice], names: dict[str, str]) -> _Placed:
    placed: _Placed = {}
    # A card that bears the name itself comes before one that only sits somewhere below a port of that name.
    for device in sorted(devices, key=lambda device: device.slot is None):
        name = names[device.address]
        if name in build.slots and name not in placed:
            placed[name] = (device, "slot name")
    return placed


def _by_address(build: Build, devices: list[PciDevice], placed: _Placed) -> _Placed:
    taken = {device.address for device, _ in placed.values()}
    by_address = {device.address: device for device in devices if device.address not in taken}
    return {
        name: (by_address[slot.address], "address")
        for name, slot in build.slots.items()
        if name not in placed and slot.address in by_address
    }


def _by_assignment(
    build: Build, catalogue: Catalogue, observation: Observation, slots: list[str], devices: list[PciDevice]
) -> _Placed:
    if not slots or not devices:
        return {}
    costs = [
        [
            _disagreement(build.slots[slot], catalogue, observation, device) + _OUT_OF_ORDER * abs(row - column)
            for column, device in enumerate(devices)
        ]
        for row, slot in enumerate(slots)
    ]
    return {slots[row]: (devices[column], "assignment") for row, column in assign(costs)}


def _disagreement(slot: Slot, catalogue: Catalogue, observation: Observation, device: PciDevice) -> int:
    card = _card(observation, "", device, "", slot, catalogue.gpus.get(slot.gpu))
    cost = _OTHER_MODEL if card.is_declared_model is False else 0
    for width in (card.width, card.port_width_max):
        if width is not None:
            cost += _WIDTH_STEP * abs(width.bit_length() - slot.link.width.bit_length())
    return cost
