"""The first login by password, against a server made of paramiko that keeps what it is told."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

import paramiko
import pytest

from rigdeploy.errors import HostKeyChangedError, NodeError
from rigdeploy.fleet.secrets import Secret
from rigdeploy.run.first_contact import _INSTALL, install_key, public_key
from rigdeploy.run.ssh import AccessRefusedError, Connection


class Server(paramiko.ServerInterface):
    """Lets root in with one password, runs what it is asked to in a home directory of the test's."""

    def __init__(self, home):
        self.home = home

    def check_auth_password(self, username, password):
        right = (username, password) == ("root", "right")
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username):
        return "password"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=self.execute, args=(channel, command)).start()
        return True

    def execute(self, channel, command):
        given = channel.makefile("rb").read()
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", command], input=given, env=environment, check=False)
        channel.send_exit_status(done.returncode)


@pytest.fixture
def host_key():
    return paramiko.ECDSAKey.generate()


@pytest.fixture
def server(tmp_path, host_key):
    """The port of the server; it serves one connection after another."""
    listener = socket.create_server(("127.0.0.1", 0))
    home = tmp_path / "home"
    home.mkdir()
    transports = []

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(host_key)
            transports.append(transport)
            transport.start_server(event=threading.Event(), server=Server(home))

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for transport in transports:
        transport.close()


@pytest.fixture
def connection(server, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return Connection("127.0.0.1", server, "root", str(key), (), become=False)


@pytest.fixture
def pinned(workspace, host_key):
    keys = paramiko.HostKeys()
    keys.add("rig01", host_key.get_name(), host_key)
    keys.save(str(workspace.known_hosts))


def password(monkeypatch, value="right"):
    monkeypatch.setenv("RIG_PASSWORD", value)
    return Secret("env", "RIG_PASSWORD")


@pytest.mark.usefixtures("pinned")
def test_the_key_is_installed_once(connection, workspace, monkeypatch, tmp_path):
    for _ in range(2):
        install_key("rig01", connection, password(monkeypatch), workspace)
    authorized = tmp_path / "home" / ".ssh" / "authorized_keys"
    assert authorized.read_text() == public_key(connection) + "\n"
    assert authorized.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("pinned")
def test_a_wrong_password_is_refused_without_showing_it(connection, workspace, monkeypatch):
    with pytest.raises(AccessRefusedError) as caught:
        install_key("rig01", connection, password(monkeypatch, "planted-wrong"), workspace)
    assert "planted-wrong" not in caught.value.message + caught.value.remedy


def test_the_password_is_never_shown_to_another_host_key(connection, workspace, monkeypatch):
    other = paramiko.ECDSAKey.generate()
    keys = paramiko.HostKeys()
    keys.add("rig01", other.get_name(), other)
    keys.save(str(workspace.known_hosts))
    asked = []
    monkeypatch.setattr(paramiko.Transport, "auth_password", lambda *arguments: asked.append(arguments))
    with pytest.raises(HostKeyChangedError):
        install_key("rig01", connection, password(monkeypatch), workspace)
    assert asked == []


def test_without_a_pinned_key_there_is_no_login(connection, workspace, monkeypatch):
    with pytest.raises(NodeError, match="no host key is pinned"):
        install_key("rig01", connection, password(monkeypatch), workspace)


def test_the_public_half_is_found_or_computed(connection, tmp_path):
    beside = public_key(connection)
    (tmp_path / "key.pub").unlink()
    assert public_key(connection).split()[:2] == beside.split()[:2]
    (tmp_path / "key").unlink()
    with pytest.raises(NodeError, match="no key to log in with"):
        public_key(connection)


@pytest.mark.parametrize("before", [None, "", "ssh-ed25519 AAAA", "ssh-ed25519 AAAA\n"])
def test_a_key_never_lands_on_the_line_of_another(before, tmp_path):
    keys = tmp_path / ".ssh" / "authorized_keys"
    if before is not None:
        keys.parent.mkdir()
        keys.write_text(before)
    for _ in range(2):
        command = ["sh", "-c", _INSTALL]
        subprocess.run(command, input="ssh-ed25519 BBBB us\n", env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
                       text=True, check=True)  # fmt: skip
    assert keys.read_text().splitlines() == [*(before or "").splitlines(), "ssh-ed25519 BBBB us"]
