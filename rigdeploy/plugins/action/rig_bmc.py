"""Sets a rig's BMC as it is declared, with the same code as ``rigdeploy up``."""

from __future__ import annotations

from contextlib import closing
from typing import Any, ClassVar

from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.plugins.controller import RigAction, load_drivers
from rigdeploy.power.audit import Questions, judge
from rigdeploy.power.base import Door, RestorePolicy
from rigdeploy.power.drivers import open_driver
from rigdeploy.power.facts import gather
from rigdeploy.power.policy import REAL_CLOCK
from rigdeploy.run.bmc import has_bmc, set_what_differs, settings
from rigdeploy.verify.findings import Status
from rigdeploy.workspace import Workspace

load_drivers()


class ActionModule(RigAction):
    """``rig_bmc``: what is not given is as the rig's declaration says; what is neither is left as it is."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "power_restore": {"type": "str", "choices": [policy.value for policy in RestorePolicy]},
        "close": {"type": "list", "elements": "str", "choices": [door.value for door in Door]},
        "audit": {"type": "bool", "default": False},
    }

    def act(self, fleet: Fleet, rig: Rig, arguments: dict[str, Any]) -> dict[str, Any]:
        """Read, change what differs, read back; skipped where the BMC, or the lack of one, does not allow it."""
        given = {name: arguments[name] for name in ("power_restore", "close") if arguments[name] is not None}
        rig = rig.model_copy(update={"bmc": rig.bmc.model_copy(update=given)})
        found = self._settings(rig, fleet.workspace)
        if not arguments["audit"] or not has_bmc(rig):
            return found
        # After the setting: nothing that has just been closed is to be warned of, but in check mode.
        done = {name: value for name, value in found.items() if not name.startswith("skipped")}
        audited = self._audit(rig, fleet.workspace)
        return done | audited | {"warnings": [*done.get("warnings", []), *audited["warnings"]]}

    def _settings(self, rig: Rig, workspace: Workspace) -> dict[str, Any]:
        if not rig.bmc.settings:
            return _skipped("nothing is declared about the BMC's settings")
        if not has_bmc(rig):
            return _skipped(f"{rig.bmc.settings[0]} is asked for, and power.driver {rig.power.driver} is no BMC")
        with closing(open_driver(rig, workspace)) as driver:
            before = settings(driver, rig, workspace)
            changes = list(before.changes(rig.bmc.power_restore))
            if not before.as_dict():
                return _skipped(before.told())
            result = {"changed": bool(changes), "changes": changes, "before": before.as_dict()}
            if self._task.check_mode:
                return result | _left(rig, before.unknown)
            after = set_what_differs(driver, rig, workspace, before)
        result |= {"changed": after.as_dict() != before.as_dict(), "after": after.as_dict()}
        return result | _left(rig, after.unknown)

    def _audit(self, rig: Rig, workspace: Workspace) -> dict[str, Any]:
        """What is open on the BMC, as warnings for people and as findings for programs; changes nothing."""
        with closing(open_driver(rig, workspace)) as driver:
            facts = gather(driver, rig, workspace, Questions(), self._display.v, REAL_CLOCK)
        findings = judge(facts)
        wrong = [finding for finding in findings if finding.status in (Status.WARN, Status.FAIL)]
        warnings = [f"{rig.name}: {one.check}: {one.observed}; {one.remedy}" for one in wrong]
        return {"findings": [finding.as_dict() for finding in findings], "warnings": warnings}


def _left(rig: Rig, unknown: Any) -> dict[str, Any]:
    """A warning for each setting that this BMC does not have."""
    return {"warnings": [f"{rig.name}: {name} is left as it is: {why}" for name, why in unknown.items()]}


def _skipped(why: str) -> dict[str, Any]:
    return {"changed": False, "skipped": True, "skipped_reason": why, "msg": why}
