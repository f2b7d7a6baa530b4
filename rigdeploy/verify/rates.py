"""What a PCIe link carries, and how many errors a sound one may make: the numbers that several rules share."""

from __future__ import annotations

from math import ceil

from rigdeploy.fleet.link import Link

GB_PER_LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""GB/s (10^9 bytes) of one lane and direction after encoding, by generation: 8b/10b up to 2, 128b/130b up to 5, FLITs
of 242/256 bytes at 6 (PCI Express Base Specification)."""

_ERRORS_PER_MINUTE_AND_LANE = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92, 6: 3.84}
"""Bit errors at a rate of 1e-12, the most that the specification allows, by generation: DCGM's own figures
(NVIDIA/DCGM, modules/health/DcgmHealthWatch.cpp, PCIe replay rate)."""


def bandwidth_gbps(link: Link) -> float:
    """GB/s (10^9 bytes) in one direction, after encoding and before any packet's header."""
    return GB_PER_LANE[link.gen] * link.width


def allowed_errors(declared_per_hour: int | None, link: Link, hours: float) -> int:
    """Correctable errors that a link may count in that time: what was declared of its riser, else the bit error rate.

    Rounded up, so that one error is no fault however short the time; with 0 declared, none is allowed.
    """
    per_hour = _errors_per_minute(link) * 60 if declared_per_hour is None else declared_per_hour
    return ceil(per_hour * hours)


def allowed_replays(link: Link, minutes: float) -> int:
    """Replayed packets that a link may count in that time, as DCGM has it: the rate of a minute is rounded up first."""
    return ceil(ceil(_errors_per_minute(link)) * minutes)


def _errors_per_minute(link: Link) -> float:
    return _ERRORS_PER_MINUTE_AND_LANE[link.gen] * link.width
