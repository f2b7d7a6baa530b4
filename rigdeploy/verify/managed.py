"""Whether what the roles left on the node is still as they left it."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.node.observation import Drift
from rigdeploy.node.values import Unread
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status

_SHOWN = 3
"""How many drifted things a finding names; the evidence has all."""


def drift(case: Case) -> Iterator[Finding]:
    """One finding per role that recorded itself on the node, and one if there is a record that cannot be read."""
    if lost := [line for line in case.observation.unread if line.what == "managed" or _is_record(line.what)]:
        yield _unknown(case, "rig", lost[0])
    for role, managed in sorted(case.observation.managed.items()):
        found = managed.drift
        if found:
            yield _drifted(case, role, found)
        elif unread := [line for line in case.observation.unread if line.what.startswith("managed.")]:
            yield _unknown(case, role, unread[0])
        else:
            yield Finding("managed", role, Status.PASS, "as the role left it", "as the role left it")


def _is_record(what: str) -> bool:
    return what.startswith("managed[") and what.endswith("]")


def _unknown(case: Case, subject: str, line: Unread) -> Finding:
    remedy = f"{line.what}: {line.why}; a login as root, or with sudo without a password, can read more"
    if _is_record(line.what):
        remedy = f"{line.what}: {line.why}; rigdeploy up {case.rig.name} writes it anew"
    return Finding("managed", subject, Status.UNKNOWN, "as the role left it", "", "unreadable", remedy)


def _drifted(case: Case, role: str, found: tuple[Drift, ...]) -> Finding:
    names = ", ".join(f"{item.kind} {item.name}" for item in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    # The system's own updates move packages on; what else changed, somebody changed.
    status = Status.WARN if all(_is_update(item) for item in found) else Status.FAIL
    remedy = f"rigdeploy up {case.rig.name} puts it back, or records the new state"
    evidence = {"drift": [vars(item) for item in found]}
    return Finding("managed", role, status, "as the role left it", names + more, "drift", remedy, evidence)


def _is_update(item: Drift) -> bool:
    return item.kind == "package" and item.found != "absent"
