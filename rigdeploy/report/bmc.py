"""An audit of BMCs: lines for people, and a document to attach to a bug report."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rigdeploy.node.values import display
from rigdeploy.verify.findings import SCHEMA, Finding, Status, worst

if TYPE_CHECKING:
    from rigdeploy.errors import RigdeployError
    from rigdeploy.power.audit import Facts

_WIDTH = 100


def lines(findings: Iterable[Finding]) -> Iterator[tuple[Status, str]]:
    """Each finding in a line, and what to do about it below; each with the status that it belongs to."""
    seen = list(findings)
    width = max((len(finding.check) for finding in seen), default=0)
    indent = " " * (width + 13)
    for finding in seen:
        said = f"  {finding.status.value:<8} {finding.check:<{width}}  {display(finding.observed)}"
        yield finding.status, said.rstrip()
        for line in textwrap.wrap(finding.remedy, _WIDTH - len(indent), break_on_hyphens=False):
            yield finding.status, indent + line


def as_data(facts: Facts, findings: Iterable[Finding]) -> dict[str, Any]:
    """One BMC: what was learned, and what that means."""
    seen = list(findings)
    return {
        "status": worst(seen).value,
        "facts": facts.as_dict(),
        "findings": [finding.as_dict() for finding in seen],
    }


def document(rigs: Mapping[str, tuple[Facts, Iterable[Finding]] | RigdeployError]) -> dict[str, Any]:
    """The audits of several rigs, when they were made, and by what; a rig that could not be audited has an error."""
    rows = {}
    for name, result in rigs.items():
        if isinstance(result, tuple):
            rows[name] = as_data(*result) | {"error": None}
        else:
            error = {"kind": type(result).__name__, "message": result.message, "remedy": result.remedy}
            rows[name] = {"status": None, "facts": None, "findings": None, "error": error}
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"schema": SCHEMA, "rigdeploy": version("rigdeploy"), "made": made, "rigs": rows}
