"""Sends the active check to the node: the one file ``rigdeploy/node/active.py``, inside the module's arguments."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.host import host_rig

ARGUMENTS = {
    "memory_share": {"type": "float"},
    "seconds": {"type": "int"},
    "force": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Controller side of ``rig_active``; what is not given is as the rig's declaration says."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module with the check's source; the result leaves that source out again."""
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        result: dict[str, Any] = super().run(tmp, task_vars)
        source = files("rigdeploy.node").joinpath("active.py").read_text(encoding="utf-8")
        given = {name: value for name, value in arguments.items() if value is not None}
        sent = self._declared(task_vars or {}) | given | {"source": source}
        result.update(self._execute_module(module_args=sent, task_vars=task_vars))
        result.pop("invocation", None)
        return result

    def _declared(self, variables: dict[str, Any]) -> dict[str, Any]:
        try:
            _, rig = host_rig(variables)
        except RigdeployError as error:
            raise AnsibleActionFail(f"{error.message}. {error.remedy}".strip()) from None
        return {"memory_share": rig.verify.memory_share, "seconds": rig.verify.seconds}
