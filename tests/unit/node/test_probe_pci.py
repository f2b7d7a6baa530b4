"""The PCI walk over recorded trees."""

from __future__ import annotations

import pytest

from rigdeploy.node import probe

LINK = {
    "current_link_width": "16",
    "max_link_width": "16",
    "current_link_speed": "16.0 GT/s PCIe",
    "max_link_speed": "16.0 GT/s PCIe",
}
PORT = {"vendor": "0x1022", "device": "0x1483", "class": "0x060400"} | LINK
CARD = {"vendor": "0x10de", "device": "0x2204", "class": "0x030000"} | LINK


@pytest.mark.parametrize(
    ("text", "gen"),
    [
        ("2.5 GT/s PCIe", 1),
        ("2.5 GT/s", 1),
        ("5 GT/s", 2),
        ("5.0 GT/s PCIe", 2),
        ("8 GT/s", 3),
        ("8.0 GT/s PCIe", 3),
        ("16 GT/s", 4),
        ("16.0 GT/s PCIe", 4),
        ("32.0 GT/s PCIe", 5),
        ("64.0 GT/s PCIe", 6),
        ("Unknown", None),
        ("Unknown speed", None),
        ("", None),
        ("7 GT/s", None),
        ("16.0 GT/s PCIe; rm -rf /", None),
    ],
)
def test_speeds_of_old_and_new_kernels(text, gen):
    assert probe.generation(text) == gen


@pytest.mark.parametrize(
    ("text", "lanes"),
    [
        ("1", 1),
        ("16", 16),
        ("16x", 16),
        ("0", None),
        ("63", None),
        ("255", None),
        ("", None),
        ("-1", None),
        ("x", None),
    ],
)
def test_widths(text, lanes):
    assert probe.width(text) == lanes


def test_the_chain_of_ports_up_to_the_root(tree):
    tree.pci("0000:00:01.1", **PORT)
    tree.pci("0000:00:01.1/0000:01:00.0", **PORT)
    tree.pci("0000:00:01.1/0000:01:00.0/0000:02:00.0", **CARD)
    found = {device["address"]: device["parent"] for device in tree.observe()["pci"]}
    assert found == {"0000:00:01.1": None, "0000:01:00.0": "0000:00:01.1", "0000:02:00.0": "0000:01:00.0"}


def test_a_card(tree):
    tree.pci("0000:00:01.1", **PORT)
    tree.pci("0000:00:01.1/0000:01:00.0", **CARD | {"current_link_width": "8", "current_link_speed": "2.5 GT/s PCIe"})
    card = tree.observe()["pci"][1]
    assert (card["vendor"], card["device"], card["class"]) == ("10de", "2204", "030000")
    assert card["link"] == {"width": 8, "width_max": 16, "gen": 1, "gen_max": 4}


@pytest.mark.parametrize(("width", "speed"), [("0", "Unknown"), ("63", "Unknown"), ("255", "Unknown speed")])
def test_a_card_that_no_longer_answers(tree, why, width, speed):
    tree.pci("0000:01:00.0", **CARD | {"current_link_width": width, "current_link_speed": speed})
    document = tree.observe()
    assert document["pci"][0]["link"] == {"width": None, "width_max": 16, "gen": None, "gen_max": 4}
    assert repr(width) in why(document, "pci[0000:01:00.0].link.width")[0]
    assert repr(speed) in why(document, "pci[0000:01:00.0].link.gen")[0]


def test_what_should_have_a_link_and_shows_none_is_noted(tree, why):
    tree.pci("0000:00:00.0", vendor="0x1022", device="0x1480", **{"class": "0x060000"})
    tree.pci("0000:01:00.0", vendor="0x10de", device="0x2204", **{"class": "0x030000"})
    document = tree.observe()
    assert [device["link"] for device in document["pci"]] == [None, None]
    assert why(document, "pci[0000:01:00.0].link")
    assert not why(document, "pci[0000:00:00.0].link"), "a host bridge has no link to read"


def test_a_slots_name_goes_to_its_functions_and_to_the_port_above(tree):
    tree.pci("0000:00:01.1", **PORT)
    tree.pci("0000:00:01.1/0000:01:00.0", **CARD)
    tree.pci("0000:00:01.1/0000:01:00.1", **CARD | {"class": "0x040300"})
    tree.pci("0000:00:03.1", **PORT)
    tree.file("sys/bus/pci/slots/PCIE3/address", "0000:01:00\n")
    tree.file("sys/bus/pci/slots/PCIE4/address", "0000:09:00\n")
    slots = {device["address"]: device["slot"] for device in tree.observe()["pci"]}
    expected = {"0000:00:01.1": "PCIE3", "0000:01:00.0": "PCIE3", "0000:01:00.1": "PCIE3", "0000:00:03.1": None}
    assert slots == expected


def test_error_counters(tree):
    tree.pci(
        "0000:01:00.0",
        **CARD,
        aer_dev_correctable="RxErr 0\nBadTLP 11\nBadDLLP 0\nTimeout 1\nTOTAL_ERR_COR 12",
        aer_dev_nonfatal="Undefined 0\nDLP 0\nTOTAL_ERR_NONFATAL 0",
        aer_dev_fatal="DLP 2",
    )
    assert tree.observe()["pci"][0]["aer"] == {
        "correctable": {"total": 12, "BadTLP": 11, "Timeout": 1},
        "nonfatal": {"total": 0},
        "fatal": {"total": 2, "DLP": 2},
    }


def test_no_error_counters_is_null_and_noted(tree, why):
    tree.pci("0000:01:00.0", **CARD)
    document = tree.observe()
    assert document["pci"][0]["aer"] is None
    assert why(document, "pci[0000:01:00.0].aer")


def test_no_pci_at_all_is_noted(tree, why):
    tree.root.mkdir()
    document = tree.observe()
    assert document["pci"] == []
    assert "No such file" in why(document, "pci")[0]


def test_where_a_function_sits(tree):
    tree.pci("0000:01:00.0", numa_node="1", **CARD)
    tree.pci("0000:02:00.0", numa_node="-1", **CARD)
    home = tree.root / "sys/devices/pci0000:00/0000:01:00.0"
    (home / "driver").symlink_to("../../../../bus/pci/drivers/nvidia")
    (home / "iommu_group").symlink_to("../../../../kernel/iommu_groups/27")
    first, second = tree.observe()["pci"]
    assert (first["driver"], first["numa_node"], first["iommu_group"]) == ("nvidia", 1, 27)
    assert (second["driver"], second["numa_node"], second["iommu_group"]) == (None, None, None)


RESOURCE = """0x00000000f5000000 0x00000000f5ffffff 0x0000000000040200
0x0000383000000000 0x00003837ffffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000383800000000 0x0000383801ffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000000003000 0x000000000030307f 0x0000000000040101
0x00000000f6000000 0x00000000f6ffffff 0x0000000000046200"""


def test_the_sizes_of_memory_bars(tree):
    tree.pci("0000:01:00.0", **CARD, resource=RESOURCE)
    assert tree.observe()["pci"][0]["bars_mib"] == [16, 32768, 32], "no port, no ROM"


@pytest.mark.parametrize("text", ["", "0x0 0xfffff", "x\n" * 9, "0xfffff 0x0 0x200", "0x0 0xffffe 0x200"])
def test_what_is_no_memory_bar(text):
    assert probe.bars_mib(text) == []


def config(*capabilities, size=4096, control=0x0000, at=0x150):
    """A configuration space with a chain of extended capabilities; ACS's control register holds this."""
    space = bytearray(size)
    space[:4] = bytes.fromhex("de100422")
    places = [0x100, at, 0x200][: len(capabilities)]
    for place, following, capability in zip(places, [*places[1:], 0][: len(places)], capabilities, strict=True):
        space[place : place + 4] = (capability | 1 << 16 | following << 20).to_bytes(4, "little")
        if capability == probe.ACS:
            space[place + 6 : place + 8] = control.to_bytes(2, "little")
    return bytes(space)


LOOP = bytearray(config(1, 2))
LOOP[0x150:0x154] = (2 | 1 << 16 | 0x100 << 20).to_bytes(4, "little")
SERVICES = [
    (config(1, probe.ACS, control=0x1D), ["SrcValid", "ReqRedir", "CmpltRedir", "UpstreamFwd"]),
    (config(probe.ACS, control=0x7F), list(probe.ACS_BITS)),
    (config(1, probe.ACS), []),  # there, and all off
    (config(1, 2), []),  # none to switch on
    (config(), []),
    (bytes(LOOP), []),
    (config(1, probe.ACS, at=0xFFC, control=0), []),  # runs out of the space
    (config(1)[:64], None),  # who is not root reads no more
    (config(1)[:256], None),
    (b"", None),
    (b"\xff" * 4096, None),  # fell off the bus
]


@pytest.mark.parametrize(("space", "services"), SERVICES)
def test_access_control_services(tree, why, space, services):
    tree.pci("0000:00:01.1", **PORT)
    tree.pci("0000:00:01.1/0000:01:00.0", **CARD)
    tree.file("sys/devices/pci0000:00/0000:00:01.1/config", space)
    document = tree.observe()
    assert document["pci"][0]["acs"] == services
    assert bool(why(document, "pci[0000:00:01.1].acs")) == (services is None)


@pytest.mark.parametrize(("code", "read"), [("0x010802", True), ("0x020000", True), ("0x0c0330", False)])
def test_details_are_read_where_they_are_judged(tree, code, read):
    """Reading all that two hundred functions of a server have would cost more than everything else."""
    counters = {"aer_dev_fatal": "TOTAL_ERR_FATAL 1"}
    tree.pci("0000:00:01.1", **PORT, **counters)
    tree.pci("0000:00:01.1/0000:01:00.0", vendor="0x144d", device="0xa808", **{"class": code}, **counters, **LINK)
    document = tree.observe()
    assert [bool(device["aer"]) for device in document["pci"]] == [read, read]
    assert not [line for line in document["unread"] if line["what"].startswith("pci")]
