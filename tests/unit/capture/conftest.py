"""Sound nodes of the shipped builds, captured, and judged by what was captured."""

from __future__ import annotations

import pytest

from rigdeploy.capture.capture import capture
from rigdeploy.capture.text import text
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.lint import build_remarks
from rigdeploy.node.load import Load
from rigdeploy.verify.rules import judge
from tests.unit.nodes import Bench, rig_of

SOURCE = "Captured from rig01, 2026-11-21 13:00 UTC."


class Node(Bench):
    """A node that is as a shipped build declares it, open to changes, and what can be captured of it."""

    def __init__(self, rig, catalogue, inventory, *, driver):
        super().__init__(rig, catalogue, driver=driver)
        self.inventory = inventory
        board = catalogue.boards[rig.build.board]
        self.document["host"]["board"] = (*board.dmi, board.name)[0]
        for gpu in self.document["gpus"]:
            gpu["power"]["default"] = gpu["power"]["limit"]

    def rename_slots(self, name):
        """Give every slot the name that ``name`` makes of its own."""
        for device in self.document["pci"]:
            if device.get("slot"):
                device["slot"] = name(device["slot"])

    def capture(self, name=None, load=None):
        return capture(self.observation(), self.catalogue, SOURCE, name, Load.parse(load) if load else None)

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
        findings = judge(rig, catalogue, observation or self.observation(), Load.parse(load) if load else None)
        assert findings
        return [(f.check, f.subject, f.status.value, f.cause) for f in findings if f.status.value != "PASS"]


@pytest.fixture
def node(catalogue, tmp_path):
    def make(build="pro-4x3090", *, driver=True, **changes):
        return Node(rig_of(catalogue, build, **changes), catalogue, tmp_path / "inventory", driver=driver)

    return make
