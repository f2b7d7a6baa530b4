"""A fake BMC per test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bmc import FakeBmc, FakeBmcs

PASSWORD = "Planted-Pa55word"


@pytest.fixture
def start() -> Iterator[Callable[..., FakeBmc]]:
    """Start a BMC made with the given arguments."""
    with FakeBmcs() as bmcs:
        yield lambda **arguments: bmcs.start(FakeBmc(PASSWORD, **arguments))


@pytest.fixture
def bmc(start: Callable[..., FakeBmc]) -> FakeBmc:
    return start()


@pytest.fixture
def ipmitool(tmp_path: Path) -> Callable[..., str]:
    """Run ipmitool; what it printed, on a failure too."""
    secret = tmp_path / "password"

    def run(bmc: FakeBmc, *command: str, cipher: int = 17, user: str = "admin", password: str = PASSWORD) -> Any:
        secret.write_text(password)
        return subprocess.run(
            [
                *("ipmitool", "-I", "lanplus", "-C", str(cipher), "-H", bmc.address, "-p", str(bmc.port)),
                *("-U", user, "-f", secret, "-N", "1", "-R", "2", *command),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=30,
        ).stdout

    return run
