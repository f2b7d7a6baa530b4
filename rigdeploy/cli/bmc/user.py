"""``rigdeploy bmc user``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rigdeploy.cli.batch import confirm, load, present, refuse_unnamed, rig_lock, say, stopping, yes_option
from rigdeploy.cli.common import json_option, report_option, rig_arguments, workspace_options
from rigdeploy.power.policy import Clock
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig
    from rigdeploy.power.rotate import Outcome, Target


@click.group()
def user() -> None:
    """Give a BMC's user a new password.

    \b
    Example:
      rigdeploy bmc user rotate rig01
    """


@user.command()
@workspace_options
@rig_arguments
@click.option("--username", metavar="NAME", help="Another user than the declared one; needs --output.")
@report_option("output", "the new password")
@yes_option
@json_option
def rotate(
    workspace: Workspace,
    rigs: tuple[str, ...],
    *,
    username: str | None,
    output: Path | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Give the declared user a new password: 16 random letters and digits.

    It is set on the BMC, tried in a new session, and then stored in the file that power.password names ({file: PATH}),
    readable by you alone. A password that is declared in another way can be put into a file with --output, from where
    you take it to where it belongs. The password is never shown.

    \b
    You are never locked out:
      - the new password is in a file of the state directory before the BMC has it, and until it is stored;
      - when a step fails, the old password is set again, and you are told which one is in force;
      - when the command is killed, or the power goes, run it again: it finishes what it finds.

    \b
    Example:
      rigdeploy bmc user rotate 'rig0*'
      rigdeploy bmc user rotate rig01 --output rig01.password
    """
    from rigdeploy.power.batch import each
    from rigdeploy.power.rotate import targets

    refuse_unnamed(rigs)
    fleet = load(workspace)
    chosen = fleet.select(rigs)
    whose = targets(fleet.rigs, chosen, workspace, username, output)
    confirm("give a new password to the BMC's user of", chosen, yes=yes)
    workspace.prepare()
    by_rig = {target.rig: target for target in whose}
    results = each(chosen, partial(_rotate, workspace, by_rig), stopping)
    return present(chosen, results, _row, _show, as_json=as_json, fields=("outcome", "username", "stored"))


def _rotate(workspace: Workspace, targets: dict[str, Target], rig: Rig, _clock: Clock) -> tuple[Target, Outcome]:
    from rigdeploy.power import rotate as rotation

    target = targets[rig.name]
    # Not by the clock that Ctrl-C stops: a rotation that has begun comes to its end, which is a matter of seconds.
    with rig_lock(workspace, rig), rotation.access(rig, workspace) as bmc:
        return target, rotation.rotate(target, bmc)


def _row(done: tuple[Target, Outcome]) -> dict[str, Any]:
    target, outcome = done
    return {"outcome": outcome.value, "username": target.username, "stored": str(target.stored)}


def _show(rig: Rig, done: tuple[Target, Outcome], width: int) -> None:
    target, outcome = done
    word = click.style(f"{outcome.value:<8}", fg="green")
    click.echo(f"{rig.name:<{width}}  {word}  user '{target.username}', password in {target.stored}")
    if target.declared:
        say(rig, f"the declaration has this password in {target.declared}: put the new one there now")
