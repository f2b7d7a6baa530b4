#!/usr/bin/python3
"""nvidia-smi of a rigdeploy twin: the real tool's output, from simulated cards. ``--version`` says so.

Reads /run/rigdeploy-twin/gpus.json (what is soldered on the cards), the simulated /sys (what link they have now), and
the version of the library that is installed. ``-q -x`` has the form of the real tool's report, to the byte.
RIGDEPLOY_TWIN_ROOT puts another directory before every path, for tests.
"""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import sys
import time
from typing import Any, Dict, List, Tuple

ROOT = os.environ.get("RIGDEPLOY_TWIN_ROOT", "/")
CUDA = {"570": "12.8", "580": "13.0", "590": "13.1", "595": "13.2"}
GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
COMPUTE = {
    "pascal": "6.1", "volta": "7.0", "turing": "7.5", "ampere": "8.6", "ada": "8.9", "hopper": "9.0",
    "blackwell": "12.0",
}  # fmt: skip
"""Compute capability by architecture; of datacentre cards it differs."""
MAX_MHZ, BOOST_MHZ, IDLE_MHZ = 2100, 1695, 210
RESERVED_MIB = 316
BUSY_MIB = 4096
TAB = " " * 8

Card = Dict[str, Any]
Elements = List[Tuple[str, Any]]
"""XML elements: a name with its text, or with the elements inside it."""

NOT_LOADED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n\n"
)
NO_LIBRARY = (
    "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display Driver "
    "is properly installed and present in your system.\nPlease also try adding directory that contains "
    "libnvidia-ml.so to your system PATH.\n"
)
LIMIT_REFUSED = (
    "Provided power limit {0:.2f} W is not a valid power limit which should be between {1:.2f} W and {2:.2f} W for GPU "
    "{3}\nTerminating early due to previous errors.\n"
)
NOT_PERSISTENT = (
    "\nWarning: persistence mode is disabled on device {0}. See the Known Issues section of the nvidia-smi(1) man page "
    "for more information. Run with [--help | -h] switch to get more information on how to enable persistence mode."
)
RC_NO_LIBRARY, RC_NOT_LOADED, RC_NO_DEVICE, RC_MISMATCH, RC_USAGE = 12, 9, 6, 18, 2


def path(*parts: str) -> str:
    """A path below the root in use."""
    return os.path.join(ROOT, *parts)


def sysfs(*parts: str) -> str:
    """A path below /sys: in a container that one is the host's, and the twin's is where it was mounted."""
    seen = path("run/rigdeploy-twin/sys", *parts)
    return seen if os.path.exists(path("run/rigdeploy-twin/sys")) else path("sys", *parts)


def read(*parts: str) -> str | None:
    """The text of a file, None when it cannot be read."""
    try:
        with open(path(*parts)) as stream:
            return stream.read().strip()
    except OSError:
        return None


def library_version() -> str | None:
    """The version of the NVML library that is installed."""
    found = glob.glob(path("usr/lib/*/libnvidia-ml.so.*.*"))
    return found[0].rpartition(".so.")[2] if found else None


def state() -> Card:
    """What was set at run time: persistence mode, power limits."""
    try:
        found: Card = json.loads(read("run/rigdeploy-twin/state.json") or "{}")
    except ValueError:
        return {}
    return found


def save_state(**changes: Any) -> None:
    """Change what is set at run time."""
    target = path("run/rigdeploy-twin/state.json")
    with open(target + ".new", "w") as stream:
        json.dump(dict(state(), **changes), stream)
    os.replace(target + ".new", target)


def link(address: str) -> tuple[int, int]:
    """The link that sysfs shows now, as (generation, width)."""
    speed = read(sysfs("bus/pci/devices", address, "current_link_speed")) or ""
    width = read(sysfs("bus/pci/devices", address, "current_link_width")) or "0"
    return GENERATIONS.get(speed.split(" ")[0], 0), int(width)


def cards() -> list[Card]:
    """Every card whose device node is here (a container has but some), with the link and the limits that it has now."""
    with open(path("run/rigdeploy-twin/gpus.json")) as stream:
        found: list[Card] = json.load(stream)
    if os.path.exists(path("dev/nvidiactl")):
        found = [card for card in found if os.path.exists(path("dev", "nvidia{0}".format(card["index"])))]
    for index, card in enumerate(found):
        card["minor"], card["index"] = card["index"], index
        card["gen"], card["width"] = link(card["address"])
        limits = state().get("power_limits", {})
        # The driver starts every card at its default: what a build declares has to be set.
        card["limit"] = limits.get(card["uuid"], card["power"]["default"])
        card["enforced"] = min(card["limit"], card["enforced_watts"] or card["limit"])
        card["persistence"] = bool(state().get("persistence")) and card["persistent"]
        # A card that does nothing is in P8, where its link is at 2.5 GT/s.
        card["idle"] = card["gen"] == 1 and not card["busy"]
        card["used_mib"] = BUSY_MIB if card["busy"] else 1
        low, high = state().get("locked_clocks", {}).get(card["uuid"], (0, MAX_MHZ))
        card["mhz"] = IDLE_MHZ if card["idle"] else max(low, min(high, BOOST_MHZ))
    return found


def bus_id(card: Card) -> str:
    """A PCI address as this tool writes it."""
    domain, rest = card["address"].split(":", 1)
    return "0000{0}:{1}".format(domain, rest).upper()


# --- XML --------------------------------------------------------------------------------


def not_available(*names: str) -> Elements:
    """Elements without a value."""
    return [(name, "N/A") for name in names]


def ecc_counts(card: Card) -> Elements:
    """ECC error counters."""
    value = "0" if card["ecc"] else "N/A"
    names = ("sram_correctable", "sram_uncorrectable", "dram_correctable", "dram_uncorrectable")
    return [(kind, [(name, value) for name in names]) for kind in ("volatile", "aggregate")]


def ecc_mode(card: Card) -> str:
    """The ECC mode in words."""
    return {None: "N/A", True: "Enabled", False: "Disabled"}[card["ecc"]]


def brand(card: Card) -> str:
    """The product line."""
    names = {"GeForce": "GeForce", "RTX A": "NVIDIA RTX", "Tesla": "Tesla", "Quadro": "Quadro"}
    return next((value for key, value in names.items() if key in card["name"]), "NVIDIA")


def identity(card: Card) -> Elements:
    """What the card is."""
    return [
        ("product_name", card["name"]),
        ("product_brand", brand(card)),
        ("product_architecture", {"ada": "Ada Lovelace"}.get(card["architecture"], card["architecture"].capitalize())),
        ("display_mode", "Disabled"),
        ("display_active", "Disabled"),
        ("persistence_mode", "Enabled" if card["persistence"] else "Disabled"),
        ("mig_mode", not_available("current_mig", "pending_mig")),
        ("mig_devices", "\nNone\n"),
        ("accounting_mode", "Disabled"),
        ("accounting_mode_buffer_size", "4000"),
        ("driver_model", not_available("current_dm", "pending_dm")),
        ("serial", "N/A"),
        ("uuid", card["uuid"]),
        ("minor_number", str(card["minor"])),
        ("vbios_version", "94.02.71.40.72"),
        ("multigpu_board", "No"),
        ("board_id", "0x" + card["address"].split(":")[1].lstrip("0") + "00"),
        ("board_part_number", "N/A"),
        ("gpu_part_number", card["pci_id"].partition(":")[2].upper() + "-300-A1"),
        ("gpu_module_id", "1"),
        (
            "inforom_version",
            [
                ("img_version", "G001.0000.03.03"),
                ("oem_object", "2.0"),
                ("ecc_object", "N/A" if card["ecc"] is None else "6.16"),
                ("pwr_object", "N/A"),
            ],
        ),
        ("gpu_operation_mode", not_available("current_gom", "pending_gom")),
        ("gsp_firmware_version", "N/A"),
        ("gpu_virtualization_mode", [("virtualization_mode", "None"), ("host_vgpu_mode", "N/A")]),
        ("ibmnpu", not_available("relaxed_ordering_mode")),
    ]


def pci(card: Card) -> Elements:
    """Where the card sits, and its link."""
    vendor, _, device = card["pci_id"].upper().partition(":")
    best, host = card["link_max"], card["host_max"]
    gen = [
        ("max_link_gen", str(min(best["gen"], host["gen"]))),
        ("current_link_gen", str(card["gen"])),
        ("device_current_link_gen", str(card["gen"])),
        ("max_device_link_gen", str(best["gen"])),
        ("max_host_link_gen", str(host["gen"])),
    ]
    # The card's own width, whatever the slot is wired for: so does the real tool.
    widths = [("max_link_width", "{0}x".format(best["width"])), ("current_link_width", "{0}x".format(card["width"]))]
    domain, bus, rest = card["address"].upper().split(":")
    return [
        ("pci_bus", bus),
        ("pci_device", rest.split(".")[0]),
        ("pci_domain", domain),
        ("pci_device_id", device + vendor),
        ("pci_bus_id", bus_id(card)),
        ("pci_sub_system_id", "147D10DE"),
        ("pci_gpu_link_info", [("pcie_gen", gen), ("link_widths", widths)]),
        ("pci_bridge_chip", not_available("bridge_chip_type", "bridge_chip_fw")),
        ("replay_counter", read("run/rigdeploy-twin/replays", card["address"]) or "0"),
        ("replay_rollover_counter", "0"),
        ("tx_util", "0 KB/s"),
        ("rx_util", "0 KB/s"),
        *not_available("atomic_caps_inbound", "atomic_caps_outbound"),
    ]


def throttling(card: Card) -> Elements:
    """What holds the clocks back."""
    reasons = (
        "gpu_idle", "applications_clocks_setting", "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown",
        "hw_power_brake_slowdown", "sync_boost", "sw_thermal_slowdown", "display_clocks_setting",
    )  # fmt: skip
    active = {"gpu_idle"} if card["idle"] else set()
    if card["hw_slowdown"]:
        active |= {"hw_slowdown", "hw_power_brake_slowdown"}
    return [("clocks_throttle_reason_" + name, "Active" if name in active else "Not Active") for name in reasons]


def memory(card: Card) -> Elements:
    """Frame buffer memory."""
    used = card["used_mib"]
    free = card["memory_mib"] - RESERVED_MIB - used
    return [
        ("total", "{0} MiB".format(card["memory_mib"])),
        ("reserved", "{0} MiB".format(RESERVED_MIB)),
        ("used", "{0} MiB".format(used)),
        ("free", "{0} MiB".format(free)),
    ]


def usage(card: Card) -> Elements:
    """Compute mode and load."""
    busy = "100 %" if card["busy"] else "0 %"
    sessions = [("session_count", "0"), ("average_fps", "0"), ("average_latency", "0")]
    return [
        ("compute_mode", "Default"),
        ("utilization", [("gpu_util", busy), ("memory_util", busy), ("encoder_util", "0 %"), ("decoder_util", "0 %")]),
        ("encoder_stats", sessions),
        ("fbc_stats", sessions),
    ]


def health(card: Card) -> Elements:
    """ECC, retired pages, temperatures."""
    retired = not_available("retired_count", "retired_pagelist")
    return [
        ("ecc_mode", [("current_ecc", ecc_mode(card)), ("pending_ecc", ecc_mode(card))]),
        ("ecc_errors", ecc_counts(card)),
        (
            "retired_pages",
            [
                ("multiple_single_bit_retirement", retired),
                ("double_bit_retirement", retired),
                *not_available("pending_blacklist", "pending_retirement"),
            ],
        ),
        ("remapped_rows", "N/A"),
        (
            "temperature",
            [
                ("gpu_temp", "37 C"),
                ("gpu_temp_tlimit", "N/A"),
                ("gpu_temp_max_threshold", "98 C"),
                ("gpu_temp_slow_threshold", "95 C"),
                ("gpu_temp_max_gpu_threshold", "93 C"),
                ("gpu_target_temperature", "83 C"),
                *not_available("memory_temp", "gpu_temp_max_mem_threshold"),
            ],
        ),
        ("supported_gpu_target_temp", [("gpu_target_temp_min", "65 C"), ("gpu_target_temp_max", "91 C")]),
    ]


def power(card: Card) -> Elements:
    """Power draw and limits."""
    watts = "{0:.2f} W".format
    return [
        ("power_state", pstate(card)),
        ("power_management", "Supported"),
        ("power_draw", "27.23 W"),
        ("power_limit", watts(card["limit"])),
        ("default_power_limit", watts(card["power"]["default"])),
        ("enforced_power_limit", watts(card["enforced"])),
        ("min_power_limit", watts(card["power"]["minimum"])),
        ("max_power_limit", watts(card["power"]["maximum"])),
    ]


def pstate(card: Card) -> str:
    """The performance state; GeForce cards compute in P2."""
    return "P8" if card["idle"] else "P2" if card["busy"] else "P0"


def clocks(card: Card) -> Elements:
    """Clocks, and everything behind them in the report."""
    graphics, mem = "{0} MHz".format(card["mhz"]), "405 MHz" if card["idle"] else "9751 MHz"
    none = not_available("graphics_clock", "mem_clock")
    supported = []
    for value, highest in ((9751, MAX_MHZ), (405, 420)):
        steps = [("supported_graphics_clock", "{0} MHz".format(mhz)) for mhz in range(highest, 195, -15)]
        supported.append(("supported_mem_clock", [("value", "{0} MHz".format(value)), *steps]))
    return [
        (
            "clocks",
            [("graphics_clock", graphics), ("sm_clock", graphics), ("mem_clock", mem), ("video_clock", "555 MHz")],
        ),
        ("applications_clocks", none),
        ("default_applications_clocks", none),
        ("deferred_clocks", not_available("mem_clock")),
        (
            "max_clocks",
            [
                ("graphics_clock", "{0} MHz".format(MAX_MHZ)),
                ("sm_clock", "{0} MHz".format(MAX_MHZ)),
                ("mem_clock", "9751 MHz"),
                ("video_clock", "1950 MHz"),
            ],
        ),
        ("max_customer_boost_clocks", not_available("graphics_clock")),
        ("clock_policy", not_available("auto_boost", "auto_boost_default")),
        ("voltage", [("graphics_volt", "0.000 mV")]),
        ("fabric", not_available("state", "status")),
        ("supported_clocks", supported),
        ("processes", processes(card)),
        ("accounted_processes", []),
    ]


def processes(card: Card) -> Elements:
    """The program of a busy card."""
    if not card["busy"]:
        return []
    info = [
        *not_available("gpu_instance_id", "compute_instance_id"),
        ("pid", "4242"),
        ("type", "C"),
        ("process_name", "/usr/bin/python3"),
        ("used_memory", "{0} MiB".format(BUSY_MIB)),
    ]
    return [("process_info", info)]


def gpu(card: Card) -> Elements:
    """The whole report of one card."""
    bar1 = card["bar1_mib"]
    return [
        *identity(card),
        ("pci", pci(card)),
        ("fan_speed", "0 %"),
        ("performance_state", pstate(card)),
        ("clocks_throttle_reasons", throttling(card)),
        ("fb_memory_usage", memory(card)),
        (
            "bar1_memory_usage",
            [("total", "{0} MiB".format(bar1)), ("used", "2 MiB"), ("free", "{0} MiB".format(bar1 - 2))],
        ),
        *usage(card),
        *health(card),
        ("power_readings", power(card)),
        *clocks(card),
    ]


def render(name: str, value: Any, depth: int, lines: list[str], attributes: str = "") -> None:
    """Write one element, and those in it."""
    indent = TAB * depth
    if isinstance(value, list):
        lines.append("{0}<{1}{2}>".format(indent, name, attributes))
        for child, content in value:
            render(child, content, depth + 1, lines)
        lines.append("{0}</{1}>".format(indent, name))
    elif value.startswith("\n"):
        lines += ["{0}<{1}>".format(indent, name), indent + TAB + value.strip(), "{0}</{1}>".format(indent, name)]
    else:
        lines.append("{0}<{1}>{2}</{1}>".format(indent, name, value))


def xml(found: list[Card], version: str) -> str:
    """The report of ``-q -x``."""
    lines = [
        '<?xml version="1.0" ?>',
        '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">',
        "<nvidia_smi_log>",
        TAB + "<timestamp>{0}</timestamp>".format(time.strftime("%a %b %e %H:%M:%S %Y")),
        TAB + "<driver_version>{0}</driver_version>".format(version),
        TAB + "<cuda_version>{0}</cuda_version>".format(CUDA.get(version.split(".", maxsplit=1)[0], "13.0")),
        TAB + "<attached_gpus>{0}</attached_gpus>".format(len(found)),
    ]
    for card in found:
        render("gpu", gpu(card), 1, lines, ' id="{0}"'.format(bus_id(card)))
        lines.append("")
    return "\n".join([*lines, "</nvidia_smi_log>"]) + "\n"


# --- the other forms --------------------------------------------------------------------------------


def queried(card: Card, version: str) -> dict[str, tuple[Any, str]]:
    """Every field that --query-gpu knows: name -> (value, unit)."""
    return {
        "index": (card["index"], ""),
        "name": (card["name"], ""),
        "uuid": (card["uuid"], ""),
        "gpu_uuid": (card["uuid"], ""),
        "pci.bus_id": (bus_id(card), ""),
        "gpu_bus_id": (bus_id(card), ""),
        "driver_version": (version, ""),
        "persistence_mode": ("Enabled" if card["persistence"] else "Disabled", ""),
        "pstate": (pstate(card), ""),
        "memory.total": (card["memory_mib"], " MiB"),
        "memory.used": (card["used_mib"], " MiB"),
        "memory.free": (card["memory_mib"] - RESERVED_MIB - card["used_mib"], " MiB"),
        "memory.reserved": (RESERVED_MIB, " MiB"),
        "ecc.mode.current": ("[N/A]" if card["ecc"] is None else ecc_mode(card), ""),
        "pcie.link.gen.current": (card["gen"], ""),
        "pcie.link.gen.gpucurrent": (card["gen"], ""),
        "pcie.link.gen.max": (min(card["link_max"]["gen"], card["host_max"]["gen"]), ""),
        "pcie.link.gen.gpumax": (card["link_max"]["gen"], ""),
        "pcie.link.gen.hostmax": (card["host_max"]["gen"], ""),
        "pcie.link.width.current": (card["width"], ""),
        "pcie.link.width.max": (card["link_max"]["width"], ""),
        "power.limit": ("{0:.2f}".format(card["limit"]), " W"),
        "power.default_limit": ("{0:.2f}".format(card["power"]["default"]), " W"),
        "power.min_limit": ("{0:.2f}".format(card["power"]["minimum"]), " W"),
        "power.max_limit": ("{0:.2f}".format(card["power"]["maximum"]), " W"),
        "enforced.power.limit": ("{0:.2f}".format(card["enforced"]), " W"),
        "power.draw": ("27.23", " W"),
        "clocks.gr": (card["mhz"], " MHz"),
        "clocks.current.graphics": (card["mhz"], " MHz"),
        "clocks.max.gr": (MAX_MHZ, " MHz"),
        "clocks.max.graphics": (MAX_MHZ, " MHz"),
        "compute_cap": (COMPUTE.get(card["architecture"], "0.0"), ""),
        "temperature.gpu": (37, ""),
        "utilization.gpu": (0, " %"),
    }


def query(found: list[Card], version: str, names: list[str], options: list[str]) -> int:
    """What ``--query-gpu`` prints."""
    known = [queried(card, version) for card in found]
    for name in names:
        if known and name not in known[0]:
            sys.stdout.write('Field "{0}" is not a valid field to query.\n\n'.format(name))
            return RC_USAGE
    if "noheader" not in options:
        units = [known[0][name][1] if known and "nounits" not in options else "" for name in names]
        header = [name + (" [{0}]".format(units[at].strip()) if units[at] else "") for at, name in enumerate(names)]
        print(", ".join(header))
    for fields in known:
        print(", ".join("{0}{1}".format(fields[n][0], "" if "nounits" in options else fields[n][1]) for n in names))
    return 0


def table(found: list[Card], version: str) -> None:
    """A short overview; the real tool draws a larger one."""
    print(
        "NVIDIA-SMI {0}   Driver Version: {0}   CUDA Version: {1}".format(
            version, CUDA.get(version.split(".", maxsplit=1)[0], "13.0")
        )
    )
    for card in found:
        text = "  {index}  {name}  {address}  {memory_mib} MiB  gen {gen} x{width}"
        print(text.format(**card))
    print("(simulated by rigdeploy's lab)")


def text_report(found: list[Card], version: str, sections: list[str]) -> None:
    """What ``-q`` prints as text; of its sections there are those of power and clocks."""
    rows = [
        ("Timestamp", time.strftime("%a %b %e %H:%M:%S %Y")),
        ("Driver Version", version),
        ("CUDA Version", CUDA.get(version.split(".", maxsplit=1)[0], "13.0")),
    ]
    print("\n==============NVSMI LOG==============\n")
    for name, value in rows:
        print("{0:<42}: {1}".format(name, value))
    print("\n{0:<42}: {1}".format("Attached GPUs", len(found)))
    for card in found:
        print("GPU {0}".format(bus_id(card)))
        for section, title, values in text_sections(card):
            if not sections or section in sections:
                print("    {0}".format(title))
                for name, value in values:
                    print("        {0:<34}: {1}".format(name, value))
        print()


def text_sections(card: Card) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(what ``-d`` calls it, title, lines) of each section."""
    watts = "{0:.2f} W".format
    mhz = "{0} MHz".format
    module = ("Power Draw", "Current Power Limit", "Requested Power Limit", "Default Power Limit")
    power_lines = [
        ("Power Draw", "27.23 W"),
        ("Current Power Limit", watts(card["enforced"])),
        ("Requested Power Limit", watts(card["limit"])),
        ("Default Power Limit", watts(card["power"]["default"])),
        ("Min Power Limit", watts(card["power"]["minimum"])),
        ("Max Power Limit", watts(card["power"]["maximum"])),
    ]
    now = [("Graphics", mhz(card["mhz"])), ("SM", mhz(card["mhz"])), ("Memory", mhz(405 if card["idle"] else 9751))]
    most = [("Graphics", mhz(MAX_MHZ)), ("SM", mhz(MAX_MHZ)), ("Memory", mhz(9751))]
    return [
        ("POWER", "GPU Power Readings", power_lines),
        ("POWER", "Module Power Readings", [(name, "N/A") for name in module]),
        ("CLOCK", "Clocks", now),
        ("CLOCK", "Max Clocks", most),
    ]


def finish(found: list[Card]) -> int:
    """The end of every command that set something."""
    for card in found:
        if not card["persistence"]:
            print(NOT_PERSISTENT.format(bus_id(card)))
    print("All done.")
    return 0


def set_clocks(found: list[Card], wanted: str | None) -> int:
    """Lock the graphics clock to ``MIN,MAX`` or one value, in MHz; None lets it go."""
    locked = state().get("locked_clocks", {})
    for card in found:
        if wanted is None:
            locked.pop(card["uuid"], None)
            continue
        low, _, high = wanted.partition(",")
        if not (low.isdigit() and (high or low).isdigit()):
            print("Invalid GPU clocks: {0}".format(wanted))
            return RC_USAGE
        pair = [int(low), int(high or low)]
        print('GPU clocks set to "(gpuClkMin {0}, gpuClkMax {1})" for GPU {2}'.format(*pair, bus_id(card)))
        locked[card["uuid"]] = pair
    save_state(locked_clocks=locked)
    return finish(found)


def set_limit(found: list[Card], watts: float) -> int:
    """Set the power limit, within the card's range."""
    limits = state().get("power_limits", {})
    for card in found:
        low, high = card["power"]["minimum"], card["power"]["maximum"]
        if not low <= watts <= high:
            sys.stdout.write(LIMIT_REFUSED.format(watts, low, high, bus_id(card)))
            return RC_USAGE
        text = "Power limit for GPU {0} was set to {1:.2f} W from {2:.2f} W."
        print(text.format(bus_id(card), watts, card["limit"]))
        limits[card["uuid"]] = watts
    save_state(power_limits=limits)
    return finish(found)


def set_persistence(found: list[Card], enabled: bool) -> int:
    """Switch persistence mode."""
    save_state(persistence=enabled)
    for card in found:
        print("{0} persistence mode for GPU {1}.".format("Enabled" if enabled else "Disabled", bus_id(card)))
    print("All done.")
    return 0


VALUES = (
    "-i", "--id", "-pm", "-pl", "-lgc", "-d", "--persistence-mode", "--power-limit", "--lock-gpu-clocks", "--display",
)  # fmt: skip


def parse(arguments: list[str]) -> dict[str, str]:
    """Options as a dictionary: ``--query-gpu=a,b``, ``-i 0`` and ``-q`` alike."""
    options, position = {}, 0
    while position < len(arguments):
        name, given, value = arguments[position].partition("=")
        if not given and name in VALUES:
            position += 1
            value = arguments[position] if position < len(arguments) else ""
        options[name] = value
        position += 1
    return options


def selected(found: list[Card], wanted: str | None) -> list[Card]:
    """The cards that ``-i`` names by index, UUID or bus id."""
    if not wanted:
        return found
    keys = {word.lower() for word in wanted.split(",")}
    names = ("index", "uuid", "address")
    return [card for card in found if keys & ({str(card[n]).lower() for n in names} | {bus_id(card).lower()})]


def failure(version: str | None) -> tuple[str, int] | None:
    """What keeps the tool from working: (message, exit code), or None."""
    loaded = read(sysfs("module/nvidia/version"))
    if version is None:
        return NO_LIBRARY, RC_NO_LIBRARY
    if loaded is None:
        return NOT_LOADED, RC_NOT_LOADED
    if loaded != version:
        short = ".".join(version.split(".")[:2])
        text = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: {0}\n"
        return text.format(short), RC_MISMATCH
    if not cards():
        return "No devices were found\n", RC_NO_DEVICE
    return None


def main(arguments: list[str]) -> int:
    """Run the tool, and return its exit code."""
    options, version = parse(arguments), library_version()
    if "--version" in options:
        print(
            "NVIDIA-SMI version  : {0}\nsimulated by rigdeploy's lab: the cards of this machine do not exist".format(
                version
            )
        )
        return 0
    problem = failure(version)
    if problem or version is None:
        text, code = problem or (NO_LIBRARY, RC_NO_LIBRARY)
        sys.stdout.write(text)
        return code
    return answer(options, selected(cards(), options.get("-i") or options.get("--id")), version)


def setting(options: dict[str, str], found: list[Card]) -> int | None:
    """Set what the options ask to be set, and return the exit code; None when they ask for nothing of the kind."""
    mode = options.get("-pm", options.get("--persistence-mode"))
    if mode is not None:
        return set_persistence(found, mode.upper() in ("1", "ENABLED"))
    limit = options.get("-pl", options.get("--power-limit"))
    if limit is not None:
        return set_limit(found, float(limit))
    if options.keys() & {"-lgc", "--lock-gpu-clocks", "-rgc", "--reset-gpu-clocks"}:
        return set_clocks(found, options.get("-lgc", options.get("--lock-gpu-clocks")))
    return None


def answer(options: dict[str, str], found: list[Card], version: str) -> int:
    """Do what the options ask for, and return the exit code."""
    fields = next((options[name] for name in ("--query-gpu", "--query-gpus") if name in options), None)
    if fields is not None:
        return query(found, version, re.split(r",\s*", fields), options.get("--format", "csv").split(","))
    code = setting(options, found)
    if code is not None:
        return code
    if "-L" in options or "--list-gpus" in options:
        for card in found:
            print("GPU {0}: {1} (UUID: {2})".format(card["index"], card["name"], card["uuid"]))
    elif "-x" in options or "--xml-format" in options:
        sys.stdout.write(xml(found, version))
    elif "-q" in options or "--query" in options:
        wanted = options.get("-d", options.get("--display", ""))
        text_report(found, version, wanted.upper().split(",") if wanted else [])
    else:
        table(found, version)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as head may leave early
    sys.exit(main(sys.argv[1:]))
