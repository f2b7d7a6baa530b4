"""Managed items: drift of files, packages and services, and what may not be looked at."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import pytest

from rigdeploy.node import probe

STATUS = """Package: chrony
Status: install ok installed
Architecture: amd64
Version: 4.3-2+deb12u1

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: held
Status: hold ok installed
Version: 2.0
Description: text
 with a second line
 Version: 9.9
"""


def record(tree, **parts):
    base = {"schema": 1, "role": "base", "inputs": "ab", "recorded": "2026-01-01T00:00:00Z"}
    tree.file("var/lib/rigdeploy/managed.d/base.json", json.dumps(base | parts))


def file_item(path, text, mode="0644"):
    return {"path": path, "sha256": hashlib.sha256(text.encode()).hexdigest(), "mode": mode}


def test_a_node_without_records(tree):
    tree.root.mkdir()
    document = tree.observe()
    assert document["managed"] == {}
    assert not [line for line in document["unread"] if line["what"].startswith("managed")]


def test_nothing_drifted(tree):
    tree.file("etc/motd", "hello").chmod(0o644)
    tree.file("var/lib/dpkg/status", STATUS)
    packages = [{"name": "chrony", "version": "4.3-2+deb12u1"}, {"name": "held", "version": "2.0"}]
    record(tree, files=[file_item("/etc/motd", "hello")], packages=packages)
    assert tree.observe()["managed"]["base"] == {"inputs": "ab", "recorded": "2026-01-01T00:00:00Z", "drift": []}


@pytest.mark.parametrize(
    ("text", "mode", "kinds"),
    [("hello", 0o600, ["mode"]), ("bye", 0o644, ["file"]), ("bye", 0o600, ["file", "mode"]), (None, 0, ["file"])],
)
def test_a_file_that_changed(tree, text, mode, kinds):
    if text is not None:
        tree.file("etc/motd", text).chmod(mode)
    record(tree, files=[file_item("/etc/motd", "hello")])
    drift = tree.observe()["managed"]["base"]["drift"]
    assert [item["kind"] for item in drift] == kinds
    assert {item["name"] for item in drift} == {"/etc/motd"}
    if text is None:
        assert drift[0]["found"] == "absent"


def test_what_is_no_file_is_not_opened(tree):
    """A pipe in a file's place would stop the probe for ever."""
    (tree.root / "etc").mkdir(parents=True)
    os.mkfifo(tree.root / "etc/motd")
    record(tree, files=[file_item("/etc/motd", "hello")])
    assert tree.observe()["managed"]["base"]["drift"][0]["found"] == "no regular file"


def setting_item(value, *key):
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return {"path": "/etc/daemon.json", "key": list(key), "sha256": hashlib.sha256(text.encode()).hexdigest()}


@pytest.mark.parametrize(
    ("text", "drifted"),
    [
        ('{"other": 1, "dns": ["a", "b"], "log": {"max": "1m", "file": 3}}', []),
        ('\ufeff{"log": {"max": "1m"}, "dns": ["a", "b"]}', []),
        ('{"log": {"max": "2m"}, "dns": ["b", "a"]}', ["log.max", "dns"]),
        ('{"log": "max", "dns": ["a", "b"]}', ["log.max"]),
        ('{"dns": ["a", "b"]}', ["log.max"]),
        (None, ["log.max", "dns"]),
        ("[1]", ["log.max", "dns"]),
        ("null", ["log.max", "dns"]),
        ('{"log', ["log.max", "dns"]),
    ],
)
def test_settings_in_a_file_with_several_writers(tree, text, drifted):
    if text is not None:
        tree.file("etc/daemon.json", text)
    record(tree, settings=[setting_item("1m", "log", "max"), setting_item(["a", "b"], "dns")])
    drift = tree.observe()["managed"]["base"]["drift"]
    assert [item["name"] for item in drift] == [f"/etc/daemon.json: {name}" for name in drifted]
    assert {item["kind"] for item in drift} <= {"setting"}


def test_a_setting_is_never_shown(tree):
    tree.file("etc/daemon.json", '{"proxy": "http://user:planted@proxy"}')
    record(tree, settings=[setting_item("http://user:other@proxy", "proxy")])
    document = tree.observe()
    assert document["managed"]["base"]["drift"]
    assert "planted" not in json.dumps(document)


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [("chrony", "4.3-1", "4.3-2+deb12u1"), ("gone", "1.0", "absent"), ("never", "1", "absent"), ("held", "9.9", "2.0")],
)
def test_a_package_that_changed(tree, name, version, found):
    tree.file("var/lib/dpkg/status", STATUS)
    record(tree, packages=[{"name": name, "version": version}])
    expected = {"kind": "package", "name": name, "expected": version, "found": found}
    assert tree.observe()["managed"]["base"]["drift"] == [expected]


def test_no_package_database_is_unread_and_no_drift(tree, why):
    record(tree, packages=[{"name": "chrony", "version": "1"}])
    document = tree.observe()
    assert document["managed"]["base"]["drift"] == []
    assert why(document, "managed.packages")


def test_services_of_a_recorded_node_are_unread(tree, why):
    record(tree, services=[{"name": "ssh.service", "enabled": True, "active": True}])
    document = tree.observe()
    assert document["managed"]["base"]["drift"] == []
    assert why(document, "managed.services")


def test_services_are_asked_for_in_one_call(monkeypatch):
    calls = []

    def systemctl(command, **_):
        calls.append(command)
        text = "UnitFileState=enabled\nActiveState=active\n\nUnitFileState=disabled\nActiveState=failed\n"
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(probe.subprocess, "run", systemctl)
    record = {"services": [{"name": name, "enabled": True, "active": True} for name in ("b.service", "a.service")]}
    states = probe.service_states(probe.Node("", None), {"base": record})
    assert len(calls) == 1
    assert calls[0][-3:] == ["--", "a.service", "b.service"]
    assert probe.service_drift(record, states) == [
        {"kind": "service", "name": "b.service", "expected": "enabled", "found": "disabled"},
        {"kind": "service", "name": "b.service", "expected": "active", "found": "failed"},
    ]


def test_a_service_recorded_as_off_must_stay_off():
    record = {"services": [{"name": "a", "enabled": False, "active": False}]}
    on = {"a": {"UnitFileState": "enabled", "ActiveState": "active"}}
    off = {"a": {"UnitFileState": "disabled", "ActiveState": "inactive"}}
    assert [item["expected"] for item in probe.service_drift(record, on)] == ["not enabled", "not active"]
    assert probe.service_drift(record, off) == []


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense", "[" * 100_000, '{"files": 3}', '{"files": [{"path": 3}]}'])
def test_a_broken_record_spoils_nothing_else(tree, text):
    tree.file("var/lib/rigdeploy/managed.d/base.json", text)
    tree.file("etc/os-release", "ID=debian\n")
    document = tree.observe()
    assert [line for line in document["unread"] if line["what"].startswith("managed")]
    assert document["host"]["os_id"] == "debian"
