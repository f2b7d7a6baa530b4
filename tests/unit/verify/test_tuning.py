"""Power limits and clocks: which card gets which, what is refused, and what is undone."""

from __future__ import annotations

import pytest

from rigdeploy.verify.cards import match
from rigdeploy.verify.tuning import (
    Limits,
    TunedCard,
    TuningError,
    checked,
    commands,
    for_slots,
    missed,
    releases,
)

LOW, HIGH = Limits(250), Limits(300, 1500)
SLOTS = ("PCIE1", "PCIE3", "PCIE5", "PCIE7")


def uuid(number: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{number:012d}"


@pytest.fixture
def node(bench):
    """A rig of four cards of one model, each with a UUID and a range."""
    made = bench()
    for number, gpu in enumerate(made.document["gpus"], 1):
        gpu["uuid"] = uuid(number)
        gpu["power"] |= {"minimum": 100, "maximum": 400, "default": 350}
    return made


def nameless(node):
    for device in node.document["pci"]:
        device["slot"] = None
    return node


def cards_of(node):
    return match(node.rig.build, node.catalogue, node.observation())


def test_the_cards_of_named_slots_get_their_own(node):
    found, absent = for_slots({"PCIE1": LOW, "PCIE5": HIGH}, cards_of(node))
    assert found == [TunedCard(uuid(1), "PCIE1", LOW), TunedCard(uuid(3), "PCIE5", HIGH)]
    assert absent == []


def test_without_names_equal_limits_need_no_slot(node):
    found, _ = for_slots(dict.fromkeys(SLOTS, LOW), cards_of(nameless(node)))
    assert sorted(card.uuid for card in found) == [uuid(number) for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("limits", [{"PCIE1": LOW, "PCIE3": HIGH}, {"PCIE1": LOW}])
def test_without_names_different_limits_are_refused(node, limits):
    with pytest.raises(TuningError, match=r"does not name its slots.*PCIE1 \(250 W\)") as caught:
        for_slots(limits, cards_of(nameless(node)))
    assert "'address'" in caught.value.remedy


def test_a_card_that_is_missing_may_be_any_of_its_model(node):
    del node.document["gpus"][3]
    node.document["pci"] = [d for d in nameless(node).document["pci"] if not d["address"].startswith("0000:41")]
    with pytest.raises(TuningError, match="cannot be told"):
        for_slots(dict.fromkeys(SLOTS[:3], LOW), cards_of(node))
    found, absent = for_slots(dict.fromkeys(SLOTS, LOW), cards_of(node))
    assert (len(found), len(absent)) == (3, 1)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (TunedCard(uuid(1), "PCIE1", Limits(401)), r"PCIE1 \(NVIDIA GeForce RTX 3090\) can be held to 100 to 400 W"),
        (TunedCard(uuid(1), "PCIE1", Limits(99)), "100 to 400 W, and 99 W"),
        (TunedCard(uuid(1), "PCIE1", Limits(None, 2101)), "reaches 2100 MHz at most, and 2101 MHz"),
        (TunedCard(uuid(9), "", LOW), "there is no card"),
        (TunedCard("GPU-1; reboot", "PCIE1", LOW), "no UUID of a card"),
    ],
)  # fmt: skip
def test_what_a_card_cannot_do_is_refused(node, card, words):
    with pytest.raises(TuningError, match=words):
        list(checked([card], node.observation(), {uuid(1): 2100}))


def test_a_card_without_a_range_is_refused(node):
    node.document["gpus"][0]["power"] = {"limit": 350}
    with pytest.raises(TuningError, match="shows no range"):
        list(checked([TunedCard(uuid(1), "PCIE1", LOW)], node.observation(), {}))


def test_what_is_set_and_no_longer_declared_is_undone(node):
    before = [TunedCard(uuid(1), "PCIE1", HIGH), TunedCard(uuid(2), "PCIE3", HIGH), TunedCard(uuid(9), "PCIE7", LOW)]
    script = "\n".join("nvidia-smi " + " ".join(words) + " || status=1" for words in commands(before))
    assert list(releases(script, [TunedCard(uuid(2), "PCIE3", LOW)], node.observation())) == [
        (f"--id={uuid(1)}", "--power-limit=350"),
        (f"--id={uuid(1)}", "--reset-gpu-clocks"),
        (f"--id={uuid(2)}", "--reset-gpu-clocks"),
    ]


def test_a_limit_that_is_not_in_force_is_named(node):
    node.document["gpus"][0]["power"]["limit"] = 249.6
    held, not_held = TunedCard(uuid(1), "PCIE1", LOW), TunedCard(uuid(2), "PCIE3", LOW)
    assert list(missed([held, not_held], node.observation())) == [
        "PCIE3 is to be held to 250 W, and the driver shows 350 W"
    ]
