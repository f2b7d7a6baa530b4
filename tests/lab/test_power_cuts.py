"""Power cut in the middle of the driver's installation, again and again: the next ``up`` mends what it left."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from rigdeploy.lab import node

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CUTS = 10
SEED = int(os.environ.get("RIGDEPLOY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
REMOVE = """
set -e
apt-get -qq -y purge '*nvidia*' libcuda1 >/dev/null 2>&1
rm -f /var/lib/rigdeploy/managed.d/nvidia_driver.json
sync
"""
UNFINISHED = "dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\\n' | grep -cv '^.[inc] ' || true"


def installs(twin) -> bool:
    """Whether dpkg unpacks the driver on a twin, as its host sees it; what locks the branch was unpacked before."""
    for group in twin.group.rglob("cgroup.procs"):
        for pid in group.read_text().split():
            try:
                words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended meanwhile
                continue
            if b"--unpack" in words and not any(b"pinning" in word for word in words):
                return True
    return False


def test_power_cut_ten_times_while_the_driver_is_installed(lab_fleet):
    print(f"seed {SEED} (RIGDEPLOY_TEST_SEED repeats it)")
    chance = random.Random(SEED)
    twin = lab_fleet.twin("rig01")
    assert lab_fleet.run("up", "rig01", "--yes").returncode == 0
    left_unfinished = 0
    for number in range(CUTS):
        lab_fleet.node("rig01", REMOVE)
        process = lab_fleet.start("up", "rig01", "--yes", "--only", "driver")
        lab_fleet.wait_for(lambda: installs(twin), 120, "dpkg never began")
        time.sleep(moment := chance.uniform(0, 4))
        node.power_off(twin)
        # Nobody waits for a node that is gone: the run that installed is killed with it.
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)

        assert lab_fleet.run("power", "on", "rig01").returncode == 0
        lab_fleet.booted("rig01")
        left_unfinished += int(lab_fleet.node("rig01", UNFINISHED)) > 0
        done = lab_fleet.run("up", "rig01", "--yes", "--only", "driver")
        why = f"round {number}, cut {moment:.1f} s into dpkg:\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, why + lab_fleet.run("log").stdout
        assert lab_fleet.node("rig01", UNFINISHED).strip() == "0"
        assert "580." in lab_fleet.node("rig01", "nvidia-smi --query-gpu=driver_version --format=csv,noheader")
    assert left_unfinished > 0, "no cut came while packages were half installed: this tested nothing"
    assert lab_fleet.run("up", "rig01", "--yes").returncode == 0
