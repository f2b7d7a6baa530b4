"""Disks against the build, their links, and the room that is left."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.models import Disk


def mib(gb):
    return gb * 10**9 // 2**20


def verdicts(node, check):
    return [(f.subject, f.status.value, f.cause) for f in node.findings() if f.check == check]


GONE, UNREADABLE, OTHER_SIZE = ("FAIL", "disk-missing"), ("UNKNOWN", "unreadable"), ("WARN", "spec-mismatch")
PASS = ("PASS", "")

# declared (GB, serial), observed (GB, serial) -> subject and verdict of each
DISKS = [
    ([(2000, None)], [(2000, "A")], [("2000 GB", *PASS)]),
    ([(2000, None)], [(2048, None)], [("2000 GB", *PASS)]),
    ([(2000, None)], [(1941, None)], [("2000 GB", *PASS)]),
    ([(2000, None)], [(1939, None)], [("2000 GB", *GONE)]),
    ([(2000, None)], [(2061, None)], [("2000 GB", *GONE)]),
    ([(2000, None)], [(None, "A")], [("2000 GB", *UNREADABLE)]),
    ([(2000, None)], [], [("2000 GB", *GONE)]),
    ([(2000, None)] * 2, [(2000, "A")], [("2000 GB", *PASS), ("2000 GB (2)", *GONE)]),
    ([(2000, None)] * 2, [(2000, "A"), (2000, "B")], [("2000 GB", *PASS), ("2000 GB (2)", *PASS)]),
    # Each of the two larger ones would do for 1000 GB; only one does for 1020.
    ([(1000, None), (1020, None)], [(1045, None), (1020, None)], [("1000 GB", *PASS), ("1020 GB", *PASS)]),
    ([(1020, None), (1000, None)], [(980, None), (1000, None)], [("1020 GB", *PASS), ("1000 GB", *PASS)]),
    ([(2000, "A")], [(2000, "A")], [("A", *PASS)]),
    ([(2000, "A")], [(None, "A")], [("A", *PASS)]),
    ([(2000, "A")], [(1000, "A")], [("A", *OTHER_SIZE)]),
    ([(2000, "A")], [(2000, "B")], [("A", *GONE)]),
    ([(2000, "A")], [(2000, None)], [("A", *UNREADABLE)]),
    # The one with the serial number is not given away to a disk that any would do for.
    ([(2000, None), (2000, "A")], [(2000, "A"), (2000, "B")], [("2000 GB", *PASS), ("A", *PASS)]),
    ([(2000, None), (2000, "A")], [(2000, "A")], [("2000 GB", *GONE), ("A", *PASS)]),
    ([], [], []),
]


@pytest.mark.parametrize(("declared", "seen", "expected"), DISKS)
def test_disks(bench, declared, seen, expected):
    node = bench(disks=[Disk(size_gb=size, serial=serial) for size, serial in declared])
    node.document["disks"] = [
        {"name": f"sd{chr(ord('a') + index)}", "size_mib": size and mib(size), "serial": serial}
        for index, (size, serial) in enumerate(seen)
    ]
    assert verdicts(node, "host.disk") == expected
    for finding in node.findings():
        if finding.check == "host.disk":
            assert bool(finding.remedy) == (finding.status != "PASS")


@pytest.mark.parametrize("disks", ["junk", {"name": "sda"}, 7, True])
def test_disks_that_cannot_be_read_are_not_missing(bench, disks):
    node = bench(disks=[Disk(size_gb=2000)])
    node.document["disks"] = disks
    assert verdicts(node, "host.disk") == [("2000 GB", *UNREADABLE)]
    node.document["disks"] = []
    node.document["unread"] = [{"what": "disks", "why": "no /sys/block here"}]
    assert node.finding("host.disk", "2000 GB").remedy == "no /sys/block here"


def test_a_missing_disk_is_told_beside_those_that_nobody_declared(bench):
    node = bench(disks=[Disk(size_gb=2000)])
    node.document["disks"] = [{"name": "sda", "size_mib": mib(500)}]
    assert "sda (500 GB)" in node.finding("host.disk", "2000 GB").remedy


WARN, UNKNOWN = ("WARN", "link-degraded"), ("UNKNOWN", "unknown")

# the disk's link, the port's, virtualisation -> verdict; the sound one is 4.0 x4 at both ends
LINKS = [
    ({}, {}, "none", PASS),
    ({"width": 2}, {}, "none", WARN),
    ({"gen": 3}, {}, "none", WARN),
    ({"width": 2}, {"width_max": 2}, "none", PASS),
    ({"gen": 3}, {"gen_max": 3}, "none", PASS),
    ({"gen": 3, "gen_max": 3}, {}, "none", PASS),
    ({"gen": 3, "gen_max": 5}, {"gen_max": 5}, "none", WARN),
    ({"gen": 3}, {"gen_max": None}, "none", PASS),
    ({"width": None}, {}, "none", UNREADABLE),
    ({"gen": None}, {}, "none", UNREADABLE),
    ({"width_max": None}, {}, "none", None),
    ({}, {"width_max": None}, "none", None),
    ({"width": 2}, {}, "kvm", UNKNOWN),
    ({}, {}, "kvm", PASS),
]


@pytest.mark.parametrize(("disk", "port", "virtual", "expected"), LINKS)
def test_links(bench, disk, port, virtual, expected):
    node = bench()
    node.document["host"]["virtualisation"] = virtual
    by_address = {device["address"]: device for device in node.document["pci"]}
    by_address["0000:f1:00.0"]["link"] |= disk
    by_address["0000:f0:01.1"]["link"] |= port
    assert verdicts(node, "disk.link") == ([("nvme0n1", *expected)] if expected else [])


def test_two_namespaces_have_one_link(bench):
    node = bench()
    node.document["disks"] += [{"name": "nvme0n2", "address": "0000:f1:00.0"}, {"name": "sda"}]
    assert verdicts(node, "disk.link") == [("nvme0n1", *PASS)]


FULL = ("WARN", "disk-full")

# size and free in MiB of one more file system -> verdict
SPACE = [
    (100_000, 50_000, PASS),
    (100_000, 2048, PASS),
    (100_000, 2047, FULL),
    (1_000_000, 20_000, PASS),
    (1_000_000, 19_999, FULL),
    (511, 52, PASS),
    (511, 51, FULL),
    (511, 0, FULL),
    (None, 50_000, UNREADABLE),
    (50_000, None, UNREADABLE),
]


@pytest.mark.parametrize(("size", "free", "expected"), SPACE)
def test_space(bench, size, free, expected):
    node = bench()
    node.document["filesystems"].append({"mount": "/data", "size_mib": size, "free_mib": free})
    assert verdicts(node, "host.space") == [("rig", *expected)]
    finding = node.finding("host.space", "rig")
    assert ("/data" in finding.remedy) == (expected != PASS)


def test_what_is_full_is_told_before_what_is_unknown(bench):
    node = bench()
    node.document["filesystems"] = [{"mount": "/a"}, {"mount": "/b", "size_mib": 9, "free_mib": 0}]
    assert node.finding("host.space", "rig").observed == "/b 0 of 9 MiB free"


def test_no_file_system_is_unknown(bench):
    node = bench()
    node.document["filesystems"] = []
    assert verdicts(node, "host.space") == [("rig", *UNREADABLE)]
