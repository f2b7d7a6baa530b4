"""The twins: a virtual copy of every declared rig, with faults to order.

What the rest of the package calls; each name is imported when it is used, so that ``--lab`` alone costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.lab.effects import Request


def up(workspace: Workspace, fleet: Fleet, say: Callable[[str], None], rigs: Iterable[str] = ()) -> None:
    """Build the twins of these rigs (none given: all), powered off. LabError when that cannot be done."""
    from rigdeploy.lab import lifecycle

    lifecycle.up(workspace, fleet, say, rigs)


def down(workspace: Workspace) -> bool:
    """Remove the lab and everything of it; False when there was none."""
    from rigdeploy.lab import lifecycle

    return lifecycle.down(workspace)


def status(workspace: Workspace) -> dict[str, Any]:
    """The lab as data: whether it is up, and each twin's power, address, BMC and faults."""
    from rigdeploy.lab import lifecycle

    return lifecycle.status(workspace)


def fault(workspace: Workspace, rig: str, slot: str | None, request: Request) -> list[str]:
    """Change a twin's faults; returns what is wrong with it now, one line each."""
    from rigdeploy.lab import effects

    return effects.fault(workspace, rig, slot, request)


def enter(workspace: Workspace) -> None:
    """Move this process into the lab's network, from where only twins can be reached; LabError when it is not up."""
    from rigdeploy.lab import network

    network.enter(workspace)


def press(workspace: Workspace, rig: str, what: str) -> None:
    """Press a twin's power button (``on`` or ``off``) as a person would, after a moment."""
    from rigdeploy.lab import lifecycle

    lifecycle.press(workspace, rig, what)
