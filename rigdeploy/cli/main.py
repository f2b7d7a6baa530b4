"""The entry point: finds the command, runs it, and is the one place that turns an error into words."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from io import TextIOWrapper
from typing import Any

import click

from rigdeploy.errors import EXIT_NODE, EXIT_USAGE, DeclarationError, RigdeployError

COMMANDS = {
    "init": "Start a fleet: write an example declaration here.",
    "check": "Check the declaration, without touching any rig.",
    "schema": "Print the JSON Schema of the declaration, or of findings.",
    "plan": "Show what 'up' would do to each rig, and why.",
    "up": "Bring rigs from wherever they are to verified.",
    "verify": "Judge rigs against their declaration, slot by slot.",
    "capture": "Write the build file of a rig that is as it should be, or show what differs.",
    "status": "Show each rig: power, system, what is applied, last verdict.",
    "power": "Switch rigs on and off, and see whether they are.",
    "boot": "Choose what rigs boot from next.",
    "bmc": "Audit BMCs, read their sensors and logs, give them better passwords.",
    "lab": "Virtual twins of the declared fleet, with faults to order.",
    "runs": "List past runs.",
    "log": "Show what a run did.",
}
"""Every command and its line in the help; the help needs no command's own module, so it stays fast."""


class _ReaderGoneError(Exception):
    """Whoever read our output went away (head, less); click, left to itself, would end with 1, which is WARN."""


class LazyCommands(click.Group):
    """A group that imports a command's module only when that command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of a rig's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command, or None when there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"rigdeploy.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"rigdeploy.cli.{cmd_name}.command is no click command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a pipe that nobody reads any more is told from every other error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The table of commands, from COMMANDS alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rigdeploy", message="%(prog)s %(version)s")
def commands() -> None:
    """Bring GPU rigs online, and tell the truth about them.

    \b
    One file declares the rigs; the same file drives power, installation and verification.
      rigdeploy init            start a fleet here
      rigdeploy check           is the declaration right?
      rigdeploy up rig01        from powered off to verified
      rigdeploy verify          judge every rig, slot by slot

    \b
    Exit codes: 0 all PASS, 1 WARN, 2 FAIL, 3 UNKNOWN only, 4 usage or declaration error,
    5 a node could not be reached or a phase failed.
    Shell completion: eval "$(_RIGDEPLOY_COMPLETE=bash_source rigdeploy)"  (or zsh_source, fish_source)
    """


def main() -> None:
    """Run the command line; every error ends here, as a message and an exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What a node or a file's name holds may not fit the terminal's encoding: that is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run())


def run() -> int:
    """Run the command line and return its exit code."""
    try:
        # None leaves it to click, which knows a terminal and not NO_COLOR (no-color.org).
        result = commands.main(standalone_mode=False, color=False if os.environ.get("NO_COLOR") else None)
        if sys.stdout is not None:
            sys.stdout.flush()  # here a full disk is an error like any other
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except (_ReaderGoneError, BrokenPipeError):
        _abandon_output()
        return 141  # 128 + SIGPIPE
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except RigdeployError as error:
        show_error(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - Python's own end would be a traceback and exit code 1, which is WARN
        show_error(_unforeseen(error))
        return EXIT_NODE
    return result if isinstance(result, int) else 0


def _unforeseen(error: Exception) -> RigdeployError:
    """An error that no part of ours expected: the system's (a full disk, a file of somebody else's), or a defect."""
    if isinstance(error, OSError):
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            _abandon_output()
        return RigdeployError(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if type(error).__module__ == "sqlite3":
        return RigdeployError(f"the ledger cannot be written: {error}", "is the disk full? No rig is concerned")
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename}:{place.lineno}"
    return RigdeployError(f"rigdeploy itself failed: {type(error).__name__}: {error} ({where})", "please report this")


def _abandon_output() -> None:
    """Let standard output go nowhere, so that what is left of it does not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_error(error: RigdeployError) -> None:
    """Print what went wrong and what to do about it, on standard error."""
    color = False if os.environ.get("NO_COLOR") else None
    if isinstance(error, DeclarationError):
        found = [(str(problem), problem.remedy) for problem in error.problems]
    else:
        found = [(error.message, error.remedy)]
    for message, remedy in found:
        click.echo(f"{click.style('error', fg='red')}: {message}", err=True, color=color)
        if remedy:
            click.echo(f"  {remedy}", err=True)
