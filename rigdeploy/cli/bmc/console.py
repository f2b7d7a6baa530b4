"""``rigdeploy bmc console``."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import click

from rigdeploy.cli.batch import say, select
from rigdeploy.cli.common import workspace_options
from rigdeploy.errors import PowerUnsupportedError, UsageError
from rigdeploy.workspace import Workspace


@click.command()
@workspace_options
@click.argument("rig")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also add all that the console shows to this file, which you alone can read.",
)
def console(workspace: Workspace, rig: str, *, log: Path | None) -> int:
    """Open a rig's serial console over the network (serial over LAN).

    Whoever has the console at the time loses it. Type ~. at the beginning of a line to leave. What is typed and shown
    may hold passwords: so may the log.

    \b
    Example:
      rigdeploy bmc console rig01 --log rig01-console.log
    """
    chosen = select(workspace, (rig,))
    if len(chosen) != 1:
        raise UsageError(f"{rig} names {len(chosen)} rigs, and there is one terminal", "name one rig")
    from rigdeploy.power.console import attach
    from rigdeploy.power.drivers import open_driver
    from rigdeploy.power.ipmi_driver import BmcDriver

    [one] = chosen
    with closing(open_driver(one, workspace)) as driver:
        if not isinstance(driver, BmcDriver):
            raise PowerUnsupportedError(f"{driver.label}: has no console over IPMI")
        attach(driver, log, partial(say, one))
    return 0
