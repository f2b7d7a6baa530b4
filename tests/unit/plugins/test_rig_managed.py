import hashlib
import json
import stat

import pytest
from ansible.module_utils import basic

from tests.unit.plugins.conftest import load

rig_managed = load("modules", "rig_managed")

PACKAGES = "chrony\tinstalled\t4.3-2\nold\tconfig-files\t1.0\n"
SERVICES = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"
GONE = "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with one file, one package and one service; records go below tmp_path."""
    monkeypatch.setattr(rig_managed, "DIRECTORY", tmp_path / "managed.d")
    outputs = {"dpkg-query": (1, PACKAGES, "no packages found matching nothing"), "systemctl": (0, SERVICES, "")}
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, cmd, **_: outputs[cmd[0]])
    (tmp_path / "hostname").write_text("rig01\n")
    (tmp_path / "hostname").chmod(0o640)
    return tmp_path, outputs


def record(node, run, **more):
    directory, _ = node
    arguments = {
        "role": "base",
        "inputs": "abc",
        "files": [str(directory / "hostname")],
        "packages": ["chrony"],
        "services": ["chrony"],
    }
    return run(rig_managed, **arguments | more)


def written(node):
    return json.loads((node[0] / "managed.d/base.json").read_text())


def test_records_what_is_there(node, run):
    result = record(node, run)
    assert result["changed"] is True
    found = written(node)
    assert found.pop("recorded").endswith("Z")
    path = node[0] / "hostname"
    assert found == {
        "schema": 1,
        "role": "base",
        "inputs": "abc",
        "files": [{"path": str(path), "sha256": hashlib.sha256(b"rig01\n").hexdigest(), "mode": "0640"}],
        "packages": [{"name": "chrony", "version": "4.3-2"}],
        "services": [{"name": "chrony", "enabled": True, "active": True}],
    }


def test_the_record_can_be_read_by_everyone_and_the_directory_entered(node, run):
    record(node, run)
    assert stat.S_IMODE((node[0] / "managed.d/base.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((node[0] / "managed.d").stat().st_mode) == 0o755


def test_a_second_time_nothing_changes_and_the_time_stays(node, run, monkeypatch):
    record(node, run)
    first = written(node) | {"recorded": "2026-01-01T00:00:00Z"}
    (node[0] / "managed.d/base.json").write_text(json.dumps(first))
    again = record(node, run)
    assert again["changed"] is False
    assert written(node)["recorded"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("change", ["content", "mode", "inputs", "package", "service"])
def test_each_kind_of_change_is_recorded(node, run, change):
    record(node, run)
    directory, outputs = node
    more = {}
    if change == "content":
        (directory / "hostname").write_text("other\n")
    elif change == "mode":
        (directory / "hostname").chmod(0o600)
    elif change == "inputs":
        more = {"inputs": "def"}
    elif change == "package":
        outputs["dpkg-query"] = (0, "chrony\tinstalled\t4.4-1\n", "")
    else:
        outputs["systemctl"] = (0, SERVICES.replace("active\n", "inactive\n"), "")
    before = written(node)
    assert record(node, run, **more)["changed"] is True
    assert written(node) != before


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"files": ["/nowhere/at/all"]}, "file /nowhere/at/all"),
        ({"packages": ["chrony", "old"]}, "package old"),
        ({"packages": ["nothing"]}, "package nothing"),
    ],
)
def test_what_is_not_there_is_not_recorded(node, run, missing, named):
    result = record(node, run, **missing)
    assert result["rc"] == 1
    assert named in result["msg"]
    assert not (node[0] / "managed.d/base.json").exists()


def setting(node, value):
    path = node[0] / "daemon.json"
    digest = hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
    return {"path": str(path), "key": ["log", "max"], "sha256": digest}


def test_a_setting_is_recorded_where_it_is(node, run):
    (node[0] / "daemon.json").write_text('{"log": {"max": "1m", "other": 1}, "more": 2}')
    assert record(node, run, settings=[setting(node, "1m")])["changed"] is True
    assert written(node)["settings"] == [setting(node, "1m")]


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"log": "max"}', '{"log": {"max": "2m"}}'])
def test_a_setting_that_is_not_there_is_not_recorded(node, run, text):
    if text is not None:
        (node[0] / "daemon.json").write_text(text)
    result = record(node, run, settings=[setting(node, "1m")])
    assert f"{node[0]}/daemon.json: log.max" in result["msg"]


def test_a_unit_that_does_not_exist_is_not_recorded(node, run):
    node[1]["systemctl"] = (0, GONE, "")
    result = record(node, run)
    assert result["failed"] is True
    assert "service chrony" in result["msg"]


def test_check_mode_writes_nothing_and_takes_the_missing_for_a_change(node, run):
    result = record(node, run, packages=["nothing"], _ansible_check_mode=True)
    assert result["changed"] is True
    assert not (node[0] / "managed.d").exists()


def test_check_mode_knows_when_nothing_would_change(node, run):
    record(node, run)
    assert record(node, run, _ansible_check_mode=True)["changed"] is False


@pytest.mark.parametrize("garbage", ["{", "[]", "", "\x00"])
def test_a_broken_record_is_replaced(node, run, garbage):
    (node[0] / "managed.d").mkdir()
    (node[0] / "managed.d/base.json").write_text(garbage)
    assert record(node, run)["changed"] is True
    assert written(node)["role"] == "base"


@pytest.mark.parametrize("role", ["../../etc/passwd", "a/b", "", "a b"])
def test_a_name_that_is_no_role_is_refused(node, run, role):
    assert "not the name of a role" in record(node, run, role=role)["msg"]


def test_several_services_keep_their_own_states():
    output = f"{SERVICES}\n{GONE}\n{SERVICES.replace('enabled', 'disabled')}"
    states = rig_managed.parse_services(["a", "b", "c"], output)
    assert set(states) == {"a", "c"}
    assert states["a"]["enabled"] is True
    assert states["c"] == {"name": "c", "enabled": False, "active": True}
