"""Every real capture: a table of what each holds, and what the probe must make of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rigdeploy.node import probe

LINKS = ("width", "width_max", "gen", "gen_max", "gen_device_max", "gen_host_max")
POWERS = ("draw", "limit", "enforced", "default", "minimum", "maximum")
NULLABLE = ("pci_id", "vbios", "processes", "ecc", "mig", "persistence", "idle", "bar1_mib", "replays")
NULL: dict[str, Any] = dict.fromkeys((*NULLABLE, "clock_reasons", "recovery_action"))


def card(address: str, *, link: tuple, power: tuple | None = None, **values: Any) -> dict[str, Any]:
    """A card as the observation must have it: what is not given is null; links and powers in the order above."""
    link = dict(zip(LINKS, link, strict=True))
    power = dict(zip(POWERS, power or (None,) * len(POWERS), strict=True))
    return NULL | {"address": address, "health": {}} | values | {"link": link, "power": power}


TURING = {
    "name": "NVIDIA GeForce RTX 2080",
    "uuid": "GPU-12345678-aaaa-bbbb-cccc-0123456789ab",
    "pci_id": "10de:1e87",
    "vbios": "90.04.0B.00.8F",
    "memory_mib": 8192,
    "memory_used_mib": 1,
    "processes": 0,
    "persistence": True,
    "pstate": 8,
    "idle": True,
    "link": (8, 16, 1, 3, 3, 3),
    "bar1_mib": 256,
    "replays": 0,
    "clock_reasons": ["gpu_idle"],
    "temperature_c": 15,
    "recovery_action": "None",
}
SOUND = {"remapped_correctable": 0, "remapped_uncorrectable": 0, "remap_pending": 0, "remap_failed": 0}

# file -> the version of nvidia-smi's library, and the cards
XML: dict[str, tuple[str | None, list[dict[str, Any]]]] = {
    "gtx-1070-ti.xml": (  # v10, and much of it left out
        None,
        [
            card(
                "0000:01:00.0",
                name="GeForce GTX 1070 Ti",
                uuid="GPU-f9ba66fc-a7f5-94c5-da19-019ef2f9c665",
                memory_mib=4096,
                memory_used_mib=42,
                pstate=8,
                link=(16, None, 1, None, None, None),
                temperature_c=39,
            )
        ],
    ),
    "a10g.xml": (  # v11, x8 slot, its device id blanked, a program that only draws
        "515.105.01",
        [
            card(
                "0000:00:1e.0",
                name="NVIDIA A10G",
                uuid="GPU-9a9a6c50-2a47-2f51-a902-b82c3b127e94",
                vbios="94.02.75.00.01",
                memory_mib=23028,
                memory_used_mib=22,
                processes=0,
                ecc=True,
                persistence=False,
                pstate=8,
                idle=True,
                link=(8, 16, 1, 4, None, None),
                bar1_mib=32768,
                replays=0,
                power=(25.58, 300, 300, 300, 100, 300),
                clock_reasons=["gpu_idle"],
                temperature_c=17,
                health=SOUND | {"ecc_uncorrectable": 0},
            )
        ],
    ),
    "rtx-3090-v12.xml": (  # in a virtual machine: no host's limit
        "525.147.05",
        [
            card(
                "0000:00:10.0",
                name="NVIDIA GeForce RTX 3090",
                uuid="GPU-12345678-aaaa-bbbb-cccc-0123456789ab",
                vbios="94.02.71.40.72",
                memory_mib=24576,
                memory_used_mib=1,
                processes=0,
                persistence=True,
                pstate=8,
                idle=True,
                link=(16, 16, 1, 4, 4, None),
                bar1_mib=32768,
                replays=0,
                power=(27.23, 200, 200, 350, 100, 375),
                clock_reasons=["gpu_idle"],
                temperature_c=37,
            )
        ],
    ),
    "rtx-3060-v12.xml": (
        "570.124.04",
        [
            card(
                "0000:2d:00.0",
                name="NVIDIA GeForce RTX 3060",
                uuid="GPU-d6889ff6-2523-9142-ca3c-1ca3f396a625",
                pci_id="10de:2487",
                vbios="94.04.71.00.69",
                memory_mib=12288,
                memory_used_mib=116,
                processes=0,
                persistence=True,
                pstate=8,
                idle=True,
                link=(16, 16, 1, 4, 4, 4),
                bar1_mib=256,
                replays=0,
                power=(11.63, 170, 170, 170, 100, 190),
                clock_reasons=["gpu_idle"],
                temperature_c=42,
                recovery_action="None",
            )
        ],
    ),
    "rtx-3080-v13.xml": (  # at work
        "595.58.03",
        [
            card(
                "0000:0c:00.0",
                name="NVIDIA GeForce RTX 3080",
                uuid="GPU-19d6d965-2acc-f646-00f8-4c76979aabb4",
                pci_id="10de:2216",
                vbios="94.02.71.40.72",
                memory_mib=10240,
                memory_used_mib=9184,
                processes=0,
                persistence=False,
                pstate=2,
                idle=False,
                link=(16, 16, 4, 4, 4, 4),
                bar1_mib=16384,
                replays=0,
                power=(142.33, 320, 320, 320, 100, 336),
                clock_reasons=[],
                temperature_c=27,
                recovery_action="None",
            )
        ],
    ),
    "dual-2080-v13.xml": (
        "590.44.01",
        [
            card("0000:01:00.0", power=(1.0, 215, 215, 215, 105, 240), **TURING),
            card("0000:02:00.0", power=(1.62, 215, 215, 215, 105, 240), **TURING),
        ],
    ),
}

ADA = {
    "name": "NVIDIA GeForce RTX 4090",
    "pci_id": "10de:2684",
    "vbios": "95.02.3C.00.02",
    "memory_mib": 24564,
    "bar1_mib": 256,
}
ADA |= {
    "persistence": True,
    "pstate": 8,
    "idle": True,
    "clock_reasons": ["gpu_idle"],
    "ecc": False,
    "processes": 1,
    "replays": 0,
}
ADA |= {"link": (16, 16, 1, 4, 4, 5), "health": SOUND}
SUPER = {"name": "NVIDIA GeForce RTX 4080 SUPER", "pci_id": "10de:2702", "vbios": "95.03.44.00.B2", "memory_mib": 16376}
SUPER |= {"bar1_mib": 16384, "persistence": False, "replays": 0, "recovery_action": "None"}
SUPER |= {"uuid": "GPU-00000000-0000-0000-0000-000000000000"}


def ada(bus: str, uuid: str, used: int, temperature: int, draw: float) -> dict[str, Any]:
    """One of the eight cards, which differ in little."""
    values = ADA | {"uuid": f"GPU-{uuid}", "memory_used_mib": used, "temperature_c": temperature}
    return card(f"0000:{bus}:00.0", power=(draw, 450, 450, 450, 150, 450), **values)


# file -> of each log in it, the cards
TEXT: dict[str, list[list[dict[str, Any]]]] = {
    "8x-rtx-4090-q.txt": [  # driver 535, ReBAR off, all at rest although a program computes on each
        [
            ada("01", "988008fc-0059-17f4-9001-0ab4143e0e63", 6730, 31, 17.11),
            ada("21", "8a088451-845e-a9c1-07e1-c1e926f452f3", 21958, 32, 17.62),
            ada("41", "f71df46d-7f71-ba7d-236f-4dc37ee27f74", 2520, 32, 8.84),
            ada("61", "0f6b9cca-9bf0-6917-6381-7b2a5238664d", 5532, 30, 23.02),
            ada("81", "228019e0-1924-11e3-0be8-13175614bea4", 9964, 32, 27.24),
            ada("a1", "981e6212-2f59-0a5c-39c5-163c04f04e3f", 5824, 32, 16.34),
            ada("c1", "457a5c04-0848-b074-549f-4294f3cfce65", 2064, 31, 24.70),
            ada("e1", "78289b93-0248-1915-dc72-4427058400fa", 15928, 28, 21.23),
        ]
    ],
    "rtx-4080-super-idle-and-load.txt": [  # driver 595: P8 is 1.0, P2 under load 4.0
        [
            card(
                "0000:01:00.0",
                memory_used_mib=596,
                pstate=8,
                idle=True,
                link=(16, 16, 1, 4, 4, 5),
                power=(27.74, 320, 320, 320, 150, 400),
                clock_reasons=["gpu_idle"],
                temperature_c=43,
                processes=1,
                **SUPER,
            )
        ],
        [
            card(
                "0000:01:00.0",
                memory_used_mib=1474,
                pstate=2,
                idle=False,
                link=(16, 16, 4, 4, 4, 5),
                power=(86.41, 320, 320, 320, 150, 400),
                clock_reasons=[],
                temperature_c=45,
                processes=3,
                **SUPER,
            )
        ],
    ],
}

# file -> functions in it, and every link that is not the usual one of its kind, as (lanes, generation)
SYSFS: dict[str, tuple[int, dict[str, tuple[int, int | None]]]] = {
    "cache_downlink.json": (70, {"0000:c3:00.0": (2, None)}),
    "compute_samsung980pro.json": (111, {}),
    "compute_samsung980pro-downgraded.json": (111, {"0000:8d:00.0": (16, 3)}),
}
MANIFEST = "DGX_A100.json"


def test_every_capture_is_in_a_table(corpus):
    found = {f"{path.parent.name}/{path.name}" for path in corpus.rglob("*") if path.is_file()}
    rows = {f"nvidia-smi-xml/{name}" for name in XML} | {f"nvidia-smi-text/{name}" for name in TEXT}
    rows |= {f"sysfs/{name}" for name in [*SYSFS, MANIFEST]}
    assert {name for name in found if not name.startswith("licences/")} == rows


@pytest.mark.parametrize("name", XML)
def test_nvidia_smi_in_xml(tree, corpus, why, name):
    library, cards = XML[name]
    document = tree.observe_with((corpus / "nvidia-smi-xml" / name).read_bytes())
    assert (document["driver"]["answers"], document["driver"]["library"]) == (True, library)
    assert document["gpus"] == cards
    for gpu in cards:
        for key in gpu:  # What is null says why, unless the card or its driver has no such thing.
            expected = gpu[key] is None and key != "recovery_action"
            assert bool(why(document, f"gpus[{gpu['address']}].{key}")) == expected, key


@pytest.mark.parametrize("name", TEXT)
def test_nvidia_smi_in_text(tree, corpus, name):
    """The text holds the XML's values under other names: put back, each must be read as it stands in the table."""
    logs = (corpus / "nvidia-smi-text" / name).read_text().split("NVSMI LOG")[1:]
    assert len(logs) == len(TEXT[name])
    for log, cards in zip(logs, TEXT[name], strict=True):
        texts = re.split(r"^GPU (?=0000)", log, flags=re.MULTILINE)[1:]
        assert tree.observe_with(xml_of(texts))["gpus"] == cards


PLACES = {
    "product_name": "Product Name",
    "uuid": "GPU UUID",
    "vbios_version": "VBIOS Version",
    "persistence_mode": "Persistence Mode",
    "performance_state": "Performance State",
    "gpu_recovery_action": "GPU Recovery Action",
    "mig_mode/current_mig": "MIG Mode/Current",
    "fb_memory_usage/total": "FB Memory Usage/Total",
    "fb_memory_usage/used": "FB Memory Usage/Used",
    "bar1_memory_usage/total": "BAR1 Memory Usage/Total",
    "ecc_mode/current_ecc": "ECC Mode/Current",
    "ecc_errors/volatile/dram_uncorrectable": "Volatile/DRAM Uncorrectable",
    "remapped_rows/remapped_row_corr": "Remapped Rows/Correctable Error",
    "remapped_rows/remapped_row_unc": "Remapped Rows/Uncorrectable Error",
    "remapped_rows/remapped_row_pending": "Remapped Rows/Pending",
    "remapped_rows/remapped_row_failure": "Remapped Rows/Remapping Failure Occurred",
    "temperature/gpu_temp": "Temperature/GPU Current Temp",
    "gpu_power_readings/power_draw": "GPU Power Readings/Power Draw",
    "gpu_power_readings/instant_power_draw": "GPU Power Readings/Instantaneous Power Draw",
    "gpu_power_readings/current_power_limit": "GPU Power Readings/Current Power Limit",
    "gpu_power_readings/requested_power_limit": "GPU Power Readings/Requested Power Limit",
    "gpu_power_readings/default_power_limit": "GPU Power Readings/Default Power Limit",
    "gpu_power_readings/min_power_limit": "GPU Power Readings/Min Power Limit",
    "gpu_power_readings/max_power_limit": "GPU Power Readings/Max Power Limit",
    "clocks_event_reasons/clocks_event_reason_gpu_idle": "Clocks Event Reasons/Idle",
    "clocks_event_reasons/clocks_event_reason_sw_power_cap": "Clocks Event Reasons/SW Power Cap",
    "clocks_event_reasons/clocks_event_reason_hw_slowdown": "Clocks Event Reasons/HW Slowdown",
    "pci/pci_device_id": "PCI/Device Id",
    "pci/replay_counter": "Replays Since Reset",
    "pci/pci_gpu_link_info/pcie_gen/max_link_gen": "PCIe Generation/Max",
    "pci/pci_gpu_link_info/pcie_gen/current_link_gen": "PCIe Generation/Current",
    "pci/pci_gpu_link_info/pcie_gen/max_device_link_gen": "PCIe Generation/Device Max",
    "pci/pci_gpu_link_info/pcie_gen/max_host_link_gen": "PCIe Generation/Host Max",
    "pci/pci_gpu_link_info/link_widths/max_link_width": "Link Width/Max",
    "pci/pci_gpu_link_info/link_widths/current_link_width": "Link Width/Current",
}


def xml_of(texts: list[str]) -> str:
    """A document with the fields of ``nvidia-smi -q`` that the probe reads."""

    def element(path: str, value: str) -> str:
        names = path.split("/")
        return "".join(f"<{n}>" for n in names) + value + "".join(f"</{n}>" for n in reversed(names))

    cards = ""
    for text in texts:
        values = {path: value_of(text, place) for path, place in PLACES.items()}
        types = re.findall(r"^\s+Type\s+: (C\+G|C|G)$", text, re.MULTILINE)
        cards += f'<gpu id="{text[:16]}">'
        cards += "".join(element(path, value) for path, value in values.items() if value is not None)
        cards += f"<processes>{''.join(element('process_info/type', kind) for kind in types)}</processes></gpu>"
    return f"<nvidia_smi_log>{cards}</nvidia_smi_log>"


def value_of(text: str, place: str) -> str | None:
    """The value at ``Section/Name`` of one card's text: below the section's line, deeper than it."""
    section, _, name = place.rpartition("/")
    if section:
        match = re.search(rf"^( +){section} *\n((?:\1 +.*\n)+)", text, re.MULTILINE)
        text = match[2] if match else ""
    match = re.search(rf"^\s+{name}\s*: (.*)$", text, re.MULTILINE)
    return match[1] if match else None


def lay(tree, record: dict[str, str], parents: dict[str, str]) -> set[str]:
    """Lay a flat record of sysfs out as the kernel has it; ``parents`` are the known ports of buses. The addresses.

    The record names devices by their bus (``/sys/class/pci_bus/BUS/device/ADDRESS/FILE``) or by their address
    (``/sys/bus/pci/devices/ADDRESS/...``): both are ways to the same directory below /sys/devices.
    """

    def home(address: str) -> str:
        above = parents.get(address[:7])
        return f"{home(above) if above else f'sys/devices/pci{address[:7]}'}/{address}"

    addresses = set()
    for path, text in record.items():
        match = re.fullmatch(r"/sys/(?:class/pci_bus/[0-9a-f:]+/device|bus/pci/devices)/([0-9a-f:.]+)/(.*)", path)
        assert match, path
        addresses.add(match[1])
        tree.file(f"{home(match[1])}/{match[2]}", text)
        parts = match[2].split("/")
        if parts[0] == "net":
            link(tree, f"sys/class/net/{parts[1]}", f"{home(match[1])}/net/{parts[1]}")
            link(tree, f"{home(match[1])}/net/{parts[1]}/device", home(match[1]))
    for address in addresses:
        link(tree, f"sys/bus/pci/devices/{address}", home(address))
    return addresses


def link(tree, name: str, target: str) -> None:
    path = tree.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(tree.root / target)


def links_of(document) -> dict[str, tuple[int | None, int | None]]:
    return {item["address"]: (item["link"]["width"], item["link"]["gen"]) for item in document["pci"]}


def stands(record: dict[str, str], address: str) -> tuple[int, int | None]:
    """A function's link by the record's own texts."""
    base = f"/sys/class/pci_bus/{address[:7]}/device/{address}/current_link"
    gen = {"2.5 GT/s": 1, "5 GT/s": 2, "8 GT/s": 3, "16 GT/s": 4}.get(record[f"{base}_speed"].strip())
    return int(record[f"{base}_width"]), gen


@pytest.mark.parametrize("name", SYSFS)
def test_sysfs(tree, corpus, name):
    count, odd = SYSFS[name]
    record = json.loads((corpus / "sysfs" / name).read_text())
    addresses = lay(tree, record, {})
    found = links_of(tree.observe())
    assert len(found) == count
    assert found == {address: stands(record, address) for address in addresses}
    assert odd.items() <= found.items()


def test_the_degraded_link_is_the_one_whose_ends_differ(tree, corpus, why):
    """Ports take their buses in order, so the flat record says which feeds which: the two ends of each link agree."""
    record = json.loads((corpus / "sysfs" / "cache_downlink.json").read_text())
    bridges = {  # the functions of each root bus, in order, are the ports of the buses after it
        "0000:00": [1, 2, 3, 4, 5, 6, 8, 9, 0xA],  # 07 lies behind 06:00.0, the BMC's bridge
        "0000:40": range(0x41, 0x48),
        "0000:80": range(0x81, 0x8A),
        "0000:c0": range(0xC1, 0xC7),
    }
    parents = {}
    for root, buses in bridges.items():
        ports = sorted({path.split("/")[6] for path in record if path.split("/")[6].startswith(f"{root}:")})
        parents |= {f"0000:{bus:02x}": port for bus, port in zip(buses, ports, strict=True)}
    addresses = lay(tree, record, parents)
    document = tree.observe()
    found = links_of(document)
    above = {device["address"]: device["parent"] for device in document["pci"]}
    assert above == {address: parents.get(address[:7]) for address in addresses}
    differing = {address for address, port in above.items() if port and found[address] != found[port]}
    assert differing == {"0000:c3:00.0"}
    assert (found["0000:c3:00.0"], found[above["0000:c3:00.0"]]) == ((2, None), (4, 3))
    assert "'4 GT/s'" in why(document, "pci[0000:c3:00.0].link.gen")[0], "no PCIe link has this speed"


@pytest.mark.parametrize("name", [name for name in SYSFS if name.startswith("compute")])
def test_a_real_manifest_is_met_by_what_is_read(tree, corpus, name):
    """gcm's manifest of a DGX A100 lists the speeds and the width that each device may show."""
    manifest = json.loads((corpus / "sysfs" / MANIFEST).read_text())["pci"]
    record = json.loads((corpus / "sysfs" / name).read_text())
    lay(tree, record, {})
    document = tree.observe()
    found = links_of(document)
    wrong = set()
    for address, device in manifest.items():
        gens = {probe.generation(text) for text in device["link_speed"]}
        assert None not in gens
        assert probe.width(device["link_width"]) == int(device["link_width"])
        if found[address] not in {(int(device["link_width"]), gen) for gen in gens}:
            wrong.add(address)
    assert wrong == set(SYSFS[name][1]), "the card that is slower in the second record, an InfiniBand card"
    disks = {path.split("/")[5] for path in record if "/nvme/" in path}
    assert disks == {address for address, device in manifest.items() if device["type"] == "nvme"}
    assert {address: found[address] for address in disks} == dict.fromkeys(disks, (4, 4))
    ports = {nic["address"]: (nic["name"], nic["speed_mbps"], nic["carrier"]) for nic in document["nics"]}
    cards = {
        address: device["dev"].rpartition("/")[2] for address, device in manifest.items() if device["type"] == "ib"
    }
    assert ports == {address: (name, 200_000, True) for address, name in cards.items()}


def test_both_spellings_of_a_speed_in_a_real_manifest(corpus):
    manifest = json.loads((corpus / "sysfs" / MANIFEST).read_text())
    texts = {text for device in manifest["pci"].values() for text in device["link_speed"]}
    found = {text: probe.generation(text) for text in texts}
    assert found == {"8 GT/s": 3, "8.0 GT/s PCIe": 3, "16 GT/s": 4, "16.0 GT/s PCIe": 4}
