"""``up`` killed at any moment: the next ``up`` carries on and ends verified, and the ledger tells what happened."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.slow]

KILLS = 10
SEED = int(os.environ.get("RIGDEPLOY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)


def test_killed_ten_times_and_verified_each_time(lab_fleet):
    print(f"seed {SEED} (RIGDEPLOY_TEST_SEED repeats it)")
    chance = random.Random(SEED)
    lab_fleet.renew("rig02")
    started = time.monotonic()
    assert lab_fleet.run("up", "rig02", "--yes").returncode == 0
    whole = time.monotonic() - started

    for number in range(KILLS):
        # Odd rounds start from a blank node, even ones from one that was switched off: both ways of being half done.
        if number % 2:
            lab_fleet.renew("rig02")
        else:
            lab_fleet.run("power", "off", "rig02", "--yes")
        moment = chance.uniform(0.2, whole)
        process = lab_fleet.start("up", "rig02", "--yes")
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        done = lab_fleet.run("up", "rig02", "--yes")
        assert done.returncode == 0, f"round {number}, killed after {moment:.1f} s:\n{done.stdout}{done.stderr}"
        assert lab_fleet.run("verify", "rig02").returncode == 0

    runs = json.loads(lab_fleet.run("runs", "--json").stdout)["runs"]
    outcomes = [run["outcome"] for run in runs]
    assert outcomes.count("died") >= 1, outcomes
    assert "died" in lab_fleet.run("runs").stdout
