"""Redfish services for the tests: sushy-tools' emulator, which plain HTTP reads too, and the strict one; a driver."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from power_servers import HOST, PASSWORD, ROOT, StrictBmc

from rigdeploy.fleet.models import RedfishPower
from rigdeploy.power.redfish import RedfishDriver

CONFIG = """\
import logging
import random
logging.basicConfig(level=logging.INFO)  # every request, on standard error
# An emulated change shows after 1 to 11 s.
random.randint = lambda least, most: {lag}
SUSHY_EMULATOR_LISTEN_IP = "{host}"
SUSHY_EMULATOR_LISTEN_PORT = {port}
SUSHY_EMULATOR_FAKE_DRIVER = True
SUSHY_EMULATOR_FAKE_SYSTEMS = [
    {{"uuid": name, "name": name, "power_state": "Off", "external_notifier": False, "nics": []}} for name in {systems}
]
SUSHY_EMULATOR_FEATURE_SET = "full"
SUSHY_EMULATOR_AUTH_FILE = "{directory}/auth"
SUSHY_EMULATOR_STATE_DIR = "{directory}"
SUSHY_EMULATOR_SSL_CERT = {certificate!r}
SUSHY_EMULATOR_SSL_KEY = {key!r}
"""


class Emulator:
    """sushy-tools' emulator as a process of its own."""

    def __init__(
        self,
        directory: Path,
        systems: list[str],
        certificate: tuple[Path, Path] | None = None,
        *,
        password: str = PASSWORD,
        lag: int = 1,
    ) -> None:
        self._password, self._log = password, directory / "emulator.log"
        with socket.create_server((HOST, 0)) as probe:
            self.port = probe.getsockname()[1]
        paths = [str(path) for path in certificate] if certificate else [None, None]
        config = directory / "emulator.conf"
        config.write_text(
            CONFIG.format(
                host=HOST,
                port=self.port,
                systems=systems,
                directory=directory,
                certificate=paths[0],
                key=paths[1],
                lag=lag,
            )
        )
        (directory / "auth").write_bytes(b"admin:" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)) + b"\n")
        self.url = f"{'https' if certificate else 'http'}://{HOST}:{self.port}"
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("sushy-emulator"), "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log.open("w"),
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((HOST, self.port)).close()
            except OSError:
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def judge(self, path: str) -> Any:
        """What a plain HTTP client reads."""
        token = base64.b64encode(f"admin:{self._password}".encode()).decode()
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Stop it."""
        self.process.kill()
        self.process.wait()

    @property
    def changes(self) -> int:
        """How many requests could have changed something, by the emulator's own log."""
        return len(re.findall(r'"(?:\x1b\[\d+m)*(?:POST|PUT|PATCH|DELETE) ', self._log.read_text()))

    @property
    def power(self) -> str:
        return str(self.judge(f"{ROOT}/Systems/node1")["PowerState"])


@pytest.fixture
def emulate(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Start an emulator of so many systems, with the arguments of ``Emulator``; it is stopped at the end."""
    if not Path(sys.executable).with_name("sushy-emulator").exists() and shutil.which("sushy-emulator") is None:
        pytest.skip("not tested: power over Redfish; sushy-emulator is missing (pip: sushy-tools)")
    started = []

    def start(systems: tuple[str, ...] = ("node1",), **fields: Any) -> Emulator:
        directory = tmp_path / "emulator"
        directory.mkdir()
        started.append(Emulator(directory, list(systems), **fields))
        return started[-1]

    yield start
    for emulator in started:
        emulator.close()


@pytest.fixture
def strict_bmc() -> Iterator[StrictBmc]:
    """A service as strict as AMI's firmware."""
    with closing(StrictBmc()) as strict:
        yield strict


@pytest.fixture
def connect_redfish(tmp_path: Path) -> Iterator[Callable[..., RedfishDriver]]:
    """A driver for a URL, with any field of the declaration replaced; closed at the end."""
    drivers = []

    def opened(url: str, **fields: Any) -> RedfishDriver:
        known = {"driver": "redfish", "url": url, "username": "admin", "password": PASSWORD, "timeout_seconds": 20}
        drivers.append(RedfishDriver("rig01", RedfishPower.model_validate(known | fields), tmp_path))
        return drivers[-1]

    yield opened
    for driver in drivers:
        driver.close()
