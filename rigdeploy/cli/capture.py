"""``rigdeploy capture``: the build file of a rig that is as it should be, or what differs from one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import (
    echo_json,
    inventory_option,
    json_option,
    lab_option,
    read_document,
    state_option,
)
from rigdeploy.errors import EXIT_PASS, EXIT_WARN, UsageError
from rigdeploy.workspace import DEFAULT_INVENTORY, Workspace

if TYPE_CHECKING:
    from rigdeploy.capture.model import Capture
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.fleet.models import Build
    from rigdeploy.run.capture import Seen

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes."""


@click.command()
@click.argument("node", required=False)
@click.option("--build", metavar="NAME", help="The build's name (default: made of board and cards).")
@click.option("--diff", metavar="BUILD", help="Write nothing: show how the node differs from this build (or rig).")
@click.option("-o", "--output", metavar="DIR|-", help="Where to write instead of the inventory; '-': show it only.")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--observation",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Capture what the probe printed into this file ('-': standard input), and touch no node.",
)
@inventory_option
@state_option
@lab_option
@json_option
def command(
    *,
    node: str | None,
    build: str | None,
    diff: str | None,
    output: str | None,
    force: bool,
    observation: Path | None,
    inventory: Path | None,
    state: Path | None,
    lab: bool,
    as_json: bool,
) -> int:
    """Write the build file of a rig that is as it should be; changes nothing on it.

    NODE is a rig of the fleet or, before there is one, an ssh destination: [user@]host[:port], as root when no user is
    named. What could not be read, or is not as card and port can be, stands in the file as a WARNING.

    There need be no fleet.yml yet. Ends with 0, or with 1 when there are warnings. With --diff: 0 when nothing
    differs, 2 when something does, 3 when only what could not be read may.

    \b
    Examples:
      rigdeploy capture root@192.0.2.11              writes inventory/builds/BOARD-CARDS.yml
      rigdeploy capture rig01 --build my-4x3090 -o -
      rigdeploy capture rig01 --diff my-4x3090       what was changed since?
      rigdeploy capture --observation node.json --build my-4x3090
    """
    from rigdeploy.capture.capture import capture
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.fleet import build_called

    _check(node, build, diff, output, observation, force=force)
    workspace = _workspace(inventory, state, lab=lab)
    fleet = _fleet(workspace)
    catalogue = fleet.catalogue if fleet is not None else Catalogue.load(workspace.inventory)
    declared = build_called(diff, fleet, catalogue) if diff is not None else None
    label = node or (observation.name if observation is not None and observation.name != "-" else "a recording")
    seen = _seen(node, observation, fleet, workspace)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    captured = capture(seen.observation, catalogue, f"Captured from {label}, {when}.", build, seen.load)
    if declared is not None:
        return _show_differences(declared, captured, label, as_json=as_json)
    _deliver(captured, label, workspace, output, force=force, as_json=as_json)
    return EXIT_WARN if captured.warnings else EXIT_PASS


def _check(
    node: str | None, build: str | None, diff: str | None, output: str | None, observation: Path | None, *, force: bool
) -> None:
    """UsageError for options that do not go together."""
    from rigdeploy.fleet.models import NAME_PATTERN, NAME_RULE

    if node is None and observation is None:
        raise UsageError("no node is named", "rigdeploy capture RIG, or capture --observation FILE")
    if diff is not None and (build is not None or output is not None or force):
        raise UsageError("--diff writes nothing, so it goes with neither --build nor --output nor --force")
    if build is not None and not re.fullmatch(NAME_PATTERN, build):
        raise UsageError(f"'{build}' cannot be a build's name", f"wanted: {NAME_RULE}")


def _workspace(inventory: Path | None, state: Path | None, *, lab: bool) -> Workspace:
    """The fleet's files, or the place where they will be."""
    directory = (inventory or Path(DEFAULT_INVENTORY)).absolute()
    if lab or directory.is_file() or (directory / "fleet.yml").is_file():
        workspace = Workspace.find(inventory, state, lab=lab)
        if lab:
            from rigdeploy.lab import enter

            enter(workspace)
        return workspace
    return Workspace(directory, (state or directory.parent / ".rigdeploy").absolute())


def _fleet(workspace: Workspace) -> Fleet | None:
    from rigdeploy.fleet.load import load_fleet

    return load_fleet(workspace) if workspace.fleet_file.is_file() else None


def _seen(node: str | None, file: Path | None, fleet: Fleet | None, workspace: Workspace) -> Seen:
    from rigdeploy.node.observation import Observation
    from rigdeploy.run.capture import Seen, look

    if file is not None:
        return Seen(Observation.from_json(read_document(file)))
    return look(node or "", fleet, workspace, lambda line: click.echo(line, err=True))


def _show_differences(declared: Build, captured: Capture, label: str, *, as_json: bool) -> int:
    from rigdeploy.capture.diff import differences, exit_code, table

    found = differences(declared, captured)
    if as_json:
        rows = [one.as_dict() for one in found]
        echo_json({"schema": SCHEMA, "node": label, "build": declared.name, "differences": rows})
    else:
        for line in table(found):
            click.echo(line)
        if not found:
            click.echo(f"{label} is as {declared.name} declares")
    return exit_code(found)


def _deliver(
    captured: Capture, label: str, workspace: Workspace, output: str | None, *, force: bool, as_json: bool
) -> None:
    """Write or show the files, then say what they could not hold."""
    from rigdeploy.capture.text import text
    from rigdeploy.run.capture import write

    directory = Path(output) if output not in (None, "-") else workspace.inventory
    written = [] if output == "-" else write(captured, directory, force=force)
    texts = {str(entry.path): text(entry) for entry in captured.entries}
    if as_json:
        files = [{"path": path, "text": content} for path, content in texts.items()]
        document = {"schema": SCHEMA, "node": label, "build": captured.build.name}
        paths = [str(path) for path in written]
        echo_json(document | {"files": files, "written": paths, "warnings": captured.warnings})
    elif output == "-":
        # One file is shown as it is; of several each has its name above it.
        shown = texts.values() if len(texts) == 1 else [f"# {path}\n{content}" for path, content in texts.items()]
        click.echo("---\n".join(shown), nl=False)
    else:
        for path in written:
            click.echo(f"wrote {path}")
        click.echo(f"next: 'build: {captured.build.name}' in fleet.yml, then 'rigdeploy verify' judges the rig by it")
    for warning in captured.warnings:
        click.echo(f"{click.style('WARNING', fg='yellow')}: {warning}", err=True)
