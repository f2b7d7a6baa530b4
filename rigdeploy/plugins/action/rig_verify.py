"""Judges an observation against what is declared, with the same rules as ``rigdeploy verify``."""

from __future__ import annotations

from typing import Any, ClassVar

from rigdeploy.errors import EXIT_FAIL
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.plugins.controller import RigAction
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


class ActionModule(RigAction):
    """``rig_verify``: fails the host on a FAIL, and shows what is a WARN or UNKNOWN.

    ``observation`` is what ``rig_probe`` returned, ``load`` what ``rig_active`` returned on the same boot; ``strict``
    makes an UNKNOWN fail too.
    """

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "observation": {"type": "dict", "required": True},
        "load": {"type": "dict"},
        "strict": {"type": "bool", "default": False},
    }

    def act(self, fleet: Fleet, rig: Rig, arguments: dict[str, Any]) -> dict[str, Any]:
        """Judge, and return the findings as data beside the text for people."""
        load = None if arguments["load"] is None else Load.parse(arguments["load"])
        findings = judge(rig, fleet.catalogue, Observation.parse(arguments["observation"]), load)
        return summarise(findings, strict=arguments["strict"])


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
