"""Recorded nodes in a temporary directory, and the probe run on them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigdeploy.node import probe

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real captures, which are not part of the project."""
    place = Path(os.environ.get("RIGDEPLOY_CORPUS") or CHECKOUT.parent / "shared" / "corpus")
    if not place.is_dir():
        pytest.skip(f"not tested: the probe on real captures; none at {place} (RIGDEPLOY_CORPUS names another place)")
    return place


class Tree:
    """A node's files below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, name: str, text: str | bytes) -> Path:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def pci(self, chain: str, **files: str) -> None:
        """A function at the end of a chain of ports (``0000:00:01.1/0000:01:00.0``), with sysfs files by name."""
        address = chain.rpartition("/")[2]
        home = f"sys/devices/pci0000:00/{chain}"
        for name, text in files.items():
            self.file(f"{home}/{name}", text + "\n")
        entry = self.root / "sys/bus/pci/devices" / address
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.symlink_to(f"../../../devices/pci0000:00/{chain}")

    def observe(self, nvidia_smi: str | None = None, kernel_log: str | None = None) -> dict[str, Any]:
        return probe.observe(probe.Node(str(self.root), nvidia_smi, kernel_log))

    def observe_with(self, output: str | bytes, status: int = 0) -> dict[str, Any]:
        """With an nvidia-smi that prints this."""
        path = self.file("tmp/smi", output)
        return self.observe(f"sh -c 'cat {shlex.quote(str(path))}; exit {status}'")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "node")


@pytest.fixture
def why() -> Callable[[dict[str, Any], str], list[str]]:
    """The reasons that stand in ``unread`` under a name."""
    return lambda document, what: [line["why"] for line in document["unread"] if line["what"] == what]
