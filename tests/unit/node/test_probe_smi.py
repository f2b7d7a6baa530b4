"""nvidia-smi's XML of all versions, and everything that can be wrong with it."""

from __future__ import annotations

import pytest

from rigdeploy.node import probe

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


def read(tree, inner):
    """The one card of a document that holds these elements."""
    text = f'<nvidia_smi_log><gpu id="00000000:41:00.0">{inner}</gpu></nvidia_smi_log>'
    document = tree.observe_with(HEAD + text)
    return document["gpus"][0], {line["what"].rpartition("].")[2] for line in document["unread"]}


def rows(correctable, uncorrectable, pending, failure):
    return (
        f"<remapped_rows><remapped_row_corr>{correctable}</remapped_row_corr><remapped_row_unc>{uncorrectable}"
        f"</remapped_row_unc><remapped_row_pending>{pending}</remapped_row_pending><remapped_row_failure>{failure}"
        "</remapped_row_failure></remapped_rows>"
    )


def volatile(**counts):
    inner = "".join(f"<{name}>{count}</{name}>" for name, count in counts.items())
    ever = "<aggregate><dram_uncorrectable>9</dram_uncorrectable></aggregate>"
    return f"<ecc_errors><volatile>{inner}</volatile>{ever}</ecc_errors>"


def retired(element, value):
    return f"<retired_pages><{element}>{value}</{element}></retired_pages>"


HEALTH = [
    ("", {}, set()),
    ("<remapped_rows>N/A</remapped_rows>", {}, set()),
    (rows(*["N/A"] * 4), {}, set()),
    (
        rows(2, 1, "Yes", "No"),
        {"remapped_correctable": 2, "remapped_uncorrectable": 1, "remap_pending": 1, "remap_failed": 0},
        set(),
    ),
    (
        rows(0, "[Unknown Error]", "ERR!", "Yes"),
        {"remapped_correctable": 0, "remap_failed": 1},
        {"remapped_uncorrectable", "remap_pending"},
    ),
    (retired("pending_blacklist", "Yes"), {"retired_pending": 1}, set()),  # v10
    (retired("pending_retirement", "No"), {"retired_pending": 0}, set()),
    (retired("pending_retirement", "N/A"), {}, set()),
    (volatile(double_bit="<device_memory>1</device_memory><total>3</total>"), {"ecc_uncorrectable": 3}, set()),  # v10
    (volatile(sram_uncorrectable=1, dram_uncorrectable=2), {"ecc_uncorrectable": 3}, set()),  # v11
    (  # v12 since driver 545, v13
        volatile(sram_uncorrectable_parity=1, sram_uncorrectable_secded=2, dram_uncorrectable=4),
        {"ecc_uncorrectable": 7},
        set(),
    ),
    (volatile(sram_uncorrectable="N/A", dram_uncorrectable=0), {"ecc_uncorrectable": 0}, set()),
    (volatile(sram_uncorrectable="N/A", dram_uncorrectable="N/A"), {}, set()),
    (volatile(dram_uncorrectable="GPU is lost"), {}, {"ecc_uncorrectable.dram_uncorrectable"}),
]


@pytest.mark.parametrize(("inner", "health", "unread"), HEALTH)
def test_health_in_every_version(tree, inner, health, unread):
    gpu, noted = read(tree, inner)
    assert gpu["health"] == health
    words = ("remap", "retired", "ecc_")
    assert {what for what in noted if what.startswith(words)} == unread


def reasons(word, **states):
    inner = "".join(
        f"<clocks_{word}_reason_{name}>{state}</clocks_{word}_reason_{name}>" for name, state in states.items()
    )
    return f"<clocks_{word}_reasons>{inner}</clocks_{word}_reasons>"


REASONS = [
    (reasons("throttle", gpu_idle="Active", sw_power_cap="Not Active"), ["gpu_idle"]),
    (reasons("event", gpu_idle="Not Active", hw_slowdown="Active", hw_thermal_slowdown="Active"), None),
    (reasons("event", gpu_idle="Not Active"), []),
    (reasons("event", gpu_idle="N/A", sw_power_cap="Active"), ["sw_power_cap"]),
]


@pytest.mark.parametrize(("inner", "names"), REASONS)
def test_what_holds_the_clocks_down(tree, inner, names):
    gpu, noted = read(tree, inner)
    assert gpu["clock_reasons"] == (["hw_slowdown", "hw_thermal_slowdown"] if names is None else names)
    assert "clock_reasons" not in noted


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<clocks_event_reasons>N/A</clocks_event_reasons>",
        reasons("event", gpu_idle="N/A"),
        reasons("throttle", gpu_idle="ERR!"),
        "<clocks_event_reasons_counters><clocks_event_reasons_counters_sync_boost>0 us"
        "</clocks_event_reasons_counters_sync_boost></clocks_event_reasons_counters>",
    ],
)
def test_reasons_that_are_not_told_are_not_none(tree, inner):
    gpu, noted = read(tree, inner)
    assert gpu["clock_reasons"] is None
    assert "clock_reasons" in noted


def processes(*kinds):
    return "".join(f"<process_info><pid>1</pid><type>{kind}</type></process_info>" for kind in kinds)


@pytest.mark.parametrize(
    ("inner", "count"),
    [
        ("<processes></processes>", 0),
        (f"<processes>{processes('G', 'G')}</processes>", 0),
        (f"<processes>{processes('C', 'G', 'C+G', 'M+C')}</processes>", 3),
        ("<processes>N/A</processes>", None),
        ("<processes>[Unknown Error]</processes>", None),
        ("", None),
        (f"<accounted_processes>{processes('C')}</accounted_processes>", None),
    ],
)
def test_programs_that_compute(tree, inner, count):
    gpu, noted = read(tree, inner)
    assert gpu["processes"] == count
    assert ("processes" in noted) == (count is None)


def test_processes_are_counted_per_card(tree):
    card = '<gpu id="00000000:{}:00.0"><processes>{}</processes></gpu>'
    text = card.format("41", processes("C", "C")) + card.format("42", processes("C"))
    document = tree.observe_with(f"<nvidia_smi_log>{text}</nvidia_smi_log>")
    assert [gpu["processes"] for gpu in document["gpus"]] == [2, 1]


STATUS = (
    "<gpu_reset_status><reset_required>{}</reset_required>"
    "<drain_and_reset_recommended>{}</drain_and_reset_recommended></gpu_reset_status>"
)


@pytest.mark.parametrize(
    ("inner", "action", "noted"),
    [
        ("<gpu_recovery_action>None</gpu_recovery_action>", "None", False),
        ("<gpu_recovery_action>Reset</gpu_recovery_action>", "Reset", False),
        ("<gpu_recovery_action>Drain P2P</gpu_recovery_action>", "Drain P2P", False),
        ("<gpu_recovery_action>N/A</gpu_recovery_action>", None, False),
        ("<gpu_recovery_action>[Unknown Error]</gpu_recovery_action>", None, True),
        ("", None, False),  # before driver 550
        (STATUS.format("No", "N/A"), None, False),  # 535
        (STATUS.format("Yes", "No"), "Reset", False),
        (STATUS.format("No", "Yes"), "Drain and Reset", False),
        (STATUS.format("Requested functionality has been deprecated", "N/A"), None, False),
    ],
)
def test_the_drivers_own_advice(tree, inner, action, noted):
    gpu, unread = read(tree, inner)
    assert gpu["recovery_action"] == action
    assert ("recovery_action" in unread) == noted


def test_what_a_mig_instance_has_is_not_the_cards(tree):
    """An instance stands inside the card's element, before the card's own memory, with elements of the same names."""
    instance = (
        "<mig_device><index>0</index><ecc_error_count><volatile_count><sram_uncorrectable>5</sram_uncorrectable>"
        "</volatile_count></ecc_error_count>"
        "<fb_memory_usage><total>4864 MiB</total><used>3 MiB</used></fb_memory_usage>"
        "<bar1_memory_usage><total>8191 MiB</total></bar1_memory_usage></mig_device>"
    )
    gpu, _ = read(
        tree,
        f"<mig_mode><current_mig>Enabled</current_mig></mig_mode><mig_devices>{instance * 2}</mig_devices>"
        "<fb_memory_usage><total>40960 MiB</total><used>14 MiB</used></fb_memory_usage>"
        "<bar1_memory_usage><total>65536 MiB</total></bar1_memory_usage>" + volatile(sram_uncorrectable=0),
    )
    assert (gpu["mig"], gpu["memory_mib"], gpu["memory_used_mib"], gpu["bar1_mib"]) == (True, 40960, 14, 65536)
    assert gpu["health"] == {"ecc_uncorrectable": 0}


@pytest.mark.parametrize(("text", "degrees"), [("39 C", 39), ("N/A", None), ("ERR!", None), ("-1 C", None)])
def test_temperatures(tree, text, degrees):
    gpu, noted = read(tree, f"<temperature><gpu_temp>{text}</gpu_temp></temperature>")
    assert gpu["temperature_c"] == degrees
    assert ("temperature_c" in noted) == (degrees is None)


def test_a_text_of_a_megabyte_is_cut(tree):
    gpu, _ = read(tree, f"<product_name>{'x' * 1_000_000}</product_name><vbios_version>94.02</vbios_version>")
    assert len(gpu["name"]) == 1000
    assert gpu["vbios"] == "94.02"


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


REMARKS = [
    ("Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.  Reboot the system\n", "", 255),
    ("", "\nWARNING: infoROM is corrupted at gpu 0000:41:00.0\n", 0),
    ("WARNING: <b> &amp; \x1b[31m\n", "\n<gpu>\n", 0),
]


@pytest.mark.parametrize(("before", "after", "status"), REMARKS)
def test_remarks_beside_the_document_cost_no_card(tree, why, before, after, status):
    text = HEAD + CARD.format(memory="24576 MiB", gen="1", width="1x")
    document = tree.observe_with(before + text + after, status)
    assert [gpu["memory_mib"] for gpu in document["gpus"]] == [24576]
    assert " ".join((before + after).split()) in why(document, "nvidia-smi")[0]


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


def test_nouveau_by_the_modules_in_the_kernel(tree):
    tree.file("sys/module/nouveau/refcnt", "1\n")
    assert tree.observe()["driver"]["nouveau"] is True


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ("nouveau 2633728 0 - Live 0x0\nmxm_wmi 16384 1 nouveau, Live 0x0\n", True),
        ("mxm_wmi 1 1 nouveau, Live 0x0", False),
    ],
)
def test_nouveau_by_the_list_of_modules(tree, modules, found):
    tree.file("proc/modules", modules)
    assert tree.observe()["driver"]["nouveau"] is found


def test_no_list_of_modules_does_not_mean_no_nouveau(tree, why):
    tree.root.mkdir()
    document = tree.observe()
    assert document["driver"]["nouveau"] is None
    assert why(document, "driver.nouveau")


def modinfo(version, licence):
    return f"filename: /lib/nvidia.ko\nversion:        {version}\nlicense:        {licence}\nalias: pci:v10DEd*\n"


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        (modinfo("580.95.05", "Dual MIT/GPL"), 0, ("580.95.05", "open")),
        (modinfo("535.154.05", "NVIDIA"), 0, ("535.154.05", "proprietary")),
        (modinfo("535.154.05", "NVIDIA") + modinfo("1.0", "Dual MIT/GPL"), 1, ("535.154.05", "proprietary")),
        (modinfo("535.154.05", "GPL"), 0, ("535.154.05", None)),
        ("", 1, (None, None)),
    ],
)
def test_the_module_on_disk(tmp_path, monkeypatch, output, status, expected):
    (tmp_path / "out").write_text(output)
    tool = tmp_path / "modinfo"
    tool.write_text(
        f"#!/bin/sh\ncat {tmp_path}/out\necho 'modinfo: ERROR: Module nvidia-current not found.' >&2\nexit {status}\n"
    )
    tool.chmod(0o755)
    monkeypatch.setattr("rigdeploy.node.probe.tool", lambda name: str(tmp_path / name))
    node = probe.Node("")
    found = probe.installed_module(probe.start_modinfo(node))
    assert (found["installed"], found["installed_flavour"]) == expected
    assert not node.unread, "that there is no module is no trouble"


def test_a_node_without_modinfo(monkeypatch):
    monkeypatch.setattr("rigdeploy.node.probe.tool", lambda name: None)
    found = probe.installed_module(probe.start_modinfo(probe.Node("")))
    assert found == {"installed": None, "installed_flavour": None}
