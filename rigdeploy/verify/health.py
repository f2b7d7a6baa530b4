"""What the driver says of each card beside link and memory: its BAR, its power limit, and whether it is well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rigdeploy.node.observation import GpuReading
from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status, named

_SMALL_BAR_MIB = 256
"""BAR1 of a card without Resizable BAR."""

_WATTS = 1.0
"""Limits are set in whole watts and shown with two decimals."""

_SLOWDOWNS = {
    "hw_thermal_slowdown": "it is too hot: look at fans, air flow and thermal paste",
    "hw_power_brake_slowdown": "the power supply or the board pulls its power brake: check the supply, its cables and "
    "whether it carries the whole rig",
    "hw_slowdown": "it is too hot or gets too little power: check its power cables, the supply, fans and air flow",
}
"""Clock reasons that are a fault of the hardware, and what to do: the two precise ones come before the sum of both."""

_MEMORY_FAULTS = ("remap_failed", "ecc_uncorrectable", "remap_pending", "retired_pending")
_PENDING = ("remap_pending", "retired_pending")
"""Bad rows or pages that the card replaces by spare ones when it is reset next."""


def bar1(case: Case) -> Iterator[Finding]:
    """Whether each card's memory can be reached as a whole (Resizable BAR); judged only where it is declared."""
    declared = case.rig.build.resizable_bar
    if declared is None:
        return
    for card, _ in case.occupied():
        if card.gpu is None or card.is_declared_model is False:
            continue
        memory, size = card.gpu.memory_gib * 1024, _bar1_mib(card)
        wanted = f"at least {memory} MiB" if declared else f"at most {_SMALL_BAR_MIB} MiB"
        status, cause, remedy = Status.PASS, "", ""
        if size is None:
            status, cause = Status.UNKNOWN, "unreadable"
            remedy = _why(case, card, "bar1_mib", "neither the driver nor the PCI tree shows the card's BARs")
        elif declared and size < memory:
            status, cause, remedy = Status.WARN, "rebar-off", _enlarge(case, card, size)
        elif not declared and size > _SMALL_BAR_MIB:
            status, cause = Status.WARN, "spec-mismatch"
            remedy = f"Resizable BAR is on for the card in {case.place(card)}: declare resizable_bar: true"
        observed = "" if size is None else f"{size} MiB"
        yield Finding("gpu.bar1", card.slot, status, wanted, observed, cause, remedy, {"bar1_mib": size})


def _bar1_mib(card: Card) -> int | None:
    """BAR1 is the largest one: the others are registers (16 or 32 MiB) and a 32 MiB window."""
    if card.reading is not None and card.reading.bar1_mib is not None:
        return card.reading.bar1_mib
    return max(card.device.bars_mib, default=None) if card.device else None


def _enlarge(case: Case, card: Card, size: int) -> str:
    place = case.place(card)
    if case.is_virtual:
        return f"the card in {place} shows {size} MiB in this virtual machine: look at Resizable BAR on its host"
    if size > _SMALL_BAR_MIB:
        return (
            f"Resizable BAR is on in {place}, and the card's firmware stops at {size} MiB: update its VBIOS; a card "
            "rebuilt with more memory often keeps the limit of the original"
        )
    board = case.catalogue.boards.get(case.rig.build.board)
    rebar, above = (board.bios.resizable_bar, board.bios.above_4g_decoding) if board else ("", "")
    return (
        f"for the card in {place} switch on Above 4G Decoding{_at(above)} and Resizable BAR{_at(rebar)} in the BIOS, "
        "and CSM off; a card of 2021 or older may need a newer VBIOS too"
    )


def _at(menu: str) -> str:
    return f" ({menu})" if menu else ""


def power(case: Case) -> Iterator[Finding]:
    """Each card's power limit against the declared one; where none is, only whether something caps it further."""
    for card, slot in case.occupied():
        if card.reading is None:
            continue
        readings = card.reading.power or {}
        enforced, requested = readings.get("enforced"), readings.get("limit")
        declared = slot.power_limit_watts
        if declared is not None:
            yield _declared_power(case, card, declared, enforced)
        elif enforced is not None and requested is not None and enforced < requested - _WATTS:
            remedy = (
                f"the card in {case.place(card)} is held below the limit that is set: check all its power cables and "
                "the supply, then look at 'nvidia-smi -q -d POWER'"
            )
            text = f"{requested:.0f} W", f"{enforced:.0f} W"
            yield Finding("gpu.power", card.slot, Status.WARN, *text, "power-capped", remedy, {"power": readings})


def _declared_power(case: Case, card: Card, declared: int, enforced: float | None) -> Finding:
    wanted = f"{declared} W"
    if enforced is None:
        remedy = _why(case, card, "power", "nvidia-smi shows no power limit for the card")
        return Finding("gpu.power", card.slot, Status.UNKNOWN, wanted, "", "unreadable", remedy)
    evidence: dict[str, Any] = {"power": card.reading.power if card.reading else None}
    observed = f"{enforced:.0f} W"
    if abs(enforced - declared) <= _WATTS:
        return Finding("gpu.power", card.slot, Status.PASS, wanted, observed, evidence=evidence)
    remedy = (
        f"set it for the card in {case.place(card)}: 'nvidia-smi -i {card.address} -pl {declared}' (it lasts until the "
        "next boot)"
    )
    return Finding("gpu.power", card.slot, Status.WARN, wanted, observed, "power-limit", remedy, evidence)


def health(case: Case) -> Iterator[Finding]:
    """Whether each card that the driver shows is well: not slowed by the hardware, no reset wanted, no bad memory.

    GeForce cards count no memory errors; of them only the first two are known.
    """
    for card, _ in case.occupied():
        reading = card.reading
        if reading is None:
            continue
        cause, observed, remedy = _illness(case, card, reading)
        status = Status.FAIL if cause else Status.PASS
        if not cause and reading.clock_reasons is None and not reading.health:
            status, cause = Status.UNKNOWN, "unreadable"
            remedy = _why(case, card, "clock_reasons", "nvidia-smi shows neither clock reasons nor memory counters")
        elif not cause:
            observed = "well"
        evidence = {
            "clock_reasons": reading.clock_reasons,
            "recovery_action": reading.recovery_action,
            "health": reading.health,
            "temperature_c": reading.temperature_c,
        }
        yield Finding("gpu.health", card.slot, status, "well", observed, cause, remedy, evidence)


def _illness(case: Case, card: Card, reading: GpuReading) -> tuple[str, str, str]:
    """Cause, what was seen, and remedy; all empty for a card that nothing is known to be wrong with."""
    place, reasons, counts = case.place(card), reading.clock_reasons or (), reading.health or {}
    if slowdown := next((name for name in _SLOWDOWNS if name in reasons), ""):
        return "hw-slowdown", slowdown, f"the hardware slows the card in {place} down: {_SLOWDOWNS[slowdown]}"
    if reading.recovery_action not in (None, "None"):
        return "recovery", f"asks for: {reading.recovery_action}", _recovery(place, card, reading.recovery_action)
    if not (fault := next((name for name in _MEMORY_FAULTS if counts.get(name, 0) > 0), "")):
        return "", "", ""
    if fault in _PENDING:
        remedy = f"the card in {place} waits for a reset to replace bad memory by spare rows: {_reset(card)}"
    elif fault == "remap_failed":
        remedy = f"the card in {place} has no spare rows left for its bad memory: have it repaired or replaced"
    else:
        remedy = (
            f"the memory of the card in {place} lost data since the driver was loaded: {_reset(card)}. Verify with "
            "--active, and replace the card if it happens again"
        )
    return "memory-faults", f"{fault} {counts[fault]}", remedy


def _recovery(place: str, card: Card, action: str | None) -> str:
    """What the driver itself advises (``gpu_recovery_action``), in words."""
    if action == "Reset":
        return f"the driver wants the card in {place} reset: stop what uses it, then {_reset(card)}"
    if action == "Reboot":
        return f"the driver wants a reboot because of the card in {place}; if it asks again, power the rig off and on"
    return f"stop what uses the card in {place}, then {_reset(card)}. Look for Xid in the node's dmesg"


def _reset(card: Card) -> str:
    return f"'nvidia-smi --gpu-reset -i {card.address}', or reboot where it refuses"


def persistence(case: Case) -> Iterator[Finding]:
    """Whether the driver stays awake between programs; else each start waits 1 to 3 s per card."""
    cards = [(card, card.reading.persistence) for card in case.cards if card.reading is not None]
    if not case.observation.driver.answers or not cards:
        return
    off = [card.slot for card, on in cards if on is False]
    status, observed, cause, remedy = Status.PASS, "on", "", ""
    if off:
        status, observed, cause = Status.WARN, f"off: {named(off)}", "persistence-off"
        remedy = "'nvidia-smi -pm 1' switches it on until the next boot"
        if case.rig.gpu_stack is not None:
            remedy += f"; for good: rigdeploy up {case.rig.name} --only driver"
    elif all(on is None for _, on in cards):
        status, observed, cause = Status.UNKNOWN, "", "unreadable"
        remedy = "nvidia-smi shows no persistence mode: look at 'nvidia-smi -q' on the node"
    evidence = {"off": off}
    yield Finding("driver.persistence", "driver", status, "on", observed, cause, remedy, evidence)


def _why(case: Case, card: Card, field: str, otherwise: str) -> str:
    """Why a card's reading is not there."""
    return case.observation.why_unread(f"gpus[{card.address}].{field}") or otherwise
