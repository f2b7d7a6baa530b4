"""``rigdeploy status``: each rig now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import echo_json, json_option, rig_arguments, workspace_options
from rigdeploy.errors import EXIT_NODE, EXIT_PASS, RigdeployError
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.run.status import RigStatus


@click.command()
@rig_arguments
@workspace_options
@json_option
def command(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Show each rig: power, system, what is applied, last verdict.

    \b
    Roles are applied, outdated (the declaration changed since), drifted (the node changed since) or absent.
    Ends with 5 when a rig that is not known to be off cannot be looked at.
    Example: rigdeploy status rig01
    """
    from rigdeploy.fleet.load import load_fleet
    from rigdeploy.run.status import SCHEMA, fleet_status

    fleet = load_fleet(workspace)
    found = fleet_status(fleet.select(rigs), fleet, workspace, lambda text: click.echo(text, err=True))
    if as_json:
        echo_json({"schema": SCHEMA, "rigs": {status.rig: status.as_dict() for status in found}})
    else:
        for status in found:
            click.echo("\n".join(_lines(status)))
    return EXIT_NODE if any(status.error for status in found) else EXIT_PASS


def _lines(status: RigStatus) -> list[str]:
    lines = [f"{status.rig}: power {_power(status)}, {_system(status)}"]
    if status.roles:
        lines.append("  roles    " + ", ".join(f"{role} {state}" for role, state in status.roles.items()))
    if status.verdict is not None:
        lines.append(f"  verdict  {status.verdict.status}, {_at(status.verdict.at)}")
    if status.loaded_at is not None:
        lines.append(f"  load     {_at(status.loaded_at)}")
    return lines


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _power(status: RigStatus) -> str:
    if isinstance(status.power, RigdeployError):
        return f"cannot be told ({status.power.message})"
    return status.power.value


def _system(status: RigStatus) -> str:
    if isinstance(status.seen, RigdeployError):
        return f"no answer ({status.seen.message})"
    host = status.seen.host
    uptime = "?" if host.uptime_seconds is None else _duration(host.uptime_seconds)
    driver = f", driver {status.seen.driver.version}" if status.seen.driver.version else ""
    return f"up {uptime}, boot {(host.boot_id or '?')[:8]}{driver}"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
