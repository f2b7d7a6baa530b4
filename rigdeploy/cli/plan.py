"""``rigdeploy plan``: what ``up`` would do, and why."""

from __future__ import annotations

import click

from rigdeploy.cli.common import echo_json, json_option, rig_arguments, workspace_options
from rigdeploy.errors import EXIT_NODE, EXIT_PASS
from rigdeploy.workspace import Workspace


@click.command()
@rig_arguments
@workspace_options
@json_option
@click.option("--details", is_flag=True, help="Show every phase, also of rigs that are right.")
def command(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool, details: bool) -> int:
    """Show what 'up' would do to each rig, and why; changes nothing.

    \b
    Each rig is looked at once, over ssh; one that does not answer is asked for by its power driver.
    Example: rigdeploy plan rig01 'lab-*'
    """
    from rigdeploy.fleet.load import load_fleet
    from rigdeploy.plan.plan import make_plan
    from rigdeploy.plan.render import render_plan
    from rigdeploy.run.ledger import Ledger
    from rigdeploy.run.survey import survey

    fleet = load_fleet(workspace)
    wanted = fleet.select(rigs)
    workspace.prepare()
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        views = survey(wanted, workspace, fleet, ledger.last_seconds())
    plan = make_plan(views.values())
    if as_json:
        echo_json(plan.as_dict())
    else:
        click.echo("\n".join(render_plan(plan, details=details)))
    return EXIT_NODE if plan.blocked else EXIT_PASS
