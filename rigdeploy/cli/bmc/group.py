"""The group of ``rigdeploy bmc``."""

from __future__ import annotations

import importlib

import click

_SUBCOMMANDS = {
    "probe": ("probe", "Look for what is wrong with BMCs: open doors, weak passwords, known holes."),
    "sensors": ("reports", "Show temperatures, fans, voltages and power."),
    "sel": ("reports", "Show the event log, and clear it with --clear."),
    "fru": ("reports", "Show what board and BMC say they are."),
    "identify": ("reports", "Light the lamp that shows which rig it is."),
    "user": ("user", "Give a BMC's user a new password."),
    "console": ("console", "Open a rig's serial console over the network."),
}
"""Every subcommand, the module that it is in, and its line in the help."""


class _Lazy(click.Group):
    """Imports a subcommand's module only when that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _SUBCOMMANDS:
            return None
        module, _ = _SUBCOMMANDS[cmd_name]
        found: click.Command = getattr(importlib.import_module(f"rigdeploy.cli.bmc.{module}"), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _SUBCOMMANDS.items()])


@click.group(cls=_Lazy)
def command() -> None:
    """Audit BMCs, read what they see, and give them better passwords.

    Rigs are handled at the same time; each result is shown as it comes. Without names, what only reads is about all
    rigs that have a BMC. A named rig without one, or a BMC that cannot do it, is an error of that rig alone (exit
    code 5).

    \b
    Example:
      rigdeploy bmc probe
      rigdeploy bmc sensors rig01
      rigdeploy bmc user rotate rig01
    """
