import json
import stat

import pytest

from tests.unit.plugins.conftest import load

rig_json_merge = load("modules", "rig_json_merge")
rig_managed = load("modules", "rig_managed")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(rig_json_merge, "DIRECTORY", tmp_path / "settings.d")
    monkeypatch.setattr(rig_managed, "DIRECTORY", tmp_path / "managed.d")
    return tmp_path / "etc/daemon.json"


def merge(file, run, values, text=None, **more):
    if text is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return run(rig_json_merge, **{"role": "docker", "path": str(file), "values": values} | more)


@pytest.mark.parametrize(
    ("text", "values", "merged"),
    [
        (None, {"a": 1}, {"a": 1}),
        ("", {"a": 1}, {"a": 1}),
        ("\ufeff{}", {"a": {"b": True}}, {"a": {"b": True}}),
        ('{"z": 1, "a": {"c": 2}}', {"a": {"b": 1}}, {"z": 1, "a": {"c": 2, "b": 1}}),
        ('{"a": [1, 2]}', {"a": [3]}, {"a": [3]}),
        ('{"a": "text"}', {"a": {"b": 1}}, {"a": {"b": 1}}),
        ('{"a": {"b": 1}}', {"a": None}, {"a": None}),
        ('{"a": 1}', {"a": {}}, {"a": {}}),
        ('{"a": {"b": {"c": 1}}}', {"a": {"b": {"d": "\u00e9"}}}, {"a": {"b": {"c": 1, "d": "\u00e9"}}}),
    ],
)
def test_only_what_is_asked_for_changes(file, run, text, values, merged):
    assert merge(file, run, values, text)["changed"] is True
    assert json.loads(file.read_text()) == merged
    again = merge(file, run, values)
    assert again["changed"] is False
    # What it returns, rig_managed finds in the file.
    assert not run(rig_managed, role="docker", inputs="", settings=again["settings"]).get("failed")


def test_the_order_of_others_stays(file, run):
    merge(file, run, {"m": 1, "a": 2}, '{"z": 1, "m": 0}')
    assert list(json.loads(file.read_text())) == ["z", "m", "a"]


def test_a_file_that_is_right_is_not_touched(file, run):
    text = '{"a":1,   "b":\n 2}'
    assert merge(file, run, {"b": 2}, text)["changed"] is False
    assert file.read_text() == text


def test_a_new_file_can_be_read_by_all_and_an_old_one_keeps_its_mode(file, run):
    merge(file, run, {"a": 1})
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    file.chmod(0o600)
    merge(file, run, {"a": 2})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_stays_a_link(file, run, tmp_path):
    file.parent.mkdir()
    (tmp_path / "elsewhere.json").write_text('{"b": 1}')
    file.symlink_to(tmp_path / "elsewhere.json")
    merge(file, run, {"a": 1})
    assert file.is_symlink()
    assert json.loads(file.read_text()) == {"b": 1, "a": 1}


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"a": }', "[" * 100000])
def test_what_is_no_json_object_is_left_alone(file, run, text):
    result = merge(file, run, {"a": 1}, text)
    assert result["rc"] == 1
    assert f"{file} " in result["msg"]
    assert "Mend it" in result["msg"]
    assert file.read_text() == text


def test_check_mode_tells_and_changes_nothing(file, run):
    result = merge(file, run, {"a": 1}, '{"b": 2}', _ansible_check_mode=True)
    assert result["changed"] is True
    assert json.loads(result["diff"]["after"]) == {"b": 2, "a": 1}
    assert file.read_text() == '{"b": 2}'
    assert [item["key"] for item in result["settings"]] == [["a"]]


def test_what_is_no_longer_asked_for_goes_and_nothing_else(file, run):
    merge(file, run, {"a": {"b": 1, "c": 2}, "d": [3], "e": 4}, '{"z": 1, "a": {"own": 0}}')
    merge(file, run, {"d": 0}, role="other", path=f"{file}.other")
    merge(file, run, {"z": 2}, role="docker", path=f"{file}.other")
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"d": [3, "the owner's"]}))
    assert merge(file, run, {"e": 4})["changed"] is True
    assert json.loads(file.read_text()) == {"z": 1, "a": {"own": 0}, "d": [3, "the owner's"], "e": 4}


def test_objects_that_are_empty_without_it_go_too(file, run):
    merge(file, run, {"a": {"b": {"c": 1}}, "d": 1})
    merge(file, run, {"d": 1})
    assert json.loads(file.read_text()) == {"d": 1}


@pytest.mark.parametrize("memory", ["{", "[]", "1", '[1, {"path": "/x"}]'])
def test_a_broken_memory_is_none(file, run, memory):
    (file.parents[1] / "settings.d").mkdir()
    (file.parents[1] / "settings.d/docker.json").write_text(memory)
    assert merge(file, run, {"a": 1})["changed"] is True
    merge(file, run, {"b": 1})
    assert json.loads(file.read_text()) == {"b": 1}


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_run_that_was_killed_leaves_nothing_behind(file, run, monkeypatch, killed_after):
    """It remembers, changes the file, remembers less; what it was to set is not asked for in the next run."""
    merge(file, run, {"a": 1, "b": 1})
    left = [killed_after]
    replace = rig_json_merge.replace

    def replace_until_killed(*arguments):
        if not left[0]:
            raise SystemExit(9)
        left[0] -= 1
        replace(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rig_json_merge, "replace", replace_until_killed)
        # It prints nothing.
        with pytest.raises(ValueError, match="Expecting value"):
            merge(file, run, {"a": 2, "c": 1})
    merge(file, run, {"d": 1})
    assert json.loads(file.read_text()) == {"d": 1}


def test_what_the_daemon_refuses_does_not_take_the_old_ones_place(file, run):
    result = merge(file, run, {"a": 1}, '{"b": 2}', validate="grep --count nonsense %s")
    assert "would not be accepted" in result["msg"]
    assert file.read_text() == '{"b": 2}'
    assert list(file.parent.iterdir()) == [file]
    assert merge(file, run, {"a": 1}, validate="grep --count a %s")["changed"] is True
