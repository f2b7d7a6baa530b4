"""``rigdeploy power``: reading and changing, each imported when it is asked for."""

from rigdeploy.cli.power.group import command

__all__ = ["command"]
