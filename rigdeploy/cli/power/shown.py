"""What became of each rig, as it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from rigdeploy.cli.batch import Named, present, warn_dropped
from rigdeploy.errors import RigdeployError

N = TypeVar("N", bound=Named)

_COLORS = {"on": "green", "off": "yellow", "unknown": "magenta"}


@dataclass(frozen=True)
class Outcome:
    """What became of one rig: its state, whether it was changed, the seconds that took, what its BMC dropped.

    ``state`` is a :class:`rigdeploy.power.base.PowerState`'s value: a status alone need not load all of that.
    """

    state: str
    changed: bool
    seconds: float
    dropped: tuple[str, ...] = ()


def show(rigs: Sequence[N], results: Iterator[tuple[N, Outcome | RigdeployError]], *, as_json: bool) -> int:
    """Show the state of each as it comes; returns the exit code."""
    return present(rigs, results, _row, _show, as_json=as_json, fields=("state", "changed"))


def _row(outcome: Outcome) -> dict[str, Any]:
    row = {"state": str(outcome.state), "changed": outcome.changed, "seconds": round(outcome.seconds, 2)}
    return row | {"dropped": list(outcome.dropped)} if outcome.dropped else row


def _show(rig: Named, outcome: Outcome, width: int) -> None:
    color = _COLORS[outcome.state]
    note = f"changed in {outcome.seconds:.1f} s" if outcome.changed else ""
    if outcome.state == "unknown":
        note = "off or unreachable: it has no BMC to ask"
    click.echo(f"{rig.name:<{width}}  {click.style(f'{outcome.state:<7}', fg=color)}  {note}".rstrip())
    warn_dropped(rig, outcome.dropped)
