"""``rigdeploy power``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from rigdeploy.cli.common import echo_json, json_option, rig_arguments, workspace_options
from rigdeploy.errors import EXIT_PASS, RigdeployError, UsageError
from rigdeploy.power import policy
from rigdeploy.power.base import Driver, PowerState
from rigdeploy.power.batch import each
from rigdeploy.power.policy import Clock, Say
from rigdeploy.run.lock import RigLock
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes."""
READ_SECONDS = 30.0
"""How long ``status`` gives a busy BMC."""

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
soft_option = click.option("--soft", is_flag=True, help="Ask the system to shut down first, then cut the power.")


@dataclass(frozen=True)
class Outcome:
    """What became of one rig: its state, whether it was changed, and the seconds that took."""

    state: PowerState
    changed: bool
    seconds: float


Action = Callable[[Driver, "Rig", Say, Clock], bool]
"""Does something to one rig and says whether that changed it."""


@click.group()
def command() -> None:
    """Switch rigs on and off, and see whether they are.

    A change is read back: what is reported is what was seen, not what was asked for. Rigs are handled at the
    same time; each result is shown as it comes. Ends with 0, or with 5 when any rig failed.

    \b
    Example:
      rigdeploy power status
      rigdeploy power cycle rig01 --yes
    """


@command.command()
@workspace_options
@rig_arguments
@json_option
def status(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Show whether rigs are on.

    A rig without a BMC is 'on' when its ssh port answers, and 'unknown' otherwise.

    \b
    Example:
      rigdeploy power status 'rig0*' --json
    """
    chosen = _select(workspace, rigs)
    return _report(chosen, _over(workspace, chosen, None, _leave), as_json=as_json)


@command.command()
@workspace_options
@rig_arguments
@json_option
def on(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Switch rigs on, and wait until they are.

    \b
    Example:
      rigdeploy power on rig01 rig02
    """
    chosen = _select(workspace, rigs)
    return _report(chosen, _over(workspace, chosen, "on", partial(_bring, PowerState.ON)), as_json=as_json)


@command.command()
@workspace_options
@rig_arguments
@soft_option
@yes_option
@json_option
def off(workspace: Workspace, rigs: tuple[str, ...], *, soft: bool, yes: bool, as_json: bool) -> int:
    """Switch rigs off, and wait until they are.

    The power is cut at once unless --soft is given.

    \b
    Example:
      rigdeploy power off rig01 --soft
    """
    chosen = _select_named(workspace, rigs)
    _confirm("switch off", chosen, yes=yes)
    return _report(chosen, _over(workspace, chosen, "off", partial(_bring, PowerState.OFF, soft=soft)), as_json=as_json)


@command.command()
@workspace_options
@rig_arguments
@soft_option
@yes_option
@json_option
def cycle(workspace: Workspace, rigs: tuple[str, ...], *, soft: bool, yes: bool, as_json: bool) -> int:
    """Switch rigs off and on again; one that is off is switched on.

    \b
    Example:
      rigdeploy power cycle rig01 --yes
    """
    chosen = _select_named(workspace, rigs)
    _confirm("switch off and on", chosen, yes=yes)
    return _report(chosen, _over(workspace, chosen, "cycle", partial(_cycle, soft=soft)), as_json=as_json)


def _leave(_driver: Driver, _rig: Rig, _say: Say, _clock: Clock) -> bool:
    return False


def _bring(want: PowerState, driver: Driver, rig: Rig, say: Say, clock: Clock, *, soft: bool = False) -> bool:
    return policy.ensure(driver, want, rig.power.timeout_seconds, say, soft=soft, clock=clock)


def _cycle(driver: Driver, rig: Rig, say: Say, clock: Clock, *, soft: bool) -> bool:
    policy.cycle(driver, rig.power.timeout_seconds, say, soft=soft, clock=clock)
    return True


def _select(workspace: Workspace, patterns: tuple[str, ...]) -> list[Rig]:
    from rigdeploy.fleet.load import load_fleet

    return load_fleet(workspace).select(patterns)


def _select_named(workspace: Workspace, patterns: tuple[str, ...]) -> list[Rig]:
    """As ``_select``, but the whole fleet has to be asked for: it is never cut off by leaving something out."""
    if not patterns:
        raise UsageError("no rig is named", "name the rigs, or '*' for the whole fleet")
    return _select(workspace, patterns)


def _confirm(what: str, rigs: list[Rig], *, yes: bool) -> None:
    if yes:
        return
    names = ", ".join(rig.name for rig in rigs)
    if not sys.stdin.isatty():
        raise UsageError(f"this would {what} {names}, and nobody is there to confirm it", "add --yes")
    if not click.confirm(f"{what.capitalize()} {names}?", err=True):
        raise UsageError("declined; nothing was switched")


def _over(
    workspace: Workspace, rigs: list[Rig], verb: str | None, action: Action
) -> Iterator[tuple[Rig, Outcome | RigdeployError]]:
    """Do it to every rig at once; ``verb`` names a change, for which the rig's own lock is held."""
    workspace.prepare()
    return each(rigs, partial(_one, workspace, verb, action))


def _one(workspace: Workspace, verb: str | None, action: Action, rig: Rig, clock: Clock) -> Outcome:
    from rigdeploy.power.drivers import open_driver

    def say(text: str) -> None:
        click.echo(f"{rig.name}: {text}", err=True)

    started = time.monotonic()
    lock = RigLock(workspace.locks, rig.name, command=f"rigdeploy power {verb}", run="none") if verb else nullcontext()
    with lock, closing(open_driver(rig, workspace)) as driver:
        changed = action(driver, rig, say, clock)
        state = policy.read(driver, READ_SECONDS, clock)
    return Outcome(state, changed, time.monotonic() - started)


def _report(rigs: list[Rig], results: Iterator[tuple[Rig, Outcome | RigdeployError]], *, as_json: bool) -> int:
    """Show each result as it comes, or all of them as JSON; returns the exit code."""
    width = max(len(rig.name) for rig in rigs)
    code, rows = EXIT_PASS, {}
    for rig, result in results:
        rows[rig.name] = _row(rig, result)
        if isinstance(result, RigdeployError):
            code = max(code, result.exit_code)
        if not as_json:
            _show(rig, result, width)
    if as_json:
        echo_json({"schema": SCHEMA, "rigs": {rig.name: rows[rig.name] for rig in rigs}})
    return code


def _row(rig: Rig, result: Outcome | RigdeployError) -> dict[str, Any]:
    row: dict[str, Any] = {"driver": rig.power.driver, "state": None, "changed": None, "error": None}
    if isinstance(result, RigdeployError):
        error = {"kind": type(result).__name__, "message": result.message, "remedy": result.remedy}
        return row | {"error": error}
    return row | {"state": result.state.value, "changed": result.changed, "seconds": round(result.seconds, 2)}


def _show(rig: Rig, result: Outcome | RigdeployError, width: int) -> None:
    if isinstance(result, RigdeployError):
        click.echo(f"{rig.name:<{width}}  {click.style('error', fg='red')}    {result.message}", err=True)
        if result.remedy:
            click.echo(f"{'':<{width}}           {result.remedy}", err=True)
        return
    color = {PowerState.ON: "green", PowerState.OFF: "yellow", PowerState.UNKNOWN: "magenta"}[result.state]
    note = f"changed in {result.seconds:.1f} s" if result.changed else ""
    if result.state is PowerState.UNKNOWN:
        note = "off or unreachable: it has no BMC to ask"
    click.echo(f"{rig.name:<{width}}  {click.style(f'{result.state.value:<7}', fg=color)}  {note}".rstrip())
