"""Wake on LAN: the packet as it arrives, the shutdown as ssh is told."""

from __future__ import annotations

import socket
from contextlib import closing, suppress

import pytest
from test_manual_power import Sshd

from rigdeploy.errors import (
    HostKeyChangedError,
    NodeError,
    PowerRefusedError,
    PowerTimeoutError,
    PowerUnreachableError,
    PowerUnsupportedError,
    UnreachableError,
)
from rigdeploy.fleet.models import Build, Rig, Ssh, WolPower
from rigdeploy.power import policy
from rigdeploy.power.base import Capability, PowerState
from rigdeploy.power.drivers import open_driver
from rigdeploy.power.wol import PACKETS, WolDriver
from rigdeploy.workspace import Workspace

HOST = "127.1.0.1"
MAC = "02:00:5E:10:00:0a"
MAGIC = bytes.fromhex("ffffffffffff") + bytes.fromhex("02005e10000a") * 16


@pytest.fixture
def listener():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        receiver.settimeout(2)
        yield receiver


def rig(port=1, ssh_port=1, broadcast=HOST, user="root"):
    power = WolPower(driver="wol", mac=MAC, broadcast=broadcast, port=port, timeout_seconds=6)
    ssh = Ssh.model_construct(user=user, port=ssh_port, jump=None, private_key=None)
    return Rig.model_construct(
        name="rig08", address=HOST, build=Build.model_construct(name="any"), power=power, ssh=ssh
    )


def driver_for(asked, shut_down=lambda _: None):
    return WolDriver(asked, asked.power, shut_down)


def received(listener):
    """All that has arrived, and what still does within a moment."""
    packets = []
    listener.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            packets.append(listener.recv(2048))
    return packets


def free_port():
    with closing(Sshd()) as probe:
        return probe.port


def test_the_packet_is_the_one_that_cards_wait_for(listener):
    driver_for(rig(listener.getsockname()[1])).on()
    assert received(listener) == [MAGIC] * PACKETS
    assert len(MAGIC) == 102


def test_a_rig_that_wakes_is_seen_on(listener):
    port = free_port()
    driver = driver_for(rig(listener.getsockname()[1], ssh_port=port))
    assert driver.state() is PowerState.UNKNOWN
    real = driver.on
    woken = []

    def on():
        real()
        assert listener.recv(2048) == MAGIC
        woken.append(Sshd(port=port))

    driver.on = on
    assert policy.ensure(driver, PowerState.ON, 6) is True
    assert policy.ensure(driver, PowerState.ON, 6) is False
    [sshd] = woken
    sshd.close()


def test_a_rig_that_sleeps_on_is_named(listener):
    driver = driver_for(rig(listener.getsockname()[1]))
    with pytest.raises(PowerTimeoutError, match="rig08"):
        policy.ensure(driver, PowerState.ON, 3)
    assert set(received(listener)) == {MAGIC}


@pytest.mark.parametrize("soft", [False, True])
def test_off_is_the_system_s_own_shutdown(soft):
    sshd = Sshd()
    asked = []

    def shut_down(ordered):
        asked.append(ordered.name)
        sshd.close()

    driver = driver_for(rig(ssh_port=sshd.port), shut_down)
    assert Capability.SEES_OFF not in driver.capabilities
    assert policy.ensure(driver, PowerState.OFF, 6, soft=soft) is True
    assert asked == ["rig08"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnreachableError("no answer", "look"), PowerUnreachableError),
        (HostKeyChangedError("another key", "look"), PowerRefusedError),
        (NodeError("no sudo", "look"), PowerRefusedError),
    ],
)
def test_a_shutdown_that_fails_is_an_error_of_power(error, kind):
    def shut_down(_):
        raise error

    with pytest.raises(kind) as caught:
        driver_for(rig(), shut_down).off()
    assert (caught.value.message, caught.value.remedy) == (error.message, "look")


def test_what_cannot_be_done_is_refused_before_anything_is_sent(listener):
    driver = driver_for(rig(listener.getsockname()[1]))
    with pytest.raises(PowerUnsupportedError, match="switch it off and on"):
        driver.reset()
    driver.close()
    assert received(listener) == []


def test_where_a_packet_cannot_go_is_told(monkeypatch):
    with pytest.raises(PowerUnreachableError, match="does not resolve"):
        driver_for(rig(broadcast="lan.invalid")).on()

    def no_way(*_):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(WolDriver, "_send", no_way)
    with pytest.raises(PowerUnreachableError, match=r"cannot be sent to 127\.1\.0\.1: Network is unr") as caught:
        driver_for(rig()).on()
    assert "power.broadcast" in caught.value.remedy


FAKE = """\
#!/bin/sh
printf '%s\\n' "$@" >{log}
echo {complaint} >&2
exit {status}
"""


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch):
    """Put an ssh before the real one that writes down what it is told and ends as wanted; how to read it."""

    def made(status=0, complaint="-"):
        program = tmp_path / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(FAKE.format(log=tmp_path / "told", status=status, complaint=f"'{complaint}'"))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return lambda: (tmp_path / "told").read_text().splitlines()

    return made


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "inventory").mkdir()
    return Workspace(tmp_path / "inventory", tmp_path / "state")


def test_the_order_goes_over_our_own_ssh(fake_ssh, workspace):
    told = fake_ssh()
    open_driver(rig(ssh_port=2222), workspace).off()
    assert told()[-3:] == ["--", HOST, "systemctl --no-block poweroff"]
    assert "Port=2222" in told()
    assert "BatchMode=yes" in told()


def test_another_user_needs_sudo(fake_ssh, workspace):
    told = fake_ssh(1, "sudo: a password is required")
    with pytest.raises(PowerRefusedError, match="does not power itself off: sudo: a password is required") as caught:
        open_driver(rig(user="ops"), workspace).soft_off()
    assert "ops needs sudo" in caught.value.remedy
    assert "sudo -n systemctl --no-block poweroff" in told()[-1]


@pytest.mark.parametrize(
    ("complaint", "kind", "words"),
    [
        ("connect to host: No route to host", PowerUnreachableError, "cannot be reached"),
        ("Permission denied (publickey).", PowerRefusedError, "refuses to log in"),
        ("Host key verification failed.", PowerRefusedError, "another host key"),
    ],
)
def test_ssh_s_own_complaints_keep_their_words(complaint, kind, words, fake_ssh, workspace):
    fake_ssh(255, complaint)
    with pytest.raises(kind, match=words):
        open_driver(rig(), workspace).off()


def test_a_packet_by_broadcast_is_allowed_to_go():
    """Without SO_BROADCAST the system refuses; to whom it goes is not looked at: loopback has no broadcast."""
    with pytest.raises(OSError, match=r"."), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"x", ("127.255.255.255", 9))
    driver_for(rig(broadcast="127.255.255.255", port=9)).on()
