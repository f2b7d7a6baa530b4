"""The capture command on recorded nodes: what it writes, refuses and shows."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from rigdeploy.errors import UnreachableError
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.node.observation import Observation
from rigdeploy.run import capture as files

NAME = "romed8-2t-4x3090"


@pytest.fixture
def capture(rigdeploy):
    """Run ``rigdeploy capture``."""
    return functools.partial(rigdeploy, "capture")


@pytest.fixture
def recorded(node, tmp_path):
    """A recorded sound node, after changes; returns the arguments that name it."""

    def make(change=lambda document, node: None):
        sound = node()
        change(sound.document, sound)
        path = tmp_path / "node.json"
        path.write_text(json.dumps(sound.document))
        return "--observation", str(path)

    return make


def narrow(document, node):
    for part in (node.card, node.reading):
        part("PCIE3")["link"]["width"] = 8


def test_a_build_is_written_that_verify_takes(capture, recorded, tmp_path):
    code, out, err = capture(*recorded())
    path = tmp_path / "inventory" / "builds" / f"{NAME}.yml"
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"wrote {path}"
    assert Catalogue.load(tmp_path / "inventory").builds[NAME].vram_gib == 96
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_is_doubtful_is_said_and_ends_with_1(capture, recorded, tmp_path):
    code, _, err = capture(*recorded(narrow), "--build", "mine")
    assert (code, err.count("WARNING: slots.PCIE3: the link is degraded")) == (1, 1)
    assert "# WARNING: the link is degraded" in (tmp_path / "inventory" / "builds" / "mine.yml").read_text()


def test_nothing_is_overwritten_unless_told(capture, recorded, tmp_path):
    path = tmp_path / "inventory" / "builds" / "mine.yml"
    assert capture(*recorded(), "--build", "mine")[0] == 0
    before = path.read_text()
    code, out, err = capture(*recorded(narrow), "--build", "mine")
    assert (code, out, path.read_text()) == (4, "", before)
    assert f"{path} is there already" in err
    assert "slots.PCIE3.link  4.0 x16   4.0 x8" in err
    assert capture(*recorded(narrow), "--build", "mine", "--force")[0] == 1
    assert "4.0 x8" in path.read_text()


def test_a_file_that_appears_meanwhile_is_left_alone(capture, recorded, tmp_path, monkeypatch):
    path = tmp_path / "inventory" / "builds" / "mine.yml"
    write = files.write_atomically

    def slow(target, content):
        path.write_text("theirs")
        write(target, content)

    monkeypatch.setattr(files, "write_atomically", slow)
    code, _, err = capture(*recorded(), "--build", "mine")
    assert (code, path.read_text()) == (4, "theirs")
    assert "has just been written by somebody else" in err
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_it_can_be_shown_only(capture, recorded, tmp_path):
    code, out, _ = capture(*recorded(), "-o", "-")
    assert (code, out.startswith("# Captured from "), (tmp_path / "inventory").exists()) == (0, True, False)
    _, out, _ = capture(*recorded(lambda document, _: document["host"].update(board="New")), "-o", "-")
    assert [line for line in out.splitlines() if line.endswith(".yml")] == [
        "# boards/new.yml", "# builds/new-4x3090.yml",
    ]  # fmt: skip


def test_it_can_go_elsewhere_and_be_json(capture, recorded, tmp_path):
    code, out, _ = capture(*recorded(), "rig01", "-o", "there", "--json", "--build", "mine")
    document = json.loads(out)
    assert (code, document["written"]) == (0, ["there/builds/mine.yml"])
    assert (document["schema"], document["node"], document["build"], document["warnings"]) == (1, "rig01", "mine", [])
    assert document["files"] == [{"path": "builds/mine.yml", "text": (tmp_path / "there/builds/mine.yml").read_text()}]


def test_a_build_of_one_s_own_is_compared_with_the_node(capture, recorded):
    capture(*recorded(), "--build", "mine")
    code, out, _ = capture(*recorded(), "rig01", "--diff", "mine")
    assert (code, out) == (0, "rig01 is as mine declares\n")
    code, out, _ = capture(*recorded(narrow), "--diff", "mine")
    assert (code, out.splitlines()[1:]) == (2, ["slots.PCIE3.link  4.0 x16   4.0 x8"])
    code, out, _ = capture(*recorded(narrow), "--diff", "mine", "--json")
    (row,) = json.loads(out)["differences"]
    assert (code, row["field"], row["kind"]) == (2, "slots.PCIE3.link", "changed")


MISTAKES = [
    ([], "no node is named"),
    (["--diff", "pro-4x3090", "--force", "rig01"], "--diff writes nothing"),
    (["--build", "../x", "rig01"], "cannot be a build's name"),
    (["--diff", "nothing", "rig01"], "no build or rig is called 'nothing'"),
    (["-oProxyCommand=x", "rig01", "extra"], "unexpected extra argument"),
    (["a b"], "neither a rig of the fleet nor an ssh destination"),
    (["--", "-oProxyCommand=x"], "neither a rig of the fleet nor an ssh destination"),
    (["host:0"], "neither a rig of the fleet nor an ssh destination"),
    (["host:99999"], "neither a rig of the fleet nor an ssh destination"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_mistakes(capture, tmp_path, arguments, words):
    code, _, err = capture(*arguments)
    assert code == 4
    assert words in err
    assert list(tmp_path.iterdir()) == []


DESTINATIONS = [
    ("192.0.2.7", "192.0.2.7", ("192.0.2.7", 22, "root", False)),
    ("ops@rig.example.com:2222", "[rig.example.com]:2222", ("rig.example.com", 2222, "ops", True)),
    ("root@[2001:db8::1]", "2001:db8::1", ("2001:db8::1", 22, "root", False)),
]


@pytest.mark.parametrize(("node", "name", "expected"), DESTINATIONS)
def test_destinations(node, name, expected, tmp_path):
    from rigdeploy.workspace import Workspace

    found, connection = files.destination(node, Workspace(tmp_path, tmp_path / "100%"))
    assert found == name
    assert (connection.address, connection.port, connection.user, connection.become) == expected
    assert f"HostKeyAlias={name}" in connection.options
    assert "StrictHostKeyChecking=accept-new" in connection.options
    assert f'UserKnownHostsFile="{tmp_path}/100%%/known_hosts"' in connection.options


@pytest.fixture
def fleet(capture, recorded, tmp_path, monkeypatch):
    """A fleet of one rig, rig01, that is seen as a sound node with its first card at rest; its state directory."""
    (tmp_path / "inventory").mkdir()
    rig = "{address: 192.0.2.1, build: pro-4x3090, power: {driver: manual}}"
    (tmp_path / "inventory" / "fleet.yml").write_text(f"plugin: rigdeploy\nrigs:\n  rig01: {rig}\n")

    def at_rest(document, node):
        for part in (node.card, node.reading):
            part("PCIE1")["link"]["gen"] = 1

    seen = Observation.from_json(Path(recorded(at_rest)[1]).read_text())
    monkeypatch.setattr(files, "observe", lambda rigs, workspace: {rig.name: seen for rig in rigs})
    return tmp_path / ".rigdeploy"


def test_a_rig_of_the_fleet_with_the_load_that_is_kept(capture, fleet, node):
    assert "at rest" in capture("rig01", "-o", "-")[1]
    (fleet / "load").mkdir()
    (fleet / "load" / "rig01.json").write_text(json.dumps(node().put_under_load()))
    code, out, err = capture("rig01", "-o", "-")
    assert (code, "at rest" in out, err) == (0, False, "")
    code, out, _ = capture("rig01", "--diff", "rig01", "--json")
    assert {row["kind"] for row in json.loads(out)["differences"]} == {"undeclared"}


def test_a_name_that_is_no_rig_s_is_taken_for_a_destination(capture, fleet, monkeypatch):
    monkeypatch.setattr(files, "observe_at", lambda name, connection, _: UnreachableError(f"{name}: no such host"))
    code, _, err = capture("rig02")
    assert code == 5
    assert "rig02: no such host" in err
    assert "no rig is called 'rig02'; did you mean 'rig01'?" in err
