"""The simulated nvidia-smi, held against a recording of the real one."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from itertools import groupby
from pathlib import Path

import pytest

from rigdeploy.lab.faults import Faults, SlotFault

CORPUS = Path(os.environ.get("RIGDEPLOY_CORPUS") or Path(__file__).parents[4] / "shared/corpus")
RECORDING = CORPUS / "nvidia-smi-xml/rtx-3090-v12.xml"


@pytest.fixture
def loaded(make_root):
    def make(build="pro-4x3090", faults=None):
        root = make_root(build, faults)
        root.install_driver()
        assert root.modprobe("nvidia").returncode == 0
        return root

    return make


def shape(text: str) -> list[str]:
    """The lines without their values; repeated lines and blocks (cards, clocks) once."""
    lines = [re.sub(r">[^<]+<", "><", re.sub(r'id="[^"]*"', 'id=""', line)) for line in text.splitlines()]
    lines = [line for line, _ in groupby(lines)]
    first = next((at for at, line in enumerate(lines) if "</supported_mem_clock>" in line), len(lines))
    last = max((at for at, line in enumerate(lines) if "</supported_mem_clock>" in line), default=len(lines))
    return lines[:first] + lines[last:]


def test_xml_has_the_recordings_form_to_the_byte(loaded):
    if not RECORDING.exists():
        pytest.skip(f"not tested against a recording: no {RECORDING} (RIGDEPLOY_CORPUS names another place)")
    ours = loaded().smi("-q", "-x", "-i", "0").stdout
    assert shape(ours) == shape(RECORDING.read_text())


def test_xml_values_follow_the_hardware(loaded):
    faults = Faults(
        slots={"PCIE3": SlotFault(width=8, gen=3, memory_mib=12288, bar1_mib=256), "PCIE5": SlotFault(busy=True)}
    )
    log = ET.fromstring(loaded(faults=faults).smi("-q", "-x").stdout)
    assert (log.findtext("driver_version"), log.findtext("cuda_version")) == ("580.95.05", "13.0")
    assert log.findtext("attached_gpus") == str(len(log.findall("gpu"))) == "4"
    cards = {gpu.get("id"): gpu for gpu in log.findall("gpu")}
    gpu = cards["00000000:41:00.0"]
    info = "pci/pci_gpu_link_info"
    values = {
        "product_name": "NVIDIA GeForce RTX 3090",
        "fb_memory_usage/total": "12288 MiB",
        "bar1_memory_usage/total": "256 MiB",
        f"{info}/link_widths/current_link_width": "8x",
        f"{info}/link_widths/max_link_width": "16x",
        f"{info}/pcie_gen/current_link_gen": "1",
        f"{info}/pcie_gen/max_host_link_gen": "4",
        "pci/pci_device_id": "220410DE",
        "power_readings/default_power_limit": "350.00 W",
        "persistence_mode": "Disabled",
    }
    assert {path: gpu.findtext(path) for path in values} == values
    for bus, state, gen in (("C1", "P8", "1"), ("C2", "P2", "4")):
        card = cards[f"00000000:{bus}:00.0"]
        assert (card.findtext("performance_state"), card.findtext(f"{info}/pcie_gen/current_link_gen")) == (state, gen)


def test_csv_queries(loaded):
    root = loaded()
    asked = "--query-gpu=index,memory.total,pcie.link.width.current"
    assert root.smi(asked, "--format=csv,noheader").stdout.splitlines()[0] == "0, 24576 MiB, 16"
    assert root.smi(asked, "--format=csv,noheader,nounits").stdout.splitlines()[0] == "0, 24576, 16"
    header = root.smi(asked, "--format=csv").stdout.splitlines()[0]
    assert header == "index, memory.total [MiB], pcie.link.width.current"
    assert root.smi("-i", "2", asked, "--format=csv,noheader").stdout.count("\n") == 1
    assert root.smi("--query-gpu=nonsense", "--format=csv").returncode == 2


def test_settings_last_until_the_driver_goes(loaded):
    root = loaded()
    assert root.smi("-pm", "1").returncode == 0
    assert "<persistence_mode>Enabled" in root.smi("-q", "-x").stdout
    assert root.smi("-i", "0", "-pl", "280").returncode == 0
    assert root.smi("--query-gpu=power.limit", "--format=csv,noheader").stdout.splitlines()[:2] == [
        "280.00 W",
        "350.00 W",
    ]
    refused = root.smi("-pl", "2000")
    assert (refused.returncode, "not a valid power limit" in refused.stdout) == (2, True)


def test_failures_have_the_real_words_and_codes(make_root):
    root = make_root()
    missing = root.smi()
    assert (missing.returncode, "couldn't find libnvidia-ml.so" in missing.stdout) == (12, True)
    root.install_driver()
    unloaded = root.smi("-q", "-x")
    assert unloaded.returncode == 9
    assert unloaded.stdout.startswith("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    root.modprobe("nvidia")
    root.install_driver("570.195.03")
    mismatch = root.smi()
    assert mismatch.returncode == 18
    assert "Driver/library version mismatch\nNVML library version: 570.195\n" in mismatch.stdout


def test_no_cards_is_said(make_root):
    gone = Faults(slots={name: SlotFault(missing=True) for name in ("SLOT1", "SLOT2")})
    root = make_root("dual-4090-no-nvlink", gone)
    root.install_driver()
    root.write("sys/module/nvidia/version", "580.95.05\n")
    done = root.smi("-L")
    assert (done.returncode, done.stdout) == (6, "No devices were found\n")


def test_it_says_that_it_is_simulated(make_root):
    root = make_root()
    for tool in (root.smi("--version"), root.modprobe("--version"), root.run("dmesg.py", "--version")):
        assert "simulated" in tool.stdout


def test_limits_and_clocks_are_set_in_the_real_tools_words(loaded):
    root = loaded()
    assert root.smi("-i", "0", "-pl", "280").stdout.splitlines()[0] == (
        "Power limit for GPU 00000000:41:00.0 was set to 280.00 W from 350.00 W."
    )
    refused = root.smi("-pl", "501")
    assert refused.returncode == 2
    assert "should be between 100.00 W and 500.00 W for GPU 00000000:41:00.0\nTerminating early" in refused.stdout
    locked = root.smi("-i", "0", "-lgc", "0,1500").stdout
    assert 'GPU clocks set to "(gpuClkMin 0, gpuClkMax 1500)" for GPU 00000000:41:00.0' in locked
    assert "Warning: persistence mode is disabled on device 00000000:41:00.0" in locked
    assert locked.endswith("All done.\n")
    report = root.smi("-q", "-d", "POWER", "-i", "0").stdout
    assert re.search(r"Requested Power Limit +: 280\.00 W", report)
    assert "Clocks" not in report


def test_a_locked_clock_holds_a_busy_card_until_it_is_reset(loaded):
    root = loaded(faults=Faults(slots={"PCIE3": SlotFault(busy=True)}))
    ask = ("-i", "00000000:41:00.0", "--query-gpu=clocks.gr", "--format=csv,noheader,nounits")
    before = root.smi(*ask).stdout
    root.smi("-i", "00000000:41:00.0", "--lock-gpu-clocks=0,1200")
    assert (before, root.smi(*ask).stdout) == ("1695\n", "1200\n")
    root.smi("-rgc")
    assert root.smi(*ask).stdout == before


def test_only_the_cards_that_have_a_node_here_are_shown(loaded):
    root = loaded()
    for name in ("nvidiactl", "nvidia2"):
        root.write(f"dev/{name}", "")
    for number in (0, 1, 3):
        (root.directory / f"dev/nvidia{number}").unlink(missing_ok=True)
    shown = root.smi("--query-gpu=index,pci.bus_id", "--format=csv,noheader").stdout
    assert len(shown.splitlines()) == 1
    assert shown.startswith("0, ")
