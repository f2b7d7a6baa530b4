"""nvidia-smi's XML: real captures by a table of what each holds, and everything that can be wrong with it."""

from __future__ import annotations

import re

import pytest

HEAD = '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
CARD = """<nvidia_smi_log><driver_version>580.95.05</driver_version><gpu id="00000000:41:00.0">
<product_name>NVIDIA GeForce RTX 3090</product_name>
<fb_memory_usage><total>{memory}</total></fb_memory_usage>
<pci><pci_device_id>220410DE</pci_device_id><pci_gpu_link_info>
<pcie_gen><current_link_gen>{gen}</current_link_gen></pcie_gen>
<link_widths><current_link_width>{width}</current_link_width></link_widths></pci_gpu_link_info></pci>
</gpu></nvidia_smi_log>"""

# Everything of each capture that rigdeploy uses. Paths are of the observation's gpus[0]; absent names are null.
CAPTURES = {
    "gtx-1070-ti.xml": {
        "driver": None,
        "cards": ["0000:01:00.0"],
        "name": "GeForce GTX 1070 Ti",
        "uuid": "GPU-f9ba66fc-a7f5-94c5-da19-019ef2f9c665",
        "memory_mib": 4096,
        "memory_used_mib": 42,
        "pstate": 8,
        "link": {"width": 16, "gen": 1},
    },
    "a10g.xml": {
        "driver": "515.105.01",
        "cards": ["0000:00:1e.0"],
        "name": "NVIDIA A10G",
        "uuid": "GPU-9a9a6c50-2a47-2f51-a902-b82c3b127e94",
        "memory_mib": 23028,
        "memory_used_mib": 22,
        "ecc": True,
        "persistence": False,
        "pstate": 8,
        "idle": True,
        "link": {"width": 8, "width_max": 16, "gen": 1, "gen_max": 4},
        "bar1_mib": 32768,
        "replays": 0,
        "power": {"draw": 25.58, "limit": 300, "enforced": 300, "default": 300, "minimum": 100, "maximum": 300},
    },
    "rtx-3090-v12.xml": {
        "driver": "525.147.05",
        "cards": ["0000:00:10.0"],
        "name": "NVIDIA GeForce RTX 3090",
        "uuid": "GPU-12345678-aaaa-bbbb-cccc-0123456789ab",
        "memory_mib": 24576,
        "memory_used_mib": 1,
        "persistence": True,
        "pstate": 8,
        "idle": True,
        "link": {"width": 16, "width_max": 16, "gen": 1, "gen_max": 4, "gen_device_max": 4},
        "bar1_mib": 32768,
        "replays": 0,
        "power": {"draw": 27.23, "limit": 200, "enforced": 200, "default": 350, "minimum": 100, "maximum": 375},
    },
    "rtx-3060-v12.xml": {
        "driver": "570.124.04",
        "cards": ["0000:2d:00.0"],
        "name": "NVIDIA GeForce RTX 3060",
        "uuid": "GPU-d6889ff6-2523-9142-ca3c-1ca3f396a625",
        "pci_id": "10de:2487",
        "memory_mib": 12288,
        "memory_used_mib": 116,
        "persistence": True,
        "pstate": 8,
        "idle": True,
        "link": {"width": 16, "width_max": 16, "gen": 1, "gen_max": 4, "gen_device_max": 4, "gen_host_max": 4},
        "bar1_mib": 256,
        "replays": 0,
        "power": {"draw": 11.63, "limit": 170, "enforced": 170, "default": 170, "minimum": 100, "maximum": 190},
    },
    "rtx-3080-v13.xml": {
        "driver": "595.58.03",
        "cards": ["0000:0c:00.0"],
        "name": "NVIDIA GeForce RTX 3080",
        "uuid": "GPU-19d6d965-2acc-f646-00f8-4c76979aabb4",
        "pci_id": "10de:2216",
        "memory_mib": 10240,
        "memory_used_mib": 9184,
        "persistence": False,
        "pstate": 2,
        "idle": False,
        "link": {"width": 16, "width_max": 16, "gen": 4, "gen_max": 4, "gen_device_max": 4, "gen_host_max": 4},
        "bar1_mib": 16384,
        "replays": 0,
        "power": {"draw": 142.33, "limit": 320, "enforced": 320, "default": 320, "minimum": 100, "maximum": 336},
    },
    "dual-2080-v13.xml": {
        "driver": "590.44.01",
        "cards": ["0000:01:00.0", "0000:02:00.0"],
        "name": "NVIDIA GeForce RTX 2080",
        "uuid": "GPU-12345678-aaaa-bbbb-cccc-0123456789ab",
        "pci_id": "10de:1e87",
        "memory_mib": 8192,
        "memory_used_mib": 1,
        "persistence": True,
        "pstate": 8,
        "idle": True,
        "link": {"width": 8, "width_max": 16, "gen": 1, "gen_max": 3, "gen_device_max": 3, "gen_host_max": 3},
        "bar1_mib": 256,
        "replays": 0,
        "power": {"draw": 1.0, "limit": 215, "enforced": 215, "default": 215, "minimum": 105, "maximum": 240},
    },
}
TEXT_CAPTURES = [
    # file, which of its logs -> (link generation, width, P-state, memory, BAR1) of each card, and the greatest links
    ("8x-rtx-4090-q.txt", 0, 8, 24564, 256, {"gen_max": 4, "gen_device_max": 4, "gen_host_max": 5, "width_max": 16}),
    ("rtx-4080-super-idle-and-load.txt", 0, 1, 16376, 16384, {"gen_max": 4, "gen_device_max": 4, "width_max": 16}),
    ("rtx-4080-super-idle-and-load.txt", 1, 1, 16376, 16384, {"gen_max": 4, "gen_device_max": 4, "width_max": 16}),
]
NULL_LINK = dict.fromkeys(("width", "width_max", "gen", "gen_max", "gen_device_max", "gen_host_max"))
NULL_POWER = dict.fromkeys(("draw", "limit", "enforced", "default", "minimum", "maximum"))
NAMES = ("name", "uuid", "pci_id", "memory_mib", "memory_used_mib", "ecc", "mig", "persistence", "pstate", "idle")


@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures(tree, corpus, why, name):
    expected = CAPTURES[name]
    document = tree.observe_with((corpus / "nvidia-smi-xml" / name).read_bytes())
    assert document["driver"]["library"] == expected["driver"]
    assert [gpu["address"] for gpu in document["gpus"]] == expected["cards"]
    gpu = document["gpus"][0]
    assert {key: gpu[key] for key in NAMES} == {key: expected.get(key) for key in NAMES}
    assert gpu["link"] == NULL_LINK | expected["link"]
    assert gpu["power"] == NULL_POWER | expected.get("power", {})
    assert (gpu["bar1_mib"], gpu["replays"]) == (expected.get("bar1_mib"), expected.get("replays"))
    for key in NAMES:
        assert bool(why(document, f"gpus[{gpu['address']}].{key}")) == (gpu[key] is None), key


def test_no_capture_is_forgotten(corpus):
    assert {path.name for path in (corpus / "nvidia-smi-xml").iterdir()} == set(CAPTURES)
    assert {path.name for path in (corpus / "nvidia-smi-text").iterdir()} == {row[0] for row in TEXT_CAPTURES}


@pytest.mark.parametrize("row", TEXT_CAPTURES, ids=[f"{row[0]}-{row[1]}" for row in TEXT_CAPTURES])
def test_real_captures_in_the_text_form(tree, corpus, row):
    """The text holds the XML's values under other names: put back, each must be read as it stands in the text."""
    name, which, count, memory, bar1, links = row
    log = (corpus / "nvidia-smi-text" / name).read_text().split("NVSMI LOG")[1 + which]
    texts = re.split(r"^GPU (?=0000)", log, flags=re.MULTILINE)[1:]
    document = tree.observe_with(HEAD + xml_of(texts))
    assert len(document["gpus"]) == len(texts) == count
    for text, gpu in zip(texts, document["gpus"], strict=True):
        assert gpu["address"] == text[4:16].lower()
        assert gpu["memory_mib"] == memory
        assert gpu["bar1_mib"] == bar1
        assert gpu["link"].items() >= links.items()
        assert gpu["link"]["width"] == 16
        # In P8 these cards fall back to 1.0, in P2 they run at 4.0 (the facts' table).
        assert (gpu["pstate"], gpu["link"]["gen"]) in ((8, 1), (2, 4))
        assert gpu["idle"] is (gpu["pstate"] == 8)
    if name.startswith("rtx-4080"):
        assert document["gpus"][0]["pstate"] == (8, 2)[which]


def xml_of(texts: list[str]) -> str:
    """A document with the fields of ``nvidia-smi -q`` that the probe reads."""
    places = {
        "product_name": "Product Name",
        "performance_state": "Performance State",
        "fb_memory_usage/total": "FB Memory Usage/Total",
        "bar1_memory_usage/total": "BAR1 Memory Usage/Total",
        "ecc_mode/current_ecc": "ECC Mode/Current",
        "clocks_event_reasons/clocks_event_reason_gpu_idle": "Clocks Event Reasons/Idle",
        "pci/pci_gpu_link_info/pcie_gen/max_link_gen": "PCIe Generation/Max",
        "pci/pci_gpu_link_info/pcie_gen/current_link_gen": "PCIe Generation/Current",
        "pci/pci_gpu_link_info/pcie_gen/max_device_link_gen": "PCIe Generation/Device Max",
        "pci/pci_gpu_link_info/pcie_gen/max_host_link_gen": "PCIe Generation/Host Max",
        "pci/pci_gpu_link_info/link_widths/max_link_width": "Link Width/Max",
        "pci/pci_gpu_link_info/link_widths/current_link_width": "Link Width/Current",
    }
    cards = ""
    for text in texts:
        cards += f'<gpu id="{text[:16]}">'
        for path, place in places.items():
            names = path.split("/")
            opening, closing = "".join(f"<{n}>" for n in names), "".join(f"</{n}>" for n in reversed(names))
            cards += opening + value_of(text, place) + closing
        cards += "</gpu>"
    return f"<nvidia_smi_log>{cards}</nvidia_smi_log>"


def value_of(text: str, place: str) -> str:
    section, _, name = place.rpartition("/")
    start = re.search(rf"^\s+{section}\s*$", text, re.MULTILINE) if section else None
    assert start or not section, section
    match = re.search(rf"^\s+{name}\s*: (.*)$", text[start.end() if start else 0 :], re.MULTILINE)
    assert match, place
    return match[1]


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
