"""Works out what apt is to do for the CUDA toolkits, and refuses what it must not do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleActionFail

from rigdeploy.fleet.cuda_install import CudaPlan, Declared, plan_cuda, refusals
from rigdeploy.fleet.driver_install import read_packages, simulated
from rigdeploy.plugins.controller import ControllerAction

ARGUMENTS = {
    "versions": {"type": "list", "elements": "str", "default": []},
    "cudnn": {"type": "bool", "default": False},
    "nccl": {"type": "bool", "default": False},
    "installed": {"type": "str", "required": True},
    "record": {"type": "str", "default": ""},
    "nccl_offers": {"type": "str", "default": ""},
    "simulation": {"type": "dict"},
}


class ActionModule(ControllerAction):
    """``rig_cuda_install``: without ``simulation`` the plan, with it the verdict on what apt would do."""

    ARGUMENTS = ARGUMENTS

    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as all have it
        """Plan, or judge and fail with every reason."""
        plan = planned(arguments)
        steps = [] if arguments["simulation"] is None else judged(plan, arguments)
        # In check mode nothing will be installed: what would be counts here.
        lists = {name: list(value) for name, value in asdict(plan).items()}
        return {"changed": bool(steps) and self._task.check_mode, "plan": lists, "steps": steps}


def planned(arguments: Mapping[str, Any]) -> CudaPlan:
    """The plan for what is declared."""
    declared = Declared(tuple(arguments["versions"]), arguments["cudnn"], arguments["nccl"])
    recorded = recorded_packages(arguments["record"])
    return plan_cuda(declared, read_packages(arguments["installed"]), recorded, arguments["nccl_offers"])


def recorded_packages(text: str) -> list[str]:
    """The names of the packages in a record that the node keeps; none when it is no such record."""
    try:
        packages = json.loads(text)["packages"]
        return [str(package["name"]) for package in packages]
    except (ValueError, KeyError, TypeError):
        return []


def judged(plan: CudaPlan, arguments: Mapping[str, Any]) -> list[str]:
    """The names of the packages that apt would change; raises where it must not."""
    installed = read_packages(arguments["installed"])
    steps = simulated(arguments["simulation"], installed)
    reasons = list(refusals(plan, installed, steps))
    if reasons:
        raise AnsibleActionFail("nothing was installed, for " + "; and ".join(reasons))
    return [step.name for step in steps]
