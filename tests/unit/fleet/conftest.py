"""A small fleet in a temporary directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_fleet import BUILD, FLEET, MakeFleet

from rigdeploy.workspace import Workspace


@pytest.fixture
def make_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFleet:
    """Write a fleet (``fleet``, ``build``: the texts; ``files``: more, by name) and go where it is."""

    def make(fleet: str | bytes = FLEET, build: str = BUILD, files: dict[str, str] | None = None) -> Workspace:
        inventory = tmp_path / "inventory"
        texts = {"builds/mine.yml": build, **(files or {})}
        for name, text in texts.items():
            (inventory / name).parent.mkdir(parents=True, exist_ok=True)
            (inventory / name).write_text(text)
        (inventory / "fleet.yml").write_bytes(fleet if isinstance(fleet, bytes) else fleet.encode())
        monkeypatch.chdir(tmp_path)
        for name in ("RIGDEPLOY_INVENTORY", "RIGDEPLOY_STATE", "RIGDEPLOY_LAB"):
            monkeypatch.delenv(name, raising=False)
        return Workspace.find(inventory)

    return make
