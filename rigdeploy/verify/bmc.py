"""What the rig's BMC sees that the node cannot: its sensors, its event log since the boot; and what is open on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from rigdeploy.power.audit import judge_open
from rigdeploy.power.base import EventRecord, Health, Sensor
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import LIMIT, Finding, Status, named

_KINDS = {
    "psu": (
        re.compile(r"power supply|power unit|\bpsu|\bps ?\d|\bac lost|input lost"),
        "look at the power supply, its cable and its switch; with two of them, whether both are plugged in",
    ),
    "fan": (
        re.compile(r"\bfan|\brpm\b|_fan|cooling"),
        "look whether the fan turns, and where its cable is plugged in; one that was never there is named in "
        "bmc.ignore_sensors",
    ),
    "thermal": (
        re.compile(r"(?<!at)temp|therm|overheat|prochot|\bhot\b"),
        "look at fans, air flow and dust, and at the temperature of the room",
    ),
    "ecc": (
        re.compile(r"\becc\b|memory|dimm"),
        "memory errors: find the module by its name, put it in anew, and exchange it when they come again",
    ),
    "pcie": (
        re.compile(r"pci|critical interrupt|\bserr\b|\bperr\b"),
        "an error on a PCIe link: look at the link findings of the slots, at risers and cables",
    ),
}
"""What a sensor or an event is about, by words that it is named or told with, and what to do. The first that fits."""

_GRAVE = frozenset({"psu", "thermal", "ecc", "pcie"})
"""Kinds of events that are a fault of the hardware when they are critical."""

_CAUSES = {
    "psu": "psu-event",
    "fan": "fan-event",
    "thermal": "thermal-event",
    "ecc": "ecc-event",
    "pcie": "pcie-event",
    "": "bmc-event",
}

_BMC = "bmc"


def sensors(case: Case) -> Iterator[Finding]:
    """One finding per sensor that is out of range, or one PASS for all; nothing where no BMC was asked."""
    reading = case.bmc
    if reading is None:
        return
    if why := reading.why_unread("sensors"):
        yield _unread("bmc.sensors", why)
        return
    ignored = case.rig.bmc.ignore_sensors
    judged = [one for one in reading.sensors if not any(fnmatchcase(one.name, pattern) for pattern in ignored)]
    bad = [one for one in judged if one.health in (Health.WARNING, Health.CRITICAL)]
    for sensor in bad[:LIMIT]:
        critical = sensor.health is Health.CRITICAL
        status, cause = (Status.FAIL, "sensor-critical") if critical else (Status.WARN, "sensor-warning")
        kind = _kind_of_sensor(sensor)
        evidence = {"kind": kind, "value": sensor.value, "unit": sensor.unit, "states": list(sensor.states)}
        remedy = _KINDS[kind][1] if kind else f"look at what {sensor.name} measures"
        yield Finding("bmc.sensors", sensor.name, status, "in range", _value(sensor), cause, remedy, evidence)
    if judged and not bad:
        told = sum(one.health is Health.OK for one in judged)
        if told:
            yield Finding("bmc.sensors", _BMC, Status.PASS, "in range", f"{told} sensors in range")
        else:
            yield _unread("bmc.sensors", "the BMC does not say of any sensor whether it is in range")


def events(case: Case) -> Iterator[Finding]:
    """One finding per kind of new event that is not harmless, or one PASS; nothing where no BMC was asked."""
    reading = case.bmc
    if reading is None:
        return
    if why := reading.why_unread("events"):
        yield _unread("bmc.events", why)
        return
    new = reading.new_events(case.observation.host.uptime_seconds)
    alike: dict[tuple[str, bool], list[EventRecord]] = {}
    for event in new:
        kind = _kind(f"{event.source} {event.text}")
        if event.health in (Health.WARNING, Health.CRITICAL) or (event.health is Health.UNKNOWN and kind):
            alike.setdefault((kind, event.health is Health.CRITICAL and kind in _GRAVE), []).append(event)
    for (kind, grave), those in alike.items():
        yield _events_of(case, kind, those, grave=grave)
    if alike:
        return
    if old := reading.undated():
        said = named([_told(event) for event in old], shown=2)
        why = f"these have no time, so they may be of any day: {said}; set the BMC's clock, and empty its log"
        yield Finding("bmc.events", _BMC, Status.UNKNOWN, "no faults", f"{len(old)} undated", "no-clock", why)
    else:
        yield Finding("bmc.events", _BMC, Status.PASS, "no faults", f"{len(new)} new, none of them a fault")


def _events_of(case: Case, kind: str, those: list[EventRecord], *, grave: bool) -> Finding:
    texts = list(dict.fromkeys(_told(event) for event in those))
    remedy = _KINDS[kind][1] if kind else "look at what it names"
    return Finding(
        "bmc.events",
        _BMC,
        Status.FAIL if grave else Status.WARN,
        "no faults",
        named(texts, shown=3) + (f" ({len(those)} events)" if len(those) > len(texts) else ""),
        _CAUSES[kind],
        f"{remedy}; once it is cured: rigdeploy bmc sel --clear {case.rig.name}",
        {"events": [{"number": event.number, "time": event.time, "text": _told(event)} for event in those[-LIMIT:]]},
    )


def audit(case: Case) -> Iterator[Finding]:
    """What is open on the BMC, as far as that shows while it is asked for the rest; nothing where nobody was let in."""
    if case.bmc is not None and case.bmc.audit is not None:
        yield from judge_open(case.bmc.audit)


def _unread(check: str, why: str) -> Finding:
    return Finding(check, _BMC, Status.UNKNOWN, "", "", "unreadable", why)


def _told(event: EventRecord) -> str:
    return f"{event.source}: {event.text}" if event.source else event.text


def _value(sensor: Sensor) -> str:
    value = "" if sensor.value is None else f"{sensor.value:g} {sensor.unit}".strip()
    return ", ".join(filter(None, (value, *sensor.states))) or str(sensor.health)


def _kind_of_sensor(sensor: Sensor) -> str:
    by_kind = {"fan": "fan", "temperature": "thermal"}
    return by_kind.get(sensor.kind) or _kind(" ".join((sensor.name, *sensor.states)))


def _kind(text: str) -> str:
    """What a text of the BMC is about; empty when it is none of the kinds."""
    return next((kind for kind, (words, _) in _KINDS.items() if words.search(text.lower())), "")
