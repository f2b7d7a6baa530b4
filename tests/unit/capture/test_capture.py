"""What is captured of a node, that it is true, and that what is not true is said."""

from __future__ import annotations

import pytest

from rigdeploy.capture.diff import differences
from rigdeploy.capture.gpus import nominal_gib
from rigdeploy.capture.host import model_words, sold_gib
from rigdeploy.capture.model import Kind
from rigdeploy.errors import NodeError
from rigdeploy.fleet.catalogue import SHIPPED
from rigdeploy.fleet.link import Link

BUILDS = sorted(path.stem for path in (SHIPPED / "builds").glob("*.yml"))


def link(document, **values):
    document["link"] |= values


def set_all(node, part, **values):
    for slot in node.rig.build.slots:
        getattr(node, part)(slot).update(values)


def notes(captured, kind=Kind.NOTE):
    return [(note.place, note.text) for entry in captured.entries for note in entry.notes if note.kind is kind]


@pytest.mark.parametrize("build", BUILDS)
def test_a_sound_node_passes_by_its_own_capture(node, catalogue, build):
    sound = node(build)
    captured = sound.capture()
    assert captured.warnings == []
    assert captured.added == ()
    assert sound.verdict(captured) == []
    assert differences(captured.build.model, captured) == []
    declared, found = catalogue.builds[build], captured.build.model
    assert found.vram_gib == declared.vram_gib
    assert {name: (slot.gpu, slot.link) for name, slot in found.slots.items()} == {
        name: (slot.gpu, slot.link) for name, slot in declared.slots.items()
    }
    for part in ("board", "cpu", "nics"):
        expected = getattr(declared, part)
        if part == "cpu" and expected is not None:
            expected = expected.model_copy(update={"watts": None})
        assert not expected or getattr(found, part) == expected


def test_the_name_says_board_and_cards(node):
    sound = node()
    sound.document["host"]["board"] = "ROMED8-2T"
    assert sound.capture().build.name == "romed8-2t-4x3090"
    assert sound.capture("mine").build.name == "mine"


@pytest.mark.parametrize(
    ("vendor", "board", "known"),
    [
        (None, "ASRock Rack ROMED8-2T", True),
        ("ASRockRack", "ROMED8-2T", True),
        ("", "asrock rack romed8 2t", True),
        (None, "ROMED9-2T", False),
        (None, None, False),
    ],
)
def test_a_board_is_known_by_its_name(node, vendor, board, known):
    sound = node()
    sound.document["host"] |= {"vendor": vendor, "board": board}
    captured = sound.capture()
    assert (captured.build.model.board == "asrock-rack-romed8-2t") is known
    assert [entry.path.parts[0] for entry in captured.added] == ([] if known else ["boards"])
    assert bool(captured.warnings) is (board is None)
    assert sound.verdict(captured) == []


class TestLinks:
    def test_at_rest_the_generation_is_what_card_and_port_can_do(self, node):
        sound = node()
        for slot in ("PCIE1", "PCIE3"):
            link(sound.card(slot), gen=1)
            link(sound.reading(slot), gen=1)
        link(sound.port("PCIE3"), gen_max=3)
        captured = sound.capture()
        slots = captured.build.model.slots
        assert (slots["PCIE1"].link, slots["PCIE3"].link) == (Link(4, 16), Link(3, 16))
        assert [place for place, text in notes(captured) if "at rest" in text] == [
            ("slots", "PCIE1"),
            ("slots", "PCIE3"),
        ]
        assert captured.warnings == []
        idle = [("link.generation", slot, "UNKNOWN", "idle") for slot in ("PCIE1", "PCIE3")]
        assert sound.verdict(captured) == idle

    def test_a_load_shows_the_generation(self, node):
        sound = node()
        link(sound.card("PCIE1"), gen=1)
        link(sound.reading("PCIE1"), gen=1)
        load = sound.put_under_load()
        captured = sound.capture(load=load)
        assert not [text for _, text in notes(captured) if "at rest" in text]
        assert sound.verdict(captured, load) == []
        assert [text for _, text in notes(sound.capture(load=load | {"boot_id": "other"})) if "at rest" in text]

    def test_slow_at_work_is_degraded(self, node):
        sound = node()
        link(sound.card("PCIE1"), gen=3)
        link(sound.reading("PCIE1"), gen=3)
        sound.reading("PCIE1").update(pstate=2, idle=False)
        captured = sound.capture()
        assert captured.build.model.slots["PCIE1"].link == Link(3, 16)
        (warning,) = captured.warnings
        assert "at work it runs at 3.0, and card and port can both do 4.0" in warning
        assert sound.verdict(captured) == []

    DOUBTFUL = (
        ({"width": 8}, {}, 8, "came up as x8, and card and port can both do x16"),
        ({"width": None}, {}, 16, "could not be read: x16 is what card and port can do"),
        ({}, {"width_max": None}, 16, "what the port above can do could not be read"),
        ({"width": 12}, {}, 8, "came up as x12"),
    )

    @pytest.mark.parametrize(("card", "port", "width", "words"), DOUBTFUL)
    def test_doubtful_widths(self, node, card, port, width, words):
        sound = node()
        link(sound.card("PCIE3"), **card)
        link(sound.port("PCIE3"), **port)
        if "width" in card:
            link(sound.reading("PCIE3"), **card)
        captured = sound.capture()
        assert captured.build.model.slots["PCIE3"].link.width == width
        assert any(line.startswith("slots.PCIE3: ") and words in line for line in captured.warnings)

    def test_a_narrow_port_is_what_the_slot_is(self, node):
        sound = node()
        link(sound.card("PCIE3"), width=8)
        link(sound.reading("PCIE3"), width=8)
        link(sound.port("PCIE3"), width=8, width_max=8)
        captured = sound.capture()
        assert captured.build.model.slots["PCIE3"].link.width == 8
        assert (captured.warnings, sound.verdict(captured)) == ([], [])


class TestDoubt:
    def test_a_virtual_machine(self, node):
        sound = node()
        sound.document["host"]["virtualisation"] = "kvm"
        assert "virtual machine" in sound.capture().warnings[0]

    @pytest.mark.parametrize("loaded", [False, True])
    def test_no_driver(self, node, loaded):
        sound = node(driver=False)
        sound.document["driver"]["loaded"] = loaded
        warnings = sound.capture().warnings
        assert ("does not answer" if loaded else "is not loaded") in warnings[0]

    def test_what_verification_finds_stands_in_the_file(self, node):
        sound = node()
        sound.reading("PCIE5")["clock_reasons"] = ["hw_slowdown"]
        (warning,) = sound.capture().warnings
        assert warning.startswith("slots.PCIE5: 'rigdeploy verify' will say FAIL gpu.health: hw-slowdown")

    def test_no_card_is_nothing_to_capture(self, node):
        sound = node()
        sound.document |= {"pci": [], "gpus": []}
        with pytest.raises(NodeError, match="shows no NVIDIA card"):
            sound.capture()


class TestSlots:
    def test_a_known_board_whose_slots_have_no_names(self, node):
        sound = node("budget-4x3090")
        sound.rename_slots(lambda _: None)
        captured = sound.capture()
        assert set(captured.build.model.slots) <= {f"PCIE{number}" for number in range(2, 7)}
        assert all(slot.address for slot in captured.build.model.slots.values())
        assert len(captured.warnings) == 4
        assert sound.verdict(captured) == []

    NAMES = (
        (lambda name: None, {"SLOT1", "SLOT2", "SLOT3", "SLOT4"}, 4),
        (lambda name: name[-1], {"SLOT1", "SLOT2", "SLOT3", "SLOT4"}, 4),
        (lambda name: "x: {{ 1 }}\n#", {"SLOT1", "SLOT2", "SLOT3", "SLOT4"}, 4),
        (lambda name: "PCIE9", {"PCIE9-2", "PCIE9-3", "PCIE9-4", "PCIE9"}, 4),
        (lambda name: f"SLOT {name}", {f"SLOT PCIE{n}" for n in (1, 3, 5, 7)}, 0),
    )

    @pytest.mark.parametrize(("rename", "slots", "pinned"), NAMES)
    def test_an_unknown_board(self, node, rename, slots, pinned):
        sound = node()
        sound.document["host"]["board"] = "B650 {{x}}"
        sound.rename_slots(rename)
        captured = sound.capture()
        build = captured.build.model
        assert set(build.slots) == slots
        assert sum(slot.address is not None for slot in build.slots.values()) == pinned == len(captured.warnings)
        assert (build.board, build.name) == ("b650-x", "b650-x-4x3090")
        assert sound.verdict(captured) == []

    def test_a_board_is_described_by_the_firmware(self, node):
        sound = node()
        sound.document["host"] |= {"board": "New", "vendor": "Maker"}
        sound.document["slots"] = [
            {"name": "PCIE3", "address": "0000:21:00.0", "used": True},
            {"name": "PCIE1", "address": "0000:11:00.0", "used": True},
            {"name": "M2_1", "address": "0000:f0:01.1", "used": True},
            {"name": "PCIE9", "address": None, "used": False},
        ]
        captured = sound.capture()
        (entry,) = captured.added
        assert list(captured.build.model.slots) == ["PCIE3", "PCIE1", "PCIE5", "PCIE7"]
        assert (entry.name, entry.model.name, entry.model.dmi) == ("new", "Maker New", ["New"])
        assert {name: slot.link for name, slot in entry.model.slots.items()} == {
            **{f"PCIE{number}": Link(4, 16) for number in (1, 3, 5, 7)},
            "M2_1": Link(4, 4),
        }
        assert (("slots",), "PCIE9 is empty, and what it can do could not be read.") in notes(captured)
        assert sound.verdict(captured) == []

    def test_the_catalogue_is_corrected_where_the_board_is_otherwise(self, node):
        sound = node("home-dual-4090")
        for slot in ("PCI_E1", "PCI_E2"):
            for part in (sound.card, sound.port, sound.reading):
                link(part(slot), width=16, width_max=16)
        captured = sound.capture()
        (entry,) = captured.added
        assert entry.model.lane_groups == []
        assert entry.model.slots["PCI_E2"].link == Link(5, 16)
        assert sound.verdict(captured) == []


class TestCards:
    def test_a_modded_card_is_known_by_its_memory(self, node):
        sound = node("wrx90e-4x4090")
        sound.reading("PCIEX16_3")["memory_mib"] = 49140
        captured = sound.capture()
        assert captured.build.model.slots["PCIEX16_3"].gpu == "rtx-4090-48gb"
        assert captured.build.model.vram_gib == 120
        assert (captured.added, sound.verdict(captured)) == ((), [])

    def test_unknown_memory_makes_a_model_of_its_own(self, node):
        sound = node()
        sound.reading("PCIE1")["memory_mib"] = 49152
        captured = sound.capture()
        (entry,) = captured.added
        gpu = entry.model
        assert (gpu.id, gpu.memory_gib, gpu.modified, gpu.architecture) == ("rtx-3090-48gb", 48, True, "ampere")
        assert sound.verdict(captured) == []

    def new(self, sound, **reading):
        for slot in sound.rig.build.slots:
            sound.card(slot)["device"] = "2786"
            power = {"minimum": 100.0, "default": 200.0, "maximum": 250.0, "enforced": 200.0, "limit": 200.0}
            values = {"name": "NVIDIA GeForce RTX 4070", "pci_id": "10de:2786", "memory_mib": 12282, "power": power}
            sound.reading(slot).update(values | reading)

    def test_an_unknown_card_is_described(self, node):
        sound = node()
        self.new(sound)
        captured = sound.capture()
        (entry,) = captured.added
        gpu = entry.model
        assert (gpu.id, gpu.architecture, gpu.pci_ids, gpu.memory_gib) == ("rtx-4070", "ada", ["10de:2786"], 12)
        assert (gpu.link, gpu.memory_mib.ecc_off, gpu.power.default) == (Link(4, 16), [12282], 200)
        assert captured.warnings == []
        assert sound.verdict(captured) == []

    def test_a_power_range_that_is_not_read_is_a_warning(self, node):
        sound = node()
        self.new(sound, power={})
        assert any("range of the power limit" in line for line in sound.capture().warnings)

    def test_a_known_card_with_another_id(self, node):
        sound = node()
        self.new(sound, name="NVIDIA GeForce RTX 3060", memory_mib=12288)
        captured = sound.capture()
        (entry,) = captured.added
        assert entry.name == "rtx-3060"
        assert entry.model.pci_ids[-1] == "10de:2786"
        assert sound.verdict(captured) == []

    def test_without_a_driver_an_unknown_card_is_no_guess(self, node):
        sound = node(driver=False)
        sound.card("PCIE1")["device"] = "2786"
        with pytest.raises(NodeError, match="10de:2786"):
            sound.capture()

    def test_a_power_limit_is_declared_where_it_is_not_the_default(self, node):
        sound = node()
        sound.reading("PCIE1")["power"] = {"default": 350.0, "enforced": 280.4, "limit": 280.4}
        sound.reading("PCIE3")["power"] = {"default": 350.0, "enforced": 5.0, "limit": 5.0}
        captured = sound.capture()
        limits = [slot.power_limit_watts for slot in captured.build.model.slots.values()]
        assert limits == [280, None, None, None]
        assert ["the catalogue allows" in line for line in captured.warnings] == [True]

    @pytest.mark.parametrize(
        ("sizes", "expected"),
        [([32768] * 4, True), ([256] * 4, False), ([256, 32768, 32768, 32768], None), ([8192] * 4, None)],
    )
    def test_resizable_bar_is_declared_when_all_agree(self, node, sizes, expected):
        sound = node()
        for slot, size in zip(sound.rig.build.slots, sizes, strict=True):
            sound.reading(slot)["bar1_mib"] = size
        captured = sound.capture()
        assert captured.build.model.resizable_bar is expected
        assert sound.verdict(captured) == []

    def test_errors_suggest_an_allowance(self, node):
        sound = node()
        sound.port("PCIE5")["aer"]["correctable"] = {"total": 48, "BadTLP": 48}
        captured = sound.capture()
        assert notes(captured, Kind.SUGGESTION) == [(("slots", "PCIE5"), "correctable_errors_per_hour: 2")]
        assert captured.build.model.slots["PCIE5"].correctable_errors_per_hour is None
        assert sound.verdict(captured) == []

    def test_nvlink_is_declared_where_a_load_shows_it(self, node):
        sound = node()
        one, two, three = (sound.card(slot)["address"] for slot in ("PCIE1", "PCIE3", "PCIE5"))
        load = sound.put_under_load() | {
            "nvlinks": [
                {"address": one, "total": 4, "active": 4, "peers": [two]},
                {"address": two, "total": 4, "active": 4, "peers": [one]},
                {"address": three, "total": 4, "active": 0, "peers": []},
            ]
        }
        captured = sound.capture(load=load)
        assert captured.build.model.nvlink == [["PCIE1", "PCIE3"]]
        assert sound.verdict(captured, load) == []


class TestHost:
    @pytest.mark.parametrize(
        ("model", "words"),
        [
            ("AMD EPYC 7252 8-Core Processor", "AMD EPYC 7252"),
            ("Intel(R) Core(TM) i7-9700K CPU @ 3.60GHz", "Intel Core i7-9700K"),
            ("Processor", "Processor"),
        ],
    )
    def test_a_processor_by_the_words_that_matter(self, model, words):
        assert model_words(model) == words

    @pytest.mark.parametrize(
        ("mib", "gib"),
        [(31950, 32), (64200, 64), (96400, 96), (128700, 128), (193000, 192), (257700, 256), (515000, 512), (7800, 8)],
    )
    def test_memory_as_it_is_sold(self, mib, gib):
        assert sold_gib(mib) == gib

    @pytest.mark.parametrize(
        ("mib", "ecc", "gib"),
        [
            (24576, None, 24), (24564, None, 24), (12282, None, 12), (11264, None, 11), (23028, True, 24),
            (46068, True, 48), (81559, True, 80), (97887, True, 96), (15360, True, 16), (143771, True, 141),
        ],
    )  # fmt: skip
    def test_a_card_s_memory_as_it_is_sold(self, mib, ecc, gib):
        assert nominal_gib(mib, ecc) == gib

    def test_ports_without_a_cable_and_disks_with_one_serial(self, node):
        sound = node()
        port = {"name": "eno9", "speed_mbps": None, "carrier": False}
        sound.document["nics"] = [
            {"name": "a", "speed_mbps": 1000, "carrier": True},
            {"name": "b", "speed_mbps": 2500, "carrier": True},
            port,
        ]
        sound.document["disks"] = [
            {"name": "sda", "serial": "X", "size_mib": 953869},
            {"name": "sdb", "serial": "X", "size_mib": 953869},
            {"name": "sdc", "serial": "Y", "size_mib": 1907729},
            {"name": "sdd", "serial": "Z", "size_mib": None},
        ]
        captured = sound.capture()
        build = captured.build.model
        assert [(nic.speed_gbps, nic.count) for nic in build.nics] == [(2.5, 1), (1.0, 1)]
        assert [(disk.size_gb, disk.serial) for disk in build.disks] == [(1000, None), (1000, None), (2000, "Y")]
        assert any("eno9" in text for place, text in notes(captured) if place == ("nics",))
        assert any("sdd" in text for place, text in notes(captured) if place == ("disks",))
        assert sound.verdict(captured) == []

    def test_what_could_not_be_read_is_left_out(self, node):
        sound = node()
        sound.document |= {"cpu": {}, "memory": {}, "nics": [], "disks": []}
        captured = sound.capture()
        assert (captured.build.model.cpu, captured.build.model.memory) == (None, None)
        assert [line.partition(":")[0] for line in captured.warnings] == ["cpu", "memory"]
