"""What a check says: the finding, its status, and the exit code of a list of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rigdeploy.errors import EXIT_FAIL, EXIT_PASS, EXIT_UNKNOWN, EXIT_WARN

SCHEMA = 1
"""Version of the findings' JSON; raised when a field changes its meaning or goes."""


class Status(StrEnum):
    """A verdict. UNKNOWN means that nothing could be judged; it is never PASS."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    WARN = "WARN"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


LIMIT = 64
"""Things of one kind that a rule looks at where a node could name any number; no rig has as many disks or ports."""

_ORDER = (Status.FAIL, Status.WARN, Status.UNKNOWN, Status.PASS)
_EXIT = {
    Status.PASS: EXIT_PASS,
    Status.WARN: EXIT_WARN,
    Status.FAIL: EXIT_FAIL,
    Status.UNKNOWN: EXIT_UNKNOWN,
}


@dataclass(frozen=True)
class Finding:
    """One judged statement about one subject of one rig.

    ``check`` names the rule (``link.width``), ``subject`` the thing judged (a slot name, ``rig``,
    ``driver``). ``declared`` and ``observed`` are short texts for people; ``evidence`` holds the
    readings behind them, for machines. ``cause`` and ``remedy`` are empty on a PASS.
    """

    check: str
    subject: str
    status: Status
    declared: str = ""
    observed: str = ""
    cause: str = ""
    remedy: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON-ready data, in the contract's field names."""
        return asdict(self) | {"status": self.status.value}


def worst(findings: Iterable[Finding]) -> Status:
    """The gravest status: FAIL before WARN before UNKNOWN before PASS; of nothing, UNKNOWN."""
    seen = {finding.status for finding in findings}
    return next((status for status in _ORDER if status in seen), Status.UNKNOWN)


def exit_code(findings: Iterable[Finding], *, strict: bool = False) -> int:
    """The exit code for these findings; ``strict`` makes any UNKNOWN count as FAIL."""
    seen = list(findings)
    if strict and (not seen or any(f.status is Status.UNKNOWN for f in seen)):
        return EXIT_FAIL
    return _EXIT[worst(seen)]


def named(names: list[str], shown: int = 8) -> str:
    """Names in a row, at most that many, and how many more there are: a node may have any number of anything."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
