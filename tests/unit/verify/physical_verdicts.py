"""What the verdict on a physical rig must be, from the physical truth alone: no observation is read, and no rule."""

from __future__ import annotations

from physical import (
    FATAL,
    GB_PER_LANE,
    NOTED,
    Card,
    Machine,
    Socket,
    Verdict,
    allowed_errors,
    allowed_replays,
    best_ways,
    cards_by_address,
)

from rigdeploy.fleet.models import Slot


def seating(made: Machine) -> dict[str, Socket | None]:
    """Which socket stands for each declared slot."""
    if made.named or made.pinned:
        found = {name: made.socket(name) for name in made.rig.build.slots}
        return {name: socket if socket.card else None for name, socket in found.items()}
    return best_seating(made)


def best_seating(made: Machine) -> dict[str, Socket | None]:
    """Nothing tells the slots apart: of all ways to seat the cards, the one that contradicts the declaration least."""
    (best,) = best_ways(made)
    names, cards = list(made.rig.build.slots), cards_by_address(made)
    seated: dict[str, Socket | None] = dict.fromkeys(names)
    return seated | {names[row]: cards[column] for row, column in best}


def expected(made: Machine) -> dict[tuple[str, str], Verdict]:
    """The verdict on every slot, by (check, subject)."""
    verdicts: dict[tuple[str, str], Verdict] = {}
    seated = seating(made)
    there = sum(socket.card is not None for socket in made.sockets)
    count = len(made.rig.build.slots)
    verdicts["gpu.count", "rig"] = (
        ("PASS", "") if there == count else ("FAIL", "card-missing" if there < count else "card-extra")
    )
    for name, slot in made.rig.build.slots.items():
        socket = seated[name]
        if socket is None:
            verdicts["gpu.model", name] = ("FAIL", "card-missing")
        else:
            verdicts |= {(check, name): verdict for check, verdict in of_card(made, slot, socket).items()}
    used = [socket for socket in seated.values() if socket]
    for socket in made.sockets:
        if socket.card and socket not in used:
            verdicts["gpu.model", socket.name if made.named else socket.address] = ("FAIL", "card-extra")
    return verdicts


def of_card(made: Machine, slot: Slot, socket: Socket) -> dict[str, Verdict]:
    card = socket.card
    assert card is not None
    right = card.gpu.pci_ids[0] in made.catalogue.gpus[slot.gpu].pci_ids
    verdicts = {
        "gpu.model": ("PASS", "") if right else ("FAIL", "other-model"),
        "link.width": width(made, slot, socket),
        "link.generation": generation(made, slot, socket),
        "link.path": whole_path(made, slot, socket),
        "link.errors": errors(slot, made.uptime / 3600, max(socket.errors), socket.nonfatal, socket.fatal),
        "link.replays": of_count(socket.replays, allowed_replays(slot, made.uptime / 60), "link-replays"),
        "gpu.xid": xids(card),
    }
    if right:
        verdicts["memory.card"] = card.memory_verdict
    if made.loaded:
        declared = GB_PER_LANE[slot.link.gen] * slot.link.width
        speed = GB_PER_LANE[socket.full_gen] * socket.trained * card.efficiency
        verdicts["load.bandwidth"] = ("FAIL", "bandwidth-low") if speed < 0.7 * declared else ("PASS", "")
        verdicts["load.errors"] = errors(slot, made.load_seconds / 3600, socket.load_errors, 0, 0)
        verdicts["load.memory"] = ("FAIL", "memory-errors") if card.bad_words else ("PASS", "")
    return verdicts


def width(made: Machine, slot: Slot, socket: Socket) -> Verdict:
    wanted, card = slot.link.width, socket.card
    assert card is not None
    if socket.trained == wanted:
        return "PASS", ""
    if socket.trained > wanted:
        return "WARN", "spec-mismatch"
    if made.virtual:
        return "FAIL", "unknown"
    if socket.lanes < wanted:
        return "FAIL", "slot-limited"
    return "FAIL", "card-limited" if card.lanes < wanted else "link-degraded"


def generation(made: Machine, slot: Slot, socket: Socket) -> Verdict:
    wanted, card = slot.link.gen, socket.card
    assert card is not None
    at_work = socket.working or made.loaded
    seen = socket.full_gen if at_work else 1
    if seen >= wanted:
        return "PASS", ""
    if not made.virtual and socket.gen < wanted:
        return "FAIL", "slot-limited"
    if not made.virtual and card.gen < wanted:
        return "FAIL", "card-limited"
    if not at_work:
        return "UNKNOWN", "idle"
    return "FAIL", "unknown" if made.virtual else "link-degraded"


def whole_path(made: Machine, slot: Slot, socket: Socket) -> Verdict:
    if made.virtual:
        return "UNKNOWN", "unknown"
    wanted = GB_PER_LANE[slot.link.gen] * slot.link.width
    if any(GB_PER_LANE[min(one, other)] * lanes < wanted for lanes, one, other in socket.uplinks):
        return "FAIL", "path-limited"
    declared = next(name for name, other in made.rig.build.slots.items() if other is slot)
    at_cpu = made.catalogue.boards["random"].slots[declared].attached == "cpu"
    return ("WARN", "chipset-attached") if socket.chipset and at_cpu else ("PASS", "")


def errors(slot: Slot, hours: float, correctable: int, nonfatal: int, fatal: int) -> Verdict:
    if fatal:
        return "FAIL", "fatal-errors"
    if nonfatal:
        return "WARN", "nonfatal-errors"
    return of_count(correctable, allowed_errors(slot, hours), "link-errors")


def of_count(count: int, allowed: int, cause: str) -> Verdict:
    return ("WARN", cause) if count > allowed else ("PASS", "")


def xids(card: Card) -> Verdict:
    if card.xid in FATAL:
        return "FAIL", "xid-fatal"
    return ("WARN", "xid-noted") if card.xid in NOTED else ("PASS", "")
