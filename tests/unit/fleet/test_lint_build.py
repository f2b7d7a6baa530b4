"""What cannot be about a build's bridges, and about a board's names for its slots."""

from __future__ import annotations

import pytest

from rigdeploy.fleet import lint
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import Board, Build

CATALOGUE = Catalogue.load()
PRO = CATALOGUE.builds["pro-4x3090"]
BOARD = CATALOGUE.boards[PRO.board]

# build, declared pairs -> place and words of each remark
BRIDGES = [
    ("pro-4x3090", [], []),
    ("pro-4x3090", [["PCIE1", "PCIE3"], ["PCIE5", "PCIE7"]], []),
    ("pro-4x3090", [["PCIE1", "PCIE2"]], [(0, "no card is declared in slot 'PCIE2'")]),
    ("pro-4x3090", [["PCIE3", "PCIE3"]], [(0, "not PCIE3 with itself")]),
    ("pro-4x3090", [["PCIE1", "PCIE3"], ["PCIE3", "PCIE5"]], [(1, "PCIE3 is joined already, by PCIE1+PCIE3")]),
    ("pro-4x3090", [["PCIE1", "PCIE3"], ["PCIE3", "PCIE1"]], [(1, "PCIE3 is joined"), (1, "PCIE1 is joined")]),
    ("home-dual-4090", [["PCI_E1", "PCI_E2"]], [(0, "RTX 4090 in PCI_E1 has no NVLink"), (0, "RTX 4090 in PCI_E2")]),
]


@pytest.mark.parametrize(("name", "pairs", "expected"), BRIDGES)
def test_bridges(name: str, pairs: list[list[str]], expected: list[tuple[int, str]]) -> None:
    build = CATALOGUE.builds[name].model_copy(update={"nvlink": pairs})
    found = lint.build_remarks(build, CATALOGUE)
    assert [remark.place for remark in found] == [("nvlink", index) for index, _ in expected]
    assert all(words in remark.message for remark, (_, words) in zip(found, expected, strict=True))


def test_which_cards_have_a_connector() -> None:
    able = {gpu.id for gpu in CATALOGUE.gpus.values() if gpu.nvlink}
    assert able == {
        "rtx-3090", "rtx-3090-ti", "rtx-a5000", "rtx-a6000", "a40", "a100-pcie-40gb", "a100-pcie-80gb", "h100-pcie",
    }  # fmt: skip


def renamed(designations: dict[str, list[str]]) -> Board:
    slots = {
        name: slot.model_copy(update={"designations": designations.get(name, [])}) for name, slot in BOARD.slots.items()
    }
    return BOARD.model_copy(update={"slots": slots})


# designations by slot -> the two slots that share one
NAMES = [
    ({"PCIE1": ["SLOT1"], "PCIE2": ["SLOT2"]}, None),
    ({"PCIE1": ["SLOT1", "Slot1"]}, None),
    ({"PCIE1": ["SLOT1"], "PCIE2": ["SLOT1"]}, "both PCIE1 and PCIE2 'slot1'"),
    ({"PCIE1": ["Slot 1"], "PCIE3": [" SLOT 1"]}, "both PCIE1 and PCIE3 'slot 1'"),
    ({"PCIE5": ["PCIE1"]}, "both PCIE1 and PCIE5 'pcie1'"),
]


@pytest.mark.parametrize(("designations", "words"), NAMES)
def test_a_name_means_one_slot(designations: dict[str, list[str]], words: str | None) -> None:
    catalogue = Catalogue({BOARD.id: renamed(designations)}, CATALOGUE.gpus, {})
    found = lint.build_remarks(PRO, catalogue)
    assert [remark.place for remark in found] == ([("board",)] if words else [])
    assert all(words is not None and words in remark.message for remark in found)


@pytest.mark.parametrize("board", CATALOGUE.boards.values(), ids=lambda board: board.id)
def test_the_shipped_boards_names_mean_one_slot(board: Board) -> None:
    build = PRO.model_copy(update={"board": board.id, "memory": None})
    assert not [remark for remark in lint.build_remarks(build, CATALOGUE) if remark.place == ("board",)]


def test_a_power_limit_is_verified_and_not_set() -> None:
    slots = {name: slot.model_copy(update={"power_limit_watts": 300}) for name, slot in PRO.slots.items()}
    build: Build = PRO.model_copy(update={"slots": slots})
    found = lint.build_remarks(build, CATALOGUE)
    assert {(remark.severity, "-pl 300" in remark.remedy) for remark in found} == {("warning", True)}
    assert len(found) == len(slots)
