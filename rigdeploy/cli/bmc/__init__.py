"""``rigdeploy bmc``: one module per subject, imported when it is asked for."""

from rigdeploy.cli.bmc.group import command

__all__ = ["command"]
