"""The entry point: finds the command, runs it, and is the one place that turns an error into words."""

from __future__ import annotations

import importlib
import os
import sys

import click

from rigdeploy.errors import EXIT_USAGE, DeclarationError, RigdeployError

COMMANDS = {
    "init": "Start a fleet: write an example declaration here.",
    "check": "Check the declaration, without touching any rig.",
    "schema": "Print the JSON Schema of the declaration, for editors.",
    "plan": "Show what 'up' would do to each rig, and why.",
    "up": "Bring rigs from wherever they are to verified.",
    "verify": "Judge rigs against their declaration, slot by slot.",
    "status": "Show each rig: power, system, what is applied, last verdict.",
    "power": "Switch rigs on and off, and see whether they are.",
    "lab": "Virtual twins of the declared fleet, with faults to order.",
    "runs": "List past runs.",
    "log": "Show what a run did.",
}
"""Every command and its line in the help; the help needs no command's own module, so it stays fast."""


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
    sys.exit(run())


def run() -> int:
    """Run the command line and return its exit code."""
    try:
        result = commands.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away: no error, and nobody is left to tell. Standard output goes
        # nowhere from here on, so that flushing it at exit does not fail again. 141 = 128 + SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except RigdeployError as error:
        show_error(error)
        return error.exit_code
    return result if isinstance(result, int) else 0


def show_error(error: RigdeployError) -> None:
    """Print what went wrong and what to do about it, on standard error."""
    if isinstance(error, DeclarationError):
        for problem in error.problems:
            click.echo(f"{click.style('error', fg='red')}: {problem}", err=True)
            if problem.remedy:
                click.echo(f"  {problem.remedy}", err=True)
        return
    click.echo(f"{click.style('error', fg='red')}: {error.message}", err=True)
    if error.remedy:
        click.echo(f"  {error.remedy}", err=True)
