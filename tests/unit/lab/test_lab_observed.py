"""What the probe finds in a twin's files: the whole machine as its build declares it."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.models import Disk, Memory, Nic
from rigdeploy.lab import hardware, node
from rigdeploy.lab.faults import Faults
from rigdeploy.node import probe
from rigdeploy.node.observation import Observation

BUILDS = (
    "pro-4x3090", "budget-4x3090", "romed8-7x4090", "wrx90e-4x4090", "home-dual-4090", "dual-4090-no-nvlink",
)  # fmt: skip


@pytest.fixture
def observed(tmp_path, catalogue):
    """The observation of a twin of a shipped build with these changes and faults."""

    def look(name: str, faults: Faults | None = None, **changes):
        build = catalogue.builds[name].model_copy(update=changes)
        board = catalogue.boards[build.board]
        (tmp_path / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
        node.write_tree(tmp_path, hardware.tree(build, board, catalogue.gpus, faults or Faults(), rig="rig01"))
        return build, board, Observation.parse(probe.observe(probe.Node(str(tmp_path), None)))

    return look


@pytest.mark.parametrize("name", BUILDS)
def test_the_declared_machine_is_seen(observed, name):
    build, board, seen = observed(name)
    size = build.memory.size_gib if build.memory else 64
    assert seen.memory.installed_mib == size * 1024
    assert 0.9 * size * 1024 < seen.memory.total_mib < size * 1024
    channels = (build.memory and build.memory.channels) or board.memory_channels
    assert seen.memory.channels == channels
    assert seen.memory.ecc is bool(build.memory and build.memory.ecc)
    assert seen.memory.uncorrectable == (0 if build.memory and build.memory.ecc else None)
    assert [nic.speed_mbps for nic in seen.nics] == [
        int(nic.speed_gbps * 1000) for nic in build.nics for _ in range(nic.count)
    ]
    assert all(nic.carrier and nic.mac and nic.address in seen.pci for nic in seen.nics)
    assert [(disk.name, disk.size_mib) for disk in seen.disks] == [("nvme0n1", 953674)]
    assert seen.pci[seen.disks[0].address].link.width == 4
    assert (seen.host.virtualisation, seen.host.iommu, seen.host.secure_boot) == ("none", True, False)
    if build.cpu:
        assert (seen.cpu.model, seen.cpu.cores) == (build.cpu.model, build.cpu.cores)


@pytest.mark.parametrize("name", BUILDS)
def test_the_firmware_names_every_slot_and_who_is_in_it(observed, name):
    build, board, seen = observed(name)
    names = {slot: (spec.designations or [slot])[0] for slot, spec in board.slots.items()}
    assert {slot.name: slot.used for slot in seen.slots} == {names[slot]: slot in build.slots for slot in board.slots}
    assert {device.slot for device in seen.pci.values() if device.is_gpu} == {names[slot] for slot in build.slots}
    ports = [seen.ports_above(device.address)[0] for device in seen.pci.values() if device.is_gpu]
    assert all("ReqRedir" in (port.acs or ()) for port in ports)


def test_a_card_at_an_amd_chipset_sits_behind_its_switch(observed, catalogue):
    slots = catalogue.builds["home-dual-4090"].slots
    moved = {"PCI_E1": slots["PCI_E1"], "PCI_E3": slots["PCI_E2"]}
    _, _, seen = observed("home-dual-4090", slots=moved)
    (card,) = (device for device in seen.pci.values() if device.is_gpu and len(seen.ports_above(device.address)) > 1)
    path = [(port.pci_id, port.link.width, port.link.gen) for port in seen.ports_above(card.address)]
    assert path == [("1022:43f5", 4, 4), ("1022:43f4", 4, 4), ("1022:14db", 4, 4)]


MACHINE = {
    "memory": Memory(size_gib=96, ecc=False, channels=2),
    "disks": [Disk(size_gb=2000), Disk(size_gb=4000, serial="A-1")],
    "nics": [Nic(speed_gbps=25, count=2), Nic(speed_gbps=1)],
}


@pytest.mark.parametrize(
    ("faults", "installed", "serials", "speeds"),
    [
        (Faults(), 98304, 2, [25000, 25000, 1000]),
        (Faults(dimm_missing=True), 49152, 2, [25000, 25000, 1000]),
        (Faults(disk_missing=True), 98304, 1, [25000, 25000, 1000]),
        (Faults(nic_speed=100), 98304, 2, [100, 25000, 1000]),
    ],
)
def test_what_the_rigs_faults_take_away(observed, faults, installed, serials, speeds):
    observed("wrx90e-4x4090", **MACHINE)
    _, _, seen = observed("wrx90e-4x4090", faults, **MACHINE)
    assert seen.memory.installed_mib == installed
    assert len(seen.disks) == serials
    assert [disk.serial for disk in seen.disks if disk.name == "nvme1n1"] == ["A-1"] * (serials - 1)
    assert [nic.speed_mbps for nic in seen.nics] == speeds
