"""What versions of CUDA need of the driver."""

from __future__ import annotations

CUDA_FLOORS = {11: 450, 12: 525, 13: 580}
"""The oldest branch that runs programs of a CUDA major version (CUDA compatibility guide, minor versions)."""

CUDA_BRANCHES = {
    "11.8": 520,
    "12.0": 525,
    "12.1": 530,
    "12.2": 535,
    "12.3": 545,
    "12.4": 550,
    "12.5": 555,
    "12.6": 560,
    "12.8": 570,
    "12.9": 575,
    "13.0": 580,
    "13.1": 590,
    "13.2": 595,
    "13.3": 610,
    "13.4": 615,
}
"""The branch that each CUDA toolkit was released with (CUDA release notes, table of toolkit driver versions)."""


def number(version: str) -> tuple[int, int]:
    """``12.8`` as (12, 8)."""
    major, _, minor = version.partition(".")
    return int(major), int(minor)
