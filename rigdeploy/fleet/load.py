"""From the files of an inventory to a Fleet: read, merge, validate, lint; every problem in one go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rigdeploy.errors import DeclarationError, Problem
from rigdeploy.fleet import lint, twins
from rigdeploy.fleet.catalogue import SHIPPED, Catalogue, read_entry
from rigdeploy.fleet.document import Document, Place, read
from rigdeploy.fleet.fleet import Assembly, Fleet, Source
from rigdeploy.fleet.models import NAME_PATTERN, NAME_RULE, BmcQuirks, Build, Rig, RigEntry
from rigdeploy.fleet.validate import did_you_mean, shown, validate
from rigdeploy.workspace import Workspace

_TOP_KEYS = ("plugin", "rigs")


def load_fleet(workspace: Workspace) -> Fleet:
    """Read the fleet of a workspace; DeclarationError with every problem when it cannot be used.

    In the lab each rig is overlaid with its twin's addresses and credentials (LabError without twins).
    """
    fleet = read_fleet(workspace)
    if any(problem.severity == "error" for problem in fleet.problems):
        raise DeclarationError([problem for problem in fleet.problems if problem.severity == "error"])
    return twins.overlay_fleet(fleet) if workspace.lab else fleet


def read_fleet(workspace: Workspace) -> Fleet:
    """Read the fleet as far as it can be read: the rigs that are right, and the problems of all."""
    document = read(workspace.fleet_file)
    catalogue, problems = Catalogue.read(workspace.inventory)
    entries = _entries(document)
    source = Source(document)
    rigs: dict[str, Rig] = {}
    remarks: list[lint.Remark] = []
    for name, data in entries.items():
        rig, build, found = _rig(name, data, source, catalogue, workspace.inventory)
        problems += found
        if rig is not None:
            rigs[name] = rig
        elif build is not None:
            remarks += lint.build_remarks(build, catalogue, ("rigs", name, "build"))
    fleet = Fleet(rigs, catalogue, workspace, source)
    remarks += lint.remarks(fleet.rigs, catalogue)
    problems = [*document.problems, *problems, *lint.located(remarks, source.locate)]
    problems += _unused_builds(source, catalogue, workspace.inventory)
    return Fleet(rigs, catalogue, workspace, source, _sorted(problems))


def _entries(document: Document) -> dict[str, Any]:
    """The rigs' raw entries; what is wrong at the top of the file goes to the document's problems."""
    data, problems = document.data, document.problems
    if problems and data is None:
        return {}
    if not isinstance(data, dict):
        problems.append(document.problem((), f"found {shown(data)}; 'plugin: rigdeploy' and 'rigs:' are wanted here"))
        return {}
    for key in data:
        if key not in _TOP_KEYS and not key.startswith("x-"):
            hint = did_you_mean(key, _TOP_KEYS)
            problems.append(document.problem((key,), f"unknown key '{key}'{hint}", "allowed here: plugin, rigs, x-…"))
    if data.get("plugin") != "rigdeploy":
        message = "'plugin: rigdeploy' is missing" if "plugin" not in data else "the plugin is not 'rigdeploy'"
        problems.append(document.problem(("plugin",), message, "Ansible finds our inventory plugin by that line"))
    rigs = data.get("rigs")
    if not isinstance(rigs, dict) or not rigs:
        if not problems:
            found = "no rig is declared" if not rigs else f"found {shown(rigs)}; rigs by name are wanted"
            problems.append(document.problem(("rigs",), found))
        return {}
    return rigs


def _rig(
    name: str, data: Any, source: Source, catalogue: Catalogue, inventory: Path
) -> tuple[Rig | None, Build | None, list[Problem]]:
    """One rig; without it, at least its build if that much is right; and the problems."""
    place: Place = ("rigs", name)
    problems = []
    if not re.fullmatch(NAME_PATTERN, name):
        problems.append(source.fleet.problem(place, f"'{name}' cannot be a rig's name", f"wanted: {NAME_RULE}"))
    if not isinstance(data, dict):
        problems.append(source.fleet.problem(place, f"found {shown(data)}; address, build and power are wanted"))
        return None, None, problems
    entry, found = validate(RigEntry, data, lambda inner: (source.fleet, (*place, *inner)), str(inventory))
    problems += found
    build, found = _build(name, data.get("build"), source, catalogue, inventory)
    problems += found
    if problems or entry is None or build is None:
        return None, build, problems
    settings = {key: getattr(entry, key) for key in entry.model_fields_set - {"build", "override"}}
    board = catalogue.boards.get(build.board)
    quirks = board.bmc.quirks if board is not None and board.bmc is not None else BmcQuirks()
    return Rig(name=name, build=build, board_quirks=quirks, **settings), build, problems


def _build(
    rig: str, name: Any, source: Source, catalogue: Catalogue, inventory: Path
) -> tuple[Build | None, list[Problem]]:
    """A rig's build with its override merged in."""
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        return None, []  # the entry's own validation has said so
    candidates = [directory / "builds" / f"{name}.yml" for directory in (inventory, SHIPPED)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        known = sorted(catalogue.builds)
        return None, [
            source.fleet.problem(
                ("rigs", rig, "build"),
                f"no build is called '{name}'{did_you_mean(name, known)}",
                f"shipped or in builds/: {', '.join(known)}; describe your own in builds/{name}.yml beside fleet.yml",
            )
        ]
    if path not in source.builds:
        source.builds[path] = read_entry(path, name, "name")
    document = source.builds[path]
    if document.problems:
        return None, []  # reading the catalogue has said so
    assembly = Assembly(rig, document, source.fleet)
    source.assemblies[rig] = assembly
    return validate(Build, assembly.data(), assembly.locate)


def _unused_builds(source: Source, catalogue: Catalogue, inventory: Path) -> list[Problem]:
    """What cannot be about the owner's builds that no rig uses (yet)."""
    used = {assembly.build.data["name"] for assembly in source.assemblies.values()}
    problems = []
    for path in sorted((inventory / "builds").glob("*.yml")):
        if path.stem in used or path.stem not in catalogue.builds:
            continue
        if remarks := lint.build_remarks(catalogue.builds[path.stem], catalogue):
            problems += lint.located(remarks, read_entry(path, path.stem, "name").locate)
    return problems


def _sorted(problems: list[Problem]) -> list[Problem]:
    """Each problem once (two rigs may share a faulty build), errors first, then by file and line."""
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: (problem.severity != "error", problem.file, problem.line or 0))
