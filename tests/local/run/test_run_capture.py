"""Capturing a node that is in no fleet, over a real OpenSSH server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from rigdeploy.cli.main import run
from rigdeploy.run import ssh
from rigdeploy.run.capture import destination
from rigdeploy.workspace import Workspace

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="an sshd of one's own that lets root in needs root")


@pytest.fixture
def agent(sshd, monkeypatch):
    """An ssh agent that holds the key, as a person has it who logs in without naming one."""
    started = subprocess.run(["ssh-agent", "-c"], capture_output=True, text=True, check=True).stdout.split()
    monkeypatch.setenv("SSH_AUTH_SOCK", started[2].rstrip(";"))
    process = int(started[5].rstrip(";"))
    subprocess.run(["ssh-add", "-q", sshd.key], check=True)
    yield
    os.kill(process, 15)


def test_a_node_without_a_fleet_is_looked_at_and_its_key_pinned(sshd, agent, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    node = f"root@127.0.0.1:{sshd.port}"
    monkeypatch.setattr(sys, "argv", ["rigdeploy", "capture", node])
    workspace = Workspace(tmp_path / "inventory", tmp_path / ".rigdeploy")
    name, connection = destination(node, workspace)
    try:
        code, said = run(), capsys.readouterr().err
        assert ssh.hang_up(connection, workspace)
        # Fails when the name is not in the file.
        subprocess.run(["ssh-keygen", "-F", name, "-f", workspace.known_hosts], stdout=subprocess.DEVNULL, check=True)
        sshd.stop()
        sshd.new_host_key()
        sshd.start()
        changed, warned = run(), capsys.readouterr().err
    finally:
        shutil.rmtree(workspace.control_dir)
    # This machine may hold cards or none.
    assert code in (0, 1) or (code == 5 and "shows no NVIDIA card" in said)
    assert changed == 5
    assert "shows another host key" in warned
