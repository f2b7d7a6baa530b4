"""Findings in the order in which a person needs them: what is wrong first, one reason said once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rigdeploy.verify.findings import Finding, Status

GRAVEST_FIRST = (Status.FAIL, Status.WARN, Status.UNKNOWN)


@dataclass(frozen=True)
class Group:
    """One thing that is wrong, and every subject it is wrong with; ``finding`` speaks of all of them."""

    subjects: tuple[str, ...]
    finding: Finding

    @property
    def subject(self) -> str:
        """The subjects as one text."""
        return ", ".join(self.subjects)


def wrong(findings: Iterable[Finding]) -> Iterator[Group]:
    """What is not PASS, the gravest first. What could not be judged for one reason in several places stands once."""
    seen = list(findings)
    for status in GRAVEST_FIRST:
        chosen = [finding for finding in seen if finding.status is status]
        if status is Status.UNKNOWN:
            yield from _collapsed(chosen)
        else:
            yield from (Group((finding.subject,), finding) for finding in chosen)


def _collapsed(findings: Iterable[Finding]) -> Iterator[Group]:
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.check, finding.cause, _put(finding, "\0", "\1")), []).append(finding)
    for members in alike.values():
        first, subjects = members[0], tuple(dict.fromkeys(member.subject for member in members))
        remedy = _put(first, ", ".join(subjects), ", ".join(dict.fromkeys(filter(None, map(_address, members)))))
        declared, observed = (
            values.pop() if len(values := {getattr(member, name) for member in members}) == 1 else ""
            for name in ("declared", "observed")
        )
        yield Group(subjects, replace(first, remedy=remedy, declared=declared, observed=observed))


def _put(finding: Finding, subject: str, address: str) -> str:
    """The remedy with other words in place of its subject and its subject's address."""
    parts = {finding.subject: subject}
    if own := _address(finding):
        parts[own] = address
    words = "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True) if part)
    if not words:
        return finding.remedy
    return re.sub(rf"(?<!\w)(?:{words})(?!\w)", lambda found: parts[found[0]], finding.remedy)


def _address(finding: Finding) -> str:
    address = finding.evidence.get("address")
    return address if isinstance(address, str) else ""
