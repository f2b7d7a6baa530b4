"""The generator: what /sys of a twin shows, sound and with each fault."""

from __future__ import annotations

import pytest

from rigdeploy.lab import cards, config_space, driver_view, hardware, kernel_log, sysfs
from rigdeploy.lab.faults import Faults, SlotFault
from rigdeploy.lab.topology import ports

BUILDS = (
    "pro-4x3090", "budget-4x3090", "romed8-7x4090", "wrx90e-4x4090", "home-dual-4090", "dual-4090-no-nvlink",
)  # fmt: skip


@pytest.fixture
def parts(catalogue):
    def get(build: str):
        declared = catalogue.builds[build]
        return declared, catalogue.boards[declared.board], catalogue.gpus

    return get


def device(root, address: str):
    return (root.directory / "sys/bus/pci/devices" / address).resolve()


def read(path) -> str:
    return path.read_text().strip()


@pytest.mark.parametrize("build", BUILDS)
def test_addresses_are_unique_and_every_card_has_its_port_above_it(make_root, parts, build):
    declared, board, gpus = parts(build)
    root = make_root(build)
    places = ports(declared, board)
    assert len({p.address for p in places}) == len({p.bus for p in places}) == len(board.slots)
    found = cards.cards(declared, board, gpus, Faults())
    assert {card.slot for card in found} == set(declared.slots)
    for card in found:
        path = device(root, card.address)
        assert (path.parent.name, path.parent.parent.name) == (card.port.address, f"pci{card.port.root}")
        assert (read(path / "vendor"), read(path / "class")) == ("0x10de", "0x030000")
        assert read(path.parent / f"{card.port.bus}:00.1" / "class") == "0x040300"
        assert read(path.parent / "class") == "0x060400"
        assert (path / "subsystem").resolve() == root.directory / "sys/bus/pci"
        number = list(board.slots).index(card.slot) + 1
        assert read(root.directory / f"sys/bus/pci/slots/{number}/address") == card.address.rpartition(".")[0]
        assert card.link == declared.slots[card.slot].link, "a sound twin has the declared link"


def test_sysfs_has_the_kernels_formats(make_root):
    path = device(make_root(), "0000:41:00.0")
    assert read(path / "current_link_speed") == read(path / "max_link_speed") == "16.0 GT/s PCIe"
    assert read(path / "current_link_width") == read(path.parent / "max_link_width") == "16"
    lines = (path / "aer_dev_correctable").read_text().splitlines()
    assert lines == [
        "RxErr 0", "BadTLP 0", "BadDLLP 0", "Rollover 0", "Timeout 0", "NonFatalErr 0", "CorrIntErr 0", "HeaderOF 0",
        "TOTAL_ERR_COR 0",
    ]  # fmt: skip
    assert (path / "aer_dev_fatal").read_text().endswith("PoisonTLPBlocked 0\nTOTAL_ERR_FATAL 0\n")
    start, end, _flags = (int(word, 16) for word in (path / "resource").read_text().splitlines()[1].split())
    assert end - start + 1 == 32768 << 20, "BAR1, with Resizable BAR"
    config = (path / "config").read_bytes()
    assert config[:4] == bytes.fromhex("de100422")
    assert len(config) >= 64


def test_budget_rig_is_x1_by_design(make_root):
    path = device(make_root("budget-4x3090"), "0000:02:00.0")
    assert (read(path / "current_link_speed"), read(path / "current_link_width")) == ("8.0 GT/s PCIe", "1")
    assert read(path / "max_link_width") == "16"
    assert read(path.parent / "max_link_width") == "1"
    assert read(path.parent / "vendor") == "0x8086"


def test_bifurcated_port_advertises_what_is_declared(parts):
    declared, board, _ = parts("home-dual-4090")
    limits = {port.slot: port.limit.width for port in ports(declared, board)}
    assert limits["PCI_E1"] == declared.slots["PCI_E1"].link.width == 8
    alone = declared.model_copy(update={"slots": {"PCI_E1": declared.slots["PCI_E1"]}})
    assert {port.slot: port.limit.width for port in ports(alone, board)}["PCI_E1"] == 16


def test_pinned_address_is_kept(parts):
    declared, board, gpus = parts("dual-4090-no-nvlink")
    slot = declared.slots["SLOT1"].model_copy(update={"address": "0000:65:00.0"})
    pinned = declared.model_copy(update={"slots": {**declared.slots, "SLOT1": slot}})
    assert {c.slot: c.address for c in cards.cards(pinned, board, gpus, Faults())}["SLOT1"] == "0000:65:00.0"


def faulty(**fault) -> Faults:
    return Faults(slots={"PCIE3": SlotFault(**fault)})


def test_width_at_the_card_leaves_the_ports_limit(make_root):
    path = device(make_root(faults=faulty(width=8)), "0000:41:00.0")
    assert read(path / "current_link_width") == read(path.parent / "current_link_width") == "8"
    assert read(path / "max_link_width") == read(path.parent / "max_link_width") == "16"


def test_width_and_generation_at_the_port(make_root):
    path = device(make_root(faults=faulty(width=4, gen=3, at="port")), "0000:41:00.0")
    assert read(path / "current_link_width") == read(path.parent / "max_link_width") == "4"
    assert read(path / "current_link_speed") == read(path.parent / "max_link_speed") == "8.0 GT/s PCIe"
    assert read(path / "max_link_speed") == "16.0 GT/s PCIe"


@pytest.mark.parametrize(
    ("fault", "trained", "with_driver", "under_load"),
    [
        ({}, 4, 1, 4),
        ({"busy": True}, 4, 4, 4),
        ({"gen": 3}, 3, 1, 3),
        ({"stuck_gen": 2}, 4, 1, 2),
        ({"stuck_gen": 2, "busy": True}, 4, 2, 2),
    ],
)
def test_the_generation_falls_back_at_rest_and_rises_under_load(parts, fault, trained, with_driver, under_load):
    port = "sys/devices/pci0000:40/0000:40:01.1"
    for resting, gen in ((False, trained), (True, with_driver)):
        tree = hardware.tree(*parts("pro-4x3090"), faulty(**fault), resting=resting)
        for end in (port, f"{port}/0000:41:00.0", f"{port}/0000:41:00.1"):
            assert tree[f"{end}/current_link_speed"] == sysfs.speed(gen) + "\n"
            assert tree[f"{end}/current_link_width"] == "16\n"
            assert tree[f"{end}/config"][config_space.LINK_STATUS] & 0x0F == gen
    assert f" gen={under_load} width=16 " in cuda_line(parts, **fault)


def cuda_line(parts, **fault) -> str:
    """What the simulated CUDA driver is told of the card in PCIE3."""
    lines = driver_view.cuda_conf(*parts("pro-4x3090"), faulty(**fault)).splitlines()
    return next(line for line in lines if line.startswith("address=0000:41:00.0 "))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ["memory_mib=24576", "efficiency=0.85", "port_dir=/sys/devices/pci0000:40/0000:40:01.1"]),
        ({"bandwidth": 40}, ["efficiency=0.34"]),
        ({"bad_memory": True}, ["bad_words=64", "bad_memory_at_mib=110"]),
        ({"busy": True}, ["processes=1", "used_mib=4096"]),
        ({"width": 4, "memory_mib": 12288}, ["width=4", "memory_mib=12288"]),
    ],
)
def test_the_simulated_cuda_driver_is_told(parts, fault, words):
    assert set(words) <= set(cuda_line(parts, **fault).split())


def test_cards_that_are_to_reach_each_other(parts):
    declared, board, gpus = parts("pro-4x3090")
    build = declared.model_copy(update={"peer_to_peer": True, "nvlink": [["PCIE1", "PCIE3"]]})
    lines = driver_view.cuda_conf(build, board, gpus, Faults(slots={"PCIE1": SlotFault(missing=True)})).splitlines()[1:]
    assert all(" p2p=1" in line for line in lines)
    assert [line.partition("nvlink=")[2] for line in lines] == ["-,-,-,-", "", ""]
    tree = hardware.tree(build, board, gpus, Faults())
    assert not any("iommu" in name for name in tree)
    assert "iommu=off" in tree["proc/cmdline"]


def test_missing_card_leaves_its_port_empty(make_root):
    root = make_root()
    port = device(root, "0000:41:00.0").parent
    make_root(faults=faulty(missing=True))
    assert not (root.directory / "sys/bus/pci/devices/0000:41:00.0").is_symlink()
    assert not (port / "0000:41:00.0").exists()
    assert read(port / "current_link_width") == "0"
    classes = [read(path) for path in (root.directory / "sys/bus/pci/devices").glob("*/class")]
    assert classes.count("0x030000") == 3


@pytest.mark.parametrize(
    ("fault", "memory", "bar1"),
    [
        ({}, 24576, 32768),
        ({"modded": True}, 49152, 32768),
        ({"memory_mib": 12288}, 12288, 32768),
        ({"bar1_mib": 256}, 24576, 256),
    ],
)
def test_memory_and_bar1(parts, fault, memory, bar1):
    records = driver_view.gpu_records(*parts("pro-4x3090"), faulty(**fault), "rig01")
    (record,) = (r for r in records if r["slot"] == "PCIE3")
    assert (record["memory_mib"], record["bar1_mib"], record["ecc"]) == (memory, bar1, None)


def test_ecc_takes_memory_where_the_card_has_it(catalogue, parts):
    declared, board, gpus = parts("dual-4090-no-nvlink")
    slot = declared.slots["SLOT1"].model_copy(update={"gpu": "rtx-a6000"})
    build = declared.model_copy(update={"slots": {"SLOT1": slot}})
    for ecc, memory in ((False, 49140), (True, 46068)):
        (record,) = driver_view.gpu_records(build, board, gpus, Faults(slots={"SLOT1": SlotFault(ecc=ecc)}), "x")
        assert (record["memory_mib"], record["ecc"]) == (memory, ecc)


def test_two_rigs_of_one_build_have_different_cards(parts):
    uuids = [r["uuid"] for rig in ("a", "b") for r in driver_view.gpu_records(*parts("pro-4x3090"), Faults(), rig)]
    assert len(set(uuids)) == 8
    again = [r["uuid"] for r in driver_view.gpu_records(*parts("pro-4x3090"), Faults(), "a")]
    assert again == uuids[:4]


def test_correctable_errors_grow(parts):
    fault = SlotFault(aer_per_minute=12, aer_since=1000.0)
    assert [fault.aer_count(now) for now in (1000.0, 1030.0, 1060.0)] == [12, 18, 24]
    tree = hardware.tree(*parts("pro-4x3090"), Faults(slots={"PCIE3": fault}), 1030.0)
    text = tree["sys/devices/pci0000:40/0000:40:01.1/0000:41:00.0/aer_dev_correctable"]
    assert "TOTAL_ERR_COR 18" in text
    assert sum(int(line.split()[1]) for line in text.splitlines()[:-1]) == 18


def test_xid_is_in_the_kernels_log(parts):
    *_, line = kernel_log.kernel_log(*parts("pro-4x3090"), faulty(xid=79))
    assert line.startswith("NVRM: Xid (PCI:0000:41:00): 79, ")
    assert line.endswith("GPU has fallen off the bus.")


def test_faults_survive_their_file():
    faults = Faults(slots={"PCIE3": SlotFault(width=8, at="port")}, nouveau=True, bmc_lag=2.5)
    assert Faults.from_json(faults.to_json()) == faults
    assert faults.describe() == ["PCIE3: width=8 (at the port)", "nouveau", "bmc lag=2.5"]
    assert Faults().describe() == []
    assert faults.without_slot("PCIE3").slots == {}
