"""Sets a rig's BMC as it is declared, with the same code as ``rigdeploy up``."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.errors import PowerUnsupportedError, RigdeployError
from rigdeploy.fleet.host import host_rig, ways_of_power
from rigdeploy.fleet.models import Rig
from rigdeploy.power.audit import Questions, judge
from rigdeploy.power.base import RestorePolicy
from rigdeploy.power.drivers import open_driver
from rigdeploy.power.facts import gather
from rigdeploy.power.policy import REAL_CLOCK
from rigdeploy.run.bmc import has_bmc, restore_policy, set_restore_policy
from rigdeploy.verify.findings import Status
from rigdeploy.workspace import Workspace

ARGUMENTS = {
    "power_restore": {"type": "str", "choices": [policy.value for policy in RestorePolicy]},
    "audit": {"type": "bool", "default": False},
}

for _way in ways_of_power():
    # Ansible imports this file once, in its own process, before it forks one for each host (docs/decisions/0007).
    import_module(f"rigdeploy.power.{_way}")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """``rig_bmc``: what is not given is as the rig's declaration says; what is neither is left as it is."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read, change what differs, read back; skipped where the BMC, or the lack of one, does not allow it."""
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            fleet, rig = host_rig(task_vars or {})
            wanted = arguments["power_restore"] or rig.bmc.power_restore
            audited = self._audit(rig, fleet.workspace) if arguments["audit"] and has_bmc(rig) else {}
            return result | self._settings(rig, fleet.workspace, wanted, audited) | audited
        except RigdeployError as error:
            raise AnsibleActionFail(f"{error.message}. {error.remedy}".strip()) from error

    def _settings(self, rig: Rig, workspace: Workspace, wanted: str | None, audited: dict[str, Any]) -> dict[str, Any]:
        if wanted is None:
            why = "nothing is declared about the BMC's settings"
            return {"changed": False, "msg": why} if audited else _skipped(why)
        if not has_bmc(rig):
            return _skipped(f"power_restore is asked for, and power.driver {rig.power.driver} is no BMC")
        try:
            return self._set(rig, workspace, RestorePolicy(wanted))
        except PowerUnsupportedError as error:
            return {"changed": False, "msg": error.message} if audited else _skipped(error.message)

    def _audit(self, rig: Rig, workspace: Workspace) -> dict[str, Any]:
        """What is open on the BMC, as warnings for people and as findings for programs; changes nothing."""
        with closing(open_driver(rig, workspace)) as driver:
            facts = gather(driver, rig, workspace, Questions(), self._display.v, REAL_CLOCK)
        findings = judge(facts)
        wrong = [finding for finding in findings if finding.status in (Status.WARN, Status.FAIL)]
        warnings = [f"{rig.name}: {one.check}: {one.observed}; {one.remedy}" for one in wrong]
        return {"findings": [finding.as_dict() for finding in findings], "warnings": warnings}

    def _set(self, rig: Rig, workspace: Workspace, wanted: RestorePolicy) -> dict[str, Any]:
        with closing(open_driver(rig, workspace)) as driver:
            before = restore_policy(driver)
            changed = before is not wanted
            if self._task.check_mode:
                return {"changed": changed, "before": {"power_restore": before.value}}
            after = set_restore_policy(driver, wanted, before)
        return {
            "changed": changed,
            "before": {"power_restore": before.value},
            "after": {"power_restore": after.value},
        }


def _skipped(why: str) -> dict[str, Any]:
    return {"changed": False, "skipped": True, "skipped_reason": why, "msg": why}
