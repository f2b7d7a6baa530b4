"""What commands share: the options that find a fleet, and JSON output."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rigdeploy.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])


def workspace_options(function: F) -> F:
    """Add ``--inventory``, ``--state`` and ``--lab``; the function gets one ``workspace`` instead.

    With ``--lab`` the process has entered the lab's network namespace before the function runs: from
    there on no real rig can be reached.
    """

    @click.option(
        "-i",
        "--inventory",
        type=click.Path(path_type=Path),
        envvar="RIGDEPLOY_INVENTORY",
        help="The fleet's directory (default: inventory/ here).",
    )
    @click.option(
        "--state",
        type=click.Path(path_type=Path),
        envvar="RIGDEPLOY_STATE",
        help="The fleet's state directory (default: .rigdeploy/ beside the inventory).",
    )
    @click.option("--lab", is_flag=True, envvar="RIGDEPLOY_LAB", help="Act on the twins; no real rig can be reached.")
    @functools.wraps(function)
    def wrapped(*args: Any, inventory: Path | None, state: Path | None, lab: bool, **kwargs: Any) -> Any:
        workspace = Workspace.find(inventory, state, lab=lab)
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


def echo_json(data: Any) -> None:
    """Print data as JSON on standard output."""
    click.echo(json.dumps(data, indent=2, default=str))
