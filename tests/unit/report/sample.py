"""Whole rigs to report about: a shipped build as its owner would wish it, under load too, open to changes."""

from __future__ import annotations

from typing import Any

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import GpuStack, ManualPower, Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.report.result import RigResult, result
from tests.unit.verify.conftest import sound

BOOT = "5c1e"
TAKEN = 1_795_266_240.0
# GB/s and lane, 128b/130b and the protocol's own share taken off: what a sound card copies.
_COPIED = {3: 0.8, 4: 1.6, 5: 3.2}


def rig_of(catalogue: Catalogue, build: str, name: str = "rig01", **changes: Any) -> Rig:
    made = catalogue.builds[build].model_copy(update=changes)
    return Rig(
        name=name,
        address="192.0.2.11",
        build=made,
        power=ManualPower(driver="manual"),
        gpu_stack=GpuStack(driver="580"),
    )


class Sample:
    """One rig, what its node said (``node``) and what its active check said (``load``), both as JSON data."""

    def __init__(self, catalogue: Catalogue, build: str = "pro-4x3090", name: str = "rig01", **changes: Any) -> None:
        self.catalogue = catalogue
        self.rig = rig_of(catalogue, build, name, **changes)
        self.node = sound(self.rig, catalogue)
        self.node["driver"] |= {"version": "580.95.05", "flavour": "open"}
        self._host()
        self._errors()
        for gpu in self.node["gpus"]:
            gpu |= {"uuid": None, "persistence": True, "replays": 0, "clock_reasons": ["gpu_idle"], "bar1_mib": 32768}
            gpu |= {"power": {"limit": 350.0, "requested": 350.0, "enforced": 350.0}, "health": {"remap_pending": 0}}
        self.load = self._load()

    def slot(self, slot: str) -> int:
        return list(self.rig.build.slots).index(slot) + 1

    def card(self, slot: str) -> dict[str, Any]:
        return self._item("pci", f"0000:{self.slot(slot)}1:00.0")

    def port(self, slot: str) -> dict[str, Any]:
        return self._item("pci", f"0000:{self.slot(slot)}0:01.1")

    def reading(self, slot: str) -> dict[str, Any]:
        return self._item("gpus", f"0000:{self.slot(slot)}1:00.0")

    def loaded(self, slot: str) -> dict[str, Any]:
        address = f"0000:{self.slot(slot)}1:00.0"
        return next(card for card in self.load["cards"] if card["address"] == address)

    def remove(self, slot: str) -> None:
        prefix = f"0000:{self.slot(slot)}1:"
        for document in (self.node, self.load):
            for part in ("pci", "gpus", "cards"):
                if part in document:
                    document[part] = [item for item in document[part] if not item["address"].startswith(prefix)]

    def degrade(self, slot: str, width: int) -> None:
        """The link came up narrower than card and port can, and copies are as slow as that."""
        for link in (self.card(slot)["link"], self.port(slot)["link"], self.reading(slot)["link"]):
            link["width"] = width
        loaded = self.loaded(slot)
        share = width / self.rig.build.slots[slot].link.width
        loaded["link"] |= {"width_min": width, "width_max": width}
        for key in ("h2d_gbps", "d2h_gbps", "h2d_together_gbps", "d2h_together_gbps"):
            loaded[key] = round(loaded[key] * share, 1)

    def result(self, *, active: bool = True) -> RigResult:
        load = Load.parse(self.load) if active else None
        return result(self.rig, self.catalogue, Observation.parse(self.node), load)

    def _item(self, part: str, address: str) -> dict[str, Any]:
        return next(item for item in self.node[part] if item["address"] == address)

    def _host(self) -> None:
        build, board = self.rig.build, self.catalogue.boards[self.rig.build.board]
        vendor, _, product = board.name.rpartition(" ")
        self.node["host"] |= {
            "boot_id": BOOT, "kernel": "6.1.0-37-amd64", "os_id": "debian", "os_version": "12", "vendor": vendor,
            "board": product, "bios": "P3.90", "uptime_seconds": 7200.0, "hostname": self.rig.name,
        }  # fmt: skip
        if build.cpu:
            model = f"{build.cpu.model} Processor"
            self.node["cpu"] = {"model": model, "sockets": 1, "cores": build.cpu.cores, "threads": 2 * build.cpu.cores}
        if build.memory:
            channels = build.memory.channels or 4
            size = build.memory.size_gib * 1024
            self.node["memory"] = {
                "total_mib": int(size * 0.98), "installed_mib": size, "ecc": build.memory.ecc or False,
                "channels": channels, "correctable": 0, "uncorrectable": 0,
            }  # fmt: skip
        self.node["nics"] = [
            {"name": f"eno{index}", "speed_mbps": int(nic.speed_gbps * 1000), "carrier": True}
            for nic in build.nics
            for index in range(nic.count)
        ]
        self.node["disks"] = [
            {"name": f"nvme{index}n1", "serial": disk.serial, "size_mib": disk.size_gb * 10**9 // 2**20}
            for index, disk in enumerate(build.disks)
        ]
        self.node["filesystems"] = [{"mount": "/", "size_mib": 900_000, "free_mib": 600_000}]
        self.node["kernel_log"] = []

    def _errors(self) -> None:
        for device in self.node["pci"]:
            device["aer"] = {severity: {"total": 0} for severity in ("correctable", "nonfatal", "fatal")}

    def _load(self) -> dict[str, Any]:
        cards = []
        for name, slot in self.rig.build.slots.items():
            speed = round(slot.link.width * _COPIED[slot.link.gen], 1)
            link = {"width_min": slot.link.width, "width_max": slot.link.width, "gen_max": slot.link.gen}
            cards.append(
                {
                    "address": f"0000:{self.slot(name)}1:00.0", "skipped": None, "seconds": 4.0, "replays": 0,
                    "h2d_gbps": speed, "d2h_gbps": speed, "h2d_together_gbps": speed, "d2h_together_gbps": speed,
                    "link": link | {"samples": 40}, "aer": {"correctable": 0, "nonfatal": 0, "fatal": 0},
                    "memory": {"tested_mib": 2400, "wanted_mib": 2400, "errors": 0},
                }
            )  # fmt: skip
        return {
            "schema": 1, "boot_id": BOOT, "taken": TAKEN, "seconds": 31.0, "ended": "done", "cards": cards,
            "pairs": [], "nvlinks": [], "unread": [],
        }  # fmt: skip
