"""Rigs of the shipped builds, and nodes observed as their owner would wish, to be changed one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import GpuStack, ManualPower, Rig
from rigdeploy.node.observation import Observation
from rigdeploy.verify.findings import Finding
from rigdeploy.verify.rules import judge


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue.load()


@pytest.fixture
def rig(catalogue: Catalogue) -> Callable[..., Rig]:
    """A rig of a shipped build; ``slots`` replaces parts of its slots, ``build`` keys its build."""

    def make(build: str = "pro-4x3090", *, stack: dict[str, Any] | None = None, **changes: Any) -> Rig:
        made = catalogue.builds[build]
        return Rig(
            name="rig01",
            address="192.0.2.11",
            build=made.model_copy(update=changes),
            power=ManualPower(driver="manual"),
            gpu_stack=GpuStack(**stack) if stack else None,
        )

    return make


def sound(rig: Rig, catalogue: Catalogue, *, driver: bool = True) -> dict[str, Any]:
    """The observation, as JSON data, of a rig that is exactly as declared; ports at ``0000:INDEX0:01.1``."""
    document: dict[str, Any] = {
        "schema": 1,
        "host": {"virtualisation": "none", "boot_id": "5c1e"},
        "driver": {"loaded": driver, "nouveau": False, "answers": driver or None},
        "pci": [],
        "gpus": [],
        "managed": {},
        "users_root": True,
        "unread": [],
    }
    if driver:
        document["driver"] |= {"version": "580.95.05", "library": "580.95.05", "flavour": "proprietary"}
    for index, (name, slot) in enumerate(rig.build.slots.items(), 1):
        gpu = catalogue.gpus[slot.gpu]
        vendor, _, device = gpu.pci_ids[0].partition(":")
        link = {"width": slot.link.width, "width_max": slot.link.width, "gen": slot.link.gen, "gen_max": slot.link.gen}
        port = {"address": f"0000:{index}0:01.1", "vendor": "1022", "device": "1483", "class": "060400"}
        card = {"address": f"0000:{index}1:00.0", "vendor": vendor, "device": device, "class": "030000"}
        audio = {"address": f"0000:{index}1:00.1", "vendor": "10de", "device": "1aef", "class": "040300"}
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
        reading["link"] = {"width": slot.link.width, "gen": slot.link.gen}
        document["gpus"] += [reading] if driver else []
    return document


class Bench:
    """One rig with the observation of its node, open to changes, and the verdict on it."""

    def __init__(self, rig: Rig, catalogue: Catalogue, *, driver: bool = True) -> None:
        self.rig = rig
        self.catalogue = catalogue
        self.document = sound(rig, catalogue, driver=driver)

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
        for part in ("pci", "gpus"):
            self.document[part] = [item for item in self.document[part] if not item["address"].startswith(prefix)]

    def forget_slots(self) -> None:
        """The node names no slots, as many boards do not."""
        for device in self.document["pci"]:
            device["slot"] = None

    def _device(self, address: str) -> dict[str, Any]:
        return next(device for device in self.document["pci"] if device["address"] == address)

    def observation(self) -> Observation:
        return Observation.parse(self.document)

    def findings(self) -> list[Finding]:
        return judge(self.rig, self.catalogue, self.observation())

    def wrong(self) -> list[tuple[str, str, str, str]]:
        """All that is not PASS, as (check, subject, status, cause)."""
        return [(f.check, f.subject, f.status.value, f.cause) for f in self.findings() if f.status.value != "PASS"]

    def finding(self, check: str, subject: str) -> Finding:
        (found,) = [f for f in self.findings() if (f.check, f.subject) == (check, subject)]
        return found


@pytest.fixture
def bench(rig: Callable[..., Rig], catalogue: Catalogue) -> Callable[..., Bench]:
    def make(build: str = "pro-4x3090", *, driver: bool = True, **changes: Any) -> Bench:
        return Bench(rig(build, **changes), catalogue, driver=driver)

    return make
