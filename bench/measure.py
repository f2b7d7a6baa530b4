"""Measure rigdeploy against plain tools on the same nodes, in turns, and print ratios of medians.

    .venv/bin/rigdeploy lab up && .venv/bin/rigdeploy up --lab --yes
    .venv/bin/python bench/measure.py

Ratios are what counts: single times on a shared machine are noise. The budgets are the project's own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RUNS = 7


@dataclass(frozen=True)
class Comparison:
    """``ours`` may take ``budget`` times as long as ``other``."""

    name: str
    ours: list[str]
    other: list[str]
    budget: float


COMPARISONS = [
    Comparison("--version against ansible --version", ["rigdeploy", "--version"], ["ansible", "--version"], 0.3),
    Comparison(
        "verify of one warm node against ansible -m ping",
        ["rigdeploy", "verify", "rig01", "--lab"],
        ["ansible", "rig01", "-i", "inventory", "-m", "ping"],
        0.6,
    ),
    Comparison(
        "up of a node that is right against ansible -m ping",
        ["rigdeploy", "up", "rig01", "--yes", "--lab"],
        ["ansible", "rig01", "-i", "inventory", "-m", "ping"],
        0.6,
    ),
]


def seconds(command: list[str]) -> float:
    """Wall seconds of one run; a run that fails stops the measurement."""
    started = time.perf_counter()
    # The plain tool acts on the twins too: the inventory plugin reads this variable.
    environment = os.environ | {"RIGDEPLOY_LAB": "1"} if command[0] == "ansible" else os.environ
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return taken


def main() -> int:
    """Measure every comparison in turns; exit 1 when a budget is missed."""
    missed = 0
    for comparison in COMPARISONS:
        seconds(comparison.ours), seconds(comparison.other)  # warm both
        pairs = [(seconds(comparison.ours), seconds(comparison.other)) for _ in range(RUNS)]
        ours, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = ours / other
        missed += ratio > comparison.budget
        print(f"{comparison.name}: {ours:.2f} s against {other:.2f} s, ratio {ratio:.2f} (budget {comparison.budget})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
