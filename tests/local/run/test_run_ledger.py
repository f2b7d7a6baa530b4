"""The ledger and the locks, with real processes that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rigdeploy.errors import LockedError, PhaseError, RigdeployError, UsageError
from rigdeploy.run.history import only_rig, read_log
from rigdeploy.run.ledger import Ledger
from rigdeploy.run.lock import RigLock
from rigdeploy.verify.findings import Finding, Status
from rigdeploy.workspace import Workspace

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from rigdeploy.run.ledger import Ledger
from rigdeploy.run.lock import RigLock
state = Path(sys.argv[1])
ledger = Ledger(state / "ledger.sqlite", state / "runs")
run = ledger.begin("up rig01", ["rig01"])
entry = ledger.begin_phase(run, "rig01", "base", asked="abc", boot="boot1")
lock = RigLock(state / "locks", "rig01", command="rigdeploy up rig01", run=run)
lock.acquire()
child = subprocess.Popen(["sleep", "60"], close_fds=False)
print(run, child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def workspace(tmp_path):
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "fleet.yml").touch()
    workspace = Workspace(inventory, tmp_path / "state")
    workspace.prepare()
    yield workspace
    workspace.control_dir.rmdir()


@pytest.fixture
def ledger(workspace):
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        yield ledger


@pytest.fixture
def holder(workspace):
    """Another process that holds the lock of rig01 in a run of its own, with a child: (process, run)."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(workspace.state)], stdout=subprocess.PIPE, text=True)
    run, child = process.stdout.readline().split()
    yield process, run
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(int(child), signal.SIGKILL)


def lock_of(workspace, run="mine"):
    return RigLock(workspace.locks, "rig01", command="rigdeploy up", run=run)


def test_a_second_run_learns_who_holds_the_rig(workspace, holder):
    process, run = holder
    with pytest.raises(LockedError) as caught:
        lock_of(workspace).acquire()
    message = caught.value.message
    for part in ("rig01", "rigdeploy up rig01", run, str(process.pid), time.strftime("%Y-%m-%d")):
        assert part in message
    assert caught.value.exit_code == 5


def test_the_lock_of_a_killed_run_is_taken_over_although_its_child_lives(workspace, holder):
    process, run = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    with lock_of(workspace) as lock:
        assert lock.previous is not None
        assert lock.previous.run == run
        assert lock.previous.pid == process.pid


def test_a_released_lock_leaves_no_owner(workspace):
    with lock_of(workspace) as lock:
        with pytest.raises(LockedError):
            lock_of(workspace, "other").acquire()
        assert lock.previous is None
    with lock_of(workspace) as lock:
        assert lock.previous is None


def test_an_owner_that_cannot_be_read_is_no_obstacle(workspace):
    (workspace.locks / "rig01.lock").write_text("{half")
    with lock_of(workspace) as lock:
        assert lock.previous is None


def test_a_killed_run_is_marked_died_with_its_phases_and_a_living_one_is_not(ledger, holder):
    process, run = holder
    mine = ledger.begin("up", ["rig02"])
    assert ledger.mark_dead() == []
    process.kill()
    process.wait()
    assert [dead.id for dead in ledger.mark_dead()] == [run]
    outcomes = {one.id: one.outcome for one in ledger.runs()}
    assert outcomes == {run: "died", mine: "running"}
    assert [phase.outcome for phase in ledger.phases(run)] == ["died"]
    assert ledger.mark_dead() == []
    ledger.end(mine, "done")
    assert {one.outcome for one in ledger.runs()} == {"died", "done"}


def test_phases_are_recorded_with_boot_ids_times_and_failures(ledger):
    run = ledger.begin("up rig01", ["rig01"])
    with ledger.phase(run, "rig01", "power", boot="one") as entry:
        entry.boot_after = "two"
    with pytest.raises(PhaseError), ledger.phase(run, "rig01", "connect"):
        raise PhaseError("no login")
    with pytest.raises(KeyboardInterrupt), ledger.phase(run, "rig01", "base"):
        raise KeyboardInterrupt
    ledger.end(run, "interrupted")
    power, connect, base = ledger.phases(run)
    assert (power.outcome, power.rebooted, power.seconds is not None) == ("done", True, True)
    assert (connect.outcome, connect.message, connect.rebooted) == ("failed", "no login", False)
    assert base.outcome == "interrupted"
    assert set(ledger.last_seconds()["rig01"]) == {"power"}
    assert ledger.last_boot("rig01") == "two"


def test_a_phase_that_ends_after_its_run_changes_nothing(ledger):
    run = ledger.begin("up", ["rig01"])
    entry = ledger.begin_phase(run, "rig01", "base")
    ledger.end(run, "interrupted")
    entry.end("done")
    assert ledger.phases(run)[0].outcome == "interrupted"


def test_verdicts_are_kept_and_the_last_one_counts(ledger):
    ledger.record_verdict("rig01", [Finding("link.width", "PCIE3", Status.FAIL)], boot_id="one")
    ledger.record_verdict("rig01", [Finding("link.width", "PCIE3", Status.PASS)], run="some")
    last = ledger.last_verdict("rig01")
    assert (last.status, last.run) == ("PASS", "some")
    assert last.findings[0]["check"] == "link.width"
    assert ledger.last_verdict("rig02") is None
    assert [verdict.status for verdict in ledger.verdicts("some")] == ["PASS"]


def test_a_ledger_of_another_version_is_refused(workspace, ledger):
    ledger._database.execute("PRAGMA user_version=99")
    with pytest.raises(UsageError, match="schema 99"):
        Ledger(workspace.ledger, workspace.runs)


def test_a_damaged_ledger_is_named_with_its_remedy(workspace):
    workspace.ledger.write_text("no database at all, however long one reads on in it")
    with pytest.raises(RigdeployError, match="cannot be used: file is not a database") as caught:
        Ledger(workspace.ledger, workspace.runs)
    assert "history only" in caught.value.remedy


def test_two_processes_write_at_once(workspace, ledger):
    script = (
        "import sys; from pathlib import Path; from rigdeploy.run.ledger import Ledger\n"
        "state = Path(sys.argv[1])\n"
        "with Ledger(state / 'ledger.sqlite', state / 'runs') as ledger:\n"
        "    run = ledger.begin('up', ['rig01'])\n"
        "    for number in range(50): ledger.begin_phase(run, 'rig01', f'phase{number}').end('done')\n"
        "    ledger.end(run, 'done')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(workspace.state)]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [len(ledger.phases(run.id)) for run in ledger.runs()] == [50, 50]


def test_the_log_of_a_run_by_the_beginning_of_its_name(workspace, ledger):
    with pytest.raises(UsageError, match="no runs yet"):
        read_log(workspace)
    run = ledger.begin("up", ["rig01", "rig02"])
    for rig in ("rig01", "rig02"):
        ledger.begin_phase(run, rig, "base").end("done")
    artifacts = workspace.runs / run / "1-base" / "artifacts" / "play"
    artifacts.mkdir(parents=True)
    (artifacts / "stdout").write_text("TASK [one]\nok: [rig01]\nok: [rig02]\n")
    ledger.end(run, "done")
    assert [phase.rig for phase in read_log(workspace, run[:-3]).phases] == ["rig01", "rig02"]
    one = read_log(workspace, rig="rig02")
    assert [phase.rig for phase in one.phases] == ["rig02"]
    assert one.output == {"1-base": "TASK [one]\nok: [rig02]"}
    with pytest.raises(UsageError, match="no run 'x'"):
        read_log(workspace, "x")


def test_only_rig_keeps_the_headings_that_have_something_below():
    text = "PLAY [all]\n\nTASK [one]\nok: [rig1]\n\nTASK [two]\nok: [rig10]\n\nPLAY RECAP\nrig1 : ok=1\nrig10 : ok=1"
    assert only_rig(text, "rig1") == "TASK [one]\nok: [rig1]\nPLAY RECAP\nrig1 : ok=1"
