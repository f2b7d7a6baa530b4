"""How a run ended, in words: what failed, and in which state an interrupted run leaves each rig."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.report.json import as_data
from rigdeploy.report.result import RigResult, describe
from rigdeploy.run.node import Node, Report, own_words

SCHEMA = 1
"""Version of the report's JSON."""

_LEFT = {
    "connect": "not touched beyond power and the first login",
    "power": "its power may have been changed: rigdeploy power status",
    "bmc": "its BMC may be set differently than it was",
    "base": "the role base may be half applied",
    "driver": "the driver may be half installed",
    "verify": "changed as planned, and not judged; no load is left on its cards",
}


def results(report: Report, catalogue: Catalogue) -> list[RigResult]:
    """What is known about the cards of each rig that was judged."""
    return [_result(node, catalogue) for node in report.nodes if node.judged]


def _result(node: Node, catalogue: Catalogue) -> RigResult:
    if node.view.observation is None:
        raise AssertionError(f"{node.name} was judged without having been looked at")
    return describe(node.rig, catalogue, node.view.observation, node.findings, node.view.current_load)


def as_dict(report: Report, catalogue: Catalogue) -> dict[str, Any]:
    """The report as JSON-ready data: per rig how its part of the run ended, and what ``verify --json`` says of it."""
    judged = as_data(results(report, catalogue))["rigs"]
    unjudged: dict[str, Any] = {"status": None, "cards": [], "findings": []}
    rigs = {node.name: judged.get(node.name, unjudged) | dict(_part(node)) for node in report.nodes}
    return {"schema": SCHEMA, "run": report.run, "outcome": report.outcome, "rigs": rigs}


def _part(node: Node) -> Iterator[tuple[str, Any]]:
    yield "outcome", node.outcome
    yield "phase", node.phase
    yield "changed", node.changed
    yield "would_change", list(node.check_changes)
    yield "error", None if node.error is None else {"message": node.error.message, "remedy": node.error.remedy}


def summary(report: Report) -> list[str]:
    """Lines about the rigs that failed, an interruption, and whether anything changed."""
    lines = []
    for node in report.nodes:
        if node.error is not None:
            what = "cannot be worked on" if node.plan.blocked is not None else f"FAILED in {node.phase}"
            lines.append(f"{node.name}: {what}: {own_words(node, node.error)}")
            if node.error.remedy:
                lines.append(f"  {node.error.remedy}")
        elif report.outcome == "interrupted":
            lines.append(f"{node.name}: {_left(node)}")
        for change in node.check_changes:
            lines.append(f"{node.name}: would change: {change}")
    if report.outcome == "interrupted":
        lines.append("stopped; 'rigdeploy up' carries on from what it finds")
    elif report.outcome == "declined":
        lines.append("declined; nothing was changed")
    elif not report.changed and any(node.judged for node in report.nodes):
        lines.append("nothing had to change")
    return lines


def _left(node: Node) -> str:
    if node.judged:
        return "verified before the run was stopped"
    return f"stopped in {node.phase}: {_LEFT[node.phase]}"
