"""Works out what apt is to do for the driver, and refuses what it must not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.fleet.driver_install import (
    Wanted,
    plan_install,
    read_leftovers,
    read_packages,
    read_simulation,
    refusals,
    why_not,
)

ARGUMENTS = {
    "choice": {"type": "dict", "required": True},
    "installed": {"type": "str", "required": True},
    "kernels": {"type": "list", "elements": "str", "default": []},
    "simulation": {"type": "dict"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """``rig_driver_install``: without ``simulation`` the plan, with it the verdict on what apt would do."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan, or judge and fail with every reason."""
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        result: dict[str, Any] = super().run(tmp, task_vars)
        if arguments["simulation"] is None:
            known = arguments["installed"]
            plan = plan_install(Wanted.of(arguments["choice"]), read_packages(known), read_leftovers(known))
            lists = {name: list(value) for name, value in asdict(plan).items()}  # templates add lists to lists
            return result | {"changed": False, "plan": lists, "msg": "; ".join(plan.why)}
        steps = judged(arguments)
        # In check mode nothing will be installed: what would be counts here.
        return result | {"changed": bool(steps) and self._task.check_mode, "steps": steps}


def judged(arguments: Mapping[str, Any]) -> list[str]:
    """The names of the packages that apt would change; raises where it must not."""
    installed = read_packages(arguments["installed"])
    simulation = arguments["simulation"]
    if simulation["rc"] != 0:
        message, remedy = why_not(simulation["stderr"] + "\n" + simulation["stdout"], installed)
        raise AnsibleActionFail(f"nothing was installed: {message}. {remedy}".strip())
    steps = read_simulation(simulation["stdout"])
    wanted = Wanted.of(arguments["choice"])
    reasons = list(refusals(wanted, installed, steps, arguments["kernels"]))
    if reasons:
        raise AnsibleActionFail("the driver was not installed, for " + "; and ".join(reasons))
    return [step.name for step in steps]
