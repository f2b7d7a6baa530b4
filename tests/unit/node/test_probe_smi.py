"""nvidia-smi's XML of all versions, and everything that can be wrong with it."""

from __future__ import annotations

import pytest

HEAD = '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
CARD = """<nvidia_smi_log><driver_version>580.95.05</driver_version><gpu id="00000000:41:00.0">
<product_name>NVIDIA GeForce RTX 3090</product_name>
<fb_memory_usage><total>{memory}</total></fb_memory_usage>
<pci><pci_device_id>220410DE</pci_device_id><pci_gpu_link_info>
<pcie_gen><current_link_gen>{gen}</current_link_gen></pcie_gen>
<link_widths><current_link_width>{width}</current_link_width></link_widths></pci_gpu_link_info></pci>
</gpu></nvidia_smi_log>"""


@pytest.mark.parametrize(
    "text",
    ["N/A", "[N/A]", "[Unknown Error]", "Unknown Error", "ERR!", "[Not Supported]", "GPU is lost", "", "-5", "nan"],
)
def test_what_is_no_value_is_null_and_noted(tree, why, text):
    document = tree.observe_with(HEAD + CARD.format(memory=text, gen=text, width=text))
    (gpu,) = document["gpus"]
    assert (gpu["memory_mib"], gpu["link"]["gen"], gpu["link"]["width"]) == (None, None, None)
    reason = why(document, "gpus[0000:41:00.0].memory_mib")[0]
    assert repr(text) in reason if text else "absent" in reason


def test_a_value_with_its_unit(tree):
    document = tree.observe_with(HEAD + CARD.format(memory="24576 MiB", gen="4", width="16x"))
    (gpu,) = document["gpus"]
    assert (gpu["memory_mib"], gpu["link"]["gen"], gpu["link"]["width"]) == (24576, 4, 16)
    assert gpu["pci_id"] == "10de:2204"


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
BROKEN = [
    ("", "no element"),
    ("<", "broken XML"),
    ("<nvidia_smi_log><gpu>", "broken XML"),
    ("<html><body>502</body></html>", "not a document"),
    (f'<!DOCTYPE nvidia_smi_log [<!ENTITY a0 "ha">{LAUGHS}]><nvidia_smi_log>&a11;</nvidia_smi_log>', "entities"),
    ('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><nvidia_smi_log>&e;</nvidia_smi_log>', "entities"),
    ("<nvidia_smi_log>&nbsp;</nvidia_smi_log>", "broken XML"),
    ("<nvidia_smi_log>" + "<gpu>" * 100_000, "not a document"),
    ("<nvidia_smi_log>\x00</nvidia_smi_log>", "broken XML"),
    ("<nvidia_smi_log>\x1b[31m</nvidia_smi_log>", "broken XML"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN, ids=[text[:30] or "empty" for text, _ in BROKEN])
def test_a_broken_document_is_one_line_of_unread(tree, why, text, words):
    document = tree.observe_with(text)
    assert document["gpus"] == []
    assert document["driver"]["answers"] is None
    assert words in why(document, "gpus")[0]


def test_a_card_without_a_usable_address_is_left_out_and_noted(tree, why):
    text = CARD.format(memory="1 MiB", gen="1", width="1x").replace("00000000:41:00.0", "../../etc")
    document = tree.observe_with(HEAD + text)
    assert document["gpus"] == []
    assert "../../etc" in why(document, "gpus[]")[0]


def test_a_failing_nvidia_smi_says_why(tree, why):
    message = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    document = tree.observe_with(message, status=9)
    assert document["driver"]["answers"] is False
    assert document["driver"]["loaded"] is False
    assert "exit code 9" in why(document, "gpus")[0]
    assert "couldn't communicate" in why(document, "gpus")[0]


def test_an_nvidia_smi_that_does_not_come_back_is_left_behind(tree, why, monkeypatch):
    monkeypatch.setattr("rigdeploy.node.probe.SMI_TIMEOUT_SECONDS", 0.2)
    document = tree.observe("sh -c 'exec sleep 20'")
    assert document["driver"]["answers"] is False
    assert "no answer" in why(document, "gpus")[0]


def test_no_nvidia_smi_is_no_trouble(tree, why):
    tree.root.mkdir()
    document = tree.observe()
    assert document["driver"]["loaded"] is False
    assert document["driver"]["answers"] is None
    assert not why(document, "gpus")


def test_a_recorded_node_never_runs_this_machines_tool(tree, monkeypatch, tmp_path):
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    tree.root.mkdir()
    tree.observe()
    assert not (tmp_path / "ran").exists()


OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.154.05  Thu Dec 28 15:37:48 UTC 2023\n"


@pytest.mark.parametrize(
    ("banner", "version", "flavour"), [(OPEN, "580.95.05", "open"), (CLOSED, "535.154.05", "proprietary")]
)
def test_the_kernel_modules_version_and_kind(tree, banner, version, flavour):
    tree.file("proc/driver/nvidia/version", banner + "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
    driver = tree.observe()["driver"]
    assert (driver["loaded"], driver["version"], driver["flavour"]) == (True, version, flavour)


def test_a_loaded_module_without_nvidia_smi(tree, why):
    tree.file("sys/module/nvidia/version", "580.95.05\n")
    document = tree.observe()
    assert (document["driver"]["loaded"], document["driver"]["version"]) == (True, "580.95.05")
    assert "not installed" in why(document, "gpus")[0]


def test_nouveau(tree):
    tree.file("sys/module/nouveau/refcnt", "1\n")
    assert tree.observe()["driver"]["nouveau"] is True
