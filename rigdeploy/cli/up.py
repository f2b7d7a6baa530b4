"""``rigdeploy up``: from powered off to verified."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import command_line, echo_json, json_option, rig_arguments, workspace_options
from rigdeploy.errors import UsageError
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.plan.plan import Plan

_PHASES = click.Choice(["power", "connect", "bmc", "base", "driver", "verify"])


@click.command()
@rig_arguments
@workspace_options
@json_option
@click.option("--limit", metavar="PATTERN", multiple=True, help="The same as naming rigs; may be repeated.")
@click.option("--only", type=_PHASES, help="Do this phase alone, where it is needed.")
@click.option("--check", is_flag=True, help="Change nothing: show the plan, and run the roles in check mode.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--strict", is_flag=True, help="Count what could not be judged (UNKNOWN) as FAIL.")
@click.option("--forks", type=click.IntRange(1, 500), default=50, show_default=True, help="Rigs at the same time.")
def command(
    workspace: Workspace,
    rigs: tuple[str, ...],
    *,
    as_json: bool,
    limit: tuple[str, ...],
    only: str | None,
    check: bool,
    yes: bool,
    strict: bool,
    forks: int,
) -> int:
    """Bring rigs from wherever they are to verified.

    \b
    1. look at every rig, and show what will be done to it, and why
    2. power    switch it on
    3. connect  wait until it can be logged in to; pin its host key
    4. bmc      its settings, where any are declared
    5. base     hostname, time, packages
    6. driver   the NVIDIA driver, where one is declared
    7. verify   judge every slot against the declaration, once per boot with its cards under load

    \b
    A phase that is right already is skipped; a rig that fails stops no other. Killed at any moment, the
    next 'up' carries on.
    Example: rigdeploy up rig01 --yes
    """
    from rigdeploy.fleet.load import load_fleet
    from rigdeploy.report.terminal import show
    from rigdeploy.run.node import Options
    from rigdeploy.run.progress import open_progress
    from rigdeploy.run.summary import as_dict, results, summary
    from rigdeploy.run.up import bring_up

    fleet = load_fleet(workspace)
    wanted = fleet.select((*rigs, *limit))
    options = Options(command_line(), only, check, strict, forks)
    report = bring_up(wanted, fleet, workspace, options, open_progress(), lambda plan: _confirm(plan, yes=yes or check))
    if as_json:
        echo_json(as_dict(report, fleet.catalogue))
    elif judged := results(report, fleet.catalogue):
        show(judged, sys.stdout)
    for line in summary(report):
        click.echo(line, err=True)
    return report.exit_code


def _confirm(plan: Plan, *, yes: bool) -> bool:
    """Show the plan and ask; without a terminal to ask on, ``--yes`` has to be given."""
    from rigdeploy.plan.render import render_plan

    click.echo("\n".join(render_plan(plan)), err=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm the plan", "give --yes to go ahead")
    return click.confirm("Go ahead?", err=True)
