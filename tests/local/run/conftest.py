"""A fleet's workspace, an sshd of one's own on loopback, and rigs that point at it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rigdeploy.fleet.models import Build, Rig
from rigdeploy.run import sender, ssh
from rigdeploy.run.connections import connections
from rigdeploy.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    workspace = Workspace(inventory, tmp_path / "state")
    workspace.prepare()
    yield workspace
    shutil.rmtree(workspace.control_dir)


@pytest.fixture(scope="session")
def build():
    return Build.model_validate(
        {
            "name": "small",
            "board": "some-board",
            "slots": {"PCIE1": {"gpu": "rtx-3090", "link": "4.0 x16"}},
            "vram_gib": 24,
        }
    )


@pytest.fixture
def make_rig(build):
    """A rig by name; keywords are its declaration."""

    def make(name="rig01", **settings):
        data = {"name": name, "address": "127.0.0.1", "build": build, "power": {"driver": "manual"}}
        return Rig.model_validate(data | settings)

    return make


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def unused_port():
    return free_port()


@dataclass
class Sshd:
    """An OpenSSH server in the foreground, with a host key, one authorised key, and nothing of the system's."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def key(self):
        return str(self.directory / "user")

    def new_host_key(self):
        (self.directory / "host").unlink(missing_ok=True)
        make_key(self.directory / "host")

    def start(self, *extra):
        options = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.directory / "host",
            "AuthorizedKeysFile": self.directory / "user.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "MaxStartups": "100",
        }
        config = self.directory / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()) + "\n".join(extra))
        Path("/run/sshd").mkdir(exist_ok=True)  # its empty directory for unprivileged parts, made at boot elsewhere
        self.process = subprocess.Popen(
            [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-D", "-e", "-f", str(config)],
            stderr=(self.directory / "log").open("w"),
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError((self.directory / "log").read_text())

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture
def sshd(tmp_path):
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("not tested: looking at nodes over a real sshd; openssh-server is missing")
    directory = tmp_path / "sshd"
    directory.mkdir()
    server = Sshd(directory)
    make_key(directory / "user")
    server.new_host_key()
    yield server.start()
    server.stop()


@pytest.fixture
def local_inventory(workspace):
    """An inventory of hosts on the local connection, for plays that need no ssh."""
    lines = [f"{host} ansible_connection=local ansible_python_interpreter={sys.executable}" for host in ("one", "two")]
    (workspace.inventory / "hosts.ini").write_text("\n".join(lines))
    return workspace


@pytest.fixture
def rig(sshd, make_rig, workspace):
    """A rig that is this machine, over the server of our own."""
    rig = make_rig(ssh={"port": sshd.port, "private_key": sshd.key})
    connection = connections([rig], workspace)["rig01"]
    yield rig
    ssh.hang_up(connection, workspace)


@pytest.fixture
def send_instead(monkeypatch):
    """Replace whatever would be sent by a script that runs on the node in its place."""

    def replace(script):
        class Content:
            def joinpath(self, _):
                return self

            def read_bytes(self):
                return script.encode()

        monkeypatch.setattr(sender, "files", lambda _: Content())

    return replace
