"""Xid and AER in the kernel's log, as kernels from 4.x to today write them: each event counts once."""

from __future__ import annotations

import shlex
import sys

import pytest

from rigdeploy.node import probe


def read(text: str) -> dict[tuple, int]:
    """Counts by (kind, address) or (kind, address, code)."""
    log = probe.KernelLog()
    for line in text.splitlines():
        log.add(line.encode())
    keys = ("kind", "address", "code")
    return {tuple(line[key] for key in keys if line[key] is not None): line["count"] for line in log.result()}


CARD, PORT = "0000:41:00.0", "0000:40:01.1"
KERNEL_4 = """
pcieport 0000:00:1c.5: AER: Corrected error received: id=00e5
pcieport 0000:00:1c.5: PCIe Bus Error: severity=Corrected, type=Physical Layer, id=00e5(Receiver ID)
pcieport 0000:00:1c.5:   device [8086:9d15] error status/mask=00000001/00002000
pcieport 0000:00:1c.5:    [ 0] Receiver Error
pcieport 0000:00:1c.5: AER: Multiple Corrected error received: id=0300
pcieport 0000:00:1c.5: can't find device of ID0300
"""
KERNEL_5 = """
[   12.345678] pcieport 0000:40:01.1: AER: Corrected error received: 0000:41:00.0
[   12.345690] nvidia 0000:41:00.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)
[   12.345691] nvidia 0000:41:00.0: AER:   device [10de:2204] error status/mask=00000040/0000a000
[   12.345692] nvidia 0000:41:00.0: AER:    [ 6] BadTLP
[   99.000000] pcieport 0000:40:01.1: AER: Multiple Corrected error received: 0000:41:00.0
[   99.000001] pcieport 0000:40:01.1: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Transmitter ID)
[   99.000002] pcieport 0000:40:01.1: AER:   device [1022:1483] error status/mask=00001000/00006000
[   99.000003] pcieport 0000:40:01.1: AER:    [12] Timeout
[   99.000004] nvidia 0000:41:00.0: AER: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)
[   99.000005] nvidia 0000:41:00.0: AER:   device [10de:2204] error status/mask=00000001/0000a000
[   99.000006] nvidia 0000:41:00.0: AER:    [ 0] RxErr                  (First)
[   99.000007] nvidia 0000:41:00.0: AER:   Error of this Agent is reported first
"""
KERNEL_6 = """
pcieport 0000:40:01.1: AER: Correctable error message received from 0000:00:00.0
pcieport 0000:40:01.1: PCIe Bus Error: severity=Correctable, type=Data Link Layer, (Transmitter ID)
pcieport 0000:40:01.1:   device [1022:1483] error status/mask=00001000/00006000
pcieport 0000:40:01.1:    [12] Timeout
aer_ratelimit: 8156 callbacks suppressed
pcieport 0000:40:01.1: AER: Multiple Correctable error message received from 0000:41:00.0
nvidia 0000:41:00.0: PCIe Bus Error: severity=Correctable, type=Physical Layer, (Receiver ID)
nvidia 0000:41:00.0:    [ 0] RxErr                  (First)
pcieport 0000:40:01.1: AER: Correctable error message received from 0000:41:00.0 (no details found)
"""
UNCORRECTABLE = """
pcieport 0000:40:01.1: AER: Uncorrected (Non-Fatal) error received: 0000:41:00.0
nvidia 0000:41:00.0: AER: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer, (Requester ID)
nvidia 0000:41:00.0: AER:    [20] UnsupReq               (First)
nvidia 0000:41:00.0: AER:   TLP Header: 40000001 0000000f 90028090 00000000
nvidia 0000:41:00.0: AER: can't recover (no error_detected callback)
pcieport 0000:40:01.1: AER: Uncorrectable (Fatal) error message received from 0000:41:00.0
nvidia 0000:41:00.0: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Inaccessible, (Unregistered Agent ID)
pcieport 0000:40:01.1: AER: Root Port link has been reset (0)
"""
TWO_PORTS = """
pcieport 0000:40:01.1: AER: Corrected error received: 0000:41:00.0
pcieport 0000:80:01.1: AER: Corrected error received: 0000:81:00.0
nvidia 0000:41:00.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)
nvidia 0000:81:00.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)
"""
FIRMWARE_FIRST = """
acpi PNP0A08:03: PCIe AER handled by firmware
{3}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 514
{3}[Hardware Error]: It has been corrected by h/w and requires no further action
{3}[Hardware Error]: event severity: corrected
{3}[Hardware Error]:  Error 0, type: corrected
{3}[Hardware Error]:   section_type: PCIe error
{3}[Hardware Error]:   port_type: 0, PCIe end point
{3}[Hardware Error]:   version: 0.2
{3}[Hardware Error]:   command: 0x0406, status: 0x0010
{3}[Hardware Error]:   device_id: 0000:41:00.0
{3}[Hardware Error]:   slot: 0
{3}[Hardware Error]:   secondary_bus: 0x00
{3}[Hardware Error]:   vendor_id: 0x10de, device_id: 0x2204
{3}[Hardware Error]:   class_code: 030000
{3}[Hardware Error]:   aer_cor_status: 0x00000001, aer_cor_mask: 0x00000000
nvidia 0000:41:00.0: AER: aer_status: 0x00000001, aer_mask: 0x00000000
nvidia 0000:41:00.0: AER:    [ 0] RxErr                  (First)
nvidia 0000:41:00.0: AER: aer_layer=Physical Layer, aer_agent=Receiver ID
nvidia 0000:41:00.0: AER: aer_status: 0x00002001, aer_mask: 0x00000000
nvidia 0000:41:00.0: AER:\t  [ 0] RxErr\t\t      (First)
nvidia 0000:41:00.0: AER:\t  [13] NonFatalErr
nvidia 0000:41:00.0: AER: aer_layer=Physical Layer, aer_agent=Receiver ID
{4}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 5
{4}[Hardware Error]: event severity: recoverable
{4}[Hardware Error]:  Error 0, type: fatal
{4}[Hardware Error]:   section_type: PCIe error
{4}[Hardware Error]:   device_id: 0000:40:01.1
{4}[Hardware Error]:  Error 1, type: recoverable
{4}[Hardware Error]:   section_type: PCIe error
{4}[Hardware Error]:   device_id: 0000:41:00.0
pcieport 0000:40:01.1: AER: aer_status: 0x00100000, aer_mask: 0x00010000
pcieport 0000:40:01.1:    [20] UnsupReq               (First)
"""
NO_EVENTS = """
pcieport 0000:40:01.1: AER: enabled with IRQ 45
pcieport 0000:40:01.1: AER: Root Port link has been reset (0)
BERT: Error records from previous boot:
[Hardware Error]: event severity: fatal
[Hardware Error]:  Error 0, type: fatal
[Hardware Error]:   section_type: PCIe error
[Hardware Error]:   device_id: 0000:41:00.0
{1}[Hardware Error]: event severity: corrected
{1}[Hardware Error]:  Error 0, type: corrected
{1}[Hardware Error]:   section_type: memory error
{1}[Hardware Error]:   device_id: 0000:41:00.0
{2}[Hardware Error]: event severity: info
{2}[Hardware Error]:   section_type: PCIe error
{2}[Hardware Error]:   device_id: 0000:41:00.0
mce: [Hardware Error]: Machine check events logged
NVRM: GPU at PCI:0000:41:00: GPU-9a9a6c50-2a47-2f51-a902-b82c3b127e94
NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05
nvidia-nvswitch0: SXid (PCI:0000:c5:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error
"""
BEHIND_A_SWITCH = """
pcieport 0000:40:01.1: AER: Corrected error received: 0000:41:00.0
pcieport 0000:42:08.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)
"""
ONE_WITHOUT_DETAILS = """
pcieport 0000:40:01.1: AER: Uncorrected (Non-Fatal) error received: 0000:41:00.0
pcieport 0000:40:01.1: AER: Corrected error received: 0000:41:00.0
nvidia 0000:41:00.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)
"""
LOGS = {
    "behind a switch": (BEHIND_A_SWITCH, {("aer-correctable", "0000:42:08.0"): 1}),
    "one without details": (ONE_WITHOUT_DETAILS, {("aer-nonfatal", CARD): 1, ("aer-correctable", CARD): 1}),
    "kernel 4": (KERNEL_4, {("aer-correctable", "0000:00:1c.5"): 1, ("aer-correctable", "0000:03:00.0"): 1}),
    "kernel 5": (KERNEL_5, {("aer-correctable", CARD): 2, ("aer-correctable", PORT): 1}),
    "kernel 6": (KERNEL_6, {("aer-correctable", CARD): 2, ("aer-correctable", PORT): 1}),
    "uncorrectable": (UNCORRECTABLE, {("aer-fatal", CARD): 1, ("aer-nonfatal", CARD): 1}),
    "two ports at once": (TWO_PORTS, {("aer-correctable", CARD): 1, ("aer-correctable", "0000:81:00.0"): 1}),
    "firmware first": (
        FIRMWARE_FIRST,
        {("aer-correctable", CARD): 2, ("aer-fatal", PORT): 1, ("aer-nonfatal", CARD): 1},
    ),
    "no events": (NO_EVENTS, {}),
}


@pytest.mark.parametrize(("text", "expected"), LOGS.values(), ids=LOGS)
def test_each_error_counts_once(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("line", "address", "code"),
    [
        ("NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.", CARD, 79),
        ("[  77.1] NVRM: Xid (PCI:0000:C1:00): 31, pid=1234, name=python, Ch 00000008", "0000:c1:00.0", 31),
        ("NVRM: Xid (PCI:0000:41:00.0): 13, Graphics Exception", CARD, 13),
        ("NVRM: Xid (PCI:00000000:41:00): 48, DBE", CARD, 48),
        ("NVRM: Xid (PCI:0001:41:00): 48", "0001:41:00.0", 48),
        ("NVRM: Xid (0000:41:00): 62, 2b40(2280)", CARD, 62),
        ("NVRM: Xid (PCI:0000:41:00 GPU-I:05): 94, Contained", CARD, 94),
        ("Nov 14 05:34:15 rig01 kernel: NVRM: Xid (PCI:0000:41:00): 119, Timeout", CARD, 119),
    ],
)
def test_xids(line, address, code):
    assert read(f"{line}\n{line}") == {("xid", address, code): 2}


def test_what_is_kept_of_a_line():
    log = probe.KernelLog()
    for text in ("NVRM: Xid (PCI:0000:41:00): 79, first", "NVRM: Xid (PCI:0000:41:00): 79, last" + "x" * 5000):
        log.add(text.encode() + b"\xff\n")
    (line,) = log.result()
    assert line["count"] == 2
    assert line["text"].startswith("NVRM: Xid (PCI:0000:41:00): 79, last")
    assert len(line["text"]) == 300


def test_a_flood_of_different_lines_is_bounded():
    log = probe.KernelLog()
    for number in range(5000):
        log.add(f"pcieport 0000:40:01.1: AER: Corrected error received: 0000:{number % 256:02x}:00.0".encode())
        log.add(f"NVRM: Xid (PCI:0000:41:00): {number}, x".encode())
    assert len(log.result()) <= probe.LOG_KEYS


def program(text: str, tmp_path, status: int = 0) -> str:
    file = tmp_path / "log"
    file.write_text(text)
    return f"sh -c 'cat {shlex.quote(str(file))}; echo broken >&2; exit {status}'"


def test_a_replayed_log(tree, tmp_path):
    (line,) = tree.observe(kernel_log=program("NVRM: Xid (PCI:0000:41:00): 79, x\n", tmp_path))["kernel_log"]
    assert line == {
        "kind": "xid",
        "address": CARD,
        "code": 79,
        "count": 1,
        "text": "NVRM: Xid (PCI:0000:41:00): 79, x",
    }


def test_a_quiet_log_is_not_an_unread_one(tree, why, tmp_path):
    document = tree.observe(kernel_log=program("Linux version 6.1.0\n", tmp_path))
    assert document["kernel_log"] == []
    assert not why(document, "kernel_log")


def test_a_log_without_any_line_was_not_read(tree, why, tmp_path):
    document = tree.observe(kernel_log=program("", tmp_path, 1))
    assert document["kernel_log"] is None
    assert "exit code 1" in why(document, "kernel_log")[0]
    assert "broken" in why(document, "kernel_log")[0]


def test_a_recorded_node_has_no_log_unless_one_is_given(tree, why):
    tree.root.mkdir()
    document = tree.observe()
    assert document["kernel_log"] is None
    assert why(document, "kernel_log")


def test_a_log_that_does_not_end_is_used_as_far_as_it_came(tree, why, monkeypatch):
    monkeypatch.setattr(probe, "LOG_TIMEOUT_SECONDS", 1)
    line = "NVRM: Xid (PCI:0000:41:00): 79, x"
    document = tree.observe(
        kernel_log=f"{sys.executable} -c 'import time; print(\"{line}\", flush=True); time.sleep(20)'"
    )
    assert [entry["code"] for entry in document["kernel_log"]] == [79]
    assert "only its first 1 lines" in why(document, "kernel_log")[0]


def commands(monkeypatch, tmp_path, **scripts):
    """Put these in place of journalctl and dmesg."""
    for name in ("journalctl", "dmesg"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{scripts.get(name, 'exit 1')}\n")
        path.chmod(0o755)
    monkeypatch.setattr(probe, "tool", lambda name: str(tmp_path / name))


XID = 'echo "NVRM: Xid (PCI:0000:41:00): {}, x"'


@pytest.mark.parametrize(
    ("scripts", "codes"),
    [
        ({"journalctl": XID.format(79), "dmesg": XID.format(31)}, [79]),  # never both: they hold the same lines
        ({"journalctl": "echo quiet", "dmesg": XID.format(31)}, []),
        ({"journalctl": "", "dmesg": XID.format(31)}, [31]),  # who may not read it sees nothing, and no error
        ({"journalctl": "exit 1", "dmesg": XID.format(31)}, [31]),
        ({}, None),
    ],
)
def test_the_first_command_that_gives_a_line_is_believed(monkeypatch, tmp_path, scripts, codes):
    commands(monkeypatch, tmp_path, **scripts)
    node = probe.Node("")
    found = probe.read_kernel_log(node, probe.start_log(node))
    assert (None if found is None else [line["code"] for line in found]) == codes
    assert bool(node.unread) == (codes is None)


def test_the_journal_is_asked_for_this_boots_kernel_lines(monkeypatch, tmp_path):
    commands(monkeypatch, tmp_path, journalctl='echo "NVRM: Xid (PCI:0000:41:00): 79, $*"')
    node = probe.Node("")
    (line,) = probe.read_kernel_log(node, probe.start_log(node))
    assert {"--dmesg", "--boot", "--output=cat"} <= set(line["text"].split())


def test_no_program_of_this_machine_reads_a_recorded_nodes_log(tree, monkeypatch, tmp_path):
    commands(monkeypatch, tmp_path, journalctl=f"touch {tmp_path}/ran", dmesg=f"touch {tmp_path}/ran")
    tree.root.mkdir()
    tree.observe()
    assert not (tmp_path / "ran").exists()
