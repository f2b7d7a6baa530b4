"""How BMCs are reached, kept from the last reading: only as long as it holds, and never a secret."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_fleet import BUILD, MakeFleet

from rigdeploy.cli.main import run
from rigdeploy.errors import UsageError
from rigdeploy.fleet import reach
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.reach import Reach
from rigdeploy.workspace import Workspace

RIG = "  {name}: {{address: 192.0.2.1{number}, build: {build}, power: {{{power}}}}}\n"
PLANTED = "Planted-Pa55word"
POWERS = {
    "env": "driver: ipmi, address: 192.0.2.21, username: admin, password: {env: RIG_PASSWORD}",
    "file": "driver: ipmi, address: 'fd00::1', port: 6230, username: admin, password: {file: bmc.key}, cipher: 3",
    "file2": "driver: ipmi, address: 192.0.2.23, username: op, password: {file: ~/k}, privilege: operator",
    "inline": f"driver: ipmi, address: 192.0.2.24, username: admin, password: {PLANTED}",
    "command": f"driver: ipmi, address: 192.0.2.25, username: admin, password: {{command: 'echo {PLANTED}'}}",
    "tool": "driver: ipmitool, address: 192.0.2.26, username: admin, password: {env: RIG_PASSWORD}",
    "redfish": "driver: redfish, url: 'https://192.0.2.27', username: admin, password: {env: RIG_PASSWORD}",
    "hand": "driver: manual",
}
KEPT = ["env", "file", "file2"]
OTHERS = [name for name in POWERS if name not in KEPT]


def fleet_of(*names: str, build: str = "mine") -> str:
    rigs = (RIG.format(name=name, number=number, build=build, power=POWERS[name]) for number, name in enumerate(names))
    return "plugin: rigdeploy\nrigs:\n" + "".join(rigs)


def keep(workspace: Workspace) -> None:
    kept = Reach(workspace)
    fleet = load_fleet(workspace)
    workspace.prepare()
    kept.keep(fleet)


def names(workspace: Workspace, *patterns: str) -> list[str] | None:
    rigs = Reach(workspace).select(patterns)
    return None if rigs is None else [rig.name for rig in rigs]


@pytest.fixture
def kept(make_fleet: MakeFleet) -> Workspace:
    """A fleet whose three rigs are kept."""
    workspace = make_fleet(fleet_of(*KEPT))
    keep(workspace)
    assert names(workspace) == KEPT
    return workspace


def test_what_is_kept_is_what_is_declared(kept: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = load_fleet(kept)
    known = Reach(kept).select(())
    assert known is not None
    for rig in known:
        power = fleet.rigs[rig.name].power
        assert {name: getattr(power, name) for name in rig.power._fields} == rig.power._asdict()
    # A reference, resolved when it is asked for and not before.
    for secret in ("first", "second"):
        monkeypatch.setenv("RIG_PASSWORD", secret)
        (kept.inventory / "bmc.key").write_text(secret)
        assert [rig.power.password.reveal() for rig in known[:2]] == [secret, secret]


def test_no_secret_and_nobody_else_s_business(make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_PASSWORD", PLANTED)
    workspace = make_fleet(fleet_of(*POWERS), files={"bmc.key": PLANTED})
    keep(workspace)
    path = workspace.state / "reach.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert PLANTED not in path.read_text()
    assert names(workspace, *KEPT) == KEPT
    assert names(workspace) is None
    assert [names(workspace, name) for name in OTHERS] == [None] * len(OTHERS)


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [((), KEPT), (("file*",), ["file", "file2"]), (("file2,env",), ["env", "file2"]), (("nobody",), None)],
)
def test_patterns_choose_as_they_do_in_a_fleet(kept: Workspace, patterns: tuple[str, ...], chosen: list[str]) -> None:
    assert names(kept, *patterns) == chosen
    if chosen is not None:
        assert [rig.name for rig in load_fleet(kept).select(patterns)] == chosen


@pytest.mark.parametrize("pattern", ["", " ", ","])
def test_an_empty_name_is_refused(kept: Workspace, pattern: str) -> None:
    with pytest.raises(UsageError, match="an empty name"):
        Reach(kept).select([pattern])


def edit(name: str, old: str, new: str) -> Callable[[Workspace], None]:
    """Change a file of the inventory, and put its times back: the size stays, too."""

    def change(workspace: Workspace) -> None:
        path = workspace.inventory / name
        before = path.stat()
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size

    return change


def add(name: str, text: str) -> Callable[[Workspace], None]:
    def change(workspace: Workspace) -> None:
        path = workspace.inventory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return change


def spoil(change: Callable[[bytes], bytes]) -> Callable[[Workspace], None]:
    def changed(workspace: Workspace) -> None:
        path = workspace.state / "reach.json"
        path.write_bytes(change(path.read_bytes()))

    return changed


@pytest.mark.parametrize(
    "change",
    [
        edit("fleet.yml", "192.0.2.21", "192.0.2.91"),
        edit("builds/mine.yml", "psu_watts: 1600", "psu_watts: 1500"),
        lambda workspace: (workspace.inventory / "builds" / "mine.yml").unlink(),
        lambda workspace: (workspace.inventory / "fleet.yml").unlink(),
        add("builds/other.yml", BUILD),
        add("boards/other.yml", "name: x\n"),
        add("gpus/other.yml", "name: x\n"),
        spoil(lambda text: b""),
        spoil(lambda text: b"\n"),
        spoil(lambda text: text[:-1]),
        spoil(lambda text: text + b" "),
        spoil(lambda text: text.replace(b"192.0.2.21", b"192.0.2.99")),
        spoil(lambda text: b"0" * 64 + text[64:]),
        spoil(lambda text: b"\xff" + text),
        lambda workspace: (workspace.state / "reach.json").unlink(),
    ],
)
def test_what_has_changed_or_is_damaged_is_not_used(kept: Workspace, change: Callable[[Workspace], None]) -> None:
    change(kept)
    assert names(kept) is None


@pytest.mark.parametrize("name", ["models.py", "catalogue/builds/pro-4x3090.yml"])
def test_another_version_of_ours_reads_it_anew(
    make_fleet: MakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    package = shutil.copytree(reach._READ_BY, tmp_path / "package")
    monkeypatch.setattr(reach, "_READ_BY", package)
    workspace = make_fleet(fleet_of("env"))
    keep(workspace)
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "more.pyc").write_bytes(b"")
    assert names(workspace) == ["env"]
    os.utime(package / name, (0, 0))
    assert names(workspace) is None


def test_a_declaration_that_changes_while_it_is_read_is_not_kept(make_fleet: MakeFleet) -> None:
    workspace = make_fleet(fleet_of("env"))
    reading = Reach(workspace)
    fleet = load_fleet(workspace)
    add("fleet.yml", fleet_of("file"))(workspace)
    workspace.prepare()
    reading.keep(fleet)
    assert not (workspace.state / "reach.json").exists()


def test_the_lab_s_twins_are_not_kept(kept: Workspace) -> None:
    twins = Workspace(kept.inventory, kept.base_state, lab=True)
    twins.prepare()
    Reach(twins).keep(load_fleet(kept))
    assert not (twins.state / "reach.json").exists()
    assert Reach(twins).select(()) is None


def test_where_nothing_can_be_written_nothing_is_kept(make_fleet: MakeFleet) -> None:
    workspace = make_fleet(fleet_of("env"))
    workspace.prepare()
    (workspace.state / "reach.json").mkdir()
    keep(workspace)
    assert names(workspace) is None


def test_a_mistake_in_the_declaration_is_shown_as_ever(
    kept: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("fleet.yml", "driver: ipmi", "drivr: ipmi ")(kept)
    shown = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["rigdeploy", "power", "status", "-i", str(kept.inventory)])
        assert run() == 4
        shown.append(capsys.readouterr().err)
        (kept.state / "reach.json").unlink(missing_ok=True)
    assert shown[0] == shown[1]
    assert "'driver' is missing" in shown[0]
