"""A fleet as it was read: its rigs, and the documents that say where each value stands."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rigdeploy.errors import LabError, Problem, UsageError
from rigdeploy.fleet import patterns as names
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.document import Document, Place
from rigdeploy.fleet.models import Build, Rig
from rigdeploy.fleet.validate import did_you_mean
from rigdeploy.workspace import Workspace


@dataclass(frozen=True)
class Assembly:
    """A rig's build: the build's own file with the rig's override merged over it."""

    rig: str
    build: Document
    fleet: Document

    def data(self) -> Any:
        """The merged data."""
        override = self.fleet.data["rigs"][self.rig].get("override")
        return merge(self.build.data, override) if isinstance(override, dict) else self.build.data

    def locate(self, place: Place) -> tuple[Document, Place]:
        """The document that says most about a place of the merged build, and where in it."""
        override: Place = ("rigs", self.rig, "override")
        for length in range(len(place), 0, -1):
            if self.fleet.holds((*override, *place[:length])):
                return self.fleet, (*override, *place)
            if self.build.holds(place[:length]):
                break
        return self.build, place


@dataclass(frozen=True)
class Source:
    """The documents behind a fleet: what turns a place of a rig into file and line.

    ``builds`` holds each build's own file by its path: most rigs of a large fleet share one.
    """

    fleet: Document
    assemblies: dict[str, Assembly] = field(default_factory=dict)
    builds: dict[Path, Document] = field(default_factory=dict)

    def locate(self, place: Place) -> tuple[Document, Place]:
        """The document of a place such as ``("rigs", "rig01", "build", "slots", "PCIE3")``, and where in it."""
        match place:
            case ("rigs", str(rig), "build", *rest) if rest and rig in self.assemblies:
                return self.assemblies[rig].locate(tuple(rest))
        return self.fleet, place


@dataclass(frozen=True)
class Fleet:
    """The declared rigs by name, and the warnings found on the way.

    In the lab, ``rigs`` are the twins, and ``without_twin`` names the rigs that have none.
    """

    rigs: dict[str, Rig]
    catalogue: Catalogue
    workspace: Workspace
    source: Source
    problems: list[Problem] = field(default_factory=list)
    without_twin: tuple[str, ...] = ()

    def select(self, patterns: list[str] | tuple[str, ...] = ()) -> list[Rig]:
        """The rigs that any pattern (``fnmatch``; commas separate several) names, in the file's order; none given: all.

        A pattern that names no rig is a UsageError; one that names only rigs without a twin, in the lab, a LabError.
        """
        wanted = names.split(patterns)
        for pattern in wanted:
            if fnmatch.filter(self.rigs, pattern):
                continue
            if missing := fnmatch.filter(self.without_twin, pattern):
                raise LabError(f"{missing[0]} has no twin", f"run 'rigdeploy lab up {missing[0]}' first")
            hint = did_you_mean(pattern, self.rigs)
            raise UsageError(f"no rig is called '{pattern}'{hint}", f"declared: {', '.join(self.rigs)}")
        return [self.rigs[name] for name in names.chosen(self.rigs, wanted)]


def build_called(name: str, fleet: Fleet | None, catalogue: Catalogue) -> Build:
    """The build of the rig of this name, else the build of this name; UsageError where there is neither."""
    rigs = fleet.rigs if fleet is not None else {}
    build = rigs[name].build if name in rigs else catalogue.builds.get(name)
    if build is None:
        known = [*rigs, *catalogue.builds]
        raise UsageError(f"no build or rig is called '{name}'{did_you_mean(name, known)}", f"known: {', '.join(known)}")
    return build


def merge(base: Any, override: Any) -> Any:
    """``override`` over ``base``: mappings key by key, null removes, anything else replaces."""
    if not isinstance(override, dict):
        return override
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in override.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged
