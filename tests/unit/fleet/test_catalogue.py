"""The shipped data holds together, and matches what the builds' owners published."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_fleet import BUILD, FLEET, MakeFleet

from rigdeploy.errors import DeclarationError
from rigdeploy.fleet import lint
from rigdeploy.fleet.catalogue import SHIPPED, Catalogue
from rigdeploy.fleet.link import Link
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.models import BmcQuirks

CATALOGUE = Catalogue.load()

# name: board, cards, GPU, link, VRAM in GiB, power supply in W (reference-builds, as published)
PUBLISHED = {
    "wrx90e-4x4090": ("asus-pro-ws-wrx90e-sage-se", 4, "rtx-4090", "4.0 x16", 96, None),
    "romed8-7x4090": ("asrock-rack-romed8-2t", 7, "rtx-4090", "4.0 x16", 168, None),
    "dual-4090-no-nvlink": ("generic-dual-x16", 2, "rtx-4090", "4.0 x16", 48, 1600),
    "budget-4x3090": ("asrock-h510-pro-btc-plus", 4, "rtx-3090", "3.0 x1", 96, None),
    "pro-4x3090": ("asrock-rack-romed8-2t", 4, "rtx-3090", "4.0 x16", 96, 1600),
    "home-dual-4090": ("msi-mpg-x670e-carbon-wifi", 2, "rtx-4090", "4.0 x8", 48, 1600),
}


def test_the_six_builds_are_as_published() -> None:
    found = {
        name: (
            build.board,
            len(build.slots),
            *{slot.gpu for slot in build.slots.values()},
            *{str(slot.link) for slot in build.slots.values()},
            build.vram_gib,
            build.psu_watts,
        )
        for name, build in CATALOGUE.builds.items()
    }
    assert found == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_shipped_build_is_possible(name: str) -> None:
    assert lint.build_remarks(CATALOGUE.builds[name], CATALOGUE) == []


def test_every_file_is_read() -> None:
    entries = {"boards": CATALOGUE.boards, "gpus": CATALOGUE.gpus, "builds": CATALOGUE.builds}
    for kind, found in entries.items():
        assert sorted(path.stem for path in (SHIPPED / kind).iterdir()) == sorted(found)


@pytest.mark.parametrize("gpu", CATALOGUE.gpus.values(), ids=lambda gpu: gpu.id)
def test_a_card_adds_up(gpu: object) -> None:
    card = CATALOGUE.gpus[gpu.id]  # type: ignore[attr-defined]
    readings = card.memory_mib.ecc_off + card.memory_mib.ecc_on
    # Firmware keeps a little back, ECC on GDDR a sixteenth: no reading is above the nominal size or 12 % below.
    assert all(0.88 * card.memory_gib <= mib / 1024 <= card.memory_gib for mib in readings)
    assert card.power.minimum <= card.power.default <= card.power.maximum
    assert all(re.fullmatch(r"10de:[0-9a-f]{4}", pci_id) for pci_id in card.pci_ids)


def test_a_pci_id_means_one_unmodified_card() -> None:
    unmodified = [pci_id for gpu in CATALOGUE.gpus.values() if not gpu.modified for pci_id in gpu.pci_ids]
    assert len(unmodified) == len(set(unmodified))
    found = CATALOGUE.gpu_by_pci_id("10de:2684")
    assert found is not None
    assert found.id == "rtx-4090"
    assert CATALOGUE.gpu_by_pci_id("1002:1478") is None


@pytest.mark.parametrize("board", CATALOGUE.boards.values(), ids=lambda board: board.id)
def test_lane_groups_name_slots(board: object) -> None:
    groups = board.lane_groups  # type: ignore[attr-defined]
    assert all(slot in board.slots for group in groups for slot in group.slots)  # type: ignore[attr-defined]


def test_board_limits() -> None:
    slots = CATALOGUE.boards["asus-pro-ws-wrx90e-sage-se"].slots
    assert [name for name, slot in slots.items() if slot.link == Link(5, 8)] == ["PCIEX16_6"]
    assert "jumper" in CATALOGUE.boards["asrock-rack-romed8-2t"].slots["PCIE2"].note
    assert CATALOGUE.boards["asrock-h510-pro-btc-plus"].bmc is None


def test_own_boards_and_gpus_beside_the_inventory(make_fleet: MakeFleet) -> None:
    files = {
        "boards/my-board.yml": "name: Mine\nmemory_channels: 2\nmemory_max_gib: 64\nwatts: 50\n"
        "slots: {A: {link: 4.0 x16}}\nbmc: {chip: AST2400, quirks: {boot_efi: true, boot_dropped: [persistent]}}\n",
        "gpus/my-card.yml": "name: NVIDIA X\narchitecture: ada\npci_ids: ['10de:ffff']\nlink: 4.0 x16\nmemory_gib: 12\n"
        "memory_mib: {ecc_off: [12282]}\npower: {default: 200, minimum: 100, maximum: 250}\n",
    }
    build = "board: my-board\nslots: {A: {gpu: my-card, link: 4.0 x16}}\nvram_gib: 12\n"
    fleet = load_fleet(make_fleet(FLEET, build, files))
    assert fleet.rigs["rig02"].build.vram_gib == 12
    assert fleet.rigs["rig02"].board_quirks == BmcQuirks(boot_efi=True, boot_dropped=["persistent"])
    assert fleet.catalogue.gpu_by_pci_id("10de:ffff") is not None


def test_an_own_build_goes_before_a_shipped_one(make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet(files={"builds/pro-4x3090.yml": BUILD}))
    assert fleet.rigs["rig01"].build.vram_gib == 48


def test_an_own_build_is_judged_before_a_rig_uses_it(make_fleet: MakeFleet) -> None:
    text = BUILD.replace("vram_gib: 48", "vram_gib: 64")
    with pytest.raises(DeclarationError) as caught:
        load_fleet(make_fleet(files={"builds/next.yml": text}))
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.path) == ("inventory/builds/next.yml", 10, "vram_gib")


def test_a_broken_board_is_told_with_its_file(make_fleet: MakeFleet) -> None:
    workspace = make_fleet(files={"boards/bad.yml": "name: Bad\nwats: 5\n"})
    with pytest.raises(DeclarationError) as caught:
        load_fleet(workspace)
    assert {problem.file for problem in caught.value.problems} == {str(Path("inventory/boards/bad.yml"))}
    assert "unknown key 'wats'; did you mean 'watts'?" in str(caught.value)
