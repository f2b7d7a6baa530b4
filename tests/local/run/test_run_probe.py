"""Looking at nodes over a real OpenSSH server on loopback, and what goes wrong with it."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from rigdeploy.errors import HostKeyChangedError, NodeError, UnreachableError, UsageError
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.run import ssh
from rigdeploy.run.arrival import boot_id, wait_for_login
from rigdeploy.run.connections import connections
from rigdeploy.run.probe import observe
from rigdeploy.run.signals import StoppedError
from rigdeploy.run.ssh import AccessRefusedError

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="an sshd of one's own that lets root in needs root")


def hung_up(rig, workspace):
    return ssh.hang_up(connections([rig], workspace)[rig.name], workspace)


def test_a_node_is_observed_and_its_host_key_pinned(rig, workspace):
    seen = observe([rig], workspace)["rig01"]
    assert isinstance(seen, Observation)
    assert seen.host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # Fails when the rig's name is not in the file.
    subprocess.run(["ssh-keygen", "-F", "rig01", "-f", workspace.known_hosts], stdout=subprocess.DEVNULL, check=True)


def test_the_connection_is_kept_for_the_next_look(rig, workspace, sshd):
    observe([rig], workspace)
    observe([rig], workspace)
    assert (sshd.directory / "log").read_text().count("Accepted publickey") == 1
    assert hung_up(rig, workspace)
    assert not hung_up(rig, workspace)


def test_a_connection_to_a_server_that_went_away_is_replaced(rig, workspace, sshd):
    observe([rig], workspace)
    master = sshd.process.pid
    # The session's own process, which the server forked, goes as well: as when the power is cut.
    subprocess.run(["pkill", "-KILL", "-P", str(master)], check=True)
    sshd.stop()
    sshd.start()
    assert isinstance(observe([rig], workspace)["rig01"], Observation)


def test_a_changed_host_key_is_named_with_its_remedy(rig, workspace, sshd):
    observe([rig], workspace)
    hung_up(rig, workspace)
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    error = observe([rig], workspace)["rig01"]
    assert isinstance(error, HostKeyChangedError)
    assert str(workspace.known_hosts) in error.message
    assert f"ssh-keygen -f {workspace.known_hosts} -R rig01" in error.remedy


def test_a_refused_key_is_told_from_no_answer(rig, workspace, sshd, make_rig, unused_port):
    (sshd.directory / "user.pub").write_text("")
    refused = observe([rig], workspace)["rig01"]
    assert isinstance(refused, AccessRefusedError)
    assert "root" in refused.message
    nobody = make_rig("rig02", ssh={"port": unused_port, "private_key": sshd.key})
    silent = observe([nobody], workspace)["rig02"]
    assert isinstance(silent, UnreachableError)
    assert "Connection refused" in silent.message


def test_one_rig_that_hangs_costs_its_own_time_only(rig, workspace, make_rig, sshd):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        hangs = make_rig("rig02", ssh={"port": listener.getsockname()[1], "private_key": sshd.key})
        seen = observe([rig, hangs], workspace, timeout=3)
    assert isinstance(seen["rig01"], Observation)
    assert isinstance(seen["rig02"], UnreachableError)
    assert "within 3 s" in seen["rig02"].message


def test_many_at_once(rig, workspace, make_rig, sshd):
    rigs = [make_rig(f"rig{number}", ssh={"port": sshd.port, "private_key": sshd.key}) for number in range(8)]
    seen = observe(rigs, workspace, forks=4)
    assert all(isinstance(one, Observation) for one in seen.values())
    assert list(seen) == [rig.name for rig in rigs]
    hung_up(rig, workspace)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("print('hello')", ObservationError, "not valid JSON"),
        ("print('{\"schema\": 99}')", ObservationError, "schema"),
        ("import sys; sys.exit('out of order')", NodeError, "out of order"),
        ("while True: print('x' * 100000)", NodeError, "more than 8 MiB"),
    ],
)
def test_a_node_that_answers_nonsense(rig, workspace, send_instead, script, error, words):
    send_instead(script)
    seen = observe([rig], workspace)["rig01"]
    assert isinstance(seen, error)
    assert words in seen.message
    assert seen.message.startswith("rig01: ")


def test_complaints_lose_control_characters(rig, workspace, send_instead):
    send_instead("import sys; sys.exit('\\x1b[31mred\\x07')")
    assert "\x1b" not in observe([rig], workspace)["rig01"].message


def test_waiting_for_login(rig, workspace, sshd):
    said = []
    stop = threading.Event()
    boot = wait_for_login(rig, workspace, None, 5, said.append, stop)
    assert said == ["waiting for ssh"]
    assert boot == boot_id(rig, connections([rig], workspace)["rig01"], workspace)
    with pytest.raises(NodeError, match="has not booted since"):
        wait_for_login(rig, workspace, boot, 0, said.append, stop)
    hung_up(rig, workspace)
    sshd.stop()
    with pytest.raises(UnreachableError, match=r"no login within .* Connection refused"):
        wait_for_login(rig, workspace, None, 0, said.append, stop)
    stop.set()
    with pytest.raises(StoppedError):
        wait_for_login(rig, workspace, None, 60, said.append, stop)


def test_waiting_ends_when_the_server_comes_up(rig, workspace, sshd):
    sshd.stop()
    threading.Timer(1.5, sshd.start).start()
    assert wait_for_login(rig, workspace, None, 30, lambda _: None, threading.Event())


def test_connection_variables_beside_the_inventory_are_honoured(rig, workspace, make_rig, monkeypatch, unused_port):
    elsewhere = make_rig(ssh={"port": unused_port, "private_key": rig.ssh.private_key})
    (workspace.inventory / "hosts.ini").write_text("rig01\n")
    variables = workspace.inventory / "host_vars" / "rig01.yml"
    variables.parent.mkdir()
    variables.write_text("some_role_variable: 1\n")
    monkeypatch.setattr("rigdeploy.run.connections._ask_ansible", lambda _: pytest.fail("Ansible was started"))
    assert connections([elsewhere], workspace)["rig01"].port == unused_port
    monkeypatch.undo()

    variables.write_text(f"ansible_port: {rig.ssh.port}\nansible_password: planted\n")
    assert isinstance(observe([elsewhere], workspace)["rig01"], Observation)
    kept = (workspace.state / "connections.json").read_text()
    assert "planted" not in kept
    monkeypatch.setattr("rigdeploy.run.connections._ask_ansible", lambda _: pytest.fail("asked twice"))
    assert connections([elsewhere], workspace)["rig01"].port == rig.ssh.port
    monkeypatch.undo()

    variables.write_text("ansible_connection: local\n")
    with pytest.raises(UsageError, match="ansible_connection"):
        connections([elsewhere], workspace)

    variables.write_text("ansible_ssh_common_args: -o ProxyJump=gate\n")
    with pytest.raises(UsageError, match="ansible_ssh_common_args"):
        connections([elsewhere], workspace)
    variables.unlink()

    (workspace.inventory / "hosts.ini").write_text(f"rig01 ansible_port={rig.ssh.port}\n")
    assert connections([elsewhere], workspace)["rig01"].port == rig.ssh.port


def test_sudo_is_used_for_another_user_only(rig, workspace, make_rig):
    as_root = connections([rig], workspace)["rig01"]
    assert ssh.as_root("python3 -", as_root) == "python3 -"
    as_user = connections([make_rig(ssh={"user": "ops"})], workspace)["rig01"]
    assert "sudo -n python3 -" in ssh.as_root("python3 -", as_user)
