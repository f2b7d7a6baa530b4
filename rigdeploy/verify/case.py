"""What every rule is given: one rig's declaration beside what was observed, cards matched to slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rigdeploy.node.observation import Observation
from rigdeploy.verify.cards import Card, match

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.models import Board, Rig, Slot
    from rigdeploy.node.bmc_reading import BmcReading
    from rigdeploy.node.load import Load

LOOK_ON_THE_HOST = "the node is a virtual machine, whose ports are emulated: look for the cause on its host"


@dataclass(frozen=True)
class Case:
    """One rig to judge; ``load`` is an active check of the same boot, ``bmc`` what its BMC said, if it was asked."""

    rig: Rig
    catalogue: Catalogue
    observation: Observation
    cards: tuple[Card, ...]
    load: Load | None = None
    bmc: BmcReading | None = None

    @classmethod
    def of(
        cls,
        rig: Rig,
        catalogue: Catalogue,
        observation: Observation,
        load: Load | None = None,
        bmc: BmcReading | None = None,
    ) -> Case:
        """Match the cards to the declared slots; a load of another boot, or of none that is known, is left out."""
        if load is not None and (load.boot_id is None or load.boot_id != observation.host.boot_id):
            load = None
        return cls(rig, catalogue, observation, tuple(match(rig.build, catalogue, observation, load)), load, bmc)

    @property
    def is_virtual(self) -> bool:
        """Whether the ports above a card may be emulated, so that what they say proves nothing."""
        return self.observation.host.virtualisation not in (None, "none")

    @property
    def board(self) -> Board | None:
        """The declared board, as far as the catalogue has it."""
        return self.catalogue.boards.get(self.rig.build.board)

    @property
    def cards_were_read(self) -> bool:
        """Whether the node's functions could be listed and told apart: only then is a card that is not seen missing."""
        devices = self.observation.pci.values()
        listed = bool(devices or self.observation.gpus) and not self.observation.why_unread("pci[]")
        return listed and all(device.vendor and device.class_code for device in devices)

    @property
    def why_cards_were_not_read(self) -> str:
        """The reason for the above, as the start of a sentence."""
        lines = self.observation.unread
        listed = next((line.why for line in lines if line.what in ("pci", "pci[]")), "")
        return listed or "the node's PCI functions could not be told apart"

    def occupied(self) -> Iterator[tuple[Card, Slot]]:
        """The declared slots that hold a card, each with what was declared for it."""
        for card in self.cards:
            if card.declared is not None and card.device is not None:
                yield card, card.declared

    def place(self, card: Card) -> str:
        """The slot in words that find it: name and board, and the address where the name is only our guess."""
        name = f"{card.slot} of the {self.board.name}" if self.board else card.slot
        guessed = card.matched_by == "assignment"
        return f"{name} (the node does not name this slot; the card at {card.address})" if guessed else name

    def note(self, card: Card) -> str:
        """What the catalogue says about this slot of the board, as a sentence; empty when it says nothing."""
        slot = self.board.slots.get(card.slot) if self.board else None
        return f" {card.slot} {slot.note}." if slot and slot.note else ""

    def setup(self, setting: Literal["bifurcation", "link_speed", "resizable_bar", "above_4g_decoding"]) -> str:
        """Where the board's firmware has a setting, as words that follow ``in``: its own, where they are known."""
        menu: str = getattr(self.board.bios, setting) if self.board else ""
        return f"the BIOS ({menu})" if menu else "the BIOS"
