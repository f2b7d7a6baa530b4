"""The shipped boards, GPUs and builds, and an owner's own beside the inventory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from rigdeploy.errors import DeclarationError, Problem
from rigdeploy.fleet import document
from rigdeploy.fleet.document import Document
from rigdeploy.fleet.models import Board, Build, Gpu
from rigdeploy.fleet.validate import validate

SHIPPED = Path(__file__).parent
"""Where the shipped data is: ``boards/ID.yml``, ``gpus/ID.yml``, ``builds/NAME.yml``."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Catalogue:
    """Boards, GPUs and builds by id."""

    boards: dict[str, Board] = field(default_factory=dict)
    gpus: dict[str, Gpu] = field(default_factory=dict)
    builds: dict[str, Build] = field(default_factory=dict)

    @classmethod
    def load(cls, own: Path | None = None) -> Catalogue:
        """The shipped catalogue; files below ``own`` (an inventory directory) add to it or replace an entry.

        Raises DeclarationError with every problem of every file.
        """
        catalogue, problems = cls.read(own)
        if problems:
            raise DeclarationError(problems)
        return catalogue

    @classmethod
    def read(cls, own: Path | None = None) -> tuple[Catalogue, list[Problem]]:
        """As ``load``, but what can be read comes back together with the problems of the rest."""
        directories = [SHIPPED, own] if own else [SHIPPED]
        problems: list[Problem] = []
        boards: dict[str, Board] = {}
        gpus: dict[str, Gpu] = {}
        builds: dict[str, Build] = {}
        for directory in directories:
            boards |= _entries(directory / "boards", Board, "id", problems)
            gpus |= _entries(directory / "gpus", Gpu, "id", problems)
            builds |= _entries(directory / "builds", Build, "name", problems)
        return cls(boards, gpus, builds), problems

    def gpu_by_pci_id(self, pci_id: str) -> Gpu | None:
        """The GPU behind ``vendor:device`` (``10de:2204``); of those that share an id, the unmodified one."""
        found = [gpu for gpu in self.gpus.values() if pci_id in gpu.pci_ids]
        return min(found, key=lambda gpu: gpu.modified, default=None)


def read_entry(path: Path, name: str, key: str) -> Document:
    """One file of the catalogue; ``key`` (its id or name) follows from the file's name and need not be in it."""
    entry = document.read(path)
    if entry.problems:
        return entry
    if not isinstance(entry.data, dict):
        entry.problems.append(entry.problem((), "the file holds no mapping (key: value)"))
    elif entry.data.setdefault(key, name) != name:
        entry.problems.append(entry.problem((key,), f"'{key}' is not the file's name, {name}", "leave it out"))
    return entry


def _entries(directory: Path, model: type[M], key: str, problems: list[Problem]) -> dict[str, M]:
    entries: dict[str, M] = {}
    for path in sorted(directory.glob("*.yml")):
        entry = read_entry(path, path.stem, key)
        problems += entry.problems
        if entry.problems:
            continue
        made, found = validate(model, entry.data, entry.locate)
        problems += found
        if made is not None:
            entries[path.stem] = made
    return entries
