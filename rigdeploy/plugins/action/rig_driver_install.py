"""Works out what apt is to do for the driver, and refuses what it must not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleActionFail

from rigdeploy.fleet.driver_install import (
    Wanted,
    plan_install,
    read_leftovers,
    read_packages,
    refusals,
    simulated,
)
from rigdeploy.plugins.controller import ControllerAction

ARGUMENTS = {
    "choice": {"type": "dict", "required": True},
    "installed": {"type": "str", "required": True},
    "kernels": {"type": "list", "elements": "str", "default": []},
    "simulation": {"type": "dict"},
}


class ActionModule(ControllerAction):
    """``rig_driver_install``: without ``simulation`` the plan, with it the verdict on what apt would do."""

    ARGUMENTS = ARGUMENTS

    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as all have it
        """Plan, or judge and fail with every reason."""
        if arguments["simulation"] is None:
            known = arguments["installed"]
            plan = plan_install(Wanted.of(arguments["choice"]), read_packages(known), read_leftovers(known))
            lists = {name: list(value) for name, value in asdict(plan).items()}  # templates add lists to lists
            return {"changed": False, "plan": lists, "msg": "; ".join(plan.why)}
        steps = judged(arguments)
        # In check mode nothing will be installed: what would be counts here.
        return {"changed": bool(steps) and self._task.check_mode, "steps": steps}


def judged(arguments: Mapping[str, Any]) -> list[str]:
    """The names of the packages that apt would change; raises where it must not."""
    installed = read_packages(arguments["installed"])
    steps = simulated(arguments["simulation"], installed)
    wanted = Wanted.of(arguments["choice"])
    reasons = list(refusals(wanted, installed, steps, arguments["kernels"]))
    if reasons:
        raise AnsibleActionFail("the driver was not installed, for " + "; and ".join(reasons))
    return [step.name for step in steps]
