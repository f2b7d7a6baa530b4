"""Are the declared cards there, each in its slot, and no others."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status


def count(case: Case) -> Iterator[Finding]:
    """As many cards as declared, whatever they are."""
    declared = len(case.rig.build.slots)
    observed = sum(card.device is not None for card in case.cards)
    if not case.cards_were_read and observed != declared:
        remedy = f"{case.why_cards_were_not_read}; run the probe as root"
        yield Finding("gpu.count", "rig", Status.UNKNOWN, str(declared), "", "unreadable", remedy)
        return
    status = Status.PASS if observed == declared else Status.FAIL
    cause = "" if observed == declared else "card-missing" if observed < declared else "card-extra"
    remedy = "" if observed == declared else "see the slots named below"
    yield Finding("gpu.count", "rig", status, str(declared), str(observed), cause, remedy)


def model(case: Case) -> Iterator[Finding]:
    """In each declared slot the declared model, and no card in a slot that was declared empty."""
    for card in case.cards:
        if card.declared is None:
            yield _extra(case, card)
        elif card.device is None:
            yield _missing(case, card)
        else:
            yield _right_or_wrong(case, card)


def _name(case: Case, card: Card) -> str:
    """The observed card's name: the driver's, else the catalogue's, else its PCI id."""
    pci_id = card.device.pci_id if card.device else None
    known = case.catalogue.gpu_by_pci_id(pci_id) if pci_id else None
    said = card.reading.name if card.reading else None
    return said or (known.name if known else None) or pci_id or "a card that gives no PCI id"


def _declared(card: Card) -> str:
    return card.gpu.name if card.gpu else card.declared.gpu if card.declared else "no card"


def _extra(case: Case, card: Card) -> Finding:
    return Finding(
        "gpu.model",
        card.slot,
        Status.FAIL,
        "no card",
        _name(case, card),
        "card-extra",
        f"declare the card in {card.slot}, or move it to the slot that it was declared in",
        {"address": card.address},
    )


def _missing(case: Case, card: Card) -> Finding:
    if not case.cards_were_read:
        remedy = f"{case.why_cards_were_not_read}; run the probe as root"
        return Finding("gpu.model", card.slot, Status.UNKNOWN, _declared(card), "", "unreadable", remedy)
    guess = any(other.matched_by == "assignment" for other in case.cards)
    which = " (the node names no slots, so it may be another slot's card)" if guess else ""
    return Finding(
        "gpu.model",
        card.slot,
        Status.FAIL,
        _declared(card),
        "no card",
        "card-missing",
        f"check power cables, riser and seating in {case.place(card)}{which}; then power the rig off and on."
        + case.note(card),
    )


def _right_or_wrong(case: Case, card: Card) -> Finding:
    device = card.device
    evidence = {
        "address": card.address,
        "pci_id": device.pci_id if device else None,
        "matched_by": card.matched_by,
        "node_slot": card.node_slot,
    }
    declared, observed = _declared(card), _name(case, card)
    if card.is_declared_model is None:
        return Finding(
            "gpu.model",
            card.slot,
            Status.UNKNOWN,
            declared,
            observed,
            "unreadable",
            "the card's PCI id could not be read: look at the probe's 'unread' list",
            evidence,
        )
    if card.is_declared_model:
        return Finding("gpu.model", card.slot, Status.PASS, declared, observed, evidence=evidence)
    return Finding(
        "gpu.model",
        card.slot,
        Status.FAIL,
        declared,
        observed,
        "other-model",
        f"{case.place(card)} holds another card than declared: swap the cards, or correct the declaration",
        evidence,
    )
