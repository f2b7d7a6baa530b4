"""Judges an observation against what is declared, with the same rules as ``rigdeploy verify``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.errors import EXIT_FAIL, RigdeployError
from rigdeploy.fleet.load import load_fleet
from rigdeploy.node.observation import Observation
from rigdeploy.verify.findings import Finding, Status, exit_code, worst
from rigdeploy.verify.rules import judge
from rigdeploy.workspace import Workspace


def describe(finding: Finding) -> str:
    """One finding as a line of text."""
    line = f"{finding.status}: {finding.subject}: {finding.check}"
    if finding.declared or finding.observed:
        line += f": declared {finding.declared or 'nothing'}, found {finding.observed or 'nothing'}"
    return "; ".join(part for part in (line, finding.cause, finding.remedy) if part)


def workspace_of(inventory_directory: str | None) -> Workspace:
    """The fleet whose inventory Ansible was given; state and lab come from the environment, as for the inventory."""
    if not inventory_directory:
        raise AnsibleActionFail("rig_verify needs a rig that a fleet.yml declares")
    state = os.environ.get("RIGDEPLOY_STATE")
    lab = os.environ.get("RIGDEPLOY_LAB", "") not in ("", "0")
    return Workspace.find(Path(inventory_directory), Path(state) if state else None, lab=lab)


def judge_rig(workspace: Workspace, name: str, document: Any) -> list[Finding]:
    """The findings for one declared rig; RigdeployError when it is not declared or the document is none."""
    fleet = load_fleet(workspace)
    if name not in fleet.rigs:
        raise AnsibleActionFail(f"{name} is not declared in {workspace.fleet_file}")
    return judge(fleet.rigs[name], fleet.catalogue, Observation.parse(document))


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """``rig_verify``: fails the host on a FAIL, and shows what is a WARN or UNKNOWN.

    ``observation`` is what ``rig_probe`` returned; ``strict`` makes an UNKNOWN fail too.
    """

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge, and return the findings as data beside the text for people."""
        _, arguments = self.validate_argument_spec(
            {"observation": {"type": "dict", "required": True}, "strict": {"type": "bool", "default": False}}
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        name = str(variables["inventory_hostname"])
        try:
            workspace = workspace_of(variables.get("inventory_dir"))
            findings = judge_rig(workspace, name, arguments["observation"])
        except RigdeployError as error:
            raise AnsibleActionFail(f"{error.message}. {error.remedy}".strip()) from error
        return result | summarise(findings, strict=arguments["strict"])


def summarise(findings: list[Finding], *, strict: bool) -> dict[str, Any]:
    """The task's result: findings as data, a text of all that is not PASS, and whether the host fails."""
    notable = [describe(finding) for finding in findings if finding.status is not Status.PASS]
    passed = len(findings) - len(notable)
    return {
        "changed": False,
        "failed": exit_code(findings, strict=strict) == EXIT_FAIL,
        "verdict": worst(findings).value,
        "findings": [finding.as_dict() for finding in findings],
        "msg": "\n".join([f"{worst(findings)}: {passed} of {len(findings)} checks passed", *notable]),
        "_ansible_verbose_always": bool(notable),
    }
