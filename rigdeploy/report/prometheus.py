"""Results as a file for the node exporter's textfile collector (Prometheus text format 0.0.4)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from rigdeploy.report.result import RigResult, Row
from rigdeploy.verify.findings import Status, worst

_VALUES = {Status.PASS: 0, Status.WARN: 1, Status.FAIL: 2, Status.UNKNOWN: 3}
_MEANING = "0 PASS, 1 WARN, 2 FAIL, 3 UNKNOWN"

_Labels = dict[str, str]
_Sample = tuple[_Labels, float]


def text(results: Sequence[RigResult], now: float | None = None) -> str:
    """The whole file; ``now`` is the Unix time of the verdicts, by default this very moment.

    A value that was not measured has no sample. A rig that could not be looked at is UNKNOWN and ``up`` 0, so that an
    alert on either sees it.
    """
    moment = time.time() if now is None else now
    metrics: dict[str, tuple[str, list[_Sample]]] = {
        "verify_timestamp_seconds": (
            "When the verdict was made (Unix time).",
            [({"rig": result.rig}, moment) for result in results],
        ),
        "rig_up": (
            "Whether the rig could be looked at.",
            [({"rig": result.rig}, float(result.error is None)) for result in results],
        ),
        "rig_status": (
            f"The gravest finding about the rig: {_MEANING}.",
            [({"rig": result.rig}, _VALUES[result.status]) for result in results],
        ),
        "finding_status": (
            f"One check of one subject: {_MEANING}.",
            [sample for result in results for sample in _findings(result)],
        ),
    }
    for name, meaning in _CARD_METRICS.items():
        samples = [sample for result in results for sample in _cards(result, name)]
        metrics[name] = (meaning, samples)
    return "".join(_metric(f"rigdeploy_{name}", *content) for name, content in metrics.items())


_CARD_METRICS = {
    "link_width_lanes": "Lanes of a card's link, declared and measured.",
    "link_generation": "PCIe generation of a card's link, declared and measured.",
    "card_memory_bytes": "A card's memory as the driver shows it.",
    "link_bandwidth_bytes_per_second": "What a card alone copied under load, to it and from it.",
}


def _findings(result: RigResult) -> Iterator[_Sample]:
    """One sample per check and subject; several findings of one check about one subject count as the gravest."""
    for check, subject in dict.fromkeys((finding.check, finding.subject) for finding in result.findings):
        same = worst(finding for finding in result.about(subject) if finding.check == check)
        yield {"rig": result.rig, "check": check, "subject": subject}, _VALUES[same]


def _cards(result: RigResult, metric: str) -> Iterator[_Sample]:
    seen: set[str] = set()
    for row in result.rows:
        if row.slot in seen:  # Two undeclared cards below one named slot: a series can be there once only.
            continue
        seen.add(row.slot)
        for labels, value in _figures(row)[metric]:
            if value is not None:
                yield {"rig": result.rig, "slot": row.slot, **labels}, value


def _figures(row: Row) -> dict[str, list[tuple[_Labels, float | None]]]:
    declared, bandwidth = row.declared_link, row.bandwidth
    return {
        "link_width_lanes": [
            ({"kind": "declared"}, declared.width if declared else None),
            ({"kind": "measured"}, row.link.width),
        ],
        "link_generation": [
            ({"kind": "declared"}, declared.gen if declared else None),
            ({"kind": "measured"}, row.link.gen),
        ],
        "card_memory_bytes": [({}, row.memory_mib * 1024 * 1024 if row.memory_mib is not None else None)],
        "link_bandwidth_bytes_per_second": [
            ({"direction": "to_card"}, bandwidth.to_card * 1e9 if bandwidth else None),
            ({"direction": "from_card"}, bandwidth.from_card * 1e9 if bandwidth else None),
        ],
    }


def _metric(name: str, meaning: str, samples: Sequence[_Sample]) -> str:
    if not samples:
        return ""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{inner}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    """A label value as the format wants it; what UTF-8 cannot hold becomes a question mark."""
    sound = label.encode("utf-8", "replace").decode()
    return sound.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))
