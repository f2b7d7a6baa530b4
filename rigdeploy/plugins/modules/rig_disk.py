"""Mounts the disk that models are kept on, and formats it only where that was declared and nothing at all is on it.

Runs on the node: the standard library and Ansible's module_utils, nothing else. What may be done with a disk is
decided by ``choose`` and ``judge``, which touch nothing.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rig_disk
short_description: Mount a data disk by its serial number
description:
  - Finds the one disk with this serial number or WWN, and mounts the file system on it (or on its only partition) at
    every boot, by UUID, in a way that a missing disk does not keep the node from booting.
  - An empty disk is formatted only with I(format=if-empty). A disk that holds anything else than the declared file
    system is refused with what was found. Nothing is ever erased, grown or repaired.
options:
  serial:
    description: Serial number or WWN of the disk, as C(lsblk -o SERIAL,WWN) prints it.
    type: str
    required: true
  mount:
    description: Where to mount it.
    type: path
    required: true
  filesystem:
    description: The file system that is on the disk, or is to be made.
    type: str
    choices: [ext4, xfs]
    required: true
  format:
    description: What may be done to a disk on which there is nothing.
    type: str
    choices: [never, if-empty]
    default: never
"""

EXAMPLES = r"""
- name: Mount the data disk
  rig_disk:
    serial: S6Z2NF0W123456
    mount: /srv/models
    filesystem: ext4
    format: if-empty
"""

RETURN = r"""
device:
  description: The disk or partition that holds the file system.
  returned: success
  type: str
formatted:
  description: Whether the file system was made now, or would be.
  returned: success
  type: bool
unit:
  description: Name of the systemd unit of the mount.
  returned: success
  type: str
"""

FSTAB = Path("/etc/fstab")
MARK = "x-rigdeploy"
"""An option that mount and systemd pass over; it marks the line in fstab that is ours."""
OPTIONS = f"nofail,x-systemd.device-timeout=30s,{MARK}"
COLUMNS = "PATH,TYPE,SIZE,MODEL,SERIAL,WWN,MOUNTPOINTS,RO"

HEAD = 16 << 20
TAIL = 1 << 20
"""Bytes that have to be zero on an empty disk: what begins here and ends there has no name for wipefs to know."""

# No reserve for root on a disk of models; neither tool is told to overwrite what it finds.
MAKE = {"ext4": ["mkfs.ext4", "-q", "-m", "0"], "xfs": ["mkfs.xfs", "-q"]}


class RefusalError(Exception):
    """Why the disk is left alone, and what would help."""


def family(device: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A device of lsblk's tree and all that is made of it."""
    yield device
    for child in device.get("children") or []:
        yield from family(child)


def mounts(device: dict[str, Any]) -> list[str]:
    """Where the device itself is mounted (``[SWAP]`` is one of lsblk's answers)."""
    return [point for point in device.get("mountpoints") or [] if point]


def size(device: dict[str, Any]) -> str:
    """``4.0 TB``, ``480 GB``, ``64 MB``, as disks are sold."""
    amount = int(device.get("size") or 0)
    for unit, name in ((10**12, "TB"), (10**9, "GB")):
        if amount >= unit:
            return f"{amount / unit:.1f} {name}" if unit == 10**12 else f"{amount / unit:.0f} {name}"
    return f"{amount / 10**6:.0f} MB"


def describe(disk: dict[str, Any]) -> str:
    """Model, serial number, WWN, size and path of a disk: enough to find it in the case."""
    names = [str(disk.get("model") or "a disk of unknown model").strip()]
    names += [f"{key.replace('wwn', 'WWN')} {disk[key]}" for key in ("serial", "wwn") if disk.get(key)]
    return f"{', '.join(names)}, {size(disk)} ({disk['path']})"


def choose(devices: list[dict[str, Any]], serial: str) -> dict[str, Any]:
    """The one disk with this serial number or WWN in lsblk's tree; RefusalError where there is none, or several."""
    disks = [device for device in devices if device.get("type") == "disk" and int(device.get("size") or 0) > 0]
    # A disk may have neither; what is not declared is not a name.
    found = [disk for disk in disks if serial in {str(disk[key]).strip() for key in ("serial", "wwn") if disk.get(key)}]
    if len(found) == 1:
        return found[0]
    if found:
        listed = "; ".join(describe(disk) for disk in found)
        raise RefusalError(f"{len(found)} disks call themselves {serial}: {listed}. Declare the WWN of one of them.")
    listed = "; ".join(describe(disk) for disk in disks) or "none"
    raise RefusalError(f"no disk has the serial number or WWN {serial}. The disks here are: {listed}.")


def contents(disk: dict[str, Any], signatures: dict[str, list[str]]) -> str:
    """What is on a disk, in words; empty where nothing is known to be."""
    parts = []
    for device in family(disk):
        words = list(signatures.get(device["path"], []))
        words += [f"mounted at {point}" for point in mounts(device)]
        if device is not disk:
            words = [str(device.get("type")), size(device), *words]
        if words:
            parts.append(f"{device['path']}: {', '.join(words)}")
    return "; ".join(parts)


def judge(
    disk: dict[str, Any], signatures: dict[str, list[str]], *, blank: bool, wanted: dict[str, Any]
) -> tuple[str, bool]:
    """Which device to mount, and whether to format it first.

    ``signatures`` holds what wipefs knows by path, for the disk and all that is made of it; ``blank`` says whether the
    disk begins and ends with zeros. ``wanted`` has ``filesystem``, ``mount`` and ``format``. RefusalError otherwise.
    """
    who, filesystem = describe(disk), wanted["filesystem"]
    devices = list(family(disk))
    if any(device.get("ro") for device in devices):
        raise RefusalError(f"{who} can not be written to.")
    # The disk itself, or its only partition, with nothing made of it in turn.
    last = devices[-1]
    simple = len(devices) == 1 or (len(devices) == 2 and last.get("type") == "part")  # noqa: PLR2004 - see above
    if simple and signatures.get(last["path"]) == [filesystem]:
        elsewhere = [point for device in devices for point in mounts(device) if point != wanted["mount"]]
        if elsewhere:
            raise RefusalError(f"{who} is mounted at {elsewhere[0]}, and declared for {wanted['mount']}. Unmount it.")
        return last["path"], False
    found = contents(disk, signatures)
    if found or len(devices) > 1:
        raise RefusalError(
            f"{who} is not empty, and holds no single {filesystem}: {found or 'partitions'}. It is left as it is. If "
            f"nothing on it is needed, empty it yourself: wipefs --all {disk['path']}"
        )
    if not blank:
        raise RefusalError(
            f"{who} has no file system and no partition, but data at its beginning or end (an interrupted mkfs, or a "
            f"format that wipefs does not know). It is left as it is. If nothing on it is needed, empty it yourself: "
            f"blkdiscard {disk['path']}, or dd if=/dev/zero of={disk['path']} bs=1M count=16"
        )
    if wanted["format"] != "if-empty":
        raise RefusalError(f"{who} is empty, and may not be formatted. Declare format: if-empty to have it formatted.")
    return disk["path"], True


def edit_fstab(text: str, uuid: str, wanted: dict[str, Any]) -> str:
    """The file with our one line and no earlier one of ours; RefusalError where another claims the mount point.

    A line of somebody else's that says the same gives way to ours.
    """
    line = f"UUID={uuid} {wanted['mount']} {wanted['filesystem']} {OPTIONS} 0 2"
    kept = []
    for old in text.splitlines():
        fields = [] if old.lstrip().startswith("#") else old.split()
        if len(fields) < 4:  # noqa: PLR2004 - device, mount point, type, options
            kept.append(old)
        elif MARK in fields[3].split(",") or fields[:2] == [f"UUID={uuid}", wanted["mount"]]:
            if line not in kept:
                kept.append(line)
        elif (fields[1].rstrip("/") or "/") == wanted["mount"]:
            raise RefusalError(f"/etc/fstab mounts something else at {wanted['mount']}: {old!r}. Remove that line.")
        else:
            kept.append(old)
    if line not in kept:
        kept.append(line)
    return "".join(f"{each}\n" for each in kept)


def mounted_at(mountinfo: str, point: str) -> str:
    """``major:minor`` of what is mounted at a point; the last mount lies on top. Empty where nothing is."""
    rows = [line.split() for line in mountinfo.splitlines()]
    return next((row[2] for row in reversed(rows) if len(row) > 4 and row[4] == point), "")  # noqa: PLR2004 - proc(5)


def unit_name(point: str) -> str:
    """The mount unit's name, as ``systemd-escape --path --suffix=mount`` makes it of letters, digits and ``._-/``."""
    words = "-".join(part.replace("-", r"\x2d") for part in point.strip("/").split("/"))
    return (r"\x2e" + words[1:] if words.startswith(".") else words) + ".mount"


def is_blank(path: str) -> bool:
    """Whether a disk begins and ends with zeros; RefusalError where somebody uses it."""
    try:
        # On a block device O_EXCL means: nobody has it mounted or made something of it.
        handle = os.open(path, os.O_RDONLY | os.O_EXCL)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise RefusalError(f"{path} is in use, though nothing says by whom.") from None
        raise
    with open(handle, "rb", buffering=0) as stream:  # noqa: PTH123 - a descriptor
        total = stream.seek(0, os.SEEK_END)
        for offset, length in ((0, HEAD), (max(0, total - TAIL), TAIL)):
            stream.seek(offset)
            for _ in range(length >> 20):
                if any(stream.read(1 << 20)):
                    return False
    return True


def read_signatures(module: AnsibleModule, disk: dict[str, Any]) -> dict[str, list[str]]:
    """What wipefs finds, by path. It reads the devices themselves: what udev remembers may be old."""
    found = {}
    for device in family(disk):
        _, output, _ = module.run_command(["wipefs", "--no-act", "--json", device["path"]], check_rc=True)
        rows = json.loads(output)["signatures"] if output.strip() else []
        found[device["path"]] = sorted({row["type"] for row in rows})
    return found


def read_uuid(module: AnsibleModule, device: str) -> str:
    """The file system's UUID, from the device itself."""
    command = ["blkid", "--probe", "--match-tag", "UUID", "--output", "value", device]
    _, output, _ = module.run_command(command, check_rc=True)
    return str(output).strip()


def write_fstab(text: str) -> None:
    """Replace fstab in one step that also survives a power cut."""
    mode = FSTAB.stat().st_mode if FSTAB.exists() else 0o644
    handle, temporary = tempfile.mkstemp(dir=FSTAB.parent, prefix=".fstab-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fchmod(stream.fileno(), mode & 0o777)
        os.fsync(stream.fileno())
    Path(temporary).replace(FSTAB)


def check_mount_point(device: str, point: str) -> bool:
    """Whether the device is mounted there; RefusalError where something else is, or files that a mount would hide."""
    number = mounted_at(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), point)
    rdev = os.stat(device).st_rdev  # noqa: PTH116 - the module's one use
    if number:
        if number != f"{os.major(rdev)}:{os.minor(rdev)}":
            raise RefusalError(f"something else than {device} is mounted at {point}. Unmount it.")
        return True
    directory = Path(point)
    # A blank would shift the fields of fstab, nofail among them, and the next boot would stop.
    if not directory.is_absolute() or os.path.normpath(point) != point or point.split() != [point]:
        raise RefusalError(f"{point} is no plain absolute path.")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RefusalError(f"{point} is not an empty directory: the mount would hide what is there. Move that away.")
    return False


def apply(module: AnsibleModule) -> dict[str, Any]:
    """Decide, then do it; returns the module's result."""
    wanted = module.params
    _, output, _ = module.run_command(["lsblk", "--json", "--bytes", "--output", COLUMNS], check_rc=True)
    disk = choose(json.loads(output)["blockdevices"], wanted["serial"])
    signatures = read_signatures(module, disk)
    alone = not contents(disk, signatures) and not disk.get("children")
    device, formatted = judge(disk, signatures, blank=alone and is_blank(disk["path"]), wanted=wanted)
    mounted = check_mount_point(device, wanted["mount"])
    before = FSTAB.read_text(encoding="utf-8") if FSTAB.exists() else ""
    # What it refuses has to be refused before anything is done.
    after = edit_fstab(before, "" if formatted else read_uuid(module, device), wanted)
    result = {"device": device, "formatted": formatted, "disk": describe(disk), "unit": unit_name(wanted["mount"])}
    if formatted:
        if module.check_mode:
            return {**result, "changed": True}
        module.run_command([*MAKE[wanted["filesystem"]], device], check_rc=True)
        after = edit_fstab(before, read_uuid(module, device), wanted)
    changed = formatted or not mounted or after != before
    if changed and not module.check_mode:
        if after != before:
            write_fstab(after)
            module.run_command(["systemctl", "daemon-reload"], check_rc=True)
        if not mounted:
            Path(wanted["mount"]).mkdir(parents=True, exist_ok=True)
            # Not by way of fstab: there, nofail would hide that it did not work.
            module.run_command(["mount", "-t", wanted["filesystem"], device, wanted["mount"]], check_rc=True)
    return {**result, "changed": changed}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "serial": {"type": "str", "required": True},
            "mount": {"type": "path", "required": True},
            "filesystem": {"type": "str", "choices": ["ext4", "xfs"], "required": True},
            "format": {"type": "str", "choices": ["never", "if-empty"], "default": "never"},
        },
        supports_check_mode=True,
    )
    try:
        result = apply(module)
    except RefusalError as refusal:
        module.fail_json(msg=f"data disk: {refusal}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
