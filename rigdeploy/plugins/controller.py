"""What the actions have in common that do all of their work on the controller."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.host import host_rig, ways_of_power
from rigdeploy.fleet.models import Rig


class ControllerAction(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Checks the arguments, and turns our errors into a task's failure."""

    ARGUMENTS: ClassVar[dict[str, Any]]

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What Ansible calls."""
        _, arguments = self.validate_argument_spec(self.ARGUMENTS)
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            return result | self.work(arguments, task_vars or {})
        except RigdeployError as error:
            # "from None": Ansible would say the cause once more.
            raise AnsibleActionFail(f"{error.message}. {error.remedy}".strip()) from None

    @abstractmethod
    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Do it; the task's result. ``variables`` are the host's."""


class RigAction(ControllerAction):
    """An action for a rig that the host's fleet declares."""

    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Find the rig, and act."""
        fleet, rig = host_rig(variables)
        return self.act(fleet, rig, arguments)

    @abstractmethod
    def act(self, fleet: Fleet, rig: Rig, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do it; the task's result."""


def load_drivers() -> None:
    """Load the drivers that the fleet names: called where Ansible imports an action, once, before it forks.

    docs/decisions/0007 has why.
    """
    for way in ways_of_power():
        import_module(f"rigdeploy.power.{way}")
