"""What a fleet becomes: overrides, selections, twins, warnings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_fleet import BUILD, FLEET, MakeFleet

from rigdeploy.errors import DeclarationError, LabError, UsageError
from rigdeploy.fleet import lint
from rigdeploy.fleet.fleet import merge
from rigdeploy.fleet.link import Link
from rigdeploy.fleet.load import load_fleet, read_fleet
from rigdeploy.fleet.models import IpmiPower
from rigdeploy.workspace import Workspace

ROOT = Path(__file__).parents[3]


def test_the_example_fleet_has_no_problem() -> None:
    fleet = load_fleet(Workspace.find(ROOT / "inventory"))
    assert fleet.problems == []
    assert {name: rig.build.name for name, rig in fleet.rigs.items()} == {
        "rig01": "pro-4x3090",
        "rig02": "budget-4x3090",
    }
    assert isinstance(fleet.rigs["rig01"].power, IpmiPower)
    assert fleet.rigs["rig02"].power.driver == "manual"


@pytest.mark.parametrize("path", sorted((ROOT / "inventory" / "builds").glob("*.yml")), ids=lambda path: path.stem)
def test_the_example_builds_can_be_used(path: Path, make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet(FLEET, path.read_text()))
    assert fleet.problems == []


def test_the_commented_rigs_of_the_example_are_right(make_fleet: MakeFleet) -> None:
    example = (ROOT / "inventory" / "fleet.yml").read_text()
    hidden = re.sub(r"^  # ", "  ", example[example.index("  # rig03:") :], flags=re.MULTILINE)
    fleet = load_fleet(make_fleet(example + hidden))
    assert fleet.rigs["rig03"].base.hostname == "ai3"
    assert [fleet.rigs[f"rig0{n}"].power.driver for n in (4, 5, 6)] == ["redfish", "wol", "webhook"]
    assert all(problem.severity == "warning" for problem in fleet.problems)


def test_the_design_s_declaration_is_accepted(make_fleet: MakeFleet) -> None:
    text = """\
plugin: rigdeploy
rigs:
  rig01:
    address: 192.0.2.11
    build: pro-4x3090
    power: {driver: ipmi, address: 192.0.2.111, username: admin, password: {env: RIG01_BMC_PASSWORD}}
    os: {image: debian-12}          # absent: the installed system is kept
    gpu_stack: {driver: "580", modules: auto, cuda: "13.0", containers: docker}
    serve: {engine: vllm, model: Qwen/Qwen3-32B-AWQ, context: 32768}
"""
    fleet = load_fleet(make_fleet(text))
    assert {(problem.severity, problem.path) for problem in fleet.problems} == {
        ("warning", "rigs.rig01.os"),
        ("warning", "rigs.rig01.serve"),
    }


def test_override_is_merged_slot_by_slot(make_fleet: MakeFleet) -> None:
    text = (
        FLEET
        + "    override:\n      slots:\n        PCI_E1: null\n        PCI_E2: {link: 3.0 x8}\n      vram_gib: 24\n"
    )
    build = load_fleet(make_fleet(text)).rigs["rig02"].build
    assert list(build.slots) == ["PCI_E2"]
    assert build.slots["PCI_E2"].link == Link(3, 8)
    assert build.slots["PCI_E2"].gpu == "rtx-4090"
    assert build.psu_watts == 1600


def test_a_problem_names_the_file_that_says_it(make_fleet: MakeFleet) -> None:
    text = FLEET + "    override:\n      vram_gib: 24\n      slots:\n        PCI_E2: {link: 5.0 x8}\n"
    with pytest.raises(DeclarationError) as caught:
        load_fleet(make_fleet(text))
    assert [(problem.file, problem.line, problem.path) for problem in caught.value.problems] == [
        ("inventory/fleet.yml", 19, "rigs.rig02.override.vram_gib"),
        ("inventory/fleet.yml", 21, "rigs.rig02.override.slots.PCI_E2.link"),
    ]


@pytest.mark.parametrize(
    ("base", "override", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"a": {"b": {"c": None, "d": 1}}}, {"a": {"b": {"d": 1}}}),
        ({}, {"a": None}, {}),
    ],
)
def test_merge(base: object, override: object, merged: object) -> None:
    before = json.dumps(base)
    assert merge(base, override) == merged
    assert json.dumps(base) == before


def test_select(make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet())
    names = [[rig.name for rig in fleet.select(patterns)] for patterns in ([], ["rig0*"], ["rig02,rig01"], ["rig02"])]
    assert names == [["rig01", "rig02"], ["rig01", "rig02"], ["rig01", "rig02"], ["rig02"]]
    with pytest.raises(UsageError, match="no rig is called 'rig3'; did you mean") as caught:
        fleet.select(["rig01", "rig3"])
    assert caught.value.remedy == "declared: rig01, rig02"


@pytest.mark.parametrize("patterns", [[""], [" "], [","], ["rig01", ""]])
def test_an_empty_name_is_not_the_whole_fleet(make_fleet: MakeFleet, patterns: list[str]) -> None:
    fleet = load_fleet(make_fleet())
    with pytest.raises(UsageError, match="an empty name"):
        fleet.select(patterns)


def test_anchors_and_merge_keys(make_fleet: MakeFleet) -> None:
    text = FLEET.replace("rigs:\n", "x-common: &common\n  training: false\n  address: 192.0.2.99\nrigs:\n")
    fleet = load_fleet(make_fleet(text.replace("  rig02:\n", "  rig02:\n    <<: *common\n")))
    assert fleet.rigs["rig02"].address == "192.0.2.12"
    assert "training" in fleet.rigs["rig02"].model_fields_set


def test_paths_start_at_the_inventory(make_fleet: MakeFleet, tmp_path: Path) -> None:
    text = FLEET.replace("{driver: manual}", "{driver: manual}\n    ssh: {private_key: keys/id}")
    rigs = load_fleet(make_fleet(text)).rigs
    assert rigs["rig02"].ssh.private_key == str(tmp_path / "inventory" / "keys" / "id")
    stack = rigs["rig01"].gpu_stack
    assert stack is not None
    assert stack.mirror is not None
    assert stack.mirror.key == str(tmp_path / "inventory" / "nvidia.asc")


MIRROR = "mirror: {url: https://mirror.example.com, key: k}"


# What rig02 (or its gpu_stack) says beside address, build and power, and the words of the one problem that follows.
@pytest.mark.parametrize(
    ("extra", "gpu", "severity", "words"),
    [
        ("os: {image: debian-12}", "rtx-4090", "warning", "an image to install is declared; this version does nothing"),
        ("serve: {engine: vllm, model: m}", "rtx-4090", "warning", "a model to serve is declared"),
        ("gpu_stack: {driver: 580, source: mirror}", "rtx-4090", "error", "none is named"),
        ("gpu_stack: {driver: 595, MIRROR}", "p40", "error", "last driven by branch 580"),
        ("gpu_stack: {driver: 580, modules: open, MIRROR}", "p40", "error", "needs proprietary"),
        ("gpu_stack: {driver: 580, modules: open, MIRROR}", "v100-pcie-16gb", "error", "needs proprietary"),
        ("gpu_stack: {driver: 580, modules: proprietary, MIRROR}", "rtx-5090", "error", "needs open"),
        ("gpu_stack: {driver: 550, MIRROR}", "rtx-5090", "error", "branch 570 or later"),
        ("gpu_stack: {driver: 615, modules: proprietary, MIRROR}", "rtx-4090", "error", "615"),
        ("ssh: {password: hunter2}", "rtx-4090", "warning", "a password stands in the file"),
    ],
)  # fmt: skip
def test_software_against_the_cards(extra: str, gpu: str, severity: str, words: str, make_fleet: MakeFleet) -> None:
    memory = {"rtx-4090": 24, "rtx-5090": 32, "p40": 24, "v100-pcie-16gb": 16}[gpu]
    build = (
        BUILD.replace("rtx-4090", gpu).replace("4.0 x8", "3.0 x8").replace("vram_gib: 48", f"vram_gib: {2 * memory}")
    )
    fleet = read_fleet(make_fleet(FLEET + f"    {extra}\n".replace("MIRROR", MIRROR), build))
    [problem] = fleet.problems
    assert (problem.severity, problem.line) == (severity, 18)
    assert words in problem.message
    assert "hunter2" not in str(problem) + problem.remedy


def test_no_driver_for_old_and_new_cards_together(make_fleet: MakeFleet) -> None:
    build = BUILD.replace("{gpu: rtx-4090, link: 4.0", "{gpu: p40, link: 3.0").replace("gpu: rtx-4090", "gpu: rtx-5090")
    extra = f"    gpu_stack: {{driver: 580, {MIRROR}}}\n"
    [problem] = read_fleet(make_fleet(FLEET + extra, build.replace("vram_gib: 48", "vram_gib: 56"))).problems
    assert "no driver drives both Tesla P40" in problem.message


def test_lint_of_a_loaded_fleet_says_what_check_says(make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet(FLEET + "    os: {image: debian-12}\n"))
    assert lint.lint(fleet) == fleet.problems != []


TWINS = {
    "schema": 1,
    "id": "0123abcd",
    "netns": "rd-0123abcd",
    "rigs": {
        "rig01": {
            "address": "10.90.0.11",
            "port": 22,
            "user": "root",
            "private_key": "/lab/id",
            "bmc": {"address": "10.90.0.111", "port": 623, "username": "lab", "password_file": "/lab/bmc"},
        },
        "rig02": {"address": "10.90.0.12", "port": 22, "user": "root", "private_key": "/lab/id", "bmc": None},
    },
    "mirror": {
        "url": "http://10.90.0.1:8080/nvidia",
        "key": "/lab/mirror.asc",
        "wheels": "http://10.90.0.1:8080/pypi",
    },
}


def in_the_lab(workspace: Workspace, twins: object) -> Workspace:
    lab = Workspace(workspace.inventory, workspace.base_state, lab=True)
    lab.lab_dir.mkdir(parents=True)
    (lab.lab_dir / "twins.json").write_text(json.dumps(twins))
    return lab


def test_in_the_lab_nothing_of_the_real_rig_is_left(make_fleet: MakeFleet) -> None:
    text = FLEET.replace(
        "gpu_stack:", "ssh: {user: ops, port: 2222, jump: gate.example.com, private_key: id}\n    gpu_stack:"
    )
    rig = load_fleet(in_the_lab(make_fleet(text), TWINS)).rigs["rig01"]
    shown = repr(rig)
    assert "192.0.2" not in shown
    assert "example.com" not in shown
    assert rig.address == "10.90.0.11"
    assert rig.ssh.jump is None
    assert (rig.ssh.user, rig.ssh.port, rig.ssh.private_key) == ("root", 22, "/lab/id")
    assert isinstance(rig.power, IpmiPower)
    assert (rig.power.address, rig.power.username, str(rig.power.password)) == ("10.90.0.111", "lab", "file:/lab/bmc")
    assert rig.gpu_stack is not None
    assert rig.gpu_stack.mirror is not None
    assert rig.gpu_stack.mirror.url == "http://10.90.0.1:8080/nvidia"


def test_a_rig_without_its_twin_cannot_be_chosen(make_fleet: MakeFleet) -> None:
    twins = TWINS | {"rigs": {"rig02": TWINS["rigs"]["rig02"]}}  # type: ignore[index]
    fleet = load_fleet(in_the_lab(make_fleet(), twins))
    assert [rig.name for rig in fleet.select()] == ["rig02"]
    assert list(fleet.rigs) == ["rig02"]
    with pytest.raises(LabError, match="rig01 has no twin") as caught:
        fleet.select(["rig01"])
    assert caught.value.remedy == "run 'rigdeploy lab up rig01' first"


@pytest.mark.parametrize(
    "twins", [{"rigs": {}}, {}, [], "x", {"rigs": []}, {"rigs": {"rig01": {"address": "10.90.0.11"}}}]
)
def test_a_damaged_lab_is_an_error(twins: object, make_fleet: MakeFleet) -> None:
    with pytest.raises(LabError):
        load_fleet(in_the_lab(make_fleet(), twins))


def test_no_lab_is_an_error(make_fleet: MakeFleet) -> None:
    workspace = make_fleet()
    with pytest.raises(LabError, match="the lab is not up"):
        load_fleet(Workspace(workspace.inventory, workspace.base_state, lab=True))
