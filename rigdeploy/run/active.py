"""Puts the cards of many nodes under load at once: sends the active check over SSH, reads what it measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rigdeploy.errors import RigdeployError, UnreachableError
from rigdeploy.fleet.models import Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.run.connections import connections
from rigdeploy.run.sender import Call, Program, send
from rigdeploy.verify.findings import Finding, Status
from rigdeploy.workspace import Workspace

MARGIN = 60.0
"""Seconds beyond those that the check gives itself: the login, and whatever call into the driver it is in by then."""


@dataclass(frozen=True)
class Measured:
    """What was measured, and the document that says so as the node printed it."""

    load: Load
    document: bytes


_CHECK = Program(
    "active.py",
    "the active check",
    lambda document: Measured(Load.from_json(document), document),
    repeat=False,  # it comes after a look at the node; a connection lost since then may be the load's doing
)


def put_under_load(
    rigs: Iterable[Rig],
    workspace: Workspace,
    *,
    force: bool = False,
    forks: int = 50,
    stop: threading.Event | None = None,
    heard: Callable[[str, Measured | RigdeployError], None] | None = None,
) -> dict[str, Measured | RigdeployError]:
    """What each rig's cards did under load, or the error that says why that is not known; by rig name.

    ``force`` takes cards, too, that another process computes on. ``heard`` is told each result as it comes. When
    ``stop`` is set, the load is ended on every node, and StoppedError raised.
    """
    wanted = {rig.name: rig for rig in rigs}
    reached = connections(list(wanted.values()), workspace)
    calls = {
        name: Call(connection, wanted[name].verify.seconds + MARGIN, arguments(wanted[name], force=force))
        for name, connection in reached.items()
    }
    return send(_CHECK, calls, workspace, forks=forks, stop=stop, heard=heard)


def arguments(rig: Rig, *, force: bool = False) -> list[str]:
    """The check's arguments for this rig."""
    settings = rig.verify
    words = ["--memory-share", f"{settings.memory_share:g}", "--seconds", str(settings.seconds)]
    return [*words, "--force"] if force else words


def what_is_done(rig: Rig) -> str:
    """A line for whoever waits: what goes on, and for how long at most."""
    memory = f", {rig.verify.memory_share:.0%} of their memory written and read" if rig.verify.memory_share else ""
    return f"load: copies to and from all cards{memory}; at most {rig.verify.seconds} s"


def how_it_ended(answer: Measured | RigdeployError) -> str:
    """A line for whoever waited."""
    if isinstance(answer, RigdeployError):
        return f"load: not done: {answer.message}"
    idle = [card for card in answer.load.cards.values() if card.skipped is not None]
    measured = len(answer.load.cards) - len(idle)
    left_out = f", {len(idle)} left out" if idle else ""
    return f"load: {measured} card{'' if measured == 1 else 's'} measured{left_out}"


def untested(cause: str, why: str) -> Finding:
    """The finding that stands for a check that was wanted and gave no result."""
    return Finding("load", "rig", Status.UNKNOWN, "", "", cause, why)


def failed(error: RigdeployError) -> Finding:
    """The finding that stands for a check that could not be made."""
    return untested("not-run", f"{error.message}; {error.remedy}" if error.remedy else error.message)


def gone_under_load(rig: str, seen: Observation | RigdeployError) -> Observation | RigdeployError:
    """What was seen of a rig after the load; of one that does not answer any more, in words that say when it went."""
    if not isinstance(seen, UnreachableError):
        return seen
    return UnreachableError(
        f"{rig}: gone since its cards were put under load: {seen.message.removeprefix(f'{rig}: ')}",
        "a power supply that is too weak does that: look at its cables, and at the event log of the BMC",
    )
