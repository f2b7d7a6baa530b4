"""The state of the fleet at a glance: power, system, what is applied, the last verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.power.base import PowerState
from rigdeploy.run.ledger import Ledger, Verdict
from rigdeploy.run.loads import recall
from rigdeploy.run.probe import observe
from rigdeploy.run.survey import expected_inputs, read_power
from rigdeploy.workspace import Workspace

SCHEMA = 1
"""Version of the status' JSON."""


@dataclass(frozen=True)
class RigStatus:
    """One rig now. ``roles``: applied, drifted, outdated (the declaration changed), absent or unknown.

    ``loaded_at`` is when its cards were last put under load in this boot (Unix time); None if they were not.
    """

    rig: str
    power: PowerState | RigdeployError
    seen: Observation | RigdeployError
    roles: dict[str, str]
    verdict: Verdict | None
    loaded_at: float | None = None

    @property
    def error(self) -> RigdeployError | None:
        """What keeps the rig from being looked at; None for one that answers, or that is known to be off."""
        if isinstance(self.seen, Observation) or self.power is PowerState.OFF:
            return None
        return self.seen

    def as_dict(self) -> dict[str, Any]:
        """The status as JSON-ready data."""
        seen = self.seen if isinstance(self.seen, Observation) else None
        verdict = None if self.verdict is None else {"status": self.verdict.status, "at": self.verdict.at}
        return {
            "power": None if isinstance(self.power, RigdeployError) else self.power.value,
            "power_error": self.power.message if isinstance(self.power, RigdeployError) else None,
            "reachable": seen is not None,
            "error": self.seen.message if isinstance(self.seen, RigdeployError) else None,
            "boot_id": seen.host.boot_id if seen else None,
            "uptime_seconds": seen.host.uptime_seconds if seen else None,
            "driver": seen.driver.version if seen else None,
            "roles": self.roles,
            "verdict": verdict,
            "loaded_at": self.loaded_at,
        }


def fleet_status(
    rigs: Iterable[Rig], fleet: Fleet, workspace: Workspace, say: Callable[[str], None], *, forks: int = 50
) -> list[RigStatus]:
    """Look at every rig and ask everything that powers one, both at the same time; ``say`` hears of damaged files."""
    wanted = list(rigs)
    workspace.prepare()
    powers: dict[str, PowerState | RigdeployError] = {}
    asking = threading.Thread(target=lambda: powers.update(read_power(wanted, workspace)))
    asking.start()
    seen = observe(wanted, workspace, forks=forks)
    asking.join()
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        return [
            RigStatus(
                rig.name,
                powers[rig.name],
                seen[rig.name],
                _roles(seen[rig.name], expected_inputs(rig, fleet)),
                ledger.last_verdict(rig.name),
                _loaded_at(seen[rig.name], recall(workspace, rig.name, say)),
            )
            for rig in wanted
        ]


def _loaded_at(seen: Observation | RigdeployError, load: Load | None) -> float | None:
    if load is None or load.boot_id is None or isinstance(seen, RigdeployError) or load.boot_id != seen.host.boot_id:
        return None
    return load.taken


def _roles(seen: Observation | RigdeployError, expected: dict[str, str]) -> dict[str, str]:
    return {role: _role(seen, role, inputs) for role, inputs in expected.items()}


def _role(seen: Observation | RigdeployError, role: str, expected: str) -> str:
    if isinstance(seen, RigdeployError):
        return "unknown"
    record = seen.managed.get(role)
    if record is None:
        return "unknown" if seen.why_unread("managed") else "absent"
    if record.drift:
        return "drifted"
    return "applied" if record.inputs == expected else "outdated"
