"""Which card is taken for which slot's, and what is said of cards that are missing, extra or of another model."""

from __future__ import annotations

import itertools
import random

import pytest

from rigdeploy.fleet.link import Link
from rigdeploy.verify.assignment import assign
from rigdeploy.verify.cards import match

BUILDS = [
    "pro-4x3090",
    "budget-4x3090",
    "romed8-7x4090",
    "wrx90e-4x4090",
    "home-dual-4090",
    "dual-4090-no-nvlink",
]


@pytest.mark.parametrize("driver", [True, False])
@pytest.mark.parametrize("build", BUILDS)
def test_every_shipped_build_as_declared_passes(bench, build, driver):
    assert not bench(build, driver=driver).wrong()


def test_audio_functions_are_no_cards(bench):
    assert bench().finding("gpu.count", "rig").observed == "4"


def test_names_come_before_the_order_of_addresses(bench):
    node = bench()
    for one, other in (("PCIE1", "PCIE7"), ("PCIE7", "PCIE1")):
        for device in (node.card(one), node.port(one)):
            device["slot"] = other
    cards = {card.slot: card for card in match(node.rig.build, node.catalogue, node.observation())}
    assert cards["PCIE1"].device.address == "0000:41:00.0"
    assert cards["PCIE7"].device.address == "0000:11:00.0"
    assert {card.matched_by for card in cards.values()} == {"slot name"}


def test_the_name_of_the_port_is_the_cards(bench):
    node = bench()
    node.card("PCIE1")["slot"] = None
    assert match(node.rig.build, node.catalogue, node.observation())[0].matched_by == "slot name"


def test_a_declared_address_comes_before_the_best_guess(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE1"] = slots["PCIE1"].model_copy(update={"address": "0000:41:00.0"})
    node = bench(slots=slots)
    node.forget_slots()
    cards = {card.slot: card for card in match(node.rig.build, node.catalogue, node.observation())}
    assert (cards["PCIE1"].device.address, cards["PCIE1"].matched_by) == ("0000:41:00.0", "address")
    assert cards["PCIE3"].matched_by == "assignment"


def test_without_names_cards_go_where_model_and_link_fit(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE1"] = slots["PCIE1"].model_copy(update={"gpu": "rtx-4090"})
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"link": Link(4, 8)})
    node = bench(slots=slots)
    node.forget_slots()
    # The same cards at addresses in the opposite order.
    text = {"0000:1": "0000:9", "0000:4": "0000:1", "0000:2": "0000:8", "0000:3": "0000:2"}
    for item in node.document["pci"] + node.document["gpus"]:
        for key in ("address", "parent"):
            if item.get(key):
                item[key] = text.get(item[key][:6], item[key][:6]) + item[key][6:]
    assert not node.wrong()
    cards = {card.slot: card for card in match(node.rig.build, node.catalogue, node.observation())}
    assert cards["PCIE1"].device.address == "0000:91:00.0"
    assert cards["PCIE3"].device.address == "0000:81:00.0"


def test_without_names_a_degraded_link_stays_with_the_wide_port(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"link": Link(4, 8)})
    node = bench(slots=slots)
    node.forget_slots()
    node.card("PCIE1")["link"]["width"] = node.reading("PCIE1")["link"]["width"] = 4
    assert node.wrong() == [("link.width", "PCIE1", "FAIL", "link-degraded")]
    assert "0000:11:00.0" in node.finding("link.width", "PCIE1").remedy


def test_a_missing_card_is_named_by_its_slot(bench):
    node = bench()
    node.remove("PCIE5")
    assert node.wrong() == [
        ("gpu.count", "rig", "FAIL", "card-missing"),
        ("gpu.model", "PCIE5", "FAIL", "card-missing"),
        ("memory.total", "rig", "FAIL", "memory-missing"),
    ]


def test_without_names_the_missing_card_may_be_another(bench):
    node = bench()
    node.forget_slots()
    node.remove("PCIE1")
    (finding,) = [f for f in node.findings() if f.check == "gpu.model" and f.status == "FAIL"]
    assert "may be another slot's card" in finding.remedy


def test_a_card_in_a_slot_declared_empty_does_not_stand_in_for_a_missing_one(bench):
    node = bench()
    for device in (node.card("PCIE5"), node.port("PCIE5")):
        device["slot"] = "PCIE6"
    assert node.wrong() == [
        ("gpu.model", "PCIE5", "FAIL", "card-missing"),
        ("gpu.model", "PCIE6", "FAIL", "card-extra"),
    ]


def test_an_extra_card_without_a_slot_name_is_named_by_its_address(bench):
    node = bench()
    node.document["pci"].append(node.card("PCIE1") | {"address": "0000:c5:00.0", "parent": None, "slot": None})
    assert ("gpu.count", "rig", "FAIL", "card-extra") in node.wrong()
    assert ("gpu.model", "0000:c5:00.0", "FAIL", "card-extra") in node.wrong()


def test_another_model_is_named_even_before_the_driver(bench):
    node = bench(driver=False)
    node.card("PCIE3")["device"] = "2684"
    assert node.wrong() == [("gpu.model", "PCIE3", "FAIL", "other-model")]
    finding = node.finding("gpu.model", "PCIE3")
    assert (finding.declared, finding.observed) == ("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090")


def test_a_pci_tree_that_could_not_be_read_is_unknown(bench):
    node = bench(driver=False)
    node.document["pci"] = []
    node.document["unread"] = [{"what": "pci", "why": "/sys/bus/pci/devices: Permission denied"}]
    assert {line[2] for line in node.wrong()} == {"UNKNOWN"}
    assert {line[1] for line in node.wrong()} == {"rig", "PCIE1", "PCIE3", "PCIE5", "PCIE7"}
    assert "Permission denied" in node.finding("gpu.count", "rig").remedy


def test_a_function_that_gives_no_class_may_be_the_missing_card(bench):
    node = bench(driver=False)
    node.card("PCIE3")["class"] = None
    assert ("gpu.model", "PCIE3", "UNKNOWN", "unreadable") in node.wrong()
    assert not [line for line in node.wrong() if line[2] == "FAIL"]


def test_cards_that_only_the_driver_shows_are_judged(bench):
    node = bench()
    node.document["pci"] = []
    assert not node.wrong()


@pytest.mark.parametrize("seed", range(60))
def test_the_assignment_is_the_cheapest_of_all(seed):
    dice = random.Random(seed)
    rows, columns = dice.randint(1, 5), dice.randint(1, 5)
    costs = [[dice.randint(0, 20) for _ in range(columns)] for _ in range(rows)]
    pairs = assign(costs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs) == min(rows, columns)
    wide = costs if rows <= columns else [list(line) for line in zip(*costs, strict=True)]
    cheapest = min(
        sum(line[column] for line, column in zip(wide, order, strict=True))
        for order in itertools.permutations(range(len(wide[0])), len(wide))
    )
    assert sum(costs[row][column] for row, column in pairs) == cheapest
