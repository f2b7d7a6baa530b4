"""The group of ``rigdeploy power``."""

from __future__ import annotations

import click

from rigdeploy.cli.lazy import LazyGroup

_CHANGE = "rigdeploy.cli.power.change"
_SUBCOMMANDS = {
    "status": ("rigdeploy.cli.power.status", "Show whether rigs are on."),
    "on": (_CHANGE, "Switch rigs on, and wait until they are."),
    "off": (_CHANGE, "Switch rigs off, and wait until they are."),
    "soft": (_CHANGE, "Ask the system to shut down; cut the power of a rig whose system does not."),
    "cycle": (_CHANGE, "Switch rigs off and on again; one that is off is switched on."),
    "reset": (_CHANGE, "Reset rigs without cutting their power; only rigs that are on."),
}


@click.group(cls=LazyGroup, subcommands=_SUBCOMMANDS)
def command() -> None:
    """Switch rigs on and off, and see whether they are.

    A change is read back: what is reported is what was seen, not what was asked for. Rigs are handled at the
    same time; each result is shown as it comes. Ends with 0, or with 5 when any rig failed.

    \b
    Example:
      rigdeploy power status
      rigdeploy power cycle rig01 --yes
    """
