"""The rig around the cards: processor, memory and network against the build."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.models import Cpu, Memory, Nic


def verdict(node, check):
    """Status and cause of a check about the rig; None where it says nothing."""
    found = [(f.status.value, f.cause) for f in node.findings() if (f.check, f.subject) == (check, "rig")]
    return found[0] if found else None


PASS = ("PASS", "")
UNREADABLE = ("UNKNOWN", "unreadable")
OTHER = ("FAIL", "other-cpu")

# declared model and cores, observed ones -> verdict
CPUS = [
    ("AMD EPYC 7252", 8, "AMD EPYC 7252 8-Core Processor", 8, PASS),
    ("amd epyc 7252", 8, "AMD EPYC 7252 8-Core Processor", 8, PASS),
    ("Intel Celeron G5905", 2, "Intel(R) Celeron(R) G5905 CPU @ 3.50GHz", 2, PASS),
    ("Intel Core i9-13900K", 24, "13th Gen Intel(R) Core(TM) i9-13900K", 24, PASS),
    ("AMD EPYC 7252", 8, "AMD EPYC 7252 8-Core Processor", 4, OTHER),
    ("AMD EPYC 7252", 8, "AMD EPYC 7252 8-Core Processor", 16, OTHER),
    ("AMD EPYC 7252", 8, "AMD EPYC 7262 8-Core Processor", 8, OTHER),
    ("AMD EPYC 725", 8, "AMD EPYC 7252 8-Core Processor", 8, OTHER),
    ("AMD EPYC 7252", 8, None, 4, OTHER),
    ("AMD EPYC 7252", 8, "Intel Xeon", None, OTHER),
    ("AMD EPYC 7252", 8, None, 8, UNREADABLE),
    ("AMD EPYC 7252", 8, "AMD EPYC 7252 8-Core Processor", None, UNREADABLE),
    ("AMD EPYC 7252", 8, None, None, UNREADABLE),
]


@pytest.mark.parametrize(("model", "cores", "seen", "seen_cores", "expected"), CPUS)
def test_cpu(bench, model, cores, seen, seen_cores, expected):
    node = bench(cpu=Cpu(model=model, cores=cores))
    node.document["cpu"] |= {"model": seen, "cores": seen_cores}
    assert verdict(node, "host.cpu") == expected
    assert bool(node.finding("host.cpu", "rig").remedy) == (expected != PASS)


GIB = 1024
MISSING, EXTRA = ("FAIL", "memory-missing"), ("WARN", "memory-extra")

# declared GiB, what the modules have and the kernel counts in MiB -> verdict
SIZES = [
    (32, 32 * GIB, 31 * GIB, PASS),
    (32, 32 * GIB, None, PASS),
    (32, 24 * GIB, 23 * GIB, MISSING),
    (32, 32 * GIB - 1, None, MISSING),
    (32, 64 * GIB, 62 * GIB, EXTRA),
    (32, 32 * GIB, 16 * GIB, MISSING),
    (32, None, 31 * GIB, PASS),
    (32, None, 32 * GIB * 90 // 100 + 1, PASS),
    (32, None, 32 * GIB * 90 // 100 - 1, MISSING),
    (32, None, 32 * GIB, PASS),
    (32, None, 33 * GIB, EXTRA),
    (32, None, None, UNREADABLE),
]


@pytest.mark.parametrize(("gib", "installed", "total", "expected"), SIZES)
def test_memory(bench, gib, installed, total, expected):
    node = bench(memory=Memory(size_gib=gib))
    node.document["memory"] |= {"installed_mib": installed, "total_mib": total}
    assert verdict(node, "host.memory") == expected
    finding = node.finding("host.memory", "rig")
    assert bool(finding.remedy) == (expected != PASS)
    assert bool(finding.observed) == (expected != UNREADABLE)


def test_missing_memory_names_the_modules_that_are_there(bench):
    node = bench()
    node.document["memory"]["installed_mib"] = 16384
    node.document["memory"]["modules"] = [{"locator": "DIMM_A1", "size_mib": 16384}]
    assert "DIMM_A1 (16384 MiB)" in node.finding("host.memory", "rig").remedy


def test_memory_that_the_system_cannot_use_is_no_bad_contact(bench):
    node = bench()
    node.document["memory"]["total_mib"] = 16384
    assert "reseat" not in node.finding("host.memory", "rig").remedy


# declared, observed -> verdict
ECCS = [
    (True, True, PASS),
    (True, False, ("FAIL", "no-ecc")),
    (True, None, UNREADABLE),
    (False, True, None),
    (False, False, None),
    (None, None, None),
]


@pytest.mark.parametrize(("declared", "seen", "expected"), ECCS)
def test_ecc(bench, declared, seen, expected):
    node = bench(memory=Memory(size_gib=32, ecc=declared))
    node.document["memory"]["ecc"] = seen
    assert verdict(node, "host.ecc") == expected


FEW = ("FAIL", "channels-missing")

# declared, observed channels, modules -> verdict
CHANNELS = [
    (8, 8, 8, PASS),
    (2, 4, 4, PASS),
    (8, 7, 7, FEW),
    (8, 4, 8, FEW),
    (8, None, 4, FEW),
    (8, None, 8, UNREADABLE),
    (8, None, 0, UNREADABLE),
    (8, 0, 0, FEW),
    (None, 1, 1, None),
]


@pytest.mark.parametrize(("declared", "seen", "modules", "expected"), CHANNELS)
def test_channels(bench, declared, seen, modules, expected):
    node = bench(memory=Memory(size_gib=32, channels=declared))
    node.document["memory"] |= {
        "channels": seen,
        "modules": [{"locator": f"DIMM{index}", "size_mib": 4096} for index in range(modules)],
    }
    assert verdict(node, "host.channels") == expected
    if expected == FEW and modules:
        assert "DIMM0 (4096 MiB)" in node.finding("host.channels", "rig").remedy


# correctable, uncorrectable -> verdict
EDAC = [
    (0, 0, PASS),
    (0, None, PASS),
    (None, 0, PASS),
    (1, 0, ("WARN", "memory-errors")),
    (1, None, ("WARN", "memory-errors")),
    (0, 1, ("FAIL", "memory-errors")),
    (9, 1, ("FAIL", "memory-errors")),
    (None, None, None),
]


@pytest.mark.parametrize(("correctable", "uncorrectable", "expected"), EDAC)
def test_memory_errors(bench, correctable, uncorrectable, expected):
    node = bench()
    node.document["memory"] |= {"correctable": correctable, "uncorrectable": uncorrectable}
    assert verdict(node, "host.memory_errors") == expected


SLOW, DARK, GONE = ("WARN", "nic-slow"), ("UNKNOWN", "no-cable"), ("FAIL", "nic-missing")

# declared (Gb/s, count), observed (Mb/s, carrier) -> verdict
PORTS = [
    ([(10, 2)], [(10_000, True), (10_000, True)], PASS),
    ([(10, 1)], [(10_000, None)], PASS),
    ([(10, 1)], [(25_000, True)], PASS),
    ([(2.5, 1)], [(2500, True)], PASS),
    ([(10, 2), (1, 1)], [(1000, True), (10_000, True), (10_000, True)], PASS),
    ([(1, 1), (10, 1)], [(10_000, True), (1000, True)], PASS),
    ([(10, 1)], [(1000, True), (None, False), (10_000, True)], PASS),
    ([(10, 2)], [(10_000, True)], GONE),
    ([(10, 1), (1, 1)], [(None, False)], GONE),
    ([(10, 2)], [(10_000, True), (1000, True)], SLOW),
    ([(10, 1)], [(1000, True), (None, False)], SLOW),
    ([(10, 1)], [(100, True), (None, None)], SLOW),
    ([(10, 2), (1, 1)], [(10_000, True), (1000, True), (1000, True)], SLOW),
    ([(10, 2)], [(10_000, True), (None, False)], DARK),
    ([(10, 1)], [(None, False), (None, False)], DARK),
    ([(10, 1)], [(None, None), (None, False)], UNREADABLE),
    ([(10, 1)], [(None, None)], UNREADABLE),
    ([(10, 1)], [(None, True)], UNREADABLE),
    ([(10, 1)], [(1000, None)], UNREADABLE),
    ([(10, 1)], [], UNREADABLE),
    ([], [], None),
    ([], [(10, True)], None),
]


@pytest.mark.parametrize(("declared", "seen", "expected"), PORTS)
def test_network(bench, declared, seen, expected):
    node = bench(nics=[Nic(speed_gbps=speed, count=count) for speed, count in declared])
    node.document["nics"] = [
        {"name": f"eno{index}", "speed_mbps": speed, "carrier": carrier} for index, (speed, carrier) in enumerate(seen)
    ]
    assert verdict(node, "host.network") == expected
    for finding in node.findings():
        if finding.check == "host.network":
            assert bool(finding.remedy) == (expected != PASS)


def test_a_slow_port_is_named_and_so_are_those_without_a_cable(bench):
    node = bench()
    node.document["nics"] = [
        {"name": "eno1", "speed_mbps": 1000, "carrier": True},
        {"name": "eno2", "speed_mbps": None, "carrier": False},
    ]
    finding = node.finding("host.network", "rig")
    assert (finding.declared, finding.observed) == ("2 of 10 Gb/s", "eno1 1 Gb/s, eno2 without a cable")
    assert "eno1 (1 Gb/s)" in finding.remedy
    assert "no cable is in eno2" in finding.remedy


# part and change of a virtual machine -> check, verdict
VIRTUAL = [
    ("cpu", {"cores": 4}, "host.cpu", OTHER),
    ("memory", {"installed_mib": 1024}, "host.memory", MISSING),
    ("memory", {"ecc": False}, "host.ecc", ("UNKNOWN", "unknown")),
    ("memory", {"ecc": True}, "host.ecc", ("UNKNOWN", "unknown")),
    ("memory", {"channels": 1}, "host.channels", ("UNKNOWN", "unknown")),
    ("memory", {"channels": 8}, "host.channels", ("UNKNOWN", "unknown")),
]


@pytest.mark.parametrize(("part", "change", "check", "expected"), VIRTUAL)
def test_a_virtual_machine_is_judged_as_it_is_seen(bench, part, change, check, expected):
    node = bench("romed8-7x4090")
    node.document["host"]["virtualisation"] = "kvm"
    node.document[part] |= change
    assert verdict(node, check) == expected
    assert "host" in node.finding(check, "rig").remedy


def test_fewer_ports_of_a_virtual_machine_are_nothing_to_reseat(bench):
    node = bench()
    node.document["host"]["virtualisation"] = "kvm"
    node.document["nics"] = node.document["nics"][:1]
    assert verdict(node, "host.network") == GONE
    assert "reseat" not in node.finding("host.network", "rig").remedy


def test_a_part_that_could_not_be_read_says_why(bench):
    node = bench("romed8-7x4090")
    node.document |= {"cpu": {}, "memory": {}, "nics": []}
    node.document["unread"] = [{"what": what, "why": f"no {what} today"} for what in ("cpu", "memory", "nics")]
    for check, part in [("host.cpu", "cpu"), ("host.memory", "memory"), ("host.ecc", "memory"),
                        ("host.channels", "memory"), ("host.network", "nics")]:  # fmt: skip
        assert node.finding(check, "rig").remedy == f"no {part} today"


def test_what_is_not_declared_is_not_judged(bench):
    checks = {f.check for f in bench(cpu=None, memory=None, nics=[]).findings()}
    assert not checks & {"host.cpu", "host.memory", "host.ecc", "host.channels", "host.network"}
