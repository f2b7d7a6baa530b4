"""Ansible embedded: events, failures, what its environment and artefacts hold, and how it is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rigdeploy.run.environment import ansible_environment, passed_on
from rigdeploy.run.events import MAX_MESSAGE, failure_message, slim
from rigdeploy.run.playbook import run_playbook

SECRET = "planted-secret-5f1c"


@pytest.fixture
def play(local_inventory, tmp_path):
    """Run a playbook given as YAML tasks; returns (result, events)."""

    def run(tasks, *, hosts=("one", "two"), stop=None, on_event=None, **options):
        playbook = tmp_path / "play.yml"
        playbook.write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}")
        events = []

        def take(event):
            events.append(event)
            if on_event is not None:
                on_event(event)

        directory = local_inventory.runs / "play"
        result = run_playbook(
            playbook,
            directory,
            local_inventory,
            hosts=hosts,
            stop=stop or threading.Event(),
            on_event=take,
            **options,
        )
        return result, events

    return run


CHANGES = """
    - name: Change something
      ansible.builtin.command: "true"
    - name: Look at something
      ansible.builtin.command: "true"
      changed_when: false
"""


def test_a_play_that_works_in_a_private_directory_without_events_on_disk(play, local_inventory):
    result, events = play(CHANGES)
    assert (result.outcome, result.status, result.failures) == ("done", 0, ())
    assert result.changes == {"one": ("Change something",), "two": ("Change something",)}
    started = [(event.host, event.task) for event in events if event.kind == "started"]
    assert started.count(("one", "Look at something")) == 1
    assert "TASK [Look at something]" in result.output.read_text()
    directory = local_inventory.runs / "play"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (directory / "env").iterdir()] == ["settings"]
    assert not list((directory / "artifacts" / "play" / "job_events").iterdir())


def test_only_the_roles_that_are_named_run(play):
    task = "    - name: {0}\n      ansible.builtin.command: 'true'\n      tags: [{0}]\n"
    result, _ = play(
        "".join(map(task.format, ("docker", "podman", "metrics"))), hosts=["one"], roles=["docker", "metrics"]
    )
    assert result.changes == {"one": ("docker", "metrics")}


def test_limit_and_check_mode(play, tmp_path):
    marker = tmp_path / "marker"
    tasks = f"    - name: Write\n      ansible.builtin.copy: {{dest: {marker}, content: x}}\n"
    result, _ = play(tasks, hosts=["two"], check=True)
    assert result.changes == {"two": ("Write",)}
    assert not marker.exists()


def test_a_failure_has_host_task_and_message_and_stops_no_other_host(play):
    tasks = """
    - name: Break on one
      ansible.builtin.shell: echo out of order >&2; exit 3
      when: inventory_hostname == 'one'
    # What a play ignores is no failure of ours to report: that is what this task is here for.
    - name: Ignored
      ansible.builtin.command: "false"
      ignore_errors: true
    - name: Go on
      ansible.builtin.command: "true"
"""
    result, _ = play(tasks)
    assert (result.outcome, result.status) == ("failed", 2)
    [failure] = result.failures
    assert (failure.host, failure.task) == ("one", "Break on one")
    assert "out of order" in failure.message
    assert "Go on" in result.changes["two"]
    assert result.failure_of("two") is None


def test_a_playbook_that_cannot_be_read_is_a_failure_with_ansibles_words(play):
    result, _ = play("    - nonsense: [\n")
    assert result.outcome == "failed"
    assert result.failures == ()
    assert "ERROR" in result.output.read_text()


def test_no_secret_of_the_callers_environment_reaches_ansible_or_its_artefacts(play, monkeypatch, local_inventory):
    monkeypatch.setenv("RIG01_BMC_PASSWORD", SECRET)
    # Two that ansible-runner would pass on under names of its own.
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", SECRET)
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", SECRET)
    tasks = """
    - name: Print the environment
      ansible.builtin.command: env
      changed_when: false
      register: printed
    - name: Show it
      ansible.builtin.debug: {var: printed.stdout}
"""
    result, _ = play(tasks)
    assert "HOME=" in result.output.read_text()
    checked = 0
    for path in local_inventory.state.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
            checked += 1
    assert checked >= 3
    assert not list(local_inventory.state.rglob("command"))
    assert "RIG01_BMC_PASSWORD" not in passed_on(os.environ)


def test_a_stray_ansible_cfg_changes_nothing(play, monkeypatch, tmp_path):
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "ansible.cfg").write_text("[defaults]\nremote_user = nobody\ninventory = /nonexistent\nbad syntax")
    monkeypatch.chdir(stray)
    result, _ = play(CHANGES)
    assert result.outcome == "done"


def test_host_keys_are_checked_and_the_connection_is_shared(workspace):
    environment = ansible_environment(workspace)
    assert environment["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert environment["ANSIBLE_SSH_CONTROL_PATH"] % {"directory": workspace.control_dir} == (
        f"{workspace.control_dir}/%C"
    )
    assert "ControlPath" not in environment["ANSIBLE_SSH_ARGS"]
    assert "ControlMaster=auto" in environment["ANSIBLE_SSH_ARGS"]


SLEEP = "    - name: Sleep\n      ansible.builtin.command: sleep {seconds}\n"


def processes_with(text):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "cmdline").read_bytes().replace(b"\0", b" "):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def wait_until_gone(text):
    deadline = time.monotonic() + 15
    while processes_with(text):
        assert time.monotonic() < deadline, f"left behind: {text}"
        time.sleep(0.05)


def test_stopping_interrupts_ansible_and_leaves_no_process(play, local_inventory):
    stop = threading.Event()

    def on_event(event):
        if event.task == "Sleep":
            threading.Timer(0.5, stop.set).start()

    started = time.monotonic()
    result, _ = play(SLEEP.format(seconds=3671), stop=stop, on_event=on_event)
    assert result.outcome == "interrupted"
    assert time.monotonic() - started < 20
    wait_until_gone("sleep 3671")
    wait_until_gone(str(local_inventory.runs))


def test_an_exception_in_the_consumer_stops_ansible_and_comes_up(play):
    def on_event(event):
        if event.task == "Sleep":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play(SLEEP.format(seconds=3672), on_event=on_event)
    wait_until_gone("sleep 3672")


PARENT = """
import sys, threading
from pathlib import Path
from rigdeploy.run.playbook import run_playbook
from rigdeploy.run.signals import stoppable
from rigdeploy.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]), Path(sys.argv[2]))
stop = threading.Event()
with stoppable(stop):
    run_playbook(Path(sys.argv[3]), workspace.runs / "play", workspace, hosts=["one"], stop=stop,
                 on_event=lambda event: print(event.task, flush=True))
"""


def test_ansible_dies_with_a_killed_parent_that_ignored_sigint(local_inventory, tmp_path):
    playbook = tmp_path / "play.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n" + SLEEP.format(seconds=3673))
    parent = subprocess.Popen(
        # A shell starts a background job like this: SIGINT is ignored.
        [
            "sh",
            "-c",
            'trap "" INT; exec "$@"',
            "sh",
            sys.executable,
            "-c",
            PARENT,
            str(local_inventory.inventory),
            str(local_inventory.base_state),
            str(playbook),
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout.readline().strip() == b"Sleep"
    try:
        deadline = time.monotonic() + 30
        while not processes_with("sleep 3673"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)  # past the start of the command, which Ansible cannot be interrupted in
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_until_gone("sleep 3673")
    wait_until_gone(str(playbook))


def test_hostile_events_are_not_fatal():
    assert slim({}) == []
    assert slim({"event": "runner_on_failed", "event_data": {"host": 3, "task": None, "res": [1]}})[0].host == "3"
    huge = {"msg": "x" * 10 * MAX_MESSAGE}
    assert len(failure_message(huge)) == MAX_MESSAGE


def test_a_failed_loop_names_the_items():
    items = [{"failed": True, "item": "apt", "msg": "no such package"}, {"item": "vim", "msg": "fine"}]
    message = failure_message({"msg": "One or more items failed", "results": items})
    assert message == "apt: no such package"
