"""The driver that asks a person: what it sees, whom it asks."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rigdeploy.errors import PowerTimeoutError, PowerUnsupportedError
from rigdeploy.fleet.models import Build, ManualPower, Rig, Ssh
from rigdeploy.power import policy
from rigdeploy.power.base import PowerState
from rigdeploy.power.drivers import open_driver
from rigdeploy.power.manual import ManualDriver
from rigdeploy.workspace import Workspace

BUILD = Build.model_construct(name="any")


class Sshd:
    """A port that greets like sshd, or like something else."""

    def __init__(self, greeting=b"SSH-2.0-OpenSSH_9.2\r\n", port=0):
        self.greeting = greeting
        self.socket = socket.create_server(("127.1.0.1", port))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    connection.sendall(self.greeting)
        except OSError:
            pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def rig(port, jump=None):
    ssh = Ssh.model_construct(user="root", port=port, jump=jump)
    power = ManualPower(driver="manual", timeout_seconds=1)
    return Rig.model_construct(name="rig02", address="127.1.0.1", build=BUILD, power=power, ssh=ssh)


def test_on_is_an_ssh_greeting_and_nothing_else():
    with closing(Sshd()) as sshd:
        assert ManualDriver(rig(sshd.port)).state() is PowerState.ON
        port = sshd.port
    assert ManualDriver(rig(port)).state() is PowerState.UNKNOWN
    with closing(Sshd(b"HTTP/1.1 400\r\n")) as other:
        assert ManualDriver(rig(other.port)).state() is PowerState.UNKNOWN


def test_behind_a_jump_host_the_greeting_comes_through_ssh(tmp_path, monkeypatch):
    fake = tmp_path / "ssh"
    fake.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\nprintf "SSH-2.0-x\\r\\n"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert ManualDriver(rig(22, jump="ops@gate.example.com")).state() is PowerState.ON
    assert (tmp_path / "called").read_text().split() == [
        *("-o", "BatchMode=yes", "-W", "[127.1.0.1]:22", "--", "ops@gate.example.com"),
    ]


def test_the_hand_is_asked_and_the_rig_seen():
    with closing(Sshd()) as probe:
        port = probe.port
    started = []

    def hand(asked, what):
        assert asked.name == "rig02"
        started.append((what, Sshd(port=port)))

    assert policy.ensure(ManualDriver(rig(port), hand), PowerState.ON, 5) is True
    [(what, sshd)] = started
    assert what == "on"
    sshd.close()


def test_off_is_believed_when_the_rig_is_silent():
    sshd = Sshd()
    asked = []

    def hand(_rig, what):
        asked.append(what)
        sshd.close()

    driver = ManualDriver(rig(sshd.port), hand)
    assert policy.ensure(driver, PowerState.OFF, 5) is True
    assert asked == ["off"]


def test_nobody_comes():
    with closing(Sshd()) as probe:
        port = probe.port
    asked = []
    with pytest.raises(PowerTimeoutError, match="rig02"):
        policy.ensure(ManualDriver(rig(port), lambda _, what: asked.append(what)), PowerState.ON, 1)
    assert asked == ["on"] * 3


def test_a_hand_has_no_soft_off():
    with closing(Sshd()) as sshd, pytest.raises(PowerUnsupportedError):
        policy.ensure(ManualDriver(rig(sshd.port)), PowerState.OFF, 2, soft=True)


def test_by_default_the_terminal_is_told(capsys):
    driver = open_driver(rig(22), Workspace(Path("inventory"), Path("state")))
    driver.on()
    driver.off()
    told = capsys.readouterr()
    assert told.out == ""
    assert "rig02: please switch it on" in told.err
    assert "rig02: please switch it off" in told.err


def test_in_the_lab_the_lab_presses_the_button(monkeypatch):
    import rigdeploy.lab

    pressed = []
    monkeypatch.setattr(rigdeploy.lab, "press", lambda *what: pressed.append(what))
    workspace = Workspace(Path("inventory"), Path("state"), lab=True)
    open_driver(rig(22), workspace).on()
    assert pressed == [(workspace, "rig02", "on")]
