"""Looks at many nodes at once: sends the probe over SSH, reads what comes back."""

from __future__ import annotations

from collections.abc import Iterable

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.models import Rig
from rigdeploy.node.observation import Observation
from rigdeploy.run.connections import connections
from rigdeploy.run.sender import Call, Program, send
from rigdeploy.run.ssh import Connection
from rigdeploy.workspace import Workspace

TIMEOUT = 90.0
"""Seconds for the whole look at one node: more than the login and all that the probe gives the tools that it calls, so
that a card which makes nvidia-smi hang is what is reported."""

_PROBE = Program("probe.py", "the probe", Observation.from_json)


def observe(
    rigs: Iterable[Rig], workspace: Workspace, *, forks: int = 50, timeout: float = TIMEOUT
) -> dict[str, Observation | RigdeployError]:
    """The observation of each rig, or the error that says why there is none; by rig name.

    ``forks`` bounds how many are looked at at the same time, ``timeout`` the seconds for each of them.
    """
    reached = connections(list(rigs), workspace)
    return send(_PROBE, {rig: Call(one, timeout) for rig, one in reached.items()}, workspace, forks=forks)


def observe_at(name: str, connection: Connection, workspace: Workspace) -> Observation | RigdeployError:
    """The observation of a node that is no rig of the fleet; ``name`` is what messages call it."""
    return send(_PROBE, {name: Call(connection, TIMEOUT)}, workspace, forks=1)[name]
