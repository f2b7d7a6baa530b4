"""What commands share: the options that find a fleet, documents that are read, and what is written."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rigdeploy.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])

inventory_option = click.option(
    "-i",
    "--inventory",
    type=click.Path(path_type=Path),
    envvar="RIGDEPLOY_INVENTORY",
    help="The fleet's directory (default: inventory/ here).",
)
state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    envvar="RIGDEPLOY_STATE",
    help="The fleet's state directory (default: .rigdeploy/ beside the inventory).",
)
lab_option = click.option(
    "--lab", is_flag=True, envvar="RIGDEPLOY_LAB", help="Act on the twins; no real rig can be reached."
)


def workspace_options(function: F) -> F:
    """Add ``--inventory``, ``--state`` and ``--lab``; the function gets one ``workspace`` instead.

    With ``--lab`` the process has entered the lab's network namespace before the function runs: from
    there on no real rig can be reached.
    """
    return _with_workspace(function, lambda _: False)


def workspace_options_unless(option: str) -> Callable[[F], F]:
    """As ``workspace_options``, but beside this option there need not be a fleet, and no lab is entered."""
    return lambda function: _with_workspace(function, lambda given: given[option] is not None)


def _with_workspace(function: F, without_fleet: Callable[[dict[str, Any]], bool]) -> F:
    @inventory_option
    @state_option
    @lab_option
    @functools.wraps(function)
    def wrapped(*args: Any, inventory: Path | None, state: Path | None, lab: bool, **kwargs: Any) -> Any:
        optional = without_fleet(kwargs)
        lab = lab and not optional
        workspace = Workspace.find(inventory, state, lab=lab, optional=optional)
        if lab:
            from rigdeploy.lab import enter

            enter(workspace)
        return function(*args, workspace=workspace, **kwargs)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the callable, not its type


def rig_arguments(function: F) -> F:
    """Add ``RIG...``: names or patterns; none means the whole fleet."""
    return click.argument("rigs", nargs=-1, metavar="[RIG]...")(function)


def json_option(function: F) -> F:
    """Add ``--json``, passed as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")(function)


def command_line() -> str:
    """The command as it was typed, which holds no secret by the design of its options."""
    return " ".join(sys.argv[1:])


def echo_json(data: Any) -> None:
    """Print data as JSON on standard output."""
    click.echo(json.dumps(data, indent=2, default=str))


def read_document(file: Path) -> bytes:
    """What a node printed into a file (``-``: standard input), as far as any of it is looked at."""
    from rigdeploy.node.values import DOCUMENT_LIMIT

    with click.open_file(str(file), "rb") as stream:
        return bytes(stream.read(DOCUMENT_LIMIT + 1))


def report_option(name: str, what: str) -> Callable[[F], F]:
    """Add ``--NAME FILE``, a file that the command will write; that it can be is seen before any work."""
    kind = click.Path(dir_okay=False, writable=True, path_type=Path)
    return click.option(
        f"--{name}", type=kind, metavar="FILE", callback=_writable, help=f"Write {what} into this file."
    )


def _writable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:  # noqa: ARG001 - click's signature
    if path is None:
        return None
    if str(path) == "-":
        raise click.BadParameter("standard output is for the table or --json: name a file")
    if path.exists() and not path.is_file():
        raise click.BadParameter(f"'{path}' is no regular file")
    directory = path.resolve().parent
    if not directory.is_dir():
        raise click.BadParameter(f"there is no directory '{directory}'")
    if not os.access(directory, os.W_OK):
        raise click.BadParameter(f"the directory '{directory}' is not writable")
    return path
