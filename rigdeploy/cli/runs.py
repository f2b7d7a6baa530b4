"""``rigdeploy runs``: what was run, and how it ended."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from rigdeploy.cli.common import echo_json, json_option, workspace_options
from rigdeploy.workspace import Workspace

SCHEMA = 1


@click.command()
@workspace_options
@json_option
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first.")
def command(workspace: Workspace, *, as_json: bool, number: int) -> None:
    """List past runs, newest first.

    \b
    Outcomes: done, failed, interrupted, declined, died (killed, or the machine went down), running.
    Example: rigdeploy runs -n 5
    """
    from rigdeploy.run.ledger import Ledger
    from rigdeploy.run.leftovers import bury

    workspace.prepare()
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        bury(ledger, workspace.runs)
        found = ledger.runs()[:number]
    if as_json:
        echo_json({"schema": SCHEMA, "runs": [asdict(run) for run in found]})
        return
    for run in found:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
        spent = "" if run.ended is None else f"{run.ended - run.started:.0f} s"
        click.echo(f"{run.id:<36} {started}  {run.outcome:<11} {spent:>7}  {run.command}")
    if not found:
        click.echo("no runs yet", err=True)
