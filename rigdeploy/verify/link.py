"""The PCIe links: each as wide and as fast as declared, and if not, why not.

Never compared with what the driver calls the greatest width: that is the card's, and says nothing about the slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import LOOK_ON_THE_HOST, Case
from rigdeploy.verify.findings import Finding, Status

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Slot

_ENOUGH_SAMPLES = 5
"""Looks at a link at work after which its greatest generation counts: one look may fall between two copies."""

_Judgement = tuple[Status, str, str]
"""Status, cause and remedy."""


def width(case: Case) -> Iterator[Finding]:
    """The negotiated width of every card: the most that any reading shows.

    No NVIDIA card was ever recorded narrower at rest than at work, so a narrow one fails at once; but its maker's tool
    says that it may be, so a measurement under load overrules one at rest.
    """
    for card, slot in case.occupied():
        declared, measured = slot.link.width, card.width
        status, cause, remedy = _judge_width(case, card, declared)
        yield Finding(
            "link.width",
            card.slot,
            status,
            f"x{declared}",
            f"x{measured}" if measured is not None else "",
            cause,
            remedy,
            _evidence(case, card),
        )


def _judge_width(case: Case, card: Card, declared: int) -> _Judgement:
    measured = card.width
    if measured is None:
        return Status.UNKNOWN, "unreadable", _unreadable(case, card, "width")
    if measured == declared:
        return Status.PASS, "", ""
    if measured > declared:
        place = case.place(card)
        remedy = (
            f"the link in {place} is wider than declared: is the card in another slot? Else correct the declaration"
        )
        return Status.WARN, "spec-mismatch", remedy
    return Status.FAIL, *_why_narrow(case, card, declared)


def _why_narrow(case: Case, card: Card, declared: int) -> tuple[str, str]:
    """Cause and remedy of a width below the declared one: what the port offers, then what the card can do."""
    card_max, port_max, place = card.width_max, card.port_width_max, case.place(card)
    if case.is_virtual:
        return "unknown", LOOK_ON_THE_HOST
    if port_max is None:
        setup = case.setup("bifurcation")
        remedy = f"the port above {place} could not be read: check slot, riser, seating and the bifurcation in {setup}."
        return "unknown", remedy + case.note(card) + _again(case, card)
    if port_max < declared:
        setting = f"is it bifurcated in {case.setup('bifurcation')}?"
        return "slot-limited", _slot_limited(case, card, f"x{port_max}", f"x{declared}", setting)
    if card_max is None:
        return "unknown", f"what the card in {place} can do could not be read, its port can do x{port_max}: reseat it"
    if card_max < declared:
        return "card-limited", _card_limited(place, f"x{card_max}")
    remedy = (
        f"card and port can both do x{declared}, the link between them came up as x{card.width}: power off, reseat the "
        f"card in {place} and its riser, clean the contacts, try another riser or a shorter cable."
    )
    return "link-degraded", remedy + _again(case, card)


def _again(case: Case, card: Card) -> str:
    """What would make a width at rest certain; nothing to add where it was measured at work."""
    return (
        ""
        if card.load_is_fresh and card.samples
        else f" rigdeploy verify {case.rig.name} --active measures it under load."
    )


def generation(case: Case) -> Iterator[Finding]:
    """The generation of every card. A card at rest lowers it, so a low reading alone proves nothing."""
    for card, slot in case.occupied():
        measured = card.gen
        status, cause, remedy = _judge_generation(case, card, slot)
        yield Finding(
            "link.generation",
            card.slot,
            status,
            f"{slot.link.gen}.0",
            f"{measured}.0" if measured is not None else "",
            cause,
            remedy,
            _evidence(case, card),
        )


def _judge_generation(case: Case, card: Card, slot: Slot) -> _Judgement:
    declared, measured = slot.link.gen, card.gen
    if measured is None:
        return Status.UNKNOWN, "unreadable", _unreadable(case, card, "gen")
    if measured >= declared:
        return Status.PASS, "", ""
    limit = None if case.is_virtual else _why_never(case, card, declared)
    if limit is not None:
        return Status.FAIL, *limit
    if not _is_loaded(card):
        remedy = (
            f"the card in {case.place(card)} is at rest, where links slow down: rigdeploy verify {case.rig.name} "
            "--active looks at it under load"
        )
        return Status.UNKNOWN, "idle", remedy
    if case.is_virtual:
        return Status.FAIL, "unknown", LOOK_ON_THE_HOST
    remedy = (
        f"at work the link in {case.place(card)} runs at {measured}.0, though card and port can do more: check the "
        f"slot's speed in {case.setup('link_speed')}, reseat card and riser, try a riser made for {declared}.0"
    )
    return Status.FAIL, "link-degraded", remedy


def _why_never(case: Case, card: Card, declared: int) -> tuple[str, str] | None:
    """Cause and remedy where port or card can not do the declared generation at all, whatever the load.

    The port comes first: behind a slow port some cards show the port's limit as their own.
    """
    if card.port_gen_max is not None and card.port_gen_max < declared:
        setting = f"is its speed limited in {case.setup('link_speed')}?"
        return "slot-limited", _slot_limited(case, card, f"{card.port_gen_max}.0", f"{declared}.0", setting)
    if card.gen_max is not None and card.gen_max < declared:
        return "card-limited", _card_limited(case.place(card), f"{card.gen_max}.0")
    return None


def _is_loaded(card: Card) -> bool:
    """Whether the link was seen while the card worked: by the active check, or as the driver showed it just now."""
    return card.samples >= _ENOUGH_SAMPLES or card.is_at_work


def _slot_limited(case: Case, card: Card, offered: str, declared: str, setting: str) -> str:
    return (
        f"the port above {case.place(card)} offers {offered}, so the card can not get {declared}: is it the right "
        f"slot, and {setting}{case.note(card)}"
    )


def _card_limited(place: str, limit: str) -> str:
    return f"the card in {place} can do {limit} only: correct the declaration, or swap the card"


def _unreadable(case: Case, card: Card, field: str) -> str:
    why = case.observation.why_unread(f"pci[{card.address}].link.{field}") or "the node does not show the link"
    return f"{why}; if the card worked before, power the rig off and on"


def _evidence(case: Case, card: Card) -> dict[str, Any]:
    port = card.ports[0].address if card.ports else None
    return {
        "address": card.address,
        "matched_by": card.matched_by,
        "node_slot": card.node_slot,
        "width": card.width,
        "width_max": card.width_max,
        "gen": card.gen,
        "gen_max": card.gen_max,
        "port": port,
        "port_width_max": card.port_width_max,
        "port_gen_max": card.port_gen_max,
        "pstate": card.reading.pstate if card.reading else None,
        "idle": card.reading.idle if card.reading else None,
        "under_load": _under_load(case, card),
    }


def _under_load(case: Case, card: Card) -> dict[str, Any] | None:
    if case.load is None or card.load is None:
        return None
    return asdict(card.load.link) | {"taken": case.load.taken}
