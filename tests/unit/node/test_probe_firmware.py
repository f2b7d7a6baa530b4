"""What the firmware's tables say: memory, its channels, slots and their addresses; and what EDAC counted."""

from __future__ import annotations

import pytest

from rigdeploy.node import probe
from tests.unit.node import smbios

DMI = "sys/firmware/dmi/tables/DMI"
GIB16 = 16 * 1024


def memory(tree, *structures):
    tree.file(DMI, smbios.table(*structures))
    return tree.observe()["memory"]


def test_modules_of_a_server(tree):
    found = memory(
        tree,
        smbios.array(),
        smbios.module("P1-DIMMA1", GIB16, "P0_Node0_Channel0_Dimm0"),
        smbios.module("P1-DIMMB1", smbios.NO_MODULE, "P0_Node0_Channel1_Dimm0"),
        smbios.module("P1-DIMMC1", GIB16, "P0_Node0_Channel2_Dimm0"),
    )
    module = {"size_mib": GIB16, "speed_mts": 2933, "type": "DDR4"}
    assert found["modules"] == [
        {"locator": "P1-DIMMA1", "channel": "0"} | module,
        {"locator": "P1-DIMMC1", "channel": "2"} | module,
    ]
    assert (found["installed_mib"], found["ecc"], found["channels"]) == (2 * GIB16, True, 2)


@pytest.mark.parametrize(
    ("fields", "mib"),
    [
        ({"size": 0x4000}, 16384),
        ({"size": 0x8000 | 2048}, 2),  # bit 15: KiB
        ({"size": smbios.EXTENDED, "extended": 65536}, 65536),
        ({"size": smbios.EXTENDED, "extended": 0x80000000 | 65536}, 65536),  # the top bit is reserved
        ({"size": smbios.UNKNOWN}, None),
        ({"size": smbios.EXTENDED, "length": 0x1C}, None),  # before version 2.7 there was no such field
    ],
)
def test_sizes(tree, why, fields, mib):
    tree.file(DMI, smbios.table(smbios.array(), smbios.module("DIMM_A1", **fields)))
    document = tree.observe()
    assert document["memory"]["modules"][0]["size_mib"] == document["memory"]["installed_mib"] == mib
    assert bool(why(document, "memory.installed_mib")) == (mib is None)


@pytest.mark.parametrize(
    ("fields", "speed"),
    [
        ({"speed": 3200, "configured": 2933}, 2933),
        ({"speed": 3200, "configured": 0}, 3200),
        ({"speed": 3200, "length": 0x20}, 3200),
        ({"speed": 0, "configured": 0}, None),
        ({"speed": 0xFFFF, "configured": 0xFFFF, "extended_configured": 70_000}, 70_000),
        ({"speed": 0, "configured": 0xFFFF, "length": 0x28}, None),
    ],
)
def test_speeds(tree, fields, speed):
    (found,) = memory(tree, smbios.module("DIMM_A1", GIB16, **fields))["modules"]
    assert found["speed_mts"] == speed


@pytest.mark.parametrize(("kind", "name"), [(0x1A, "DDR4"), (0x22, "DDR5"), (0x18, "DDR3"), (0x02, None), (0xEE, None)])
def test_types(tree, kind, name):
    assert memory(tree, smbios.module("DIMM_A1", GIB16, kind=kind))["modules"][0]["type"] == name


@pytest.mark.parametrize(
    ("checks", "ecc"),
    [
        *(([1], None), ([2], None), ([3], False), ([4], False), ([5], True), ([6], True), ([7], True)),
        *(([6, 6], True), ([6, 3], False), ([6, 2], None), ([], None)),
    ],
)
def test_error_correction(tree, why, checks, ecc):
    arrays = [smbios.array(0x10 + index, check=check) for index, check in enumerate(checks)]
    tree.file(DMI, smbios.table(*arrays, smbios.module("DIMM_A1", GIB16)))
    document = tree.observe()
    assert document["memory"]["ecc"] is ecc
    assert bool(why(document, "memory.ecc")) == (ecc is None)


def test_the_firmwares_own_flash_is_no_memory(tree):
    flash = smbios.array(0x50, use=5, check=3), smbios.module("SYSTEM ROM", 16, array=0x50)
    found = memory(tree, *flash, smbios.array(), smbios.module("DIMM_A1", GIB16))
    assert (found["installed_mib"], found["ecc"], len(found["modules"])) == (GIB16, True, 1)


@pytest.mark.parametrize(
    ("locator", "bank", "channel"),
    [
        ("DIMM_A1", "BANK 0", ("A",)),
        ("DIMM A1", "", ("A",)),
        ("DIMMA1", "", ("A",)),
        ("A1", "", ("A",)),
        ("B", "", None),
        ("DIMM_B", "", ("B",)),
        ("CPU0_DIMM_A1", "", ("0", "A")),
        ("CPU1_DIMM_A1", "", ("1", "A")),
        ("P1-DIMMA1", "Not Specified", ("1", "A")),
        ("P1-DIMMA1", "P0_Node0_Channel0_Dimm0", ("0", "0", "0")),
        ("DIMMG2", "P0_Node1_Channel6_Dimm1", ("0", "1", "6")),
        ("DIMM_P0_A0", "BANK 0", ("0", "A")),
        ("DIMM 0", "P0 CHANNEL A", ("0", "A")),
        ("DIMM 1", "P1 CHANNEL L", ("1", "L")),
        ("ChannelA-DIMM0", "BANK 0", ("A",)),
        ("Controller1-ChannelB-DIMM0", "BANK 0", ("1", "B")),
        ("Channel-1-DIMM-0", "BANK 2", ("1",)),
        ("DIMM1", "BANK 0", None),
        ("DIMM 3", "Bank 3", None),
        ("XMM2", "Not Specified", None),
        ("PROC 1 DIMM 3", "", None),
        ("P1", "", None),
        ("CPU1", "", None),
        ("Bottom-Slot 1(left)", "BANK 0", None),
        ("", "", None),
    ],
)
def test_channels_by_the_names_of_sockets(locator, bank, channel):
    assert probe.channel_of(locator, bank) == channel


CHANNELS = [
    # sockets as (locator, bank, populated) -> channels with a module
    ([("DIMM_A1", "", 0), ("DIMM_A2", "", 1), ("DIMM_B1", "", 0), ("DIMM_B2", "", 1)], 2),
    ([("DIMM_A1", "", 1), ("DIMM_A2", "", 1), ("DIMM_B1", "", 0), ("DIMM_B2", "", 0)], 1),
    ([(f"DIMM {n % 2}", f"P0 CHANNEL {c}", n % 2) for c in "ABCDEFGH" for n in (0, 1)], 8),
    ([(f"CPU{cpu}_DIMM_{c}1", "", c != "D") for cpu in (0, 1) for c in "ABCD"], 6),
    ([("Controller0-ChannelA-DIMM0", "BANK 0", 1), ("Controller1-ChannelA-DIMM0", "BANK 0", 1)], 2),
    ([(f"A{n}", "", n < 9) for n in range(1, 17)], None),  # Dell: the letter is the socket
    ([("DIMM1", "BANK 0", 1), ("DIMM2", "BANK 1", 1)], None),
    ([("DIMM_A1", "", 1), ("DIMM2", "", 1)], None),
    ([("DIMM_A1", "", 1), ("DIMM2", "", 0)], 1),  # an empty socket may be called anything
]


@pytest.mark.parametrize(("sockets", "channels"), CHANNELS)
def test_populated_channels(tree, why, sockets, channels):
    modules = [smbios.module(locator, GIB16 if filled else 0, bank) for locator, bank, filled in sockets]
    tree.file(DMI, smbios.table(smbios.array(), *modules))
    document = tree.observe()
    assert document["memory"]["channels"] == channels
    assert bool(why(document, "memory.channels")) == (channels is None)


def test_without_tables_memory_is_what_the_kernel_has_and_edac_counts(tree, why):
    tree.file("proc/meminfo", "MemTotal:       131899648 kB\nMemFree:  1 kB\n")
    for name, correctable, uncorrectable in (("mc0", 3, 0), ("mc1", 4, 1)):
        tree.file(f"sys/devices/system/edac/mc/{name}/ce_count", f"{correctable}\n")
        tree.file(f"sys/devices/system/edac/mc/{name}/ue_count", f"{uncorrectable}\n")
    tree.file("sys/devices/system/edac/mc/power/control", "auto\n")
    document = tree.observe()
    expected = {"total_mib": 128808, "installed_mib": None, "ecc": True, "channels": None, "modules": []}
    assert document["memory"] == expected | {"correctable": 7, "uncorrectable": 1}
    assert "No such file" in why(document, "memory.modules")[0]
    assert "No such file" in why(document, "slots")[0]


def test_what_cannot_be_counted_is_no_zero(tree, why):
    tree.file("sys/devices/system/edac/mc/mc0/ce_count", "3\n")
    tree.file("sys/devices/system/edac/mc/mc1/ce_count", "?\n")
    document = tree.observe()
    assert (document["memory"]["correctable"], document["memory"]["uncorrectable"]) == (None, None)
    assert why(document, "memory.correctable")
    assert why(document, "memory.uncorrectable")


def test_the_tables_say_more_of_ecc_than_a_driver_that_is_loaded(tree):
    tree.file("sys/devices/system/edac/mc/mc0/ce_count", "0\n")
    assert memory(tree, smbios.array(check=3), smbios.module("DIMM_A1", GIB16))["ecc"] is False


GOOD = smbios.table(smbios.array(), smbios.module("DIMM_A1", GIB16), smbios.slot("PCIE1", "0000:41:00.0"))


@pytest.mark.parametrize("length", range(0, len(GOOD), 7))
def test_a_table_that_is_cut_gives_what_is_whole(tree, length):
    tree.file(DMI, GOOD[:length])
    document = tree.observe()
    assert document["memory"]["installed_mib"] in (None, GIB16)
    assert [slot["name"] for slot in document["slots"]] in ([], ["PCIE1"])
    assert document["memory"]["total_mib"] is None


@pytest.mark.parametrize("data", [b"\0" * 4096, b"\xff" * 4096, b"\x11\x04\x00\x00\0\0" * 100_000, b"\x09\x05\0\0\xff"])
def test_a_table_of_nonsense_is_read_quickly_and_says_nothing(tree, data):
    tree.file(DMI, data)
    document = tree.observe()
    assert (document["memory"]["installed_mib"], document["slots"]) == (None, [])


def test_a_table_of_a_hundred_kilobytes_is_read_whole(tree):
    filler = [smbios.slot(f"FILLER{number:04}" + "x" * 60) for number in range(200)] * 6
    tree.file(DMI, smbios.table(*filler, smbios.array(), smbios.module("DIMM_A1", GIB16)))
    assert tree.observe()["memory"]["installed_mib"] == GIB16


@pytest.mark.parametrize(
    ("slot", "address", "used"),
    [
        (smbios.slot("PCIE1", "0000:41:00.0"), "0000:41:00.0", True),
        (smbios.slot("PCIE1", "0001:c0:1f.6"), "0001:c0:1f.6", True),
        (smbios.slot("PCIE1", usage=3), None, False),  # before version 2.6
        (smbios.slot("PCIE1", raw=(0, 0xFF, 0xFF), usage=3), None, False),
        (smbios.slot("PCIE1", raw=(0xFFFF, 0xFF, 0xFF), usage=5), None, None),
        (smbios.slot("PCIE1", raw=(0, 0, 0), usage=2), None, None),
    ],
)
def test_slots(tree, slot, address, used):
    tree.file(DMI, smbios.table(slot))
    assert tree.observe()["slots"] == [{"name": "PCIE1", "address": address, "used": used}]


PORT = {"vendor": "0x1022", "device": "0x1483", "class": "0x060400"}
CARD = {"vendor": "0x10de", "device": "0x2204", "class": "0x030000"}


@pytest.fixture
def two_slots(tree):
    """Two ports of one processor, a card with two functions behind the first, nothing behind the second."""
    tree.pci("0000:00:01.0", vendor="0x1022", device="0x1482", **{"class": "0x060000"})
    tree.pci("0000:00:01.1", secondary_bus_number="1", **PORT)
    tree.pci("0000:00:01.1/0000:01:00.0", **CARD)
    tree.pci("0000:00:01.1/0000:01:00.1", **CARD | {"class": "0x040300"})
    tree.pci("0000:00:01.3", secondary_bus_number="2", **PORT)
    return tree


FIRST = {"0000:00:01.1": "PCIE1", "0000:01:00.0": "PCIE1", "0000:01:00.1": "PCIE1"}
NAMED = [
    ([smbios.slot("PCIE1", "0000:01:00.0")], FIRST),  # the card
    ([smbios.slot("PCIE1", "0000:01:00.1")], FIRST),
    ([smbios.slot("PCIE1", "0000:00:01.1")], FIRST),  # the port
    ([smbios.slot("PCIE1", "0000:01:1f.0")], FIRST),  # the bus alone
    ([smbios.slot("PCIE2", "0000:02:00.0", usage=3)], {"0000:00:01.3": "PCIE2"}),  # the bus of an empty slot
    ([smbios.slot("PCIE2", "0000:00:01.3", usage=3)], {"0000:00:01.3": "PCIE2"}),
    ([smbios.slot("PCIE1", "0000:00:01.0")], {}),  # the host bridge beside the ports: either could be meant
    ([smbios.slot("PCIE1", "0000:09:00.0")], {}),
    (
        [smbios.slot("A", "0000:01:00.0"), smbios.slot("PCIE1", "0000:01:00.0", usage=3)],
        FIRST | dict.fromkeys(FIRST, "A"),
    ),
    ([smbios.slot("A", "0000:01:00.0"), smbios.slot("B", "0000:01:00.0")], {}),  # filler
    ([smbios.slot("A", "0000:01:00.0"), smbios.slot("B", "0000:00:01.1")], {}),  # the card, and the port above it
    ([smbios.slot("PCIE1", "0000:01:00.0"), smbios.slot("B", "0000:00:01.1", usage=3)], FIRST),
    ([smbios.slot("PCIE1", "0000:01:00.0"), smbios.slot("B", "0000:01:00.1", usage=3)], FIRST),
    ([smbios.slot("B", "0000:00:01.1", usage=3)], {}),  # a slot that is empty does not hold the card
    ([smbios.slot("B", "0000:01:1f.0", usage=3)], {}),
]


@pytest.mark.parametrize(("slots", "names"), NAMED)
def test_which_functions_bear_a_slots_name(two_slots, slots, names):
    two_slots.file(DMI, smbios.table(*slots))
    found = {device["address"]: device["slot"] for device in two_slots.observe()["pci"]}
    assert {address: name for address, name in found.items() if name} == names


def test_the_firmwares_name_wins_over_the_kernels_number(two_slots):
    two_slots.file("sys/bus/pci/slots/4/address", "0000:01:00\n")
    two_slots.file("sys/bus/pci/slots/5/address", "0000:02:00\n")
    two_slots.file(DMI, smbios.table(smbios.slot("PCIE1", "0000:00:01.1")))
    found = {device["address"]: device["slot"] for device in two_slots.observe()["pci"]}
    assert found["0000:01:00.0"] == found["0000:00:01.1"] == "PCIE1"
