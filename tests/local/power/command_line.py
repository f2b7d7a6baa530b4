"""A fleet of fake BMCs, and rigdeploy's command line on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigdeploy.cli import main
from tests.bmc import FakeBmc, FakeBmcs

PASSWORD = "Planted-Pa55word"
RIG = """\
  {name}:
    address: 127.1.1.{number}
    build: budget-4x3090
    power:
      driver: {driver}
      address: {address}
      port: {port}
      username: {username}
      password: {password}
      timeout_seconds: 20
      {declared}
"""


class Fleet:
    """Rigs behind fake BMCs (``bmcs`` by name), and ``hand``, which has none; ``password`` is every BMC's."""

    password = PASSWORD

    def __init__(self, directory: Path, bmcs: FakeBmcs, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.bmcs: dict[str, FakeBmc] = {}
        self._server = bmcs
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self._text = "plugin: rigdeploy\nrigs:\n  hand: {address: 127.1.0.8, build: budget-4x3090, "
        self._text += "power: {driver: manual, timeout_seconds: 1}}\n"
        (directory / "inventory").mkdir()

    def add(
        self,
        name: str,
        *,
        driver: str = "ipmi",
        username: str = "admin",
        secret: str | None = None,
        declared: str = "",
        **bmc: Any,
    ) -> FakeBmc:
        """A rig and its BMC; its password is in a file of its own unless ``secret`` says otherwise.

        ``declared`` is one more line about its power.
        """
        self.bmcs[name] = self._server.start(FakeBmc(self.password, **bmc))
        self.add_ipmi(name, self.bmcs[name], driver=driver, username=username, secret=secret, declared=declared)
        return self.bmcs[name]

    def add_ipmi(
        self,
        name: str,
        bmc: Any,
        *,
        driver: str = "ipmi",
        username: str = "admin",
        secret: str | None = None,
        declared: str = "",
    ) -> None:
        """A rig behind a BMC that runs already, as ``add``; ``bmc`` has an address and a port."""
        if secret is None:
            secret = f"{{file: {name}.password}}"
            (self.directory / "inventory" / f"{name}.password").write_text(f"{self.password}\n")
        bmc_at = {"address": bmc.address, "port": bmc.port}
        said = {"name": name, "number": len(self.bmcs), "driver": driver, "username": username, "password": secret}
        self._text += RIG.format(**said, **bmc_at, declared=declared)
        (self.directory / "inventory" / "fleet.yml").write_text(self._text)

    def add_redfish(self, name: str, url: str, declared: str = "") -> None:
        """A rig behind a Redfish service, as ``add``."""
        secret = self.directory / "inventory" / f"{name}.password"
        secret.write_text(f"{self.password}\n")
        self._text += (
            f"  {name}:\n    address: 127.1.2.{name[-1]}\n    build: budget-4x3090\n    power:\n      driver: redfish\n"
            f"      url: {url}\n      username: admin\n      password: {{file: {secret.name}}}\n      {declared}\n"
        )
        (self.directory / "inventory" / "fleet.yml").write_text(self._text)

    @property
    def state(self) -> Path:
        return self.directory / ".rigdeploy"

    def stored(self, name: str) -> str:
        return (self.directory / "inventory" / f"{name}.password").read_text().rstrip("\n")

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run ``rigdeploy ARGUMENTS``; gives exit code, standard output, standard error."""
        self._monkeypatch.setenv("RIGDEPLOY_INVENTORY", str(self.directory / "inventory"))
        self._monkeypatch.setattr(sys, "argv", ["rigdeploy", *arguments])
        code = main.run()
        shown = self._capsys.readouterr()
        assert self.password not in shown.out + shown.err
        return code, shown.out, shown.err

    def rows(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The same with ``--json``: exit code and rigs."""
        code, out, err = self.run(*arguments, "--json")
        assert out, err
        document = json.loads(out)
        assert document["schema"] == 1
        return code, document["rigs"]


@pytest.fixture
def fleet(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """An empty fleet, to add rigs to."""
    for name in ("RIGDEPLOY_STATE", "RIGDEPLOY_LAB", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("rigdeploy.power.policy.OFF_SECONDS", 0.1)
    monkeypatch.setattr("rigdeploy.power.rotate.SETTLE_SECONDS", 0.0)
    with FakeBmcs() as bmcs:
        yield Fleet(tmp_path, bmcs, capsys, monkeypatch)
