"""What the cards did under load, against what the declared links carry; nothing where no active check was made.

The floors: copies of sound cards reach 0.76 to 0.89 of what their link carries after encoding (published figures of 3.0
x16 to 5.0 x16), and the next lower link at most a half. Between two cards the copy passes two links and the ports
between them, and published figures go down to 0.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from typing import TYPE_CHECKING, Any

from rigdeploy.node.load import CardLoad, Load, NvLinks, PairLoad
from rigdeploy.verify import rates
from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import LOOK_ON_THE_HOST, Case
from rigdeploy.verify.findings import Finding, Status, named
from rigdeploy.verify.path import is_behind_chipset

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Slot

_FLOOR = 0.70
"""Part of the link's bandwidth that a copy between host and card must reach."""

_TOGETHER_FLOOR = 0.5
"""Part of its speed alone that a card must keep when all copy at a time."""

_PEER_FLOOR = 0.5
"""Part of the narrower link's bandwidth that a copy between two cards must reach."""

_Judgement = tuple[Status, str, str]
"""Status, cause and remedy."""

_Measured = tuple[Card, "Slot", CardLoad]


def ended(case: Case) -> Iterator[Finding]:
    """Whether the measurement came to its end."""
    load = case.load
    if load is None:
        return
    status, cause, remedy, observed = Status.PASS, "", "", load.ended or ""
    why = next((line.why for line in load.unread if line.what == "library"), "")
    again = f"rigdeploy verify {case.rig.name} --active"
    if why and not any(card.h2d_gbps is not None for card in load.cards.values()):
        status, cause, remedy = Status.UNKNOWN, "no-library", f"the driver's libcuda.so.1 cannot be used: {why}"
        observed = "nothing"
    elif load.ended == "timeout":
        status, cause = Status.UNKNOWN, "timeout"
        seconds = case.rig.verify.seconds
        remedy = f"{seconds} s were not enough: declare more (verify.seconds), or less memory (verify.memory_share)"
    elif load.ended == "cancelled":
        status, cause, remedy = Status.UNKNOWN, "cancelled", f"it was broken off: {again}"
    elif load.ended != "done":
        status, cause, remedy = Status.UNKNOWN, "unreadable", f"it does not say how it ended: {again}"
    evidence = {"taken": load.taken, "seconds": load.seconds, "cards": len(load.cards)}
    yield Finding("load", "rig", status, "done", observed, cause, remedy, evidence)


def bandwidth(case: Case) -> Iterator[Finding]:
    """Copies to and from each card, alone and together with all others."""
    for card, slot in case.occupied() if case.load else ():
        wanted = rates.bandwidth_gbps(slot.link)
        declared = f"at least {_FLOOR * wanted:.2f} GB/s"
        measured, alone = card.load, None
        if measured is None or measured.skipped:
            status, cause, remedy = _not_measured(case, card)
        else:
            speeds = [speed for speed in (measured.h2d_gbps, measured.d2h_gbps) if speed is not None]
            alone = min(speeds, default=None)
            status, cause, remedy = _judge_bandwidth(case, (card, slot, measured), alone, len(speeds))
        evidence = {"theory_gbps": wanted, **_speeds(measured)}
        observed = "" if alone is None else f"{alone:.2f} GB/s"
        yield Finding("load.bandwidth", card.slot, status, declared, observed, cause, remedy, evidence)


def _speeds(measured: CardLoad | None) -> dict[str, Any]:
    if measured is None:
        return {}
    names = ("h2d_gbps", "d2h_gbps", "h2d_together_gbps", "d2h_together_gbps", "skipped")
    return {name: getattr(measured, name) for name in names} | {"link": asdict(measured.link)}


def _not_measured(case: Case, card: Card) -> _Judgement:
    reason = card.load.skipped if card.load else None
    if reason is None:
        return Status.UNKNOWN, "unreadable", _why(case, card) or "the active check did not come to this card"
    busy = reason.startswith("in use")
    remedy = f"the card in {case.place(card)} was left alone ({reason}): "
    if reason.startswith("MIG"):
        remedy += f"'nvidia-smi -i {card.address} -mig 0' makes it whole again"
    else:
        remedy += "stop what uses it and verify --active again, or add --force"
    return Status.UNKNOWN, "busy" if busy else "skipped", remedy


def _why(case: Case, card: Card) -> str:
    """Why a card was not measured, as far as the active check says."""
    lines = case.load.unread if case.load else ()
    return next((line.why for line in lines if line.what in (f"cards[{card.address}]", "cards", "library")), "")


def _judge_bandwidth(case: Case, about: _Measured, alone: float | None, directions: int) -> _Judgement:
    card, slot, measured = about
    if alone is not None and alone < _FLOOR * rates.bandwidth_gbps(slot.link):
        return Status.FAIL, "bandwidth-low", _why_slow(case, card, slot)
    if alone is None or directions < len(("to the card", "from the card")):
        return Status.UNKNOWN, "unreadable", _why(case, card) or "not all copies to and from the card were made"
    pairs = ((measured.h2d_together_gbps, measured.h2d_gbps), (measured.d2h_together_gbps, measured.d2h_gbps))
    kept = [together / one for together, one in pairs if together is not None and one]
    if kept and min(kept) < _TOGETHER_FLOOR:
        share = f"{min(kept):.0%}"
        remedy = (
            f"the card in {case.place(card)} keeps {share} of its speed when all cards copy: they share a link to the "
            "CPU, or the system memory is too slow for all of them (are all its channels populated?)"
        )
        return Status.WARN, "shared-uplink", remedy
    return Status.PASS, "", ""


def _why_slow(case: Case, card: Card, slot: Slot) -> str:
    """What to do about a slow copy: another finding's cause where there is one, else what it leaves over."""
    place, link = case.place(card), card.load.link if card.load else None
    if case.is_virtual:
        return LOOK_ON_THE_HOST
    if link and link.width_max is not None and link.width_max < slot.link.width:
        return f"the link in {place} ran at x{link.width_max} during the copies: see link.width"
    if link and link.gen_max is not None and link.gen_max < slot.link.gen:
        return f"the link in {place} ran at {link.gen_max}.0 during the copies: see link.generation"
    chipset = case.board and card.slot in case.board.slots and case.board.slots[card.slot].attached == "chipset"
    if chipset or is_behind_chipset(card):
        return f"{place} hangs on the chipset, whose link to the CPU all its devices share: use a slot of the CPU's"
    return (
        f"the link in {place} came up as declared and is slow all the same: look at link.path, and at link.errors and "
        "load.errors (a link that repeats packets is slow); try iommu=pt among the kernel's arguments"
    )


def errors(case: Case) -> Iterator[Finding]:
    """What both ends of each link counted during the load, and the packets that were sent again."""
    for card, slot, measured in _measured(case):
        aer, replays, seconds = measured.aer, measured.replays, measured.seconds
        counts = aer or {}
        evidence = {"aer": aer, "replays": replays, "seconds": seconds}
        text = ", ".join(
            [f"{counts[name]} {name}" for name in ("fatal", "nonfatal", "correctable") if name in counts]
            + ([f"{replays} replays"] if replays is not None else [])
        )
        status, cause, remedy, declared = _judge_errors(case, (card, slot, measured))
        yield Finding("load.errors", card.slot, status, declared, text, cause, remedy, evidence)


def _judge_errors(case: Case, about: _Measured) -> tuple[Status, str, str, str]:
    """Status, cause, remedy, and what is allowed in words."""
    card, slot, measured = about
    counts, place = measured.aer or {}, case.place(card)
    if counts.get("fatal"):
        remedy = f"the link in {place} broke down under load: check power cables, riser and seating, replace the riser"
        return Status.FAIL, "fatal-errors", remedy, "none"
    if counts.get("nonfatal"):
        remedy = f"the link in {place} lost packets under load: reseat card and riser, try another riser"
        return Status.WARN, "nonfatal-errors", remedy, "none"
    correctable, replays = counts.get("correctable"), measured.replays
    if correctable is None and replays is None:
        why = _why(case, card) or "neither the kernel (AER) nor the driver (replays) counts this link's errors"
        return Status.UNKNOWN, "unreadable", why, ""
    if not measured.seconds or measured.seconds < 0:
        if correctable or replays:
            return Status.UNKNOWN, "unreadable", _why(case, card) or "how long the load took is not known", ""
        return Status.PASS, "", "", ""  # However short the load was: of no error there is none too many.
    allowed = rates.allowed_errors(slot.correctable_errors_per_hour, slot.link, measured.seconds / 3600)
    again = rates.allowed_replays(slot.link, measured.seconds / 60)
    return *_judge_counts(place, (correctable or 0) > allowed or (replays or 0) > again), (
        f"at most {allowed} correctable, {again} replays"
    )


def _judge_counts(place: str, too_many: bool) -> _Judgement:
    if not too_many:
        return Status.PASS, "", ""
    remedy = (
        f"the link in {place} makes more errors under load than a sound one: reseat card and riser, try a shorter or "
        "better riser, or a slower link; where that riser is known for it, declare its correctable_errors_per_hour"
    )
    return Status.WARN, "link-errors", remedy


def memory(case: Case) -> Iterator[Finding]:
    """Whether every word that was written to the cards' memory came back; nothing where none was to be tested."""
    for card, _, measured in _measured(case):
        test = measured.memory
        wanted = test.wanted_mib if test else None
        if wanted == 0 or (test is None and case.rig.verify.memory_share == 0):
            continue
        status, cause, remedy = Status.PASS, "", ""
        if test is not None and test.errors:
            status, cause = Status.FAIL, "memory-errors"
            remedy = (
                f"memory of the card in {case.place(card)} does not keep what is written to it: take back any "
                "overclocking, test again with a larger verify.memory_share, then have the card replaced"
            )
        elif test is None or wanted is None or test.errors is None or test.tested_mib is None:
            status, cause = Status.UNKNOWN, "unreadable"
            remedy = _why(case, card) or "the memory was not tested: the time was over, or the check was broken off"
        elif test.tested_mib < wanted:
            status, cause = Status.WARN, "not-finished"
            remedy = (
                f"{test.tested_mib} of {wanted} MiB were tested: declare more time (verify.seconds), or stop what "
                f"takes the memory of the card in {case.place(card)}"
            )
        observed = "" if test is None or test.errors is None else f"{test.errors} wrong words in {test.tested_mib} MiB"
        evidence = asdict(test) if test else {}
        declared = "no wrong word" + (f" in {wanted} MiB" if wanted else "")
        yield Finding("load.memory", card.slot, status, declared, observed, cause, remedy, evidence)


def _measured(case: Case) -> Iterator[_Measured]:
    """The declared cards that the active check did not leave alone; of the others ``bandwidth`` says so once."""
    for card, slot in case.occupied():
        if card.load is not None and not card.load.skipped:
            yield card, slot, card.load


def peers(case: Case) -> Iterator[Finding]:
    """Every pair of cards: whether one reads the other's memory directly, and how fast. Only where it is declared.

    That what one sends to the other arrives wrong is a fault of any rig.
    """
    if case.load is None:
        return
    pairs: dict[tuple[str | None, str | None], PairLoad] = {(p.source, p.target): p for p in case.load.pairs}
    for one, other in combinations(case.occupied(), 2):
        places = (one[0].address, other[0].address)
        both = [pairs[key] for key in (places, places[::-1]) if key in pairs]
        if not case.rig.build.peer_to_peer and all(pair.intact is not False for pair in both):
            continue
        floor = _PEER_FLOOR * min(rates.bandwidth_gbps(slot.link) for _, slot in (one, other))
        status, cause, remedy = _judge_peers(case, (one[0], other[0]), both, floor)
        speeds = [pair.gbps for pair in both if pair.gbps is not None]
        observed = f"{min(speeds):.2f} GB/s" if speeds else ""
        evidence = {"pairs": [asdict(pair) for pair in both]}
        subject, declared = f"{one[0].slot}+{other[0].slot}", f"at least {floor:.2f} GB/s"
        yield Finding("load.p2p", subject, status, declared, observed, cause, remedy, evidence)


def _judge_peers(case: Case, cards: tuple[Card, Card], both: list[PairLoad], floor: float) -> _Judgement:
    names = " and ".join(card.slot for card in cards)
    if any(pair.intact is False for pair in both):
        hint = LOOK_ON_THE_HOST if case.is_virtual else "switch the IOMMU off in the BIOS, or boot with iommu=pt"
        return Status.FAIL, "p2p-corrupt", f"what {names} send to each other arrives wrong: {hint}"
    if any(pair.can_access is False for pair in both):
        return Status.FAIL, "no-p2p", f"the driver does not let {names} reach each other: {_unblock(case, cards)}"
    speeds = [pair.gbps for pair in both if pair.gbps is not None]
    if any(speed < floor for speed in speeds):
        return Status.FAIL, "p2p-slow", f"copies between {names} go a long way round: {_unblock(case, cards)}"
    if not both or len(speeds) < len(both) or any(pair.can_access is None for pair in both):
        why = case.load.why_unread("pairs") if case.load else ""
        return Status.UNKNOWN, "unreadable", why or f"the copy between {names} was not measured: was a card left alone?"
    return Status.PASS, "", ""


def _unblock(case: Case, cards: tuple[Card, Card]) -> str:
    """What stands between two cards: all that is known to, the likeliest first."""
    if case.is_virtual:
        return LOOK_ON_THE_HOST
    redirecting = sorted({port.address for card in cards for port in card.ports if "ReqRedir" in (port.acs or ())})
    hints = []
    if any(card.gpu and "GeForce" in card.gpu.name for card in cards):
        hints.append("NVIDIA's driver does this on GeForce only over NVLink; over PCIe it takes a patched driver")
    if redirecting:
        hints.append(f"ACS sends it through the CPU (ReqRedir at {named(redirecting)}): switch ACS off in the BIOS")
    if case.observation.host.iommu:
        hints.append("the IOMMU is on: switch it off in the BIOS, or boot with iommu=pt")
    return "; ".join(hints) or "are both cards below one CPU, with Resizable BAR on? See 'nvidia-smi topo -p2p r'"


def nvlink(case: Case) -> Iterator[Finding]:
    """Each declared bridge: all links of both its cards are up, and lead to each other."""
    load = case.load
    there = {card.slot: card for card, _ in case.occupied()}
    for one, other in case.rig.build.nvlink if load else ():
        if load is None or one not in there or other not in there:
            continue  # a card that is missing is a finding of its own
        cards = there[one], there[other]
        status, cause, remedy = _judge_bridge(case, load, cards)
        links = [load.nvlinks.get(card.address or "") for card in cards]
        observed = ", ".join(
            f"{card.slot} {link.active} of {link.total} up" for card, link in zip(cards, links, strict=True) if link
        )
        evidence = {card.slot: asdict(link) for card, link in zip(cards, links, strict=True) if link}
        yield Finding("load.nvlink", f"{one}+{other}", status, "all up", observed, cause, remedy, evidence)


def _judge_bridge(case: Case, load: Load, cards: tuple[Card, Card]) -> _Judgement:
    sides = [(card, load.nvlinks.get(card.address or "")) for card in cards]
    names = " and ".join(case.place(card) for card in cards)
    if any(_is_down(links) for _, links in sides):
        return (
            Status.FAIL,
            "nvlink-down",
            f"not every NVLink between {names} is up: power off, reseat the bridge and clean its contacts; it must be "
            "of the width for these two slots",
        )
    for (_, links), (far, _) in zip(sides, reversed(sides), strict=True):
        if links is None or links.total is None or links.active is None or not links.peers:
            why = load.why_unread("nvlink") or load.why_unread("nvml")
            return Status.UNKNOWN, "unreadable", why or f"the driver does not show the NVLinks of {names}"
        if far.address not in links.peers:
            elsewhere = named(list(links.peers))
            return Status.FAIL, "nvlink-down", f"the bridge leads from {names} elsewhere ({elsewhere}): move it"
    return Status.PASS, "", ""


def _is_down(links: NvLinks | None) -> bool:
    """Whether a card is known to have NVLinks that are not up, or none at all."""
    if links is None or links.total is None or links.active is None:
        return False
    return links.total == 0 or links.active < links.total
