"""Results as one page that needs nothing else: no script, no font, no picture from anywhere, safe to mail and to print.

Jinja escapes whatever is put into the templates, so nothing that a node said can be more than text; a content security
policy that allows no script and no request stands behind that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rigdeploy import __version__
from rigdeploy.node.values import display
from rigdeploy.report.drawing import NARROW, WIDE, drawing
from rigdeploy.report.groups import Group, wrong
from rigdeploy.report.result import RigResult
from rigdeploy.verify.findings import Finding, Status

_TEMPLATES = Path(__file__).with_name("templates")
_EVIDENCE_LIMIT = 4000
"""Characters of one finding's evidence that are shown; all of it is in the JSON."""

_AREAS = {
    "gpu": "Cards",
    "link": "Links",
    "memory": "Graphics memory",
    "load": "Under load",
    "driver": "Driver",
    "host": "Host",
    "disk": "Disks",
    "managed": "What the roles left",
    "observation": "Observation",
}
"""Headings by the first word of a check's name."""


def page(results: Sequence[RigResult], made: datetime | None = None) -> str:
    """The whole page, all rigs of a run on it; ``made`` is the moment of the verdict, by default this one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_printable,
    )  # fmt: skip
    moment = made or datetime.now(UTC)
    return environment.get_template("page.html.j2").render(
        style=(_TEMPLATES / "style.css").read_text(),
        title=_title(results),
        version=__version__,
        made=_moment(moment),
        rigs=[_rig(result) for result in results],
        statuses=[status.value for status in Status],
    )


def _title(results: Sequence[RigResult]) -> str:
    words = [_word(result) for result in results]
    if len(results) == 1:
        return f"{results[0].rig}: {words[0]}"
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return f"{len(results)} rigs: {counts}" if results else "No rigs"


def _word(result: RigResult) -> str:
    return "NOT VERIFIED" if result.error else result.status.value


def _rig(result: RigResult) -> dict[str, Any]:
    error = result.error
    statuses = [finding.status for finding in result.findings]
    return {
        "name": result.rig,
        "word": _word(result),
        "status": (Status.UNKNOWN if error else result.status).value,
        "error": {"message": display(result.why_not), "remedy": error.remedy} if error else None,
        "total": len(statuses),
        "counts": {status.value: statuses.count(status) for status in Status if status in statuses},
        "board": result.board,
        "facts": [(term, text) for term, text in _facts(result) if text],
        "drawings": [drawing(result, layout) for layout in (WIDE, NARROW)] if result.slots else [],
        "wrong": list(wrong(result.findings)),
        "is_sound": Status.FAIL not in statuses and Status.WARN not in statuses,
        "areas": _areas(result.findings),
        "evidence": list(_evidence(result.findings)),
    }


def _facts(result: RigResult) -> Iterator[tuple[str, str | None]]:
    host = result.host
    yield "Board", result.board
    yield "Processor", host.cpu
    yield "Memory", host.memory
    yield "System", ", kernel ".join(filter(None, (host.system, host.kernel)))
    yield "Driver", host.driver
    if result.slots:
        yield "Under load", _load_moment(result.loaded_at)


def _load_moment(taken: float | None) -> str:
    """When the active check was made; the node's clock says so, which may say anything."""
    if taken is None:
        return "not tested"
    try:
        return _moment(datetime.fromtimestamp(taken, UTC))["text"]
    except (OverflowError, ValueError, OSError):
        return "tested, at a time that the node's clock does not tell"


def _moment(moment: datetime) -> dict[str, str]:
    utc = moment.astimezone(UTC)
    return {"text": f"{utc:%Y-%m-%d %H:%M} UTC", "iso": utc.isoformat(timespec="seconds")}


def _areas(findings: Sequence[Finding]) -> list[tuple[str, list[Group]]]:
    """The findings under headings, in the order in which the first of each comes; what reads alike is one row."""
    areas: dict[str, dict[tuple[str, ...], list[Finding]]] = {}
    for finding in findings:
        first = finding.check.partition(".")[0]
        rows = areas.setdefault(_AREAS.get(first, first), {})
        rows.setdefault((finding.check, finding.status.value, finding.declared, finding.observed), []).append(finding)
    return [
        (area, [Group(tuple(one.subject for one in alike), alike[0]) for alike in rows.values()])
        for area, rows in areas.items()
    ]


def _evidence(findings: Sequence[Finding]) -> Iterator[tuple[Finding, str]]:
    for finding in findings:
        if finding.evidence:
            text = json.dumps(finding.evidence, indent=2, ensure_ascii=False, default=str)[: _EVIDENCE_LIMIT + 1]
            if len(text) > _EVIDENCE_LIMIT:
                text = text[:_EVIDENCE_LIMIT] + "…"
            yield finding, text


def _printable(value: Any) -> Any:
    """A text without characters that turn the writing direction or are no HTML; what is markup already stays."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else " " for c in value)
