"""Ctrl-C while a BMC owes an answer: readings end at once, a change within seconds, and who stopped is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from power_servers import Answer, Server, StrictBmc

from rigdeploy.power.stop import LAST_SECONDS
from tests.bmc import Faults


class Command:
    """``rigdeploy ARGUMENTS`` as a process of its own, at a fleet."""

    def __init__(self, fleet, *arguments):
        self.process = subprocess.Popen(
            # Whoever runs the tests in the background has SIGINT ignored, which a process would inherit.
            ["env", "--default-signal=INT", Path(sys.executable).with_name("rigdeploy"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"RIGDEPLOY_INVENTORY": str(fleet.directory / "inventory")},
        )

        self._said = []
        self._reader = threading.Thread(target=lambda: self._said.extend(self.process.stdout), daemon=True)
        self._reader.start()

    def interrupted(self):
        """Press Ctrl-C; seconds from there to the end, and what was printed."""
        pressed = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self._reader.join(30)
        said = "".join(self._said)
        assert self.process.wait(10) == 130, said
        return time.monotonic() - pressed, said


def when(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Gate:
    """Answers as a strict BMC does until ``closed``; from then on it hears and keeps silent."""

    def __init__(self, shut_at=lambda _: False):
        self._open = threading.Event()
        self.heard = []
        self.closed = False
        self.service = StrictBmc()
        real = self.service.answered

        def answer(request):
            self.heard.append(f"{request.method} {request.path}")
            self.closed |= shut_at(request)
            if not self.closed:
                return real(request)
            if request.method == "POST":
                real(request)  # it is carried out all the same
            self._open.wait(40)
            return Answer(0)

        self.service.answer = answer
        self.url = self.service.url

    def close(self):
        self._open.set()
        self.service.close()


def test_a_reading_by_ipmitool_is_abandoned_at_once(fleet):
    bmc = fleet.add("rig01", driver="ipmitool")
    heard = []
    bmc.datagram_received = lambda *datagram: heard.append(datagram)
    command = Command(fleet, "power", "status", "rig01")
    when(lambda: heard)
    seconds, said = command.interrupted()
    assert seconds < LAST_SECONDS - 1, said


def test_a_reading_by_redfish_is_abandoned_at_once(fleet):
    with closing(Gate(lambda _: True)) as gate:
        fleet.add_redfish("rig01", gate.url)
        command = Command(fleet, "power", "status", "rig01")
        when(lambda: gate.heard)
        seconds, said = command.interrupted()
    assert seconds < LAST_SECONDS - 1, said


def test_a_change_by_ipmitool_is_waited_for_a_few_seconds_and_told_to_be_unknown(fleet):
    bmc = fleet.add("rig01", driver="ipmitool")
    bmc.state.log, real = lambda kind, text: (silence(kind), real(kind, text)), bmc.state.log

    def silence(kind):
        bmc.faults.silent |= kind == "control"
        bmc.faults.drop_answers |= kind == "control"

    command = Command(fleet, "power", "on", "rig01")
    when(lambda: bmc.faults.silent)
    seconds, said = command.interrupted()
    assert "rig01: stopped; the rig was left in a state that is not known" in said
    assert seconds < LAST_SECONDS + 3
    assert bmc.events("control") == ["on"]


def test_a_change_by_redfish_is_waited_for_a_few_seconds_and_told_to_be_unknown(fleet):
    with closing(Gate(lambda request: request.path.endswith("ComputerSystem.Reset"))) as gate:
        fleet.add_redfish("rig01", gate.url)
        command = Command(fleet, "power", "on", "rig01")
        when(lambda: gate.closed)
        seconds, said = command.interrupted()
    assert "rig01: stopped; the rig was left in a state that is not known" in said
    assert LAST_SECONDS - 1 < seconds < LAST_SECONDS + 5
    assert gate.service.resets == ["On"]


@pytest.mark.parametrize("driver", ["ipmitool", "redfish"])
def test_a_bmc_that_answers_tells_how_the_rig_was_left(fleet, driver):
    """The change is swallowed, so the command polls when it is stopped."""
    with closing(StrictBmc()) as service:
        if driver == "redfish":
            service.swallow = 9
            fleet.add_redfish("rig01", service.url)
            asked = service.resets
        else:
            bmc = fleet.add("rig01", driver=driver, faults=Faults(on_ignored=9))
        command = Command(fleet, "power", "on", "rig01")
        when(lambda: asked if driver == "redfish" else bmc.events("control"))
        seconds, said = command.interrupted()
        assert "rig01: stopped; the rig was left off" in said
        assert seconds < LAST_SECONDS
        assert service.tokens == set()


def test_a_webhook_that_switches_is_never_abandoned_at_once():
    """Which of its requests change something, a method does not tell."""
    from rigdeploy.power import web
    from rigdeploy.power.lock import WAIT
    from rigdeploy.power.policy import StoppedError

    def stop(_):
        raise StoppedError("stopped")

    def slow(_):
        time.sleep(0.6)
        return Answer(200, b"ok")

    with closing(Server(slow)) as server:
        token = WAIT.set(stop)
        try:
            assert web.session(None).get(server.url, timeout=5).content == b"ok"
        finally:
            WAIT.reset(token)
