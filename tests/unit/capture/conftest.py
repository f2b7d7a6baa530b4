"""Sound nodes of the shipped builds, captured, and judged by what was captured."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rigdeploy.capture.capture import capture
from rigdeploy.capture.text import text
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.lint import build_remarks
from rigdeploy.fleet.models import ManualPower, Rig
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.verify.rules import judge

_BENCH = importlib.util.spec_from_file_location("verify_bench", Path(__file__).parents[1] / "verify" / "conftest.py")
bench = importlib.util.module_from_spec(_BENCH)
_BENCH.loader.exec_module(bench)

SOURCE = "Captured from rig01, 2026-11-21 13:00 UTC."


@pytest.fixture(scope="session")
def catalogue():
    return Catalogue.load()


class Node:
    """A node that is as a shipped build declares it, open to changes, and what can be captured of it."""

    def __init__(self, build, catalogue, inventory, *, driver):
        self.shipped = catalogue
        self.inventory = inventory
        self.rig = Rig(name="rig01", address="192.0.2.11", build=build, power=ManualPower(driver="manual"))
        self.document = bench.sound(self.rig, catalogue, driver=driver)
        board = catalogue.boards[build.board]
        self.document["host"]["board"] = (*board.dmi, board.name)[0]
        for gpu in self.document["gpus"]:
            gpu["power"]["default"] = gpu["power"]["limit"]

    def index(self, slot):
        return list(self.rig.build.slots).index(slot) + 1

    def card(self, slot):
        return self._device(f"0000:{self.index(slot)}1:00.0")

    def port(self, slot):
        return self._device(f"0000:{self.index(slot)}0:01.1")

    def reading(self, slot):
        return next(gpu for gpu in self.document["gpus"] if gpu["address"] == self.card(slot)["address"])

    def _device(self, address):
        return next(device for device in self.document["pci"] if device["address"] == address)

    def rename_slots(self, name):
        """Give every slot the name that ``name`` makes of its own."""
        for device in self.document["pci"]:
            if device.get("slot"):
                device["slot"] = name(device["slot"])

    @property
    def observation(self):
        return Observation.parse(self.document)

    def load(self):
        """An active check, as JSON data, of the cards as they are declared."""
        return bench.sound_load(self.rig, self.document)

    def capture(self, name=None, load=None):
        return capture(self.observation, self.shipped, SOURCE, name, Load.parse(load) if load else None)

    def write(self, captured):
        """The catalogue with the captured files, as the loader reads them."""
        for entry in captured.entries:
            path = self.inventory / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(entry))
        return Catalogue.load(self.inventory)

    def verdict(self, captured, load=None, observation=None):
        """All that is not PASS when the node is judged by what was captured of it, after a turn through the files."""
        catalogue = self.write(captured)
        build = catalogue.builds[captured.build.name]
        assert build == captured.build.model
        assert not [remark for remark in build_remarks(build, catalogue) if remark.severity == "error"]
        rig = self.rig.model_copy(update={"build": build})
        findings = judge(rig, catalogue, observation or self.observation, Load.parse(load) if load else None)
        assert findings
        return [(f.check, f.subject, f.status.value, f.cause) for f in findings if f.status.value != "PASS"]


@pytest.fixture
def node(catalogue, tmp_path):
    def make(build="pro-4x3090", *, driver=True, **changes):
        declared = catalogue.builds[build].model_copy(update=changes)
        return Node(declared, catalogue, tmp_path / "inventory", driver=driver)

    return make
