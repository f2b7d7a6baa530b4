"""What is kept of a verdict for those who show it."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.link import Link
from rigdeploy.report.groups import wrong
from rigdeploy.report.result import Bandwidth, RigResult, Row
from rigdeploy.verify.findings import Finding, Status
from tests.unit.nodes import rig_of
from tests.unit.report.sample import TAKEN


def test_every_slot_of_the_board_in_its_order(sample):
    made = sample()
    made.remove("PCIE5")
    found = made.result()
    assert [slot.name for slot in found.slots] == [f"PCIE{n}" for n in range(1, 8)]
    kinds = {s.name: "empty" if s.row is None else "missing" if s.row.is_missing else "card" for s in found.slots}
    assert kinds == {
        "PCIE1": "card", "PCIE2": "empty", "PCIE3": "card", "PCIE4": "empty", "PCIE5": "missing", "PCIE6": "empty",
        "PCIE7": "card",
    }  # fmt: skip
    assert {(slot.attached, slot.limit) for slot in found.slots} == {("cpu", Link(4, 16))}
    assert found.board == "ASRock Rack ROMED8-2T"


def test_slots_of_the_chipset(sample):
    found = sample("budget-4x3090").result()
    assert {(slot.name, slot.attached) for slot in found.slots} >= {("PCIE1", "cpu"), ("PCIE6", "chipset")}


@pytest.mark.parametrize(("slot", "place"), [("PCIE2", 1), (None, 7)])
def test_a_card_that_was_not_declared_has_a_place(sample, slot, place):
    made = sample()
    extra = made.card("PCIE1") | {"address": "0000:91:00.0", "parent": None, "slot": slot}
    made.document["pci"].append(extra)
    found = made.result()
    assert found.slots[place].row.address == "0000:91:00.0"
    assert len(found.slots) == max(7, place + 1)


def test_cards_that_claim_one_slot_are_all_there(sample):
    made = sample()
    twin = made.card("PCIE1") | {"parent": None, "slot": "PCIE2"}
    made.document["pci"] += [twin | {"address": f"0000:9{n}:00.0"} for n in (1, 2)]
    shown = [slot.row.address for slot in made.result().slots if slot.row]
    assert shown[4:] == ["0000:91:00.0", "0000:92:00.0"]


def test_a_board_that_the_catalogue_lacks(sample):
    made = sample()
    made.rig = rig_of(made.catalogue, "pro-4x3090", board="homemade")
    found = made.result()
    assert (found.board, [slot.name for slot in found.slots]) == ("homemade", ["PCIE1", "PCIE3", "PCIE5", "PCIE7"])


def test_what_the_load_showed(sample):
    made = sample()
    made.card("PCIE1")["link"]["gen"] = made.reading("PCIE1")["link"]["gen"] = 1
    rows = {row.slot: row for row in made.result().rows}
    assert rows["PCIE1"].measured == "4.0 x16"
    assert rows["PCIE1"].bandwidth == Bandwidth(26.1, 26.1)
    assert made.result().loaded_at == TAKEN
    idle = made.result(active=False)
    assert (idle.rows[0].measured, idle.rows[0].bandwidth, idle.loaded_at) == ("1.0 x16", None, None)


def test_the_load_of_another_boot_is_not_looked_at(sample):
    made = sample()
    made.load["boot_id"] = "another"
    found = made.result()
    assert (found.rows[0].bandwidth, found.loaded_at) == (None, None)


def test_the_host_in_words(sample):
    host = sample().result().host
    assert host.cpu == "AMD EPYC 7252 Processor, 8 cores"
    assert host.memory == "32 GiB, ECC, 2 channels"
    assert (host.system, host.kernel, host.driver) == ("debian 12", "6.1.0-37-amd64", "580.95.05, open modules")
    made = sample()
    made.document["host"], made.document["cpu"], made.document["memory"], made.document["driver"] = {}, {}, {}, {}
    assert set(vars(made.result().host).values()) == {None}


def test_subjects_beside_the_cards():
    row = Row("A", "", None, "", None, None, Status.PASS)
    findings = [
        Finding("x", s, status) for s, status in (("rig", "PASS"), ("A", "FAIL"), ("rig", "WARN"), ("d", "PASS"))
    ]
    assert RigResult("r", (row,), tuple(findings)).others() == {"rig": "WARN", "d": "PASS"}


IDLE = "the card in {} of the board (the card at {}) is at rest"


def idle(slot, address, check="link.generation", status=Status.UNKNOWN, observed="1.0"):
    remedy = IDLE.format(slot, address)
    return Finding(check, slot, status, "4.0", observed, "idle", remedy, {"address": address})


def test_one_reason_is_said_once():
    a, b = idle("PCIE1", "0000:01:00.0"), idle("PCIE11", "0000:02:00.0", observed="2.0")
    (group,) = wrong([a, b])
    assert group.subjects == ("PCIE1", "PCIE11")
    assert group.finding.remedy == IDLE.format("PCIE1, PCIE11", "0000:01:00.0, 0000:02:00.0")
    assert (group.finding.declared, group.finding.observed) == ("4.0", "")


def test_what_differs_or_is_graver_stands_alone():
    slots = ("PCIE1", "PCIE2")
    assert len(list(wrong([idle(slot, "a", status=Status.FAIL) for slot in slots]))) == 2
    assert len(list(wrong([idle("PCIE1", "a"), idle("PCIE2", "a", check="link.width")]))) == 2
    other = Finding("link.generation", "PCIE2", Status.UNKNOWN, cause="idle", remedy="another")
    assert len(list(wrong([idle("PCIE1", "a"), other]))) == 2


def test_the_gravest_first():
    findings = [idle(status.value, "a", status=status) for status in Status]
    assert [group.finding.status for group in wrong(findings)] == ["FAIL", "WARN", "UNKNOWN"]
