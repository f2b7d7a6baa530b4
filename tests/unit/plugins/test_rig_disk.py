"""What may be done with a disk: the decision, table by table, and that nothing else touches it."""

import hashlib
import json
import os
from types import SimpleNamespace

import pytest
from ansible.module_utils import basic

from tests.unit.plugins.conftest import load

rig_disk = load("modules", "rig_disk")

WANTED = {"serial": "S6Z2", "mount": "/srv/models", "filesystem": "ext4", "format": "never"}
FORMAT = WANTED | {"format": "if-empty"}


def device(path, kind="part", **more):
    return {"path": path, "type": kind, "size": 4 * 10**12, "mountpoints": [None], "ro": False} | more


def disk(path="/dev/nvme1n1", **more):
    return device(path, "disk", model="Samsung SSD 990 PRO 4TB ", serial="S6Z2", wwn="eui.0025", **more)


def parted(*children, **more):
    return disk(children=list(children), **more)


# --- which disk ------------------------------------------------------------------------------

SYSTEM = device("/dev/sda", "disk", model="SYS", serial="SYS1", wwn=None, size=480 * 10**9)
LOOP = device("/dev/loop0", "loop", serial="S6Z2")
EMPTY_READER = device("/dev/sdz", "disk", model="Reader", serial="S6Z2", size=0)


@pytest.mark.parametrize("serial", ["S6Z2", "eui.0025"])
def test_a_disk_is_found_by_serial_number_or_wwn(serial):
    assert rig_disk.choose([SYSTEM, LOOP, EMPTY_READER, disk()], serial)["path"] == "/dev/nvme1n1"


@pytest.mark.parametrize(
    ("devices", "serial", "said"),
    [
        ([SYSTEM], "S6Z2", "no disk has the serial number or WWN S6Z2. The disks here are: SYS, serial SYS1, 480 GB"),
        ([], "S6Z2", "The disks here are: none"),
        ([LOOP, EMPTY_READER], "S6Z2", "no disk has"),
        ([SYSTEM, disk()], "S6Z", "no disk has"),
        ([SYSTEM, disk()], "", "no disk has"),
        ([SYSTEM, disk()], "None", "no disk has"),
        ([disk(), disk("/dev/sdb")], "S6Z2", "2 disks call themselves S6Z2"),
        ([disk(), disk("/dev/sdb")], "S6Z2", "eui.0025, 4.0 TB (/dev/sdb)"),
    ],
)
def test_a_missing_or_ambiguous_serial_number_is_refused_with_what_is_there(devices, serial, said):
    with pytest.raises(rig_disk.RefusalError) as refused:
        rig_disk.choose(devices, serial)
    assert said in str(refused.value)


# --- what may be done with it ----------------------------------------------------------------

PART = device("/dev/nvme1n1p1")
D, P, P2 = "/dev/nvme1n1", "/dev/nvme1n1p1", "/dev/nvme1n1p2"


@pytest.mark.parametrize(
    ("found", "signatures", "wanted", "answer"),
    [
        (disk(), {D: ["ext4"]}, WANTED, (D, False)),
        (disk(), {D: ["ext4"]}, FORMAT, (D, False)),
        (disk(mountpoints=["/srv/models"]), {D: ["ext4"]}, FORMAT, (D, False)),
        (disk(), {D: ["xfs"]}, WANTED | {"filesystem": "xfs"}, (D, False)),
        (parted(PART), {D: ["PMBR", "gpt"], P: ["ext4"]}, FORMAT, (P, False)),
        (disk(), {D: []}, FORMAT, (D, True)),
    ],
)
def test_a_file_system_is_kept_and_an_empty_disk_formatted_where_declared(found, signatures, wanted, answer):
    assert rig_disk.judge(found, signatures, blank=True, wanted=wanted) == answer


REFUSED = {
    "empty, and not declared": (disk(), {D: []}, True, WANTED, "is empty, and may not be formatted"),
    "nothing known, not zero": (disk(), {D: []}, False, FORMAT, "data at its beginning or end"),
    "nothing was looked at": (disk(), {}, False, FORMAT, "data at its beginning or end"),
    "another file system": (disk(), {D: ["xfs"]}, True, FORMAT, "/dev/nvme1n1: xfs"),
    "two signatures": (disk(), {D: ["ext4", "gpt"]}, True, FORMAT, "/dev/nvme1n1: ext4, gpt"),
    "a partition table alone": (disk(), {D: ["PMBR", "gpt"]}, True, FORMAT, "PMBR, gpt"),
    "swap": (disk(mountpoints=["[SWAP]"]), {D: ["swap"]}, True, FORMAT, "swap, mounted at [SWAP]"),
    "a member of a RAID": (disk(), {D: ["linux_raid_member"]}, True, FORMAT, "linux_raid_member"),
    "ZFS": (disk(), {D: ["zfs_member"]}, True, FORMAT, "zfs_member"),
    "LUKS": (disk(), {D: ["crypto_LUKS"]}, True, FORMAT, "crypto_LUKS"),
    "a partition without content": (parted(PART), {D: [], P: []}, True, FORMAT, "/dev/nvme1n1p1: part, 4.0 TB"),
    "an ext4 on a volume": (
        parted(device(P, children=[device("/dev/mapper/vg-lv", "lvm")])),
        {D: ["gpt"], P: ["LVM2_member"], "/dev/mapper/vg-lv": ["ext4"]},
        True,
        FORMAT,
        "/dev/mapper/vg-lv: lvm, 4.0 TB, ext4",
    ),
    "an ext4 on the whole disk in a mapping": (
        disk(children=[device("/dev/mapper/mpatha", "mpath")]),
        {D: ["mpath_member"], "/dev/mapper/mpatha": ["ext4"]},
        True,
        FORMAT,
        "mpath_member",
    ),
    "the system's disk": (
        parted(PART, device(P2, mountpoints=["/"])),
        {D: ["gpt"], P: ["vfat"], P2: ["ext4"]},
        True,
        FORMAT,
        "/dev/nvme1n1p2: part, 4.0 TB, ext4, mounted at /",
    ),
    "two partitions": (parted(PART, device(P2)), {D: ["gpt"], P: ["ext4"], P2: ["ext4"]}, True, FORMAT, P2),
    "in use elsewhere": (disk(mountpoints=["/home"]), {D: ["ext4"]}, True, FORMAT, "is mounted at /home"),
    "the root in one partition": (
        parted(device(P, mountpoints=["/"])),
        {D: ["dos"], P: ["ext4"]},
        True,
        FORMAT,
        "is mounted at /, and declared for /srv/models",
    ),
    "mounted, and nothing known": (disk(mountpoints=["/x"]), {D: []}, True, FORMAT, "mounted at /x"),
    "read only": (disk(ro=True), {D: []}, True, FORMAT, "can not be written to"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_by_name_with_what_was_found(name):
    found, signatures, blank, wanted, said = REFUSED[name]
    with pytest.raises(rig_disk.RefusalError) as refused:
        rig_disk.judge(found, signatures, blank=blank, wanted=wanted)
    assert said in str(refused.value)
    assert "Samsung SSD 990 PRO 4TB, serial S6Z2, WWN eui.0025, 4.0 TB (/dev/nvme1n1)" in str(refused.value)


@pytest.mark.parametrize(
    ("where", "blank"),
    [(None, True), (0, False), (1000, False), (rig_disk.HEAD - 1, False), (-1, False), (-(10**6), False)],
)
def test_one_byte_makes_a_disk_not_blank(tmp_path, where, blank):
    path = tmp_path / "disk"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
        if where is not None:
            stream.seek(where, 2 if where < 0 else 0)
            stream.write(b"\x01")
    assert rig_disk.is_blank(str(path)) is blank


# --- fstab and the mount ---------------------------------------------------------------------

LINE = f"UUID=aa-bb /srv/models ext4 {rig_disk.OPTIONS} 0 2\n"
ROOT = "# the system's own\nUUID=root / ext4 errors=remount-ro 0 1\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", LINE),
        (ROOT, ROOT + LINE),
        (ROOT + LINE, ROOT + LINE),
        (ROOT.rstrip("\n"), ROOT + LINE),
        (LINE.replace("aa-bb", "old") + ROOT, LINE + ROOT),
        (LINE.replace("/srv/models", "/data") + ROOT, LINE + ROOT),
        (ROOT + "UUID=aa-bb /srv/models ext4 defaults 0 2\n", ROOT + LINE),
        ("#" + LINE, "#" + LINE + LINE),
        (LINE + LINE, LINE),
    ],
)
def test_fstab_has_one_line_of_ours(before, after):
    assert rig_disk.edit_fstab(before, "aa-bb", WANTED) == after


@pytest.mark.parametrize("point", ["/srv/models", "/srv/models/"])
def test_somebody_elses_line_for_the_mount_point_is_refused(point):
    with pytest.raises(rig_disk.RefusalError, match="/dev/sdb1"):
        rig_disk.edit_fstab(f"/dev/sdb1 {point} ext4 defaults 0 2\n", "aa-bb", WANTED)


def test_the_last_mount_at_a_point_is_what_is_seen():
    mountinfo = "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 30 8:2 / /srv rw - xfs x rw\n32 30 8:3 / /srv rw - xfs y rw\n"
    assert [rig_disk.mounted_at(mountinfo, point) for point in ("/", "/srv", "/srv/models")] == ["8:1", "8:3", ""]


@pytest.mark.parametrize(
    ("point", "unit"),
    [("/srv/models", "srv-models.mount"), ("/data", "data.mount"), ("/srv/big-disk", r"srv-big\x2ddisk.mount")],
)
def test_the_unit_has_systemds_name(point, unit):
    assert rig_disk.unit_name(point) == unit


# --- the module ------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with one empty disk (a file), an fstab, and the commands that are run on it."""
    path = tmp_path / "disk"
    path.write_bytes(b"")
    os.truncate(path, 32 << 20)
    state = SimpleNamespace(disk=path, fstab=tmp_path / "fstab", ran=[], signatures=[], tree=[disk(str(path))])
    state.mount = str(tmp_path / "models")

    def run(_, command, **__):
        state.ran.append(command[0])
        if command[0].startswith("mkfs"):
            state.signatures = ["ext4"]
        rows = [{"type": name} for name in state.signatures]
        outputs = {
            "lsblk": json.dumps({"blockdevices": state.tree}),
            "wipefs": json.dumps({"signatures": rows}) if rows else "",
            "blkid": "aa-bb\n",
        }
        return 0, outputs.get(command[0], ""), ""

    monkeypatch.setattr(basic.AnsibleModule, "run_command", run)
    monkeypatch.setattr(rig_disk, "FSTAB", state.fstab)
    return state


def call(node, run, **more):
    return run(rig_disk, **WANTED | {"mount": node.mount} | more)


CHANGES = {"mkfs.ext4", "mkfs.xfs", "mount", "systemctl"}


def test_an_empty_disk_is_formatted_and_mounted(node, run):
    result = call(node, run, format="if-empty")
    assert (result["changed"], result["formatted"], result["device"]) == (True, True, str(node.disk))
    assert node.ran == ["lsblk", "wipefs", "mkfs.ext4", "blkid", "systemctl", "mount"]
    assert node.fstab.read_text().startswith(f"UUID=aa-bb {node.mount} ext4 nofail,")


def test_check_mode_says_so_and_does_nothing(node, run):
    result = call(node, run, format="if-empty", _ansible_check_mode=True)
    assert (result["changed"], result["formatted"]) == (True, True)
    assert not CHANGES & set(node.ran)
    assert not node.fstab.exists()


def test_a_file_system_is_mounted_and_not_made_again(node, run):
    node.signatures = ["ext4"]
    result = call(node, run, format="if-empty")
    assert (result["changed"], result["formatted"]) == (True, False)
    assert node.ran == ["lsblk", "wipefs", "blkid", "systemctl", "mount"]


def test_a_line_of_somebody_elses_for_this_very_file_system_gives_way(node, run):
    node.signatures = ["ext4"]
    node.fstab.write_text(f"UUID=aa-bb {node.mount} ext4 defaults 0 2\n")
    assert call(node, run)["changed"]
    assert node.fstab.read_text() == f"UUID=aa-bb {node.mount} ext4 {rig_disk.OPTIONS} 0 2\n"


@pytest.mark.parametrize(
    "case", ["never", "data", "signature", "hidden files", "fstab", "missing", "path", "blank", "null"]
)
def test_what_is_refused_is_left_untouched(node, run, case):
    arguments = {"format": "if-empty"}
    if case == "never":
        arguments["format"] = "never"
    elif case == "data":
        node.disk.write_bytes(b"\x00" * 5000 + b"precious" + b"\x00" * (32 << 20))
    elif case == "signature":
        node.signatures = ["LVM2_member"]
    elif case == "hidden files":
        node.signatures = ["ext4"]
        (node.fstab.parent / "models").mkdir()
        (node.fstab.parent / "models/file").touch()
    elif case == "fstab":
        node.fstab.write_text(f"/dev/sdb1 {node.mount} ext4 defaults 0 2\n")
    elif case == "null":
        node.tree[0]["serial"], arguments["serial"] = None, "None"
    elif case == "missing":
        arguments["serial"] = "OTHER"
    elif case == "blank":
        arguments["mount"] = node.mount + " of ours"
        node.signatures = ["ext4"]
    else:
        arguments["mount"] = node.mount + "/../models"
        node.signatures = ["ext4"]
    before = hashlib.sha256(node.disk.read_bytes()).hexdigest()
    result = call(node, run, **arguments)
    assert (result["rc"], result["failed"]) == (1, True)
    assert result["msg"].startswith("data disk: ")
    assert not CHANGES & set(node.ran)
    assert hashlib.sha256(node.disk.read_bytes()).hexdigest() == before
