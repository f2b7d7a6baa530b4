"""Which card is taken for which slot's, and what is said of cards that are missing, extra or of another model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re

import pytest

from rigdeploy.fleet.link import Link
from rigdeploy.node.load import Load
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
    assert {line[1] for line in node.wrong()} >= {"rig", "PCIE1", "PCIE3", "PCIE5", "PCIE7"}
    assert "Permission denied" in node.finding("gpu.count", "rig").remedy


def test_a_function_that_gives_no_class_may_be_the_missing_card(bench):
    node = bench(driver=False)
    node.card("PCIE3")["class"] = None
    assert ("gpu.model", "PCIE3", "UNKNOWN", "unreadable") in node.wrong()
    assert not [line for line in node.wrong() if line[2] == "FAIL"]


def test_cards_that_only_the_driver_shows_are_judged(bench):
    node = bench()
    node.document["pci"] = node.document["disks"] = []
    assert {line for line in node.wrong() if line[2] != "UNKNOWN"} == set()
    assert node.finding("link.width", "PCIE1").status == "PASS"
    assert node.finding("gpu.count", "rig").observed == "4"


# --- names -----------------------------------------------------------------------------------------------------


def seats(node):
    """Which address sits in which declared slot, and how that was found."""
    cards = match(node.rig.build, node.catalogue, node.observation())
    return {card.slot: (card.address, card.matched_by) for card in cards}


def name_slot(node, slot, name):
    for device in node.document["pci"]:
        if device.get("slot") == slot:
            device["slot"] = name


def with_board(node, **designations):
    """The rig's board with other names for its slots."""
    board = node.catalogue.boards[node.rig.build.board]
    slots = dict(board.slots) | {
        name: board.slots[name].model_copy(update={"designations": names}) for name, names in designations.items()
    }
    boards = dict(node.catalogue.boards) | {board.id: board.model_copy(update={"slots": slots})}
    node.catalogue = dataclasses.replace(node.catalogue, boards=boards)


# build, declared slot, what the node calls it -> how the card is found
NAMES = [
    ("pro-4x3090", "PCIE3", "PCIE3", "slot name"),
    ("pro-4x3090", "PCIE3", "pcie3", "slot name"),
    ("pro-4x3090", "PCIE3", " PCIE3 ", "slot name"),
    ("pro-4x3090", "PCIE3", "3", "assignment"),
    ("pro-4x3090", "PCIE3", "Slot3", "assignment"),
    ("pro-4x3090", "PCIE3", "PCIE33", "assignment"),
    ("budget-4x3090", "PCIE3", "Slot3", "slot name"),
    ("budget-4x3090", "PCIE3", "SLOT3", "slot name"),
    ("wrx90e-4x4090", "PCIEX16_3", "PCIEx16(G5)_3", "slot name"),
    ("wrx90e-4x4090", "PCIEX16_3", "PCIEX16(G5)_3", "slot name"),
    ("wrx90e-4x4090", "PCIEX16_3", "PCIEX16(G5)", "assignment"),
]


@pytest.mark.parametrize(("build", "slot", "name", "how"), NAMES)
def test_what_the_node_calls_a_slot(bench, build, slot, name, how):
    node = bench(build)
    address = node.card(slot)["address"]
    name_slot(node, slot, name)
    assert seats(node)[slot] == (address, how)
    assert not node.wrong()
    evidence = node.finding("link.width", slot).evidence
    assert (evidence["matched_by"], evidence["node_slot"]) == (how, name.strip())


def test_the_firmwares_name_comes_before_the_kernels_number(bench):
    node = bench()
    for slot, number in (("PCIE1", "7"), ("PCIE7", "1")):
        node.card(slot)["slot"] = number
    with_board(node, PCIE1=["1"], PCIE7=["7"])
    assert {how for _, how in seats(node).values()} == {"slot name"}
    assert seats(node)["PCIE1"][0] == "0000:11:00.0"


def test_a_number_that_is_all_there_is_names_a_slot(bench):
    node = bench()
    with_board(node, PCIE3=["12"])
    name_slot(node, "PCIE3", "12")
    assert seats(node)["PCIE3"] == ("0000:21:00.0", "slot name")


def test_the_kernels_number_is_not_the_name_of_a_slot_that_is_called_a_number(bench, catalogue):
    slots = dict(zip("1234", catalogue.builds["pro-4x3090"].slots.values(), strict=True))
    node = bench(slots=slots)
    for name, number in zip("1234", "4321", strict=True):
        name_slot(node, name, number)
    assert seats(node)["1"] == ("0000:11:00.0", "assignment")


def test_a_pinned_address_comes_before_what_the_firmware_calls_the_slot(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE1"] = slots["PCIE1"].model_copy(update={"address": "0000:41:00.0"})
    node = bench(slots=slots)
    assert seats(node)["PCIE1"] == ("0000:41:00.0", "address")
    assert seats(node)["PCIE3"] == ("0000:21:00.0", "slot name")


def test_a_name_that_two_declared_slots_claim_is_nobodys(bench):
    node = bench()
    with_board(node, PCIE3=["GPU"], PCIE5=["gpu"])
    name_slot(node, "PCIE3", "GPU")
    assert seats(node)["PCIE3"] == ("0000:21:00.0", "assignment")
    assert not node.wrong()


def test_a_name_that_two_cards_bear_is_nobodys(bench):
    node = bench()
    name_slot(node, "PCIE5", "PCIE3")
    assert seats(node)["PCIE3"] == ("0000:21:00.0", "assignment")
    assert seats(node)["PCIE5"] == ("0000:31:00.0", "assignment")
    assert seats(node)["PCIE1"] == ("0000:11:00.0", "slot name")
    assert not node.wrong()


def test_two_names_of_one_slot_on_two_cards_are_nobodys(bench):
    node = bench("budget-4x3090")
    name_slot(node, "PCIE4", "Slot3")
    assert {seats(node)[slot][1] for slot in ("PCIE3", "PCIE4")} == {"assignment"}


def test_an_ambiguous_name_falls_to_the_address(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE3"] = slots["PCIE3"].model_copy(update={"address": "0000:31:00.0"})
    node = bench(slots=slots)
    name_slot(node, "PCIE5", "PCIE3")
    assert seats(node)["PCIE3"] == ("0000:31:00.0", "address")
    assert seats(node)["PCIE5"] == ("0000:21:00.0", "assignment")


def test_two_cards_below_one_named_port_are_told_apart_by_nothing_but_themselves(bench):
    """A switch on a riser: the slot's name is the port's, which both cards hang on."""
    node = bench()
    for slot in ("PCIE3", "PCIE5"):
        node.card(slot)["slot"] = node.port(slot)["slot"] = None
    node.port("PCIE5")["slot"] = "PCIE3"
    node.card("PCIE3")["parent"] = node.port("PCIE5")["address"]
    assert {seats(node)[slot][1] for slot in ("PCIE3", "PCIE5")} == {"assignment"}
    node.card("PCIE5")["slot"] = "PCIE3"
    assert seats(node)["PCIE3"] == ("0000:31:00.0", "slot name")


def test_an_extra_card_bears_the_boards_name_for_its_slot(bench):
    node = bench("wrx90e-4x4090")
    extra = node.card("PCIEX16_1") | {"address": "0000:c5:00.0", "parent": None, "slot": "PCIEx16(G5)_2"}
    node.document["pci"].append(extra)
    assert ("gpu.model", "PCIEX16_2", "FAIL", "card-extra") in node.wrong()


def test_extra_cards_never_share_a_name(bench):
    node = bench()
    for address, name in (("0000:c5:00.0", "PCIE2"), ("0000:c6:00.0", "PCIE2"), ("0000:c7:00.0", "PCIE1")):
        node.document["pci"].append(node.card("PCIE1") | {"address": address, "parent": None, "slot": name})
    subjects = [f.subject for f in node.findings() if f.check == "gpu.model"]
    assert len(subjects) == len(set(subjects)) == 7


def test_a_width_seen_under_load_finds_the_slot(bench, catalogue):
    slots = dict(catalogue.builds["pro-4x3090"].slots)
    slots["PCIE1"] = slots["PCIE1"].model_copy(update={"link": Link(4, 8)})
    node = bench(slots=slots)
    node.forget_slots()
    # The first card by address is the x16 one, asleep; the second one's riser has eight lanes. Both ports can do x16.
    node.put_under_load()
    for slot, asleep, lanes in (("PCIE1", 8, 16), ("PCIE3", 8, 8)):
        node.port(slot)["link"] |= {"width": asleep, "width_max": 16}
        node.card(slot)["link"]["width"] = node.reading(slot)["link"]["width"] = asleep
        node.loaded(slot)["link"] |= {"width_min": lanes, "width_max": lanes}
    load = Load.parse(node.load)
    cards = {card.slot: card.address for card in match(node.rig.build, node.catalogue, node.observation(), load)}
    assert (cards["PCIE1"], cards["PCIE3"]) == ("0000:21:00.0", "0000:11:00.0")


# --- what must change nothing ------------------------------------------------------------------------------------


def verdict(node):
    return [(f.check, f.subject, f.status, f.declared, f.observed, f.cause) for f in node.findings()]


def faulty(bench, build):
    """A node with something wrong in most of its slots."""
    node = bench(build)
    first, second, third, *_ = node.rig.build.slots
    node.card(first)["link"]["width"] = node.reading(first)["link"]["width"] = 4
    node.port(second)["aer"]["fatal"]["total"] = 1
    node.remove(third)
    node.document["kernel_log"] = [{"kind": "xid", "address": node.card(first)["address"], "code": 79, "count": 2}]
    return node


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("named", [True, False])
def test_the_order_of_the_document_changes_nothing(bench, seed, named):
    node = faulty(bench, "romed8-7x4090")
    if not named:
        node.forget_slots()
    expected = verdict(node)
    for part in ("pci", "gpus"):
        random.Random(seed).shuffle(node.document[part])
    assert verdict(node) == expected


@pytest.mark.parametrize("seed", range(20))
def test_with_names_the_addresses_change_nothing(bench, seed):
    node = faulty(bench, "romed8-7x4090")
    expected = verdict(node)
    buses = random.Random(seed).sample(range(1, 0xF0), 0x80)
    text = json.dumps(node.document)
    for old, new in zip(sorted(set(re.findall(r"0000:([0-9a-f]{2}):", text))), buses, strict=False):
        text = text.replace(f"0000:{old}:", f"0000:<{new:02x}>:")
    node.document = json.loads(re.sub("<([0-9a-f]{2})>", r"\1", text))
    assert verdict(node) == expected


@pytest.mark.parametrize("named", [True, False])
def test_a_cards_other_functions_change_nothing(bench, named):
    node = faulty(bench, "romed8-7x4090")
    if not named:
        node.forget_slots()
    expected = verdict(node)
    for device in [d for d in node.document["pci"] if d["class"] == "030000"]:
        for function, code in (("2", "0c0330"), ("3", "0c8000")):
            address = f"{device['address'][:-1]}{function}"
            node.document["pci"].append(device | {"address": address, "class": code, "device": "1ad8", "aer": None})
    assert verdict(node) == expected
    node.document["pci"] = [d for d in node.document["pci"] if d["class"] not in ("040300", "0c0330", "0c8000")]
    assert verdict(node) == expected


# --- the assignment ----------------------------------------------------------------------------------------------


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
