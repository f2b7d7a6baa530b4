"""Groups whose help needs no subcommand's module, and which import one alone when it is run."""

from __future__ import annotations

import importlib
from typing import Any

import click


class LazyGroup(click.Group):
    """``subcommands``: each one's module, in which it has its own name, and its line in the help."""

    def __init__(self, *arguments: Any, subcommands: dict[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The subcommands in their order."""
        return list(self._subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one, or None when there is no such subcommand."""
        if cmd_name not in self._subcommands:
            return None
        module, _ = self._subcommands[cmd_name]
        found: click.Command = getattr(importlib.import_module(module), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The table of subcommands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._subcommands.items()])
