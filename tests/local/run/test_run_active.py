"""Putting cards under load over a real OpenSSH server on loopback; what is kept of it; how it is called off."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from rigdeploy.errors import NodeError, UnreachableError
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.run.active import Measured, arguments, how_it_ended, put_under_load
from rigdeploy.run.arrival import boot_id
from rigdeploy.run.connections import connections
from rigdeploy.run.loads import keep, recall
from rigdeploy.run.lock import RigLock
from rigdeploy.run.probe import observe
from rigdeploy.run.progress import PlainProgress
from rigdeploy.run.signals import StoppedError
from rigdeploy.run.verify import verify_under_load
from rigdeploy.verify.findings import Status
from rigdeploy.verify.rules import judge

over_ssh = pytest.mark.skipif(os.getuid() != 0, reason="an sshd of one's own that lets root in needs root")

DOCUMENT = {
    "schema": 1,
    "boot_id": "5c1e",
    "taken": 1.0,
    "seconds": 9.0,
    "ended": "done",
    "cards": [{"address": "0000:01:00.0", "h2d_gbps": 25.1}],
}


def measured(**changes):
    document = DOCUMENT | changes
    return Measured(Load.parse(document), json.dumps(document).encode())


SKIPPED = [{"address": "0000:01:00.0", "skipped": "in use by process 4711"}]

WAITING = """
import os, select, sys
with open({mark!r}, "w") as mark:
    mark.write(str(os.getpid()))
closed = select.poll()
closed.register(1, 0)
closed.poll(30_000)
"""
"""Does what active.py does: works until its time is up, or its standard output is closed."""


@pytest.fixture
def waiting(tmp_path, send_instead):
    """A check that takes half a minute; the file that holds its process id once it runs."""
    mark = tmp_path / "mark"
    send_instead(WAITING.format(mark=str(mark)))
    return mark


def pid_in(mark):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if mark.exists() and (text := mark.read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("the check never started")


def assert_ends(pid):
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the check goes on, on the node"
        time.sleep(0.05)


@over_ssh
def test_what_the_check_prints_comes_back_with_its_document(rig, workspace, send_instead):
    send_instead(f"import sys; print({json.dumps(DOCUMENT)!r}); assert sys.argv[1:] == {arguments(rig)!r}")
    heard = []
    answer = put_under_load([rig], workspace, heard=lambda *told: heard.append(told))["rig01"]
    assert isinstance(answer, Measured)
    assert answer.load == Load.from_json(answer.document) == Load.parse(DOCUMENT)
    assert heard == [("rig01", answer)]
    assert how_it_ended(answer) == "load: 1 card measured"


def test_the_declaration_says_how(make_rig):
    rig = make_rig(verify={"memory_share": 0, "seconds": 30})
    assert arguments(rig, force=True) == ["--memory-share", "0", "--seconds", "30", "--force"]


@over_ssh
@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("print('hello')", ObservationError, "not valid JSON"),
        ("import sys; sys.exit('out of order')", NodeError, "the active check failed with exit status 1: out of order"),
        ("while True: print('x' * 100000)", NodeError, "the active check printed more than 8 MiB"),
    ],
)
def test_a_check_that_goes_wrong(rig, workspace, send_instead, script, error, words):
    send_instead(script)
    answer = put_under_load([rig], workspace)["rig01"]
    assert isinstance(answer, error)
    assert words in answer.message


@over_ssh
def test_a_check_that_takes_too_long_is_ended_on_the_node_too(rig, workspace, waiting, monkeypatch):
    monkeypatch.setattr("rigdeploy.run.active.MARGIN", -118.0)
    answer = put_under_load([rig], workspace)["rig01"]
    assert isinstance(answer, UnreachableError)
    assert "within 2 s" in answer.message
    assert_ends(pid_in(waiting))


@over_ssh
@pytest.mark.parametrize(("end", "known"), [("\n", True), ("", False), ("\nBye.\n", False)])
def test_what_a_check_has_said_counts_though_it_cannot_end(rig, workspace, send_instead, monkeypatch, end, known):
    """As when a thread of it waits for ever in a call to the driver of a card that is gone."""
    monkeypatch.setattr("rigdeploy.run.active.MARGIN", -118.0)
    text = json.dumps(DOCUMENT) + end
    send_instead(f"import time; print({text!r}, end='', flush=True); time.sleep(6)")
    answer = put_under_load([rig], workspace)["rig01"]
    assert isinstance(answer, Measured if known else UnreachableError)


@over_ssh
@pytest.mark.parametrize("connected", [False, True])
def test_a_check_that_is_called_off_leaves_nothing_running(rig, workspace, waiting, connected):
    if connected:  # over a connection that is kept open, ssh here and sshd there outlive the call
        boot_id(rig, connections([rig], workspace)["rig01"], workspace)
    stop = threading.Event()
    threading.Thread(target=lambda: (pid_in(waiting), stop.set())).start()
    with pytest.raises(StoppedError):
        put_under_load([rig], workspace, stop=stop)
    assert_ends(pid_in(waiting))


@over_ssh
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verdict_that_is_called_off_leaves_nothing_running(rig, workspace, waiting, monkeypatch, number):
    answering = Observation.parse({"schema": 1, "driver": {"answers": True}})
    monkeypatch.setattr("rigdeploy.run.verify.observe", lambda rigs, _: {one.name: answering for one in rigs})
    threading.Thread(target=lambda: (pid_in(waiting), os.kill(os.getpid(), number))).start()
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        verify_under_load([rig], Catalogue(), workspace, PlainProgress(sys.stderr), command="rigdeploy verify --active")
    assert_ends(pid_in(waiting))
    assert signal.getsignal(number) is before
    with RigLock(workspace.locks, "rig01", command="test", run="test") as lock:
        assert lock.previous is None


@over_ssh
def test_without_the_drivers_library_nothing_is_measured_and_said_to_be_so(rig, workspace):
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        pytest.skip("not tested: a node without libcuda; this machine has one")
    answer = put_under_load([rig], workspace)["rig01"]
    assert isinstance(answer, Measured)
    assert (answer.load.ended, dict(answer.load.cards)) == ("done", {})
    assert "libcuda.so.1" in answer.load.why_unread("library")
    seen = observe([rig], workspace)["rig01"]
    findings = {finding.check: finding for finding in judge(rig, Catalogue.load(), seen, answer.load)}
    assert (findings["load"].status, findings["load"].cause) == (Status.UNKNOWN, "no-library")


@pytest.fixture
def simulated(sshd, tmp_path):
    """Give the node the lab's simulated driver with this one card."""
    if not shutil.which("gcc"):
        pytest.skip("not tested: a load over ssh; gcc, which compiles its simulated driver, is not installed")

    def make(card):
        driver = tmp_path / "driver"
        driver.mkdir()
        source = files("rigdeploy.lab").joinpath("simulated/cuda.c")
        command = ["gcc", "-shared", "-fPIC", "-O2", "-pthread", "-o", driver / "libcuda.so.1", str(source)]
        subprocess.run(command, check=True)
        shutil.copy(driver / "libcuda.so.1", driver / "libnvidia-ml.so.1")
        (driver / "cuda.conf").write_text(f"{card}\n")
        sshd.stop()
        sshd.start(f"SetEnv LD_LIBRARY_PATH={driver} RIGDEPLOY_SIMULATED_CUDA={driver}/cuda.conf")

    return make


@over_ssh
def test_the_check_itself_over_ssh(rig, workspace, simulated):
    simulated("address=0000:41:00.0 memory_mib=512 gen=4 width=16")
    answer = put_under_load([rig], workspace)["rig01"]
    assert isinstance(answer, Measured)
    card = answer.load.cards["0000:41:00.0"]
    assert answer.load.ended == "done"
    assert card.h2d_gbps > 10
    assert (card.memory.errors, card.memory.tested_mib) == (0, card.memory.wanted_mib)
    assert answer.load.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@over_ssh
def test_the_check_itself_ends_when_it_is_called_off(rig, workspace, simulated, tmp_path):
    simulated("address=0000:41:00.0 memory_mib=512 gen=1 width=1 efficiency=0.3")
    stop = threading.Event()

    def on_the_node():
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                ours = str(tmp_path).encode() in path.with_name("environ").read_bytes()
                found += [path] if ours and b"\0--memory-share\0" in path.read_bytes() else []
        return found

    def stop_soon():
        while not on_the_node():
            time.sleep(0.02)
        time.sleep(0.5)
        stop.set()

    threading.Thread(target=stop_soon).start()
    with pytest.raises(StoppedError):
        put_under_load([rig], workspace, stop=stop)
    deadline = time.monotonic() + 15
    while on_the_node():
        assert time.monotonic() < deadline, "the check goes on, on the node"
        time.sleep(0.1)


def test_a_check_is_kept_for_its_owner_alone_and_read_back(workspace):
    notes = []
    assert recall(workspace, "rig01", notes.append) is None
    keep(workspace, "rig01", measured())
    kept = workspace.loads / "rig01.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert workspace.loads.stat().st_mode & 0o777 == 0o700
    assert json.loads(kept.read_bytes()) == DOCUMENT
    assert recall(workspace, "rig01", notes.append) == replace(Load.parse(DOCUMENT), kept=True)
    assert notes == []
    assert list(workspace.loads.iterdir()) == [kept]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 9}', b"\xff", b" " * (17 << 20)])
def test_a_damaged_file_is_told_and_ignored(workspace, content):
    notes = []
    workspace.loads.mkdir()
    (workspace.loads / "rig01.json").write_bytes(content)
    assert recall(workspace, "rig01", notes.append) is None
    assert "rig01.json is ignored" in notes[0]


@pytest.mark.parametrize(
    ("later", "is_kept"),
    [
        (measured(taken=2.0), True),
        (measured(taken=2.0, cards=SKIPPED), False),
        (measured(taken=2.0, cards=[]), False),
        (measured(taken=2.0, cards=SKIPPED, boot_id="0d"), True),
    ],
)
def test_a_check_that_measured_nothing_does_not_replace_one_that_did(workspace, later, is_kept):
    keep(workspace, "rig01", measured())
    keep(workspace, "rig01", later)
    assert recall(workspace, "rig01", print).taken == (2.0 if is_kept else 1.0)


def test_a_check_that_cannot_be_kept_leaves_the_one_before(workspace, monkeypatch):
    keep(workspace, "rig01", measured())
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("rigdeploy.files.os.fchmod", lambda *_: throw(full))
    with pytest.raises(OSError, match="No space left"):
        keep(workspace, "rig01", measured(taken=2.0))
    assert [path.name for path in workspace.loads.iterdir()] == ["rig01.json"]
    assert recall(workspace, "rig01", print).taken == 1.0


def throw(error):
    raise error
