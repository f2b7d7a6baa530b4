"""Rigs of the shipped builds, and nodes observed as their owner would wish, to be changed one thing at a time."""

from __future__ import annotations

from typing import Any

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import Build, Cpu, GpuStack, ManualPower, Memory, Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.verify import rates
from rigdeploy.verify.findings import Finding
from rigdeploy.verify.rules import judge


def rig_of(
    catalogue: Catalogue,
    build: str = "pro-4x3090",
    name: str = "rig01",
    *,
    stack: dict[str, Any] | None = None,
    **changes: Any,
) -> Rig:
    """A rig of a shipped build; ``changes`` replace parts of that build, such as its slots."""
    return Rig(
        name=name,
        address="192.0.2.11",
        build=catalogue.builds[build].model_copy(update=changes),
        power=ManualPower(driver="manual"),
        gpu_stack=GpuStack(**stack) if stack else None,
    )


def sound(rig: Rig, catalogue: Catalogue, *, driver: bool = True) -> dict[str, Any]:
    """The observation, as JSON data, of a rig that is exactly as declared; ports at ``0000:INDEX0:01.1``."""
    document: dict[str, Any] = {
        "schema": 1,
        "taken": 1.79e9 + 25,
        "host": {"virtualisation": "none", "boot_id": "5c1e", "uptime_seconds": 86400.0, "secure_boot": False},
        "driver": {"loaded": driver, "nouveau": False, "answers": driver or None},
        "pci": [],
        "gpus": [],
        **sound_host(rig.build),
        "managed": {},
        "users_root": True,
        "unread": [],
    }
    if driver:
        version = "580.95.05"
        document["driver"] |= {"version": version, "library": version, "flavour": "open"}
        document["driver"] |= {"installed": version, "installed_flavour": "open"}
    document["pci"] += nvme()
    for index, (name, slot) in enumerate(rig.build.slots.items(), 1):
        gpu = catalogue.gpus[slot.gpu]
        vendor, _, device = gpu.pci_ids[0].partition(":")
        link = {"width": slot.link.width, "width_max": slot.link.width, "gen": slot.link.gen, "gen_max": slot.link.gen}
        port = {"address": f"0000:{index}0:01.1", "vendor": "1022", "device": "1483", "class": "060400"}
        card = {"address": f"0000:{index}1:00.0", "vendor": vendor, "device": device, "class": "030000"}
        audio = {"address": f"0000:{index}1:00.1", "vendor": "10de", "device": "1aef", "class": "040300"}
        port["aer"], card["aer"] = no_errors(), no_errors()
        document["pci"] += [
            port | {"parent": None, "slot": name, "link": dict(link)},
            card
            | {"parent": port["address"], "slot": name}
            | {"link": dict(link, width_max=gpu.link.width, gen_max=gpu.link.gen)},
            audio | {"parent": port["address"], "slot": name, "link": dict(link)},
        ]
        totals = gpu.memory_mib
        reading = {"address": card["address"], "name": gpu.name, "pci_id": gpu.pci_ids[0], "pstate": 8, "idle": True}
        reading |= {"memory_mib": (totals.ecc_off or totals.ecc_on)[0], "ecc": None if totals.ecc_off else True}
        reading |= {"link": {"width": slot.link.width, "gen": slot.link.gen}, "replays": 0}
        reading |= {"persistence": True, "processes": 0, "clock_reasons": ["gpu_idle"], "recovery_action": "None"}
        limit = slot.power_limit_watts or gpu.power.default
        reading |= {"bar1_mib": 131072, "power": {"draw": 20.5, "limit": limit, "enforced": limit}}
        document["gpus"] += [reading] if driver else []
    return document


def no_errors() -> dict[str, dict[str, int]]:
    """One end of a link that has counted nothing."""
    return {severity: {"total": 0} for severity in ("correctable", "nonfatal", "fatal")}


def sound_host(build: Build) -> dict[str, Any]:
    """The parts of an observation around the cards, of a node that is as declared: one NVMe disk more than declared."""
    cpu = build.cpu or Cpu(model="AMD EPYC 7252", cores=8)
    memory = build.memory or Memory(size_gib=64)
    modules = memory.channels or 2
    size = memory.size_gib * 1024
    speeds = [int(nic.speed_gbps * 1000) for nic in build.nics for _ in range(nic.count)]
    system = {"name": "nvme0n1", "model": "Any", "serial": "S0", "size_mib": 476940, "address": "0000:f1:00.0"}
    more = [
        {"name": f"sd{chr(ord('a') + index)}", "serial": disk.serial or f"S{index + 1}", "rotational": False}
        | {"size_mib": disk.size_gb * 10**9 // 2**20}
        for index, disk in enumerate(build.disks)
    ]
    return {
        "cpu": {"model": f"{cpu.model} Processor", "sockets": 1, "cores": cpu.cores, "threads": 2 * cpu.cores},
        "memory": {"total_mib": size * 98 // 100, "installed_mib": size, "ecc": bool(memory.ecc), "channels": modules}
        | {"correctable": 0, "uncorrectable": 0}
        | {
            "modules": [
                {"locator": f"DIMM_{chr(ord('A') + index)}1", "channel": chr(ord("A") + index), "type": "DDR4"}
                | {"size_mib": size // modules, "speed_mts": 3200}
                for index in range(modules)
            ]
        },
        "disks": [system, *more],
        "filesystems": [
            {"mount": "/", "size_mib": 450_000, "free_mib": 300_000},
            {"mount": "/boot/efi", "size_mib": 511, "free_mib": 505},
        ],
        "nics": [
            {"name": f"eno{index}", "mac": f"02:00:00:00:00:{index:02x}", "speed_mbps": speed, "carrier": True}
            for index, speed in enumerate(speeds or [1000], 1)
        ],
        "slots": [],
        "kernel_log": [],
    }


def nvme() -> list[dict[str, Any]]:
    """The system disk's controller and the port above it."""
    link = {"width": 4, "width_max": 4, "gen": 4, "gen_max": 4}
    port = {"address": "0000:f0:01.1", "vendor": "1022", "device": "1483", "class": "060400", "parent": None}
    disk = {"address": "0000:f1:00.0", "vendor": "144d", "device": "a80a", "class": "010802"}
    return [port | {"link": dict(link)}, disk | {"parent": port["address"], "link": dict(link)}]


def sound_load(rig: Rig, document: dict[str, Any]) -> dict[str, Any]:
    """An active check, as JSON data, of the rig whose sound observation this is."""
    cards = [device for device in document["pci"] if device["class"] == "030000"]
    loaded = []
    for slot, card in zip(rig.build.slots.values(), cards, strict=True):
        alone = round(0.83 * rates.bandwidth_gbps(slot.link), 1)
        speeds = {"h2d_gbps": alone, "d2h_gbps": alone, "h2d_together_gbps": alone, "d2h_together_gbps": alone}
        link = {"samples": 40, "width_min": slot.link.width, "width_max": slot.link.width, "gen_max": slot.link.gen}
        loaded.append(
            {"address": card["address"], "skipped": None, "link": link, "seconds": 6.5, "replays": 0}
            | speeds
            | {"aer": {"correctable": 0, "nonfatal": 0, "fatal": 0}}
            | {"memory": {"tested_mib": 2400, "wanted_mib": 2400, "errors": 0}}
        )
    addresses = [card["address"] for card in cards]
    return {
        "schema": 1,
        "boot_id": document["host"]["boot_id"],
        "taken": 1.79e9,
        "seconds": 30.0,
        "ended": "done",
        "cards": loaded,
        "pairs": [
            {"source": one, "target": other, "can_access": True, "gbps": 26.0}
            for one in addresses
            for other in addresses
            if one != other
        ],
        "nvlinks": [
            {"address": one, "total": 4, "active": 4, "peers": [other for other in addresses if other != one]}
            for one in addresses
        ],
        "unread": [],
    }


class Bench:
    """One rig with the observation of its node, open to changes, and the verdict on it."""

    def __init__(self, rig: Rig, catalogue: Catalogue, *, driver: bool = True) -> None:
        self.rig = rig
        self.catalogue = catalogue
        self.document = sound(rig, catalogue, driver=driver)
        self.load: dict[str, Any] | None = None

    def put_under_load(self) -> dict[str, Any]:
        """The document of an active check that found nothing, open to changes."""
        self.load = sound_load(self.rig, self.document)
        return self.load

    def loaded(self, slot: str) -> dict[str, Any]:
        """What the active check says of one card."""
        address = self.card(slot)["address"]
        return next(card for card in (self.load or {})["cards"] if card["address"] == address)

    def _slot(self, slot: str) -> int:
        return list(self.rig.build.slots).index(slot) + 1

    def port(self, slot: str) -> dict[str, Any]:
        return self._device(f"0000:{self._slot(slot)}0:01.1")

    def card(self, slot: str) -> dict[str, Any]:
        return self._device(f"0000:{self._slot(slot)}1:00.0")

    def reading(self, slot: str) -> dict[str, Any]:
        address = f"0000:{self._slot(slot)}1:00.0"
        return next(gpu for gpu in self.document["gpus"] if gpu["address"] == address)

    def remove(self, slot: str) -> None:
        prefix = f"0000:{self._slot(slot)}1:"
        for document in (self.document, self.load or {}):
            for part in document.keys() & {"pci", "gpus", "cards"}:
                document[part] = [item for item in document[part] if not item["address"].startswith(prefix)]

    def forget_slots(self) -> None:
        """The node names no slots, as many boards do not."""
        for device in self.document["pci"]:
            device["slot"] = None

    def _device(self, address: str) -> dict[str, Any]:
        return next(device for device in self.document["pci"] if device["address"] == address)

    def observation(self) -> Observation:
        return Observation.parse(self.document)

    def findings(self) -> list[Finding]:
        load = None if self.load is None else Load.parse(self.load)
        return judge(self.rig, self.catalogue, self.observation(), load)

    def wrong(self) -> list[tuple[str, str, str, str]]:
        """All that is not PASS, as (check, subject, status, cause)."""
        return [(f.check, f.subject, f.status.value, f.cause) for f in self.findings() if f.status.value != "PASS"]

    def finding(self, check: str, subject: str) -> Finding:
        (found,) = [f for f in self.findings() if (f.check, f.subject) == (check, subject)]
        return found
