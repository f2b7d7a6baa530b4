"""One rig's result: its cards as rows, its findings, or the error that stands in for both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.errors import EXIT_NODE, RigdeployError
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.verify.cards import Card, match
from rigdeploy.verify.findings import Finding, Status, exit_code, worst
from rigdeploy.verify.rules import judge

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.models import Rig
    from rigdeploy.node.load import Load


@dataclass(frozen=True)
class Row:
    """One card, or the slot where one should be: declared beside measured, and the gravest finding about it.

    ``memory_mib`` and ``measured`` (``4.0 x16``) are None where nothing was measured.
    """

    slot: str
    model: str
    address: str | None
    declared: str
    measured: str | None
    memory_mib: int | None
    verdict: Status


@dataclass(frozen=True)
class RigResult:
    """What is known about one rig. ``error`` is set where it could not be looked at, and then there is nothing else."""

    rig: str
    rows: tuple[Row, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: RigdeployError | None = None

    @property
    def status(self) -> Status:
        """The gravest status of all findings; UNKNOWN where there are none."""
        return worst(self.findings)


def result(
    rig: Rig, catalogue: Catalogue, seen: Observation | RigdeployError, under_load: Load | None = None
) -> RigResult:
    """Judge what was seen of a rig. A node that answered with nonsense is UNKNOWN; no answer at all is an error."""
    if isinstance(seen, ObservationError):
        unreadable = Finding(
            "observation", "rig", Status.UNKNOWN, "", "", "unreadable", f"{seen.message}; {seen.remedy}"
        )
        return RigResult(rig.name, findings=(unreadable,))
    if isinstance(seen, RigdeployError):
        return RigResult(rig.name, error=seen)
    return describe(rig, catalogue, seen, judge(rig, catalogue, seen, under_load), under_load)


def describe(
    rig: Rig,
    catalogue: Catalogue,
    observation: Observation,
    findings: Sequence[Finding],
    under_load: Load | None = None,
) -> RigResult:
    """The result of a rig that was judged already, with the load that it was judged with."""
    rows = tuple(_row(card, catalogue, findings) for card in match(rig.build, catalogue, observation, under_load))
    return RigResult(rig.name, rows, tuple(findings))


def results_exit_code(results: Iterable[RigResult], *, strict: bool = False) -> int:
    """5 when a rig could not be looked at, else what the findings of all say; ``strict`` makes UNKNOWN fail."""
    seen = list(results)
    if any(one.error is not None for one in seen):
        return EXIT_NODE
    return exit_code([finding for one in seen for finding in one.findings], strict=strict)


def _row(card: Card, catalogue: Catalogue, findings: Sequence[Finding]) -> Row:
    measured = None
    if card.device is not None:
        gen = f"{card.gen}.0" if card.gen is not None else "?"
        measured = f"{gen} x{card.width if card.width is not None else '?'}"
    return Row(
        slot=card.slot,
        model=_model(card, catalogue),
        address=card.address,
        declared=str(card.declared.link) if card.declared else "",
        measured=measured,
        memory_mib=card.reading.memory_mib if card.reading else None,
        verdict=worst(finding for finding in findings if finding.subject == card.slot),
    )


def _model(card: Card, catalogue: Catalogue) -> str:
    """What is in the slot: the driver's name for it, else the catalogue's; of an empty slot, what should be."""
    if card.reading is not None and card.reading.name:
        return card.reading.name
    if card.device is not None and not card.is_declared_model:
        known = catalogue.gpu_by_pci_id(card.device.pci_id or "")
        return known.name if known else card.device.pci_id or "unknown"
    return card.gpu.name if card.gpu else card.declared.gpu if card.declared else "unknown"
