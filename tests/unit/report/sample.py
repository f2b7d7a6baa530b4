"""Whole rigs to report about: a shipped build as its owner would wish it, under load too, open to changes."""

from __future__ import annotations

from typing import Any

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.node.load import Load
from rigdeploy.report.result import RigResult, result
from tests.unit.nodes import Bench, rig_of

TAKEN = 1_795_266_240.0


class Sample(Bench):
    """One rig with all that a report shows of it, its active check included."""

    def __init__(self, catalogue: Catalogue, build: str = "pro-4x3090", name: str = "rig01", **changes: Any) -> None:
        super().__init__(rig_of(catalogue, build, name, stack={"driver": "580"}, **changes), catalogue)
        vendor, _, product = catalogue.boards[self.rig.build.board].name.rpartition(" ")
        self.document["host"] |= {
            "kernel": "6.1.0-37-amd64", "os_id": "debian", "os_version": "12", "vendor": vendor, "board": product,
            "bios": "P3.90", "uptime_seconds": 7200.0, "hostname": name,
        }  # fmt: skip
        self.load = self.put_under_load() | {"taken": TAKEN}
        self.document["taken"] = TAKEN + 25

    def degrade(self, slot: str, width: int) -> None:
        """The link came up narrower than card and port can, and copies are as slow as that."""
        for link in (self.card(slot)["link"], self.port(slot)["link"], self.reading(slot)["link"]):
            link["width"] = width
        loaded = self.loaded(slot)
        share = width / self.rig.build.slots[slot].link.width
        loaded["link"] |= {"width_min": width, "width_max": width}
        for key in ("h2d_gbps", "d2h_gbps", "h2d_together_gbps", "d2h_together_gbps"):
            loaded[key] *= share

    def result(self, *, active: bool = True) -> RigResult:
        load = Load.parse(self.load) if active and self.load else None
        return result(self.rig, self.catalogue, self.observation(), load)
