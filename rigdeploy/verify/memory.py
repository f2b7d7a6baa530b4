"""Memory per card and in total, against what the declared model shows per ECC state.

Only the driver can count a card's memory. A reading that is known of the model is right; else it must be near the
nominal size. Where that tolerance comes from: readings of shipped cards lie between -2 % (drivers before 510 left out
what they reserve) and +0.5 % of it; ECC on GDDR takes 1/16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Gpu

_LOWER, _LOWER_WITH_ECC, _UPPER = 0.98, 0.92, 1.005
_NEAR = 0.10
"""How close to another known total for the same PCI id a reading must be to be called that card."""


def per_card(case: Case) -> Iterator[Finding]:
    """Each card's memory; nothing is said of a slot with another model, which is its own finding.

    Nor anything at all before a driver is there: ``total`` says so once for all cards.
    """
    there = case.observation.gpus or case.observation.driver.answers
    for card, _ in case.occupied() if there else ():
        if card.gpu is None or card.is_declared_model is False:
            continue
        size = card.reading.memory_mib if card.reading else None
        declared = f"{_expected(card.gpu, card)} MiB"
        if card.reading is None and case.observation.driver.answers and not case.observation.why_unread("gpus[]"):
            remedy = (
                f"the driver works and does not show the card in {case.place(card)}: look for NVRM and Xid in the "
                "node's dmesg, check the card's power cables, then power the rig off and on"
            )
            yield Finding("memory.card", card.slot, Status.FAIL, declared, "not shown", "card-lost", remedy)
        elif size is None or (card.reading is not None and card.reading.mig):
            yield _unknown(case, card, declared)
        else:
            cause, remedy = _judge(case, card, card.gpu, size)
            status = Status.FAIL if cause else Status.PASS
            evidence = {"memory_mib": size, "ecc": card.reading.ecc if card.reading else None}
            yield Finding("memory.card", card.slot, status, declared, f"{size} MiB", cause, remedy, evidence)


def total(case: Case) -> Iterator[Finding]:
    """All cards' memory together against the declared total."""
    nominal = case.rig.build.vram_gib * 1024
    declared = f"{nominal} MiB"
    if not case.observation.gpus:
        yield from _without_driver(case, declared)
        return
    cards = [card for card in case.cards if card.device is not None]
    sizes = [card.reading.memory_mib for card in cards if card.reading and card.reading.memory_mib is not None]
    if len(sizes) < len(cards) or any(card.reading and card.reading.mig for card in cards):
        remedy = "the memory of some cards could not be read: see their slots"
        yield Finding("memory.total", "rig", Status.UNKNOWN, declared, "", "unreadable", remedy)
        return
    observed = sum(sizes)
    counted = sum(_counted(card) for card in cards)
    status, cause, remedy = Status.PASS, "", ""
    if not _LOWER * nominal <= counted <= _UPPER * nominal:
        status, cause = Status.FAIL, "memory-missing" if counted < nominal else "memory-extra"
        remedy = "see the slots named above"
    yield Finding("memory.total", "rig", status, declared, f"{observed} MiB", cause, remedy)


def _counted(card: Card) -> int:
    """What a card adds to the total: one that is right for its model, its nominal size, whatever ECC or driver take."""
    size, ecc = (card.reading.memory_mib or 0, card.reading.ecc) if card.reading else (0, None)
    if card.gpu is None or card.is_declared_model is False or not is_right(card.gpu, size, ecc):
        return size
    return card.gpu.memory_gib * 1024


def _expected(gpu: Gpu, card: Card) -> int:
    """The reading to expect in the card's ECC state; nothing known there, the nominal size."""
    return next(iter(_known(gpu, card.reading.ecc if card.reading else None)), gpu.memory_gib * 1024)


def _known(gpu: Gpu, ecc: bool | None) -> list[int]:
    """The readings known for an ECC state. Cards without ECC say N/A; of one that has it, either may be meant."""
    totals = gpu.memory_mib
    if ecc:
        return totals.ecc_on or [value * 15 // 16 for value in totals.ecc_off]
    return totals.ecc_off if ecc is False else [*totals.ecc_off, *totals.ecc_on]


def _ecc_costs(gpu: Gpu) -> bool:
    """Whether ECC takes memory away: not from cards known to show their nominal size with it (HBM, GDDR7)."""
    if not gpu.memory_mib.ecc_on:
        return True
    return min(gpu.memory_mib.ecc_on) < _LOWER * gpu.memory_gib * 1024


def is_right(gpu: Gpu, size: int, ecc: bool | None) -> bool:
    """Whether a card of this model shows this ``memory.total`` (MiB) in this ECC state."""
    nominal = gpu.memory_gib * 1024
    lower = _LOWER_WITH_ECC if ecc and _ecc_costs(gpu) else _LOWER
    return size in _known(gpu, ecc) or lower * nominal <= size <= _UPPER * nominal


def _judge(case: Case, card: Card, gpu: Gpu, size: int) -> tuple[str, str]:
    """Cause and remedy of a wrong size; both empty when it is right."""
    ecc = card.reading.ecc if card.reading else None
    if is_right(gpu, size, ecc):
        return "", ""
    place = case.place(card)
    other = _looks_like(case, card, gpu, size)
    if other:
        remedy = f"the card in {place} {other}: correct the declaration if that is what you bought, else return it"
        return "other-memory", remedy
    may_have_ecc = ecc is False or gpu.memory_mib.ecc_on
    if ecc is not True and may_have_ecc and is_right(gpu, size, ecc=True):
        return "ecc", f"the card in {place} has as much memory as with ECC on: look at 'nvidia-smi -q -d ECC'"
    if size < gpu.memory_gib * 1024:
        return "memory-missing", f"the card in {place} has less memory than its model: have it repaired or replaced"
    return "memory-extra", f"the card in {place} has more memory than its model: correct the declaration"


def _looks_like(case: Case, card: Card, gpu: Gpu, size: int) -> str:
    """Which other card of the same PCI id has about this much memory, as the end of a sentence."""
    pci_id = card.device.pci_id if card.device else None
    for other in case.catalogue.gpus.values():
        if other.id == gpu.id or pci_id not in other.pci_ids:
            continue
        totals = [*other.memory_mib.ecc_off, *other.memory_mib.ecc_on]
        if any(abs(size - total) <= _NEAR * total for total in totals):
            return f"looks like a {other.memory_gib} GB {'mod' if other.modified else 'card of the same model'}"
    return ""


def _without_driver(case: Case, declared: str) -> Iterator[Finding]:
    """Without a driver the memory is unknown; that is no finding where none is declared and none is loaded."""
    driver = case.observation.driver
    if case.rig.gpu_stack is None and driver.loaded is False:
        return
    why = next((line.why for line in case.observation.unread if line.what == "gpus"), "")
    why = why or ("nvidia-smi shows no card" if driver.loaded else "the driver is not loaded")
    remedy = f"{why}, and only the driver counts memory: rigdeploy up {case.rig.name} --only driver"
    yield Finding("memory.total", "rig", Status.UNKNOWN, declared, "", "no-driver", remedy)


def _unknown(case: Case, card: Card, declared: str) -> Finding:
    if card.reading and card.reading.mig:
        why = "the card is split by MIG, so the driver shows a part's memory: verify it with 'nvidia-smi -mig 0'"
    else:
        why = case.observation.why_unread(f"gpus[{card.address}].memory_mib") or "nvidia-smi does not show the card"
    return Finding("memory.card", card.slot, Status.UNKNOWN, declared, "", "unreadable", why)
