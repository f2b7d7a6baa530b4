"""What a capture is made of: entries for the inventory directory, each with notes on what stands in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Generic, TypeVar

from rigdeploy.fleet.models import Board, Build, Gpu

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.document import Place
    from rigdeploy.fleet.models import Slot
    from rigdeploy.node.observation import GpuReading, Observation

M = TypeVar("M", Board, Build, Gpu)


class Kind(StrEnum):
    """What a note is: a remark, something that could not be captured truthfully, or a line to take the # from."""

    NOTE = "note"
    WARNING = "warning"
    SUGGESTION = "suggestion"


@dataclass(frozen=True)
class Note:
    """A comment at a place of an entry (``("slots", "PCIE1")``; ``()`` is the top of the file)."""

    place: Place
    text: str
    kind: Kind = Kind.NOTE


def warning(place: Place, text: str) -> Note:
    """Something that could not be captured truthfully."""
    return Note(place, text, Kind.WARNING)


@dataclass(frozen=True)
class Entry(Generic[M]):
    """One file of the inventory directory: ``builds/NAME.yml``, ``boards/ID.yml`` or ``gpus/ID.yml``."""

    model: M
    notes: tuple[Note, ...] = ()

    @property
    def name(self) -> str:
        """The file's name, which is the entry's name or id."""
        return self.model.name if isinstance(self.model, Build) else self.model.id

    @property
    def path(self) -> PurePosixPath:
        """Where it belongs below the inventory directory."""
        directory = "builds" if isinstance(self.model, Build) else "boards" if isinstance(self.model, Board) else "gpus"
        return PurePosixPath(directory, f"{self.name}.yml")


AnyEntry = Entry[Build] | Entry[Board] | Entry[Gpu]


@dataclass(frozen=True)
class CapturedCard:
    """A card as it was found, and the slot that declares it.

    ``gen_is_assumed``: the card was at rest, and the generation is what card and port can do.
    """

    address: str
    slot: Slot
    reading: GpuReading | None = None
    gen_is_assumed: bool = False


@dataclass(frozen=True)
class Capture:
    """A node as it can be declared.

    ``added`` are the boards and GPUs that the catalogue lacks, or describes otherwise than the node is; ``catalogue``
    is the one with them. ``board_is_known`` tells whether the node said which board it is. ``cards`` are by the name of
    their slot in the build.
    """

    observation: Observation
    catalogue: Catalogue
    build: Entry[Build]
    board_is_known: bool
    added: tuple[Entry[Board] | Entry[Gpu], ...] = ()
    cards: dict[str, CapturedCard] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[AnyEntry, ...]:
        """Everything to be written; what another entry needs comes before it."""
        return (*self.added, self.build)

    @property
    def warnings(self) -> list[str]:
        """What could not be captured truthfully, each with the place it concerns."""
        return [
            f"{'.'.join(str(part) for part in note.place)}: {note.text}" if note.place else note.text
            for entry in self.entries
            for note in entry.notes
            if note.kind is Kind.WARNING
        ]
