"""The host around the cards: firmware, processor, disks, file systems, network ports."""

from __future__ import annotations

import os

import pytest

from rigdeploy.node import probe
from tests.unit.node import smbios

DMI = "sys/class/dmi/id"


def test_the_firmwares_names(tree):
    for name, text in {
        "sys_vendor": "To Be Filled By O.E.M.",
        "board_vendor": "ASRockRack",
        "product_name": "Default string",
        "board_name": "ROMED8-2T",
        "bios_version": "P3.80",
    }.items():
        tree.file(f"{DMI}/{name}", text + "\n")
    tree.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz iommu=pt pcie_aspm=off\n")
    host = tree.observe()["host"]
    assert (host["vendor"], host["product"], host["board"], host["bios"]) == ("ASRockRack", None, "ROMED8-2T", "P3.80")


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [("quiet pci=noaer", True), ("pci=realloc,noaer,nomsi quiet", True), ("pci=noaer_recovery aer=noaer", False)],
)
def test_a_kernel_that_was_told_not_to_count_errors(tree, why, arguments, noted):
    tree.file("proc/cmdline", arguments + "\n")
    assert bool(why(tree.observe(), "aer")) == noted


def test_no_firmware_to_ask_is_noted(tree, why):
    tree.root.mkdir()
    document = tree.observe()
    assert document["host"]["board"] is None
    assert why(document, "host.board")


VARIABLE = probe.SECURE_BOOT[1:]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({VARIABLE: b"\6\0\0\0\1"}, True),
        ({VARIABLE: b"\6\0\0\0\0"}, False),
        ({VARIABLE: b"\6\0\0\0"}, None),
        ({"sys/firmware/acpi/x": b""}, False),  # not started by UEFI
        ({"sys/firmware/efi/efivars/Boot0000-8be4df61": b""}, False),  # firmware that cannot do it
        ({"sys/firmware/efi/fw_platform_size": b"64"}, None),  # its variables are not mounted
        ({}, None),
    ],
)
def test_secure_boot(tree, why, files, expected):
    tree.root.mkdir()
    for name, content in files.items():
        tree.file(name, content)
    document = tree.observe()
    assert document["host"]["secure_boot"] is expected
    assert bool(why(document, "host.secure_boot")) == (expected is None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["sys/class/iommu/ivhd0/x"], True),
        (["sys/kernel/iommu_groups/0/type"], True),
        (["sys/class/iommu", "sys/kernel/iommu_groups"], False),
        (["sys/class/iommu"], False),
        ([], None),
    ],
)
def test_iommu(tree, why, files, expected):
    for name in files:
        (tree.root / name).mkdir(parents=True)
    tree.root.mkdir(exist_ok=True)
    document = tree.observe()
    assert document["host"]["iommu"] is expected
    assert bool(why(document, "host.iommu")) == (expected is None)


def x86(*threads: tuple[int, int]) -> str:
    return "\n".join(
        f"processor\t: {number}\nmodel name\t: AMD EPYC 7302 16-Core Processor\nphysical id\t: {package}\n"
        f"siblings\t: 4\ncore id\t\t: {core}\ncpu cores\t: 2\nflags\t\t: fpu\n"
        for number, (package, core) in enumerate(threads)
    )


ARM = "processor\t: {}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


def test_processors_by_cpuinfo(tree):
    tree.file("proc/cpuinfo", x86((0, 0), (0, 8), (1, 0), (1, 8), (0, 0), (0, 8), (1, 0), (1, 8)))
    expected = {"model": "AMD EPYC 7302 16-Core Processor", "sockets": 2, "cores": 4, "threads": 8}
    assert tree.observe()["cpu"] == expected


def test_processors_that_cpuinfo_does_not_name(tree):
    tree.file("proc/cpuinfo", "\n".join(ARM.format(number) for number in range(3)))
    for number in range(3):
        tree.file(f"sys/devices/system/cpu/cpu{number}/topology/physical_package_id", "0\n")
        tree.file(f"sys/devices/system/cpu/cpu{number}/topology/core_id", f"{number}\n")
    tree.file("sys/devices/system/cpu/cpufreq/x", "")
    tree.file("sys/firmware/dmi/tables/DMI", smbios.table(smbios.processor("Ampere(R) Altra(R) Processor")))
    expected = {"model": "Ampere(R) Altra(R) Processor", "sockets": 1, "cores": 3, "threads": 3}
    assert tree.observe()["cpu"] == expected


def test_a_board_with_a_device_tree(tree, why):
    tree.file("proc/cpuinfo", ARM.format(0))
    tree.file("proc/device-tree/model", b"Raspberry Pi 5 Model B Rev 1.0\0")
    document = tree.observe()
    assert document["cpu"] == {"model": "Raspberry Pi 5 Model B Rev 1.0", "sockets": None, "cores": None, "threads": 1}
    assert why(document, "cpu.cores")


def disk(tree, name, home="sys/devices/virtual/block", sectors=2048, **files):
    """A disk at a place of the device tree; names of files with ``__`` for a directory."""
    for file, content in {"size": f"{sectors}\n", "removable": "0\n", "queue__rotational": "0\n", **files}.items():
        tree.file(f"{home}/{name}/{file.replace('__', '/')}", content)
    (tree.root / "sys/block").mkdir(parents=True, exist_ok=True)
    (tree.root / "sys/block" / name).symlink_to(tree.root / home / name)


def test_disks(tree):
    controller = "sys/devices/pci0000:40/0000:40:01.1/0000:41:00.0/nvme/nvme0"
    disk(tree, "nvme0n1", controller, 3_907_029_168, wwid="eui.0025385b\n")
    tree.file(f"{controller}/model", "Samsung SSD 980 PRO 2TB                 \n")
    tree.file(f"{controller}/serial", "S6B0NL0T        \n")
    (tree.root / controller / "nvme0n1/device").symlink_to("../../nvme0")
    sata = "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block"
    disk(
        tree,
        "sda",
        sata,
        7_814_037_168,
        device__model="ST4000NM0035\n",
        device__vpd_pg80=b"\0\x80\0\x08        ZC1ABCDE",
        device__wwid="naa.5000c500a1b2c3d4\n",
        queue__rotational="1\n",
    )
    disk(tree, "vda", serial="overlay\n")
    others = ("loop0", "ram0", "zram0", "dm-0", "md127", "bcache0", "drbd1", "sr0", "nbd0", "rbd0", "mmcblk0boot0")
    for name in others:
        disk(tree, name)
    disk(tree, "sdb", removable="1\n")
    disk(tree, "sdc", sectors=0)
    disk(tree, "nvme1c1n1", hidden="1\n")
    nvme = {"name": "nvme0n1", "model": "Samsung SSD 980 PRO 2TB", "serial": "S6B0NL0T", "wwn": "eui.0025385b"}
    nvme |= {"size_mib": 1_907_729, "rotational": False, "address": "0000:41:00.0"}
    hard = {"name": "sda", "model": "ST4000NM0035", "serial": "ZC1ABCDE", "wwn": "naa.5000c500a1b2c3d4"}
    hard |= {"size_mib": 3_815_447, "rotational": True, "address": None}
    virtual = {"name": "vda", "model": None, "serial": "overlay", "wwn": None, "size_mib": 1, "rotational": False}
    assert tree.observe()["disks"] == [nvme, hard, virtual | {"address": None}]


def test_a_sata_disks_serial_stands_in_its_name(tree):
    disk(tree, "sda", device__wwid="t10.ATA     Samsung SSD 860 EVO 1TB             S3Z9NB0K123456X\n")
    (found,) = tree.observe()["disks"]
    assert (found["serial"], found["wwn"]) == ("S3Z9NB0K123456X", None)


def test_an_nvme_disk_with_several_ports(tree):
    """Its block device hangs below a subsystem, which only links to the controllers."""
    subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    controller = "sys/devices/pci0000:40/0000:40:01.1/0000:41:00.0/nvme/nvme0"
    disk(tree, "nvme0n1", subsystem)
    tree.file(f"{controller}/state", "live\n")
    tree.file(f"{subsystem}/serial", "S6B0NL0T\n")
    (tree.root / subsystem / "nvme0").symlink_to(tree.root / controller)
    (tree.root / subsystem / "nvme0n1/device").symlink_to("../../nvme-subsys0")
    (found,) = tree.observe()["disks"]
    assert (found["address"], found["serial"]) == ("0000:41:00.0", "S6B0NL0T")


def test_no_disks_to_look_at_is_noted(tree, why):
    tree.root.mkdir()
    document = tree.observe()
    assert (document["disks"], document["nics"], document["filesystems"]) == ([], [], [])
    assert why(document, "disks")
    assert why(document, "nics")
    assert why(document, "filesystems")


MOUNTS = r"""overlay / overlay rw,lowerdir=/a 0 0
proc /proc proc rw 0 0
/dev/nvme0n1p1 /boot/efi vfat rw 0 0
/dev/sda1 /srv/models\040and\011more ext4 rw 0 0
/dev/sda1 /srv/models\040and\011more/bound ext4 rw 0 0
/dev/sda1 /m ext4 rw 0 0
/dev/loop0 /snap/core/1 squashfs ro 0 0
/dev/sr0 /media iso9660 rw 0 0
/dev/sr1 /media/windows udf ro,relatime 0 0
/dev/sdb1 /usr ext4 relatime,ro 0 0
/dev/fuse /run/user/1000/doc fuse.portal rw 0 0
192.0.2.1:/export /mnt nfs4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
broken
"""


def test_file_systems_on_disks(tree, why):
    tree.file("proc/self/mounts", MOUNTS)
    document = tree.observe()
    assert [item["mount"] for item in document["filesystems"]] == ["/", "/boot/efi", "/m"]
    assert {(item["size_mib"], item["free_mib"]) for item in document["filesystems"]} == {(None, None)}
    assert why(document, "filesystems"), "the free space of the machine that replays it is not the node's"


def test_the_root_that_is_seen_is_the_last_one_mounted(tree):
    tree.file("proc/self/mounts", "rootfs / rootfs rw 0 0\n/dev/sda2 / ext4 rw 0 0\n/dev/sda2 /a/b ext4 rw 0 0\n")
    assert [item["mount"] for item in tree.observe()["filesystems"]] == ["/"]


def test_the_root_is_there_though_it_is_mounted_nowhere(tree):
    tree.file("/proc/self/mounts", "/dev/sda3 /srv ext4 rw 0 0\n")
    assert [item["mount"] for item in tree.observe()["filesystems"]] == ["/", "/srv"]


def test_space_of_this_machine():
    node = probe.Node("")
    root = next(item for item in probe.read_filesystems(node) if item["mount"] == "/")
    status = os.statvfs("/")
    assert root["size_mib"] == status.f_blocks * status.f_frsize // 2**20
    assert 0 <= root["free_mib"] <= root["size_mib"]


def port(tree, name, home, **files):
    for file, content in files.items():
        tree.file(f"{home}/net/{name}/{file}", content)
    (tree.root / home / "net" / name / "device").symlink_to(tree.root / home)
    (tree.root / "sys/class/net").mkdir(parents=True, exist_ok=True)
    (tree.root / "sys/class/net" / name).symlink_to(tree.root / home / "net" / name)


def test_network_ports(tree, why):
    pci = "sys/devices/pci0000:40/0000:40:03.1/0000:44:00."
    port(tree, "enp1s0f0", f"{pci}0", speed="10000\n", carrier="1\n", address="d0:50:99:00:00:01\n")
    port(tree, "enp1s0f1", f"{pci}1", speed="-1\n", carrier="0\n")
    port(tree, "enp1s0f2", f"{pci}2", speed="4294967295\n")  # switched off: the kernel refuses to tell
    port(tree, "enp1s0f3v0", f"{pci}3", speed="10000\n", carrier="1\n", device__x="")
    (tree.root / f"{pci}3/physfn").symlink_to("../0000:44:00.0")
    port(tree, "wlan0", f"{pci}4", speed="1\n", carrier="1\n", **{"wireless/x": ""})
    port(tree, "usb0", "sys/devices/pci0000:40/0000:40:08.1/usb1/1-1/1-1:1.0", speed="425\n", carrier="1\n")
    tree.file("sys/class/net/lo/speed", "1\n")
    tree.file("sys/class/net/bond0/speed", "20000\n")
    document = tree.observe()
    expected = [
        ("enp1s0f0", "0000:44:00.0", "d0:50:99:00:00:01", 10000, True),
        ("enp1s0f1", "0000:44:00.1", None, None, False),
        ("enp1s0f2", "0000:44:00.2", None, None, None),
        ("usb0", None, None, 425, True),
    ]
    keys = ("name", "address", "mac", "speed_mbps", "carrier")
    assert [tuple(nic[key] for key in keys) for nic in document["nics"]] == expected
    assert why(document, "nics[enp1s0f2].carrier")
    assert not why(document, "nics[enp1s0f1].carrier")
