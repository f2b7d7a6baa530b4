"""``rigdeploy log``: what one run did."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import echo_json, json_option, workspace_options
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.run.history import RunLog

SCHEMA = 1


@click.command()
@click.argument("run", required=False)
@workspace_options
@json_option
@click.option("--rig", help="Show this rig alone.")
@click.option("--no-output", is_flag=True, help="Leave out what Ansible said.")
def command(workspace: Workspace, run: str | None, *, as_json: bool, rig: str | None, no_output: bool) -> None:
    """Show what a run did: phases, times, failures, and what Ansible said.

    \b
    Without RUN it is the last one; the beginning of a run's name is enough.
    Example: rigdeploy log --rig rig01
    """
    from rigdeploy.run.history import read_log

    workspace.prepare()
    log = read_log(workspace, run, rig)
    if as_json:
        phases = [asdict(phase) for phase in log.phases]
        echo_json({"schema": SCHEMA, "run": asdict(log.run), "phases": phases, "output": log.output})
        return
    click.echo("\n".join(_lines(log)))
    if not no_output:
        for play, text in log.output.items():
            click.echo(f"\n--- {play}\n{text}")


def _lines(log: RunLog) -> list[str]:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(log.run.started))
    lines = [f"{log.run.id}: rigdeploy {log.run.command}", f"started {started}, {log.run.outcome}"]
    for phase in log.phases:
        seconds = "" if phase.seconds is None else f"{phase.seconds:.1f} s"
        reboot = ", rebooted" if phase.rebooted else ""
        lines.append(f"  {phase.rig:<12} {phase.phase:<8} {phase.outcome:<11} {seconds:>8}{reboot}")
        lines += [f"    {line}" for line in phase.message.splitlines()]
    lines += [f"  {verdict.rig:<12} verdict  {verdict.status}" for verdict in log.verdicts]
    return lines
