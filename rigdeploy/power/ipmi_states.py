"""What the bits of a discrete sensor, and the offsets of an event, mean (IPMI 2.0, tables 42-1 to 42-3)."""

from __future__ import annotations

from collections.abc import Iterable

from rigdeploy.power.base import Health

THRESHOLD, STATE, SPECIFIC = 0x01, 0x03, 0x6F
"""Event/reading types: of an analogue sensor, of one that is asserted or not, and "see the sensor's own type"."""
OEM = range(0x70, 0x80)

OK, WARN, CRIT, UNSURE = Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN

_State = tuple[str, Health]

_THRESHOLDS: tuple[_State, ...] = tuple(
    (f"{side} {level}, going {way}", health)
    for side, levels in (
        ("lower", (("non-critical", WARN), ("critical", CRIT), ("non-recoverable", CRIT))),
        ("upper", (("non-critical", WARN), ("critical", CRIT), ("non-recoverable", CRIT))),
    )
    for level, health in levels
    for way in ("low", "high")
)
LIMITS: tuple[_State, ...] = (
    ("lower non-critical", WARN),
    ("lower critical", CRIT),
    ("lower non-recoverable", CRIT),
    ("upper non-critical", WARN),
    ("upper critical", CRIT),
    ("upper non-recoverable", CRIT),
)
"""The thresholds in the order of Get Sensor Reading's bits."""

_GENERIC: dict[int, tuple[_State, ...]] = {
    THRESHOLD: _THRESHOLDS,
    0x02: (("idle", OK), ("active", OK), ("busy", OK)),
    STATE: (("not asserted", UNSURE), ("asserted", UNSURE)),
    0x04: (("no failure predicted", OK), ("failure predicted", WARN)),
    0x05: (("limit not exceeded", OK), ("limit exceeded", WARN)),
    0x06: (("performance met", OK), ("performance lags", WARN)),
    0x07: (
        ("OK", OK),
        ("non-critical", WARN),
        ("critical", CRIT),
        ("non-recoverable", CRIT),
        ("non-critical, from more severe", WARN),
        ("critical, from non-recoverable", CRIT),
        ("non-recoverable", CRIT),
        ("monitor", OK),
        ("informational", OK),
    ),
    0x08: (("absent", OK), ("present", OK)),
    0x09: (("disabled", OK), ("enabled", OK)),
    0x0A: (
        ("running", OK),
        ("in test", OK),
        ("power off", OK),
        ("on line", OK),
        ("off line", WARN),
        ("off duty", OK),
        ("degraded", WARN),
        ("power save", OK),
        ("install error", WARN),
    ),
    0x0B: (
        ("fully redundant", OK),
        ("redundancy lost", WARN),
        ("redundancy degraded", WARN),
        ("not redundant, sufficient", WARN),
        ("not redundant, sufficient again", WARN),
        ("not redundant, insufficient", CRIT),
        ("redundancy degraded, from full", WARN),
        ("redundancy degraded, from none", WARN),
    ),
    0x0C: (("D0", OK), ("D1", OK), ("D2", OK), ("D3", OK)),
}

_SPECIFIC: dict[int, tuple[_State, ...]] = {
    0x05: (
        ("chassis opened", WARN),
        ("drive bay opened", WARN),
        ("I/O card area opened", WARN),
        ("processor area opened", WARN),
        ("network cable unplugged", WARN),
        ("unauthorized dock", WARN),
        ("fan area opened", WARN),
    ),
    0x07: (
        ("internal error (IERR)", CRIT),
        ("thermal trip", CRIT),
        ("self-test failed", CRIT),
        ("hang in POST", CRIT),
        ("did not start", CRIT),
        ("configuration error", CRIT),
        ("uncorrectable CPU-complex error", CRIT),
        ("present", OK),
        ("disabled", WARN),
        ("terminator present", OK),
        ("throttled", WARN),
        ("uncorrectable machine check", CRIT),
        ("correctable machine check", WARN),
    ),
    0x08: (
        ("present", OK),
        ("failed", CRIT),
        ("failure predicted", WARN),
        ("input lost", CRIT),
        ("input lost or out of range", CRIT),
        ("input out of range", WARN),
        ("configuration error", WARN),
        ("standby", OK),
    ),
    0x09: (
        ("power off", OK),
        ("power cycle", OK),
        ("240 VA power down", CRIT),
        ("interlock power down", WARN),
        ("mains lost", CRIT),
        ("soft power control failed", CRIT),
        ("power unit failed", CRIT),
        ("failure predicted", WARN),
    ),
    0x0C: (
        ("correctable ECC error", WARN),
        ("uncorrectable ECC error", CRIT),
        ("parity error", CRIT),
        ("scrub failed", WARN),
        ("disabled", WARN),
        ("correctable ECC errors, logging limit reached", WARN),
        ("present", OK),
        ("configuration error", WARN),
        ("spare", OK),
        ("throttled", WARN),
        ("critically hot", CRIT),
    ),
    0x0D: (
        ("present", OK),
        ("fault", CRIT),
        ("failure predicted", WARN),
        ("hot spare", OK),
        ("consistency check", OK),
        ("in critical array", CRIT),
        ("in failed array", CRIT),
        ("rebuilding", WARN),
        ("rebuild aborted", CRIT),
    ),
    0x0F: (("POST error", CRIT), ("firmware hang", CRIT), ("progress", OK)),
    0x10: (
        ("memory error logging disabled", WARN),
        ("event logging disabled for a type", WARN),
        ("log cleared", OK),
        ("all event logging disabled", WARN),
        ("log full", WARN),
        ("log almost full", WARN),
        ("machine check logging disabled", WARN),
    ),
    0x12: (
        ("reconfigured", OK),
        ("OEM boot event", OK),
        ("undetermined hardware failure", CRIT),
        ("entry added to another log", OK),
        ("filter action", OK),
        ("clock set", OK),
    ),
    0x13: (
        ("front panel NMI", WARN),
        ("bus timeout", CRIT),
        ("I/O check NMI", CRIT),
        ("software NMI", WARN),
        ("PCI parity error", CRIT),
        ("PCI system error", CRIT),
        ("EISA fail safe timeout", CRIT),
        ("bus correctable error", WARN),
        ("bus uncorrectable error", CRIT),
        ("fatal NMI", CRIT),
        ("bus fatal error", CRIT),
        ("bus degraded", WARN),
    ),
    0x14: (
        ("power button", OK),
        ("sleep button", OK),
        ("reset button", OK),
        ("latch opened", OK),
        ("service requested", OK),
    ),
    0x19: (("soft power control failed", CRIT), ("thermal trip", CRIT)),
    0x1B: (("connected", OK), ("wrong cable", WARN)),
    0x1D: (
        ("power up", OK),
        ("hard reset", OK),
        ("warm reset", OK),
        ("PXE boot requested", OK),
        ("diagnostic boot", OK),
        ("hard reset by the system", OK),
        ("warm reset by the system", OK),
        ("restart", OK),
    ),
    0x1E: (
        ("nothing bootable", CRIT),
        ("removable medium not bootable", CRIT),
        ("no PXE server", CRIT),
        ("invalid boot sector", CRIT),
        ("boot selection timed out", WARN),
    ),
    0x1F: (
        ("booted from A:", OK),
        ("booted from disk", OK),
        ("booted by PXE", OK),
        ("booted diagnostics", OK),
        ("booted from CD", OK),
        ("booted from ROM", OK),
        ("booted", OK),
        ("installation started", OK),
        ("installation done", OK),
        ("installation aborted", WARN),
        ("installation failed", CRIT),
    ),
    0x20: (
        ("stopped while loading", CRIT),
        ("stopped while running", CRIT),
        ("stopped", OK),
        ("shut down", OK),
        ("shut down by filter", OK),
        ("agent does not answer", WARN),
    ),
    0x21: (
        ("fault", CRIT),
        ("identify", OK),
        ("installed", OK),
        ("ready for installation", OK),
        ("ready for removal", OK),
        ("off", OK),
        ("removal requested", OK),
        ("interlock", OK),
        ("disabled", OK),
        ("spare", OK),
    ),
    0x22: (
        ("working (S0)", OK),
        ("sleeping (S1)", OK),
        ("sleeping (S2)", OK),
        ("sleeping (S3)", OK),
        ("hibernating (S4)", OK),
        ("soft off (S5)", OK),
        ("off (S4 or S5)", OK),
        ("mechanical off", OK),
        ("sleeping", OK),
        ("sleeping (G1)", OK),
        ("off by override", OK),
        ("legacy on", OK),
        ("legacy off", OK),
    ),
    0x23: (
        ("watchdog expired", WARN),
        ("watchdog hard reset", CRIT),
        ("watchdog power down", CRIT),
        ("watchdog power cycle", CRIT),
    ),
    0x25: (("present", OK), ("absent", OK), ("disabled", OK)),
    0x27: (("heartbeat lost", WARN), ("heartbeat", OK)),
    0x28: (
        ("sensor access degraded", WARN),
        ("controller access degraded", WARN),
        ("controller off line", WARN),
        ("controller unavailable", WARN),
        ("sensor failed", WARN),
        ("FRU failed", WARN),
    ),
    0x29: (("low", WARN), ("failed", CRIT), ("present", OK)),
}
"""By the sensor's type."""

TYPES = {
    0x01: "temperature",
    0x02: "voltage",
    0x03: "current",
    0x04: "fan",
    0x05: "chassis",
    0x06: "platform security",
    0x07: "processor",
    0x08: "power supply",
    0x09: "power unit",
    0x0C: "memory",
    0x0D: "drive",
    0x0F: "system firmware",
    0x10: "event log",
    0x12: "system event",
    0x13: "critical interrupt",
    0x14: "button",
    0x19: "chip set",
    0x1B: "cable",
    0x1D: "boot",
    0x1E: "boot error",
    0x1F: "system boot",
    0x20: "system stop",
    0x21: "slot",
    0x22: "system power state",
    0x23: "watchdog",
    0x25: "entity",
    0x27: "LAN",
    0x28: "management subsystem",
    0x29: "battery",
}
"""Names of sensor types, for sensors without a record of their own."""

_ORDER = (Health.OK, Health.UNKNOWN, Health.WARNING, Health.CRITICAL)


def state(event_type: int, sensor_type: int, offset: int) -> _State:
    """What one offset means; its number and UNKNOWN where only the maker knows."""
    known = _SPECIFIC.get(sensor_type, ()) if event_type == SPECIFIC else _GENERIC.get(event_type, ())
    return known[offset] if offset < len(known) else (f"state {offset}", Health.UNKNOWN)


def worst(healths: Iterable[Health]) -> Health:
    """The worst of several; OK without any."""
    return max(healths, key=_ORDER.index, default=Health.OK)
