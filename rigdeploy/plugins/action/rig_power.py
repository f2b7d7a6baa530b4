"""Switches a rig by whatever its declaration says, with the same policy as ``rigdeploy power``."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Literal

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.host import host_rig
from rigdeploy.fleet.models import Rig
from rigdeploy.power import policy
from rigdeploy.power.base import PowerState
from rigdeploy.power.drivers import open_driver
from rigdeploy.workspace import Workspace

READ_SECONDS = 30.0
"""How long a busy BMC is given for a reading."""

ARGUMENTS = {
    "state": {"type": "str", "choices": ["on", "off", "cycled"], "default": "on"},
    "soft": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """``rig_power``: brings a host's power to ``state``.

    It runs once per host, in Ansible's own forks: one process for a whole batch (``BYPASS_HOST_LOOP``) could
    register the result of its first host alone.
    """

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read, change where needed, read back; returns the power before and after."""
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            fleet, rig = host_rig(task_vars or {})
            return result | self._switch(rig, fleet.workspace, arguments["state"], soft=arguments["soft"])
        except RigdeployError as error:
            raise AnsibleActionFail(f"{error.message}. {error.remedy}".strip()) from error

    def _switch(self, rig: Rig, workspace: Workspace, state: str, *, soft: bool) -> dict[str, Any]:
        with closing(open_driver(rig, workspace, self._ask)) as driver:
            before = policy.read(driver, READ_SECONDS)
            seconds = rig.power.timeout_seconds
            want = PowerState.OFF if state == "off" else PowerState.ON
            if self._task.check_mode:
                return {"changed": state == "cycled" or before is not want, "before": before.value}
            if state == "cycled":
                policy.cycle(driver, seconds, self._display.v, soft=soft)
                changed = True
            else:
                changed = policy.ensure(driver, want, seconds, self._display.v, soft=soft)
            after = policy.read(driver, READ_SECONDS)
        return {"changed": changed, "before": before.value, "after": after.value}

    def _ask(self, rig: Rig, what: Literal["on", "off"]) -> None:
        # A worker's own standard output goes nowhere; the display reaches the person.
        self._display.display(f"[{rig.name}] please switch it {what}; waiting up to {rig.power.timeout_seconds} s")
