"""Errors that links and cards counted since boot, as rates, and the driver's own error messages.

No link is without errors: what is judged is how many there may be in that time, never that there are some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from rigdeploy.node.observation import LogLine, PciDevice
from rigdeploy.verify import rates
from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Slot

_SEVERITIES = ("correctable", "nonfatal", "fatal")

_FATAL = frozenset({
    48, 56, 57, 58, 62, 64, 65, 68, 69, 73, 74, 79, 80, 81, 95, 109, 119, 120, 140, 143, 155, 158,
})  # fmt: skip
"""Xids after which the card must be reset, the node restarted or the hardware looked at: NVIDIA's Xid catalogue (as
gpud carries it, of November 2025) and those on which Azure's node health checks fail."""
_APPLICATION = frozenset({13, 31, 43, 45, 137, 157})
"""Xids that a program brings on itself, or that only report its end (NVIDIA's Xid catalogue)."""
_WORDS = {
    48: "an uncorrectable memory error",
    63: "a memory page or row was retired",
    64: "a memory page or row could not be retired",
    74: "an NVLink error",
    79: "the card fell off the bus",
    92: "many correctable memory errors",
    94: "a contained memory error",
    95: "an uncontained memory error",
    119: "the card's own processor did not answer",
    120: "the card's own processor failed",
    140: "an uncorrectable memory error",
    154: "the driver asks for a recovery action",
}


def links(case: Case) -> Iterator[Finding]:
    """The PCIe errors of each card's link since boot, against what its riser may make in that time."""
    for card, slot in case.occupied():
        yield _judge_link(case, card, slot)


def replays(case: Case) -> Iterator[Finding]:
    """The packets that each card had to send again since boot, as its driver counts them."""
    for card, slot in case.occupied():
        if card.reading is not None and case.observation.driver.answers:
            yield _judge_replays(case, card, slot)


def xids(case: Case) -> Iterator[Finding]:
    """The driver's error messages (Xid) in the kernel's log since boot: the worst one of each card.

    A card that fell off the bus may be gone from it: those of no card that is there stand under ``rig``. A card that
    was not declared is a finding of its own, and its messages are not judged. A log that was read in part can show that
    something is wrong, and not that nothing is.
    """
    log, why = case.observation.kernel_log, case.observation.why_unread("kernel_log")
    found = list(_by_card(case, [line for line in log or () if line.kind == "xid" and line.code is not None]))
    if log is None or why:
        found = [finding for finding in found if finding.status is not Status.PASS]
    yield from found
    if (log is None or why) and not any(finding.subject == "rig" for finding in found):
        remedy = f"{why or 'the kernel log could not be read'}: run the probe as root"
        yield Finding("gpu.xid", "rig", Status.UNKNOWN, "", "", "unreadable", remedy)


def _by_card(case: Case, lines: list[LogLine]) -> Iterator[Finding]:
    for card, _ in case.occupied():
        own = [line for line in lines if line.address and _device(line.address) == _device(card.address or "")]
        yield _judge_xids(card.slot, own, case.place(card))
    present = {_device(card.address) for card in case.cards if card.address}
    lost = [line for line in lines if line.address is None or _device(line.address) not in present]
    finding = _judge_xids("rig", lost, "a card that is not there any more")
    if finding.status is not Status.PASS:
        yield finding


# --- links -------------------------------------------------------------------------------------------------------


def _judge_link(case: Case, card: Card, slot: Slot) -> Finding:
    counts = _counts(case, card)
    count, hours = counts["correctable"], _hours(case)
    allowed = None if hours is None else rates.allowed_errors(slot.correctable_errors_per_hour, slot.link, hours)
    status, cause, remedy = _judge_counts(case, card, counts, allowed)
    said = [f"{counts[severity]} {severity}" for severity in ("fatal", "nonfatal") if counts[severity]]
    return Finding(
        "link.errors",
        card.slot,
        status,
        "" if allowed is None else f"at most {allowed}",
        ", ".join(said) or ("" if count is None else str(count)),
        cause,
        remedy,
        {
            "address": card.address,
            **counts,
            "allowed": allowed,
            "declared_per_hour": slot.correctable_errors_per_hour,
            "uptime_hours": hours,
            "ends": {end.address: end.aer for end in _ends(card)},
        },
    )


def _judge_counts(
    case: Case, card: Card, counts: dict[str, int | None], allowed: int | None
) -> tuple[Status, str, str]:
    place, count = case.place(card), counts["correctable"]
    if counts["fatal"]:
        remedy = f"the link in {place} broke down: power off, reseat card and riser, try another riser; {_IN_LOG}"
        return Status.FAIL, "fatal-errors", remedy
    if counts["nonfatal"]:
        remedy = f"the link in {place} lost packets: reseat card and riser, try another riser; {_IN_LOG}"
        return Status.WARN, "nonfatal-errors", remedy
    if count is None:
        why = case.observation.why_unread(f"pci[{card.address}].aer") or "the node shows no error counters"
        remedy = f"{why}, and the kernel's log could not be read either: run the probe as root"
        if off := _why_not_counted(case):
            remedy = f"{off}; take that from the kernel's arguments and reboot"
        return Status.UNKNOWN, "unreadable", remedy
    if allowed is None and count:
        return Status.UNKNOWN, "unreadable", f"{count} errors, but how long the node has been up could not be read"
    if allowed is not None and count > allowed:
        remedy = (
            f"the link in {place} had {count} correctable errors where {allowed} are allowed for: reseat card and "
            "riser, try a shorter or better riser, or a slower link; where that riser is known for it, declare its "
            "correctable_errors_per_hour"
        )
        return Status.WARN, "link-errors", remedy
    return Status.PASS, "", ""


_IN_LOG = "the node's log has them: journalctl -k -g AER"


def _ends(card: Card) -> Iterator[PciDevice]:
    """The two ends of a card's link; errors may be counted at either, with the other at nothing."""
    if card.device is not None:
        yield card.device
    yield from card.ports[:1]


def _counts(case: Case, card: Card) -> dict[str, int | None]:
    """Errors by severity, at the end that counted more; None where neither the counters nor the log could be read.

    Where firmware handles the errors itself, the kernel shows no counters, and only its log has them. A grave error
    stands there too when its details were lost, so that no device's counter has it. A log that was read in part, and
    counters of a kernel that does not count, show that there are errors, and not that there are none.
    """
    ends = [end for end in _ends(card) if end.aer is not None]
    addresses, log = [end.address for end in _ends(card)], case.observation.kernel_log
    counted = {severity: _most(_counted(end, severity) for end in ends) for severity in _SEVERITIES}
    logged: dict[str, int | None] = dict.fromkeys(_SEVERITIES)
    if log is not None:
        logged = {severity: _most(_logged(log, severity, address) for address in addresses) for severity in _SEVERITIES}
    found = {severity: _most((counted[severity], logged[severity])) for severity in _SEVERITIES}
    if ends:
        found["correctable"] = counted["correctable"]
    doubtful = _why_not_counted(case) or (not ends and case.observation.why_unread("kernel_log"))
    return {severity: count or None for severity, count in found.items()} if doubtful else found


def _why_not_counted(case: Case) -> str:
    """Why counters that are there count nothing; empty where they do."""
    return next((line.why for line in case.observation.unread if line.what == "aer"), "")


def _counted(end: PciDevice, severity: str) -> int | None:
    return end.aer[severity].get("total") if end.aer and severity in end.aer else None


def _logged(log: Iterable[LogLine], severity: str, address: str) -> int:
    return sum(line.count for line in log if line.kind == f"aer-{severity}" and line.address == address)


def _most(counts: Iterable[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def _hours(case: Case) -> float | None:
    seconds = case.observation.host.uptime_seconds
    return None if seconds is None else seconds / 3600


# --- replays -----------------------------------------------------------------------------------------------------


def _judge_replays(case: Case, card: Card, slot: Slot) -> Finding:
    count = card.reading.replays if card.reading else None
    hours, place = _hours(case), case.place(card)
    allowed = None if hours is None else rates.allowed_replays(slot.link, hours * 60)
    status, cause, remedy = Status.PASS, "", ""
    if count is None:
        why = case.observation.why_unread(f"gpus[{card.address}].replays") or "nvidia-smi shows no replay counter"
        status, cause, remedy = Status.UNKNOWN, "unreadable", why
    elif allowed is None and count:
        status, cause = Status.UNKNOWN, "unreadable"
        remedy = f"{count} replays, but how long the node has been up could not be read"
    elif allowed is not None and count > allowed:
        status, cause = Status.WARN, "link-replays"
        remedy = (
            f"the card in {place} sent {count} packets again where a sound link makes {allowed} at most: reseat card "
            "and riser, try a shorter or better riser, or a slower link"
        )
    return Finding(
        "link.replays",
        card.slot,
        status,
        "" if allowed is None else f"at most {allowed}",
        "" if count is None else str(count),
        cause,
        remedy,
        {"address": card.address, "replays": count, "allowed": allowed, "uptime_hours": hours},
    )


# --- Xid ---------------------------------------------------------------------------------------------------------

_GRAVITY = (Status.PASS, Status.WARN, Status.FAIL)
_EVIDENCE_LIMIT = 50
"""Kinds of lines that are shown of one card; more is a fault of the log."""


def _device(address: str) -> str:
    """An address without its function: the driver gives a card's as ``.0`` or not at all."""
    return address.rpartition(".")[0]


def _status(line: LogLine) -> Status:
    if line.code in _FATAL:
        return Status.FAIL
    return Status.PASS if line.code in _APPLICATION else Status.WARN


def _judge_xids(subject: str, lines: list[LogLine], place: str) -> Finding:
    worst = max(lines, key=lambda line: (_GRAVITY.index(_status(line)), line.count, line.code or 0), default=None)
    if worst is None:
        return Finding("gpu.xid", subject, Status.PASS, "", "none")
    cause, remedy = "", ""
    said = f"Xid {worst.code}" + (f" ({_WORDS[worst.code]})" if worst.code in _WORDS else "")
    if _status(worst) is Status.FAIL:
        cause = "xid-fatal"
        remedy = (
            f"{said} since boot in {place}: check power cables, riser and seating, power the rig off and on; if it "
            "comes back, have the card replaced"
        )
    elif _status(worst) is Status.WARN:
        cause = "xid-noted"
        remedy = f"{said} since boot in {place}: look at the node's journalctl -k -g Xid, and watch whether it returns"
    evidence = {"xids": [asdict(line) for line in lines[:_EVIDENCE_LIMIT]]}
    return Finding("gpu.xid", subject, _status(worst), "", f"Xid {worst.code}, {worst.count}x", cause, remedy, evidence)
