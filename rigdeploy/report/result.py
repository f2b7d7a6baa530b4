"""One rig's result: its board and cards, its findings, or the error that stands in for all of them. Pure data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.errors import EXIT_NODE, RigdeployError
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status, exit_code, worst
from rigdeploy.verify.rules import judge

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.link import Link
    from rigdeploy.fleet.models import Board, Rig
    from rigdeploy.node.bmc_reading import BmcReading
    from rigdeploy.node.load import Load


@dataclass(frozen=True)
class LinkFigures:
    """A card's link in numbers: now, and what card and port can do at most. Widths in lanes; None is unread."""

    width: int | None = None
    gen: int | None = None
    card_width: int | None = None
    card_gen: int | None = None
    port_width: int | None = None
    port_gen: int | None = None


@dataclass(frozen=True)
class Bandwidth:
    """What a card copied alone, in GB/s (10^9 bytes): to it and from it."""

    to_card: float
    from_card: float


@dataclass(frozen=True)
class Row:
    """One card, or the slot where one should be: declared beside measured, and the gravest finding about it.

    ``memory_mib`` and ``measured`` (``4.0 x16``) are None where nothing was measured, ``bandwidth`` where there was no
    active check. ``declared`` is empty and ``declared_link`` None for a card that was not declared.
    """

    slot: str
    model: str
    address: str | None
    declared: str
    measured: str | None
    memory_mib: int | None
    verdict: Status
    declared_link: Link | None = None
    link: LinkFigures = LinkFigures()
    bandwidth: Bandwidth | None = None

    @property
    def is_missing(self) -> bool:
        """Whether a card should be here and is not."""
        return self.address is None


@dataclass(frozen=True)
class SlotView:
    """A slot of the board, and what sits or should sit in it; ``row`` is None for a slot that is rightly empty.

    ``attached`` is ``cpu`` or ``chipset``; it and ``limit`` are None for a slot that the catalogue does not know.
    """

    name: str
    attached: str | None = None
    limit: Link | None = None
    row: Row | None = None


@dataclass(frozen=True)
class HostFacts:
    """Who the node is, in words; None where that could not be read. ``board`` is the firmware's own name for it."""

    cpu: str | None = None
    memory: str | None = None
    board: str | None = None
    bios: str | None = None
    system: str | None = None
    kernel: str | None = None
    driver: str | None = None


@dataclass(frozen=True)
class RigResult:
    """What is known about one rig. ``error`` is set where it could not be looked at, and then there is nothing else.

    ``board`` is the declared board's name, ``slots`` every slot of it in board order and after them the cards that are
    in none. ``loaded_at`` is when the active check was made (Unix time) that the verdict rests on, None without one.
    """

    rig: str
    rows: tuple[Row, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: RigdeployError | None = None
    board: str = ""
    slots: tuple[SlotView, ...] = ()
    host: HostFacts = HostFacts()
    loaded_at: float | None = None

    @property
    def status(self) -> Status:
        """The gravest status of all findings; UNKNOWN where there are none."""
        return worst(self.findings)

    @property
    def why_not(self) -> str:
        """Why it could not be looked at, for a place that names the rig already; empty where it could."""
        return self.error.message.removeprefix(f"{self.rig}: ") if self.error is not None else ""

    def about(self, subject: str) -> tuple[Finding, ...]:
        """The findings about one subject, such as a slot."""
        return tuple(finding for finding in self.findings if finding.subject == subject)

    def others(self) -> dict[str, Status]:
        """The gravest status of every subject that is no card's slot, in the order of the findings."""
        slots = {row.slot for row in self.rows}
        subjects = dict.fromkeys(finding.subject for finding in self.findings if finding.subject not in slots)
        return {subject: worst(self.about(subject)) for subject in subjects}


def result(
    rig: Rig,
    catalogue: Catalogue,
    seen: Observation | RigdeployError,
    under_load: Load | None = None,
    bmc_said: BmcReading | None = None,
) -> RigResult:
    """Judge what was seen of a rig. A node that answered with nonsense is UNKNOWN; no answer at all is an error."""
    if isinstance(seen, ObservationError):
        unreadable = Finding(
            "observation", "rig", Status.UNKNOWN, "", "", "unreadable", f"{seen.message}; {seen.remedy}"
        )
        return RigResult(rig.name, findings=(unreadable,))
    if isinstance(seen, RigdeployError):
        return RigResult(rig.name, error=seen)
    return describe(rig, catalogue, seen, judge(rig, catalogue, seen, under_load, bmc_said), under_load)


def describe(
    rig: Rig,
    catalogue: Catalogue,
    observation: Observation,
    findings: Sequence[Finding],
    under_load: Load | None = None,
) -> RigResult:
    """The result of a rig that was judged already, with the load that it was judged with."""
    case = Case.of(rig, catalogue, observation, under_load)
    rows = tuple(_row(card, catalogue, findings) for card in case.cards)
    board = catalogue.boards.get(rig.build.board)
    return RigResult(
        rig.name,
        rows,
        tuple(findings),
        board=board.name if board else rig.build.board,
        slots=tuple(_slots(board, rows)),
        host=_host(observation),
        loaded_at=case.load.taken if case.load else None,
    )


def results_exit_code(results: Iterable[RigResult], *, strict: bool = False) -> int:
    """5 when a rig could not be looked at, else what the findings of all say; ``strict`` makes UNKNOWN fail."""
    seen = list(results)
    if any(one.error is not None for one in seen):
        return EXIT_NODE
    return exit_code([finding for one in seen for finding in one.findings], strict=strict)


def _row(card: Card, catalogue: Catalogue, findings: Sequence[Finding]) -> Row:
    load = card.load
    bandwidth = None
    if load is not None and load.h2d_gbps is not None and load.d2h_gbps is not None:
        bandwidth = Bandwidth(load.h2d_gbps, load.d2h_gbps)
    link = LinkFigures(
        width=max((w for w in (card.width, load.link.width_max if load else None) if w is not None), default=None),
        gen=max((g for g in (card.gen, load.link.gen_max if load else None) if g is not None), default=None),
        card_width=card.width_max,
        card_gen=card.gen_max,
        port_width=card.port_width_max,
        port_gen=card.port_gen_max,
    )
    measured = None
    if card.device is not None:
        gen = f"{link.gen}.0" if link.gen is not None else "?"
        measured = f"{gen} x{link.width if link.width is not None else '?'}"
    return Row(
        slot=card.slot,
        model=_model(card, catalogue),
        address=card.address,
        declared=str(card.declared.link) if card.declared else "",
        measured=measured,
        memory_mib=card.reading.memory_mib if card.reading else None,
        verdict=worst(finding for finding in findings if finding.subject == card.slot),
        declared_link=card.declared.link if card.declared else None,
        link=link,
        bandwidth=bandwidth,
    )


def _model(card: Card, catalogue: Catalogue) -> str:
    """What is in the slot: the driver's name for it, else the catalogue's; of an empty slot, what should be."""
    if card.reading is not None and card.reading.name:
        return card.reading.name
    if card.device is not None and not card.is_declared_model:
        known = catalogue.gpu_by_pci_id(card.device.pci_id or "")
        return known.name if known else card.device.pci_id or "unknown"
    return card.gpu.name if card.gpu else card.declared.gpu if card.declared else "unknown"


def _slots(board: Board | None, rows: Sequence[Row]) -> Iterator[SlotView]:
    """The board's slots in its own order; then the cards that none of them holds."""
    placed: dict[str, Row] = {}
    for row in rows:
        placed.setdefault(row.slot, row)
    known = board.slots if board else {}
    for name, slot in known.items():
        yield SlotView(name, slot.attached, slot.link, placed.get(name))
    for row in rows:
        if row.slot not in known or placed[row.slot] is not row:
            yield SlotView(row.slot, row=row)


def _host(observation: Observation) -> HostFacts:
    cpu, memory, host, driver = observation.cpu, observation.memory, observation.host, observation.driver
    size = memory.installed_mib or memory.total_mib
    ecc = {True: "ECC", False: "no ECC", None: None}[memory.ecc]
    return HostFacts(
        cpu=_listed(cpu.model, f"{cpu.cores} cores" if cpu.cores else None),
        memory=_listed(
            f"{size / 1024:.0f} GiB" if size else None, ecc, f"{memory.channels} channels" if memory.channels else None
        ),
        board=" ".join(filter(None, (host.vendor, host.board))) or None,
        bios=host.bios,
        system=" ".join(filter(None, (host.os_id, host.os_version))) or None,
        kernel=host.kernel,
        driver=_listed(driver.version, f"{driver.flavour} modules" if driver.version and driver.flavour else None),
    )


def _listed(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None
