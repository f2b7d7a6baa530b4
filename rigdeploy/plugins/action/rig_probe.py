"""Sends the probe to the node: the one file ``rigdeploy/node/probe.py``, inside the module's arguments."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Controller side of ``rig_probe``."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module with the probe's source; the result leaves that source out again."""
        self.validate_argument_spec({})
        source = files("rigdeploy.node").joinpath("probe.py").read_text(encoding="utf-8")
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(module_args={"source": source}, task_vars=task_vars))
        result.pop("invocation", None)
        return result
