"""The serial console of a simulated BMC: captured, taken over, typed at, and never stolen by a capture."""

from __future__ import annotations

import io
import os
import pty
import shutil
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from simulator import Simulator

from rigdeploy.errors import PowerAuthenticationError, PowerBusyError, RigdeployError, UsageError
from rigdeploy.power import console
from rigdeploy.power.ipmi import IpmiDriver
from rigdeploy.power.quirks import QuirkCache

PASSWORD = "Planted-Pa55word"


class Board:
    """The other end of the serial line: says what it is told to, and keeps what is typed."""

    def __init__(self, server):
        self._server = server
        self._line = None
        self.typed = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with suppress(OSError):
            while True:
                self._line, _ = self._server.accept()
                with suppress(OSError):
                    while piece := self._line.recv(1024):
                        self.typed += piece

    def say(self, text):
        deadline = time.monotonic() + 10
        while self._line is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._line.sendall(text)


@pytest.fixture
def bmc(tmp_path):
    for tool in ("ipmi_sim", "ipmitool"):
        if shutil.which(tool) is None:
            pytest.skip(f"not tested: a serial console; {tool} is missing (Debian: openipmi, ipmitool)")
    directory = tmp_path / "bmc"
    directory.mkdir()
    simulator = Simulator(directory, PASSWORD)
    yield simulator
    simulator.stop()


@pytest.fixture
def board(bmc):
    return Board(bmc.console)


@pytest.fixture
def driver(bmc, tmp_path, declare):
    made = []

    def driver(**fields):
        power = declare(bmc.port, address=bmc.address, **fields)
        made.append(IpmiDriver("rig01", power, tmp_path, QuirkCache(tmp_path)))
        return made[-1]

    yield driver
    for each in made:
        each.close()


class Capture(threading.Thread):
    """A capture in the background."""

    def __init__(self, driver, path):
        super().__init__()
        self.path, self.end, self.error, self.why = path, threading.Event(), None, None
        self._driver = driver
        self.start()

    def run(self):
        try:
            self.why = console.capture(self._driver, self.path, self.end)
        except RigdeployError as error:
            self.error = error

    def shows(self, text):
        deadline = time.monotonic() + 15
        while not (self.path.exists() and text in self.path.read_bytes()):
            assert self.error is None, self.error
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def stop(self):
        self.end.set()
        self.join(20)
        assert not self.is_alive()


def say_until_shown(board, capture, text):
    """Before the payload is active, what a board says goes nowhere."""
    deadline = time.monotonic() + 20
    while not (capture.path.exists() and text in capture.path.read_bytes()):
        assert capture.error is None, capture.error
        assert time.monotonic() < deadline
        board.say(text)
        time.sleep(0.2)


def test_a_capture_writes_what_the_board_says_types_nothing_and_ends(board, driver, tmp_path):
    capture = Capture(driver(), tmp_path / "boot.log")
    say_until_shown(board, capture, b"Booting\r\n")
    board.say(b"\x1b[31mred\x00\xff\r\n")
    assert capture.shows(b"\x1b[31mred\x00\xff\r\n")
    capture.stop()
    assert capture.why == ""
    assert board.typed == b""
    assert stat.S_IMODE(capture.path.stat().st_mode) == 0o600
    assert b"SOL" not in capture.path.read_bytes()
    # The payload is free again, and the log goes on where it was.
    again = Capture(driver(), tmp_path / "boot.log")
    say_until_shown(board, again, b"second boot\r\n")
    again.stop()
    assert b"Booting" in capture.path.read_bytes()


def test_a_capture_never_takes_the_console_from_anybody(board, driver, tmp_path):
    first = Capture(driver(), tmp_path / "first.log")
    say_until_shown(board, first, b"one\r\n")
    with pytest.raises(PowerBusyError, match="somebody has its console"):
        console.capture(driver(), tmp_path / "second.log", threading.Event())
    board.say(b"still here\r\n")
    assert first.shows(b"still here")
    first.stop()


def test_a_capture_of_a_bmc_that_refuses_us_says_so(bmc, driver, tmp_path):
    with pytest.raises(PowerAuthenticationError, match="is wrong"):
        console.capture(driver(password="wrong-one"), tmp_path / "log", threading.Event())


def test_no_console_without_a_terminal(driver, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UsageError, match="needs a terminal"):
        console.attach(driver(), None, print)


def test_a_person_takes_the_console_over_types_and_leaves(bmc, board, driver, tmp_path):
    first = Capture(driver(), tmp_path / "first.log")
    say_until_shown(board, first, b"one\r\n")
    program = (
        "import pathlib, sys\n"
        "from rigdeploy.fleet.models import IpmiPower\n"
        "from rigdeploy.power import console\n"
        "from rigdeploy.power.ipmi import IpmiDriver\n"
        "from rigdeploy.power.quirks import QuirkCache\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        f"power = IpmiPower.model_validate({{'driver': 'ipmi', 'address': {bmc.address!r}, 'port': {bmc.port},"
        f" 'username': 'admin', 'password': {PASSWORD!r}}})\n"
        "driver = IpmiDriver('rig01', power, here, QuirkCache(here))\n"
        "console.attach(driver, here / 'person.log', lambda text: print(text, file=sys.stderr, flush=True))\n"
    )
    ours, theirs = pty.openpty()
    person = subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""

    def wait_for(text):
        nonlocal shown
        deadline = time.monotonic() + 20
        while text not in shown:
            assert time.monotonic() < deadline, shown
            shown += os.read(ours, 4096)

    wait_for(b"taking it over")
    wait_for(b"connected; type ~. at")
    first.stop()  # this BMC did not tell it that the console was taken
    assert first.why == "somebody has taken the console"
    board.say(b"login: ")
    wait_for(b"login: ")
    os.write(ours, b"root\r\x03")
    deadline = time.monotonic() + 10
    while b"root\r\x03" not in board.typed:
        assert time.monotonic() < deadline, board.typed
        time.sleep(0.05)
    os.write(ours, b"\r~.")
    with suppress(OSError):
        while piece := os.read(ours, 4096):
            shown += piece
    assert person.wait(15) == 0, shown
    os.close(ours)
    log = tmp_path / "person.log"
    assert b"login: " in log.read_bytes()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert PASSWORD.encode() not in shown
    assert b"login: " not in first.path.read_bytes()
    assert first.path.read_bytes().endswith(b"[rigdeploy: this capture has ended: somebody has taken the console]\r\n")


def test_a_bmc_that_closes_the_session_ends_the_capture_which_says_so(driver, tmp_path, monkeypatch):
    """The simulator closes none: a tool in ipmitool's place says what that says then."""
    tool = tmp_path / "bin" / "ipmitool"
    tool.parent.mkdir()
    said = "[SOL Session operational.  Use ~? for help]\\r\\nBooting\\r\\nSOL session closed by BMC\\r\\n"
    tool.write_text(f"#!/bin/sh\nprintf '{said}'\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    log = tmp_path / "boot.log"
    why = console.capture(driver(), log, threading.Event())
    assert why == "the BMC has closed it, as it does when somebody takes the console"
    assert log.read_bytes().startswith(b"Booting\r\n")
    assert log.read_bytes().endswith(f"[rigdeploy: this capture has ended: {why}]\r\n".encode())


def test_a_capture_that_is_to_end_before_it_has_begun_ends(driver, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "ipmitool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(console, "_END_SECONDS", 0.5)
    capture = Capture(driver(), tmp_path / "boot.log")
    time.sleep(0.5)
    started = time.monotonic()
    capture.stop()
    assert time.monotonic() - started < 3
    assert (capture.error, capture.why) == (None, "")


def test_a_board_that_floods_fills_no_disk(board, driver, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "LOG_LIMIT", 10)
    capture = Capture(driver(), tmp_path / "boot.log")
    deadline = time.monotonic() + 20
    while not capture.path.exists() or capture.path.stat().st_size < 10:
        assert time.monotonic() < deadline
        board.say(b"0123456789" * 10)
        time.sleep(0.2)
    capture.stop()
    assert capture.path.stat().st_size == 10
