"""``rigdeploy check``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import echo_json, json_option, workspace_options
from rigdeploy.errors import EXIT_PASS, EXIT_USAGE, EXIT_WARN
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.errors import Problem

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes."""


@click.command()
@workspace_options
@json_option
def command(workspace: Workspace, *, as_json: bool) -> int:
    """Check the declaration, without touching any rig.

    Every mistake is told at once, with file and line: unknown keys, wrong values, and what cannot be (a link that the
    slot or the card cannot do, totals that are no sum, a power supply that is too small, …).

    Ends with 0 when all is right, 1 when there are only warnings, 4 when the declaration cannot be used.

    \b
    Example:
      rigdeploy check -i inventory
    """
    from rigdeploy.fleet.load import read_fleet

    fleet = read_fleet(workspace)
    cards = sum(len(rig.build.slots) for rig in fleet.rigs.values())
    errors = [problem for problem in fleet.problems if problem.severity == "error"]
    if as_json:
        problems = [asdict(problem) for problem in fleet.problems]
        echo_json({"schema": SCHEMA, "rigs": len(fleet.rigs), "cards": cards, "problems": problems})
    else:
        for problem in fleet.problems:
            _show(problem)
        click.echo(_summary(len(fleet.rigs), cards, len(errors), len(fleet.problems) - len(errors)))
    if errors:
        return EXIT_USAGE
    return EXIT_WARN if fleet.problems else EXIT_PASS


def _show(problem: Problem) -> None:
    color = "red" if problem.severity == "error" else "yellow"
    click.echo(f"{click.style(problem.severity, fg=color)}: {problem}", err=True)
    if problem.remedy:
        click.echo(f"  {problem.remedy}", err=True)


def _summary(rigs: int, cards: int, errors: int, warnings: int) -> str:
    """One line; with errors there is no telling how many rigs and cards are meant."""
    declared = [] if errors else [_count(rigs, "rig"), _count(cards, "card")]
    problems = [_count(number, what) for number, what in ((errors, "error"), (warnings, "warning")) if number]
    return ", ".join([*declared, *(problems or ["no problem"])])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
