"""What commands share that do one thing to the power or the BMC of many rigs: choose, confirm, do, show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from rigdeploy.cli.common import command_line, echo_json
from rigdeploy.errors import EXIT_PASS, RigdeployError, UsageError
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.fleet.models import Rig
    from rigdeploy.power.base import Driver
    from rigdeploy.power.policy import Clock, Say

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes."""
READ_SECONDS = 30.0
"""How long a busy BMC is given for a reading."""
_BMCS = ("ipmi", "ipmitool", "redfish")
"""Drivers of rigs that have a BMC."""

T = TypeVar("T")


class Named(Protocol):
    """As much of a rig as its line in a list takes."""

    @property
    def name(self) -> str:
        """The rig's name."""
        ...

    @property
    def power(self) -> Switched:
        """How it is switched."""
        ...


class Switched(Protocol):
    """As much of that as its line in a list takes."""

    @property
    def driver(self) -> str:
        """The way of switching."""
        ...


N = TypeVar("N", bound=Named)
Action = Callable[["Driver", "Rig", "Say", "Clock"], T]
"""Does something with one rig's driver; what it returns is shown."""
Results = Iterator[tuple["Rig", T | RigdeployError]]

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def load(workspace: Workspace) -> Fleet:
    """The fleet as it is declared."""
    from rigdeploy.fleet.load import load_fleet

    return load_fleet(workspace)


def select(workspace: Workspace, patterns: tuple[str, ...]) -> list[Rig]:
    """The named rigs, or all of them."""
    return load(workspace).select(patterns)


def select_named(workspace: Workspace, patterns: tuple[str, ...]) -> list[Rig]:
    """As ``select``, but the whole fleet has to be asked for: nothing happens to it by leaving something out."""
    refuse_unnamed(patterns)
    return select(workspace, patterns)


def select_bmcs(workspace: Workspace, patterns: tuple[str, ...]) -> list[Rig]:
    """The named rigs, or all that have a BMC: a mixed fleet is no error."""
    rigs = select(workspace, patterns)
    with_bmc = [rig for rig in rigs if rig.power.driver in _BMCS]
    if not patterns and not with_bmc:
        raise UsageError("no rig of this fleet has a BMC", "declare power.driver: ipmi, ipmitool or redfish")
    return rigs if patterns else with_bmc


def refuse_unnamed(patterns: tuple[str, ...]) -> None:
    """UsageError when no rig is named."""
    if not patterns:
        raise UsageError("no rig is named", "name the rigs, or '*' for the whole fleet")


def confirm(what: str, rigs: Sequence[Rig], *, yes: bool) -> None:
    """Ask whether to do it; UsageError when that is declined, or nobody is there to ask."""
    if yes:
        return
    names = ", ".join(rig.name for rig in rigs)
    if not sys.stdin.isatty():
        raise UsageError(f"this would {what} {names}, and nobody is there to confirm it", "add --yes")
    if not click.confirm(f"{what[0].upper()}{what[1:]} {names}?", err=True):
        raise UsageError("declined; nothing was changed")


def over(workspace: Workspace, rigs: Sequence[Rig], action: Action[T], *, changes: bool) -> Results[T]:
    """Do it to every rig at once; results come as they come. What ``changes`` a rig holds the rig's own lock."""
    from rigdeploy.power.batch import each

    workspace.prepare()
    return each(rigs, partial(_one, workspace, action, changes=changes), stopping)


def _one(workspace: Workspace, action: Action[T], rig: Rig, clock: Clock, *, changes: bool) -> T:
    from rigdeploy.power.drivers import open_driver
    from rigdeploy.power.rotate import explained

    try:
        with rig_lock(workspace, rig) if changes else nullcontext(), closing(open_driver(rig, workspace)) as driver:
            return action(driver, rig, partial(say, rig), clock)
    except RigdeployError as error:
        raise explained(error, rig, workspace) from error


def stopping() -> None:
    """Tell who has pressed Ctrl-C that it was heard."""
    click.echo("stopping: requests that are under way come to their end first", err=True)


def rig_lock(workspace: Workspace, rig: Rig) -> Any:
    """The rig's own lock, which keeps runs and commands apart that change it."""
    from rigdeploy.run.lock import RigLock

    return RigLock(workspace.locks, rig.name, command=f"rigdeploy {command_line()}", run="")


def say(rig: Named, text: str) -> None:
    """Tell what is going on, on standard error."""
    click.echo(f"{rig.name}: {text}", err=True)


def warn_dropped(rig: Named, dropped: Iterable[str]) -> None:
    """Say what the BMC took and did not keep."""
    if names := ", ".join(dropped):
        say(rig, f"warning: its BMC takes the boot device, and drops what else was asked for: {names}")


def present(
    rigs: Sequence[N],
    results: Iterator[tuple[N, T | RigdeployError]],
    row: Callable[[T], dict[str, Any]],
    show: Callable[[N, T, int], None],
    *,
    as_json: bool,
    fields: Sequence[str] = (),
) -> int:
    """Show each result as it comes, or all of them as JSON; returns the exit code.

    ``row`` makes a result JSON-ready, ``show`` prints it (the number is the width of the rigs' names). In JSON each rig
    has its ``driver`` and an ``error``, which is null where there is a result; ``fields`` are null where there is none.
    """
    width = max(len(rig.name) for rig in rigs)
    code, rows = EXIT_PASS, {}
    for rig, result in results:
        head: dict[str, Any] = {"driver": rig.power.driver}
        if isinstance(result, RigdeployError):
            code = max(code, result.exit_code)
            rows[rig.name] = head | dict.fromkeys(fields) | {"error": _error(result)}
            if not as_json:
                _show_error(rig, result, width)
            continue
        rows[rig.name] = head | row(result) | {"error": None}
        if not as_json:
            show(rig, result, width)
    if as_json:
        echo_json({"schema": SCHEMA, "rigs": {rig.name: rows[rig.name] for rig in rigs}})
    return code


def _error(error: RigdeployError) -> dict[str, str]:
    return {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}


def _show_error(rig: Named, error: RigdeployError, width: int) -> None:
    click.echo(f"{rig.name:<{width}}  {click.style('error', fg='red')}    {error.message}", err=True)
    if error.remedy:
        click.echo(f"{'':<{width}}           {error.remedy}", err=True)
