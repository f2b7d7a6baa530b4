"""Judges an observation against what is declared, with the same rules as ``rigdeploy verify``."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rigdeploy.errors import EXIT_FAIL, RigdeployError
from rigdeploy.fleet.host import host_rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.verify.findings import Finding, Status, exit_code, worst
from rigdeploy.verify.rules import judge


def describe(finding: Finding) -> str:
    """One finding as a line of text."""
    line = f"{finding.status}: {finding.subject}: {finding.check}"
    if finding.declared or finding.observed:
        line += f": declared {finding.declared or 'nothing'}, found {finding.observed or 'nothing'}"
    if finding.cause:
        line += f" ({finding.cause})"
    return f"{line}; {finding.remedy}" if finding.remedy else line


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """``rig_verify``: fails the host on a FAIL, and shows what is a WARN or UNKNOWN.

    ``observation`` is what ``rig_probe`` returned, ``load`` what ``rig_active`` returned on the same boot; ``strict``
    makes an UNKNOWN fail too.
    """

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge, and return the findings as data beside the text for people."""
        _, arguments = self.validate_argument_spec(
            {
                "observation": {"type": "dict", "required": True},
                "load": {"type": "dict"},
                "strict": {"type": "bool", "default": False},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            fleet, rig = host_rig(task_vars or {})
            load = None if arguments["load"] is None else Load.parse(arguments["load"])
            findings = judge(rig, fleet.catalogue, Observation.parse(arguments["observation"]), load)
        except RigdeployError as error:
            raise AnsibleActionFail(f"{error.message}. {error.remedy}".strip()) from None
        return result | summarise(findings, strict=arguments["strict"])


def summarise(findings: list[Finding], *, strict: bool) -> dict[str, Any]:
    """The task's result: whether the host fails, and all that is not PASS, as text and as data."""
    notable = [finding for finding in findings if finding.status is not Status.PASS]
    passed = len(findings) - len(notable)
    headline = f"{worst(findings)}: {passed} of {len(findings)} checks passed"
    return {
        "changed": False,
        "failed": exit_code(findings, strict=strict) == EXIT_FAIL,
        "verdict": worst(findings).value,
        "passed": passed,
        "findings": [finding.as_dict() for finding in notable],
        "msg": "\n".join([headline, *map(describe, notable)]),
        "_ansible_verbose_always": bool(notable),
    }
