"""A real BMC for the tests: OpenIPMI's simulator, a rig that is a few files, and a lossy wire."""

from __future__ import annotations

import random
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import fleet  # noqa: F401 - a fixture
from redfish_emulator import connect_redfish, emulate, strict_bmc  # noqa: F401 - fixtures

from rigdeploy.fleet.models import IpmiPower
from rigdeploy.power.ipmi import IpmiDriver
from rigdeploy.power.policy import Clock
from rigdeploy.power.quirks import QuirkCache

PASSWORD = "Planted-Pa55word"
ADDRESS = "127.1.0.1"

LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    guid a123456789abcdef0000000000000000
  endlan
  chassis_control "{program} {directory}"
  user 1 {nameless} "" "{password}" user 10 none md2 md5 straight
  user 2 true "admin" "{password}" admin 10 none md2 md5 straight
  user 3 true "oper" "{password}" operator 10 none md2 md5 straight
"""
EMU = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x0002a2 0xf02 persist_sdr
mc_enable 0x20
"""


def free_port(address: str = ADDRESS) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


class Bmc:
    """One ipmi_sim and the files of the rig behind it (see chassis.sh)."""

    def __init__(self, directory: Path, address: str = ADDRESS, *, nameless: bool = False) -> None:
        self.directory = directory
        self.port = free_port(address)
        self.write("power", 0)
        (directory / "log").touch()
        program = Path(__file__).with_name("chassis.sh")
        (directory / "lan.conf").write_text(
            LAN.format(
                address=address,
                port=self.port,
                program=program,
                directory=directory,
                password=PASSWORD,
                nameless=str(nameless).lower(),
            )
        )
        (directory / "emu").write_text(EMU)
        (directory / "password").write_text(PASSWORD)
        self.process = subprocess.Popen(
            ["ipmi_sim", "-c", directory / "lan.conf", "-f", directory / "emu", "-s", directory / "state", "-n"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while not any(f":{self.port:04X} " in Path(f"/proc/net/{table}").read_text() for table in ("udp", "udp6")):
            assert self.process.poll() is None, "ipmi_sim ended"
            assert time.monotonic() < deadline, "ipmi_sim does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def write(self, name: str, value: int) -> None:
        (self.directory / name).write_text(f"{value}\n")

    @property
    def is_on(self) -> bool:
        return (self.directory / "power").read_text().strip() == "1"

    def count(self, line: str) -> int:
        return (self.directory / "log").read_text().splitlines().count(line)

    def judge(self) -> str:
        """What ipmitool, which shares no code with us, says: 'on' or 'off'."""
        out = subprocess.run(
            [
                *("ipmitool", "-I", "lanplus", "-C", "3", "-H", ADDRESS, "-p", str(self.port), "-U", "admin"),
                *("-f", self.directory / "password", "chassis", "power", "status"),
            ],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
        return out.split()[-1]


class Relay:
    """A wire that loses datagrams, each way, by a seeded coin."""

    def __init__(self, target: int, loss: float, seed: int) -> None:
        self._coin = random.Random(seed)
        self.loss = loss
        self.stray: bytes | None = None  # sent to the client before each answer
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind((ADDRESS, 0))
        self.port = self._front.getsockname()[1]
        self._target = (ADDRESS, target)
        self._upstream: dict[Any, socket.socket] = {}
        self._stop = threading.Event()
        self.lost = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            back = {sock: client for client, sock in self._upstream.items()}
            for ready in select.select([self._front, *back], [], [], 0.1)[0]:
                if ready is self._front:
                    data, client = ready.recvfrom(4096)
                    if client not in self._upstream:
                        self._upstream[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    self._pass(self._upstream[client], data, self._target)
                else:
                    self._pass(self._front, ready.recv(4096), back[ready])

    def _pass(self, sock: socket.socket, data: bytes, to: Any) -> None:
        if self._coin.random() < self.loss:
            self.lost += 1
            return
        if self.stray is not None and sock is self._front:
            sock.sendto(self.stray, to)
        sock.sendto(data, to)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for sock in (self._front, *self._upstream.values()):
            sock.close()


@pytest.fixture
def start_bmc(tmp_path: Path) -> Iterator[Callable[..., Bmc]]:
    """Start a BMC, on any address of this machine; all are stopped at the end."""
    for tool in ("ipmi_sim", "ipmitool"):
        if shutil.which(tool) is None:
            pytest.skip(f"not tested: power on a simulated BMC; {tool} is missing (Debian: openipmi, ipmitool)")
    started = []

    def start(address: str = ADDRESS, *, nameless: bool = False) -> Bmc:
        directory = tmp_path / f"bmc{len(started)}"
        directory.mkdir()
        started.append(Bmc(directory, address, nameless=nameless))
        return started[-1]

    yield start
    for simulator in started:
        simulator.stop()


@pytest.fixture
def bmc(start_bmc: Callable[..., Bmc]) -> Bmc:
    return start_bmc()


@pytest.fixture
def lossy(bmc: Bmc) -> Iterator[Relay]:
    relay = Relay(bmc.port, loss=0.2, seed=20)
    yield relay
    relay.close()


@pytest.fixture
def declare() -> Callable[..., IpmiPower]:
    """An IpmiPower on a port, with any field replaced."""

    def declared(port: int, **fields: Any) -> IpmiPower:
        known = {"driver": "ipmi", "address": ADDRESS, "port": port, "username": "admin", "password": PASSWORD}
        return IpmiPower.model_validate(known | fields)

    return declared


@pytest.fixture
def connect(tmp_path: Path, declare: Callable[..., IpmiPower]) -> Iterator[Callable[..., IpmiDriver]]:
    """A driver for a port, with any field of the declaration replaced; closed at the end."""
    drivers = []

    def opened(port: int, answer_seconds: float = 1.0, **fields: Any) -> IpmiDriver:
        driver = IpmiDriver(
            "rig01", declare(port, **fields), tmp_path, QuirkCache(tmp_path), answer_seconds=answer_seconds
        )
        drivers.append(driver)
        return driver

    yield opened
    for driver in drivers:
        driver.close()


@pytest.fixture
def fast_clock() -> Clock:
    """Twenty policy seconds in one real second."""
    return Clock(now=lambda: time.monotonic() * 20, sleep=lambda seconds: time.sleep(seconds / 20))


FLEET = """\
plugin: rigdeploy
rigs:
  rig01:
    address: 127.1.0.2
    build: pro-4x3090
    power:
      driver: ipmi
      address: 127.1.0.1
      port: {port}
      username: admin
      password: {{env: RIG01_BMC_PASSWORD}}
      timeout_seconds: 20
  rig02:
    address: 127.1.0.3
    build: budget-4x3090
    ssh: {{port: {ssh_port}}}
    power: {{driver: manual, timeout_seconds: 1}}
"""


@pytest.fixture
def inventory(bmc: Bmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet: rig01 behind the BMC, rig02 by hand with nothing at its address."""
    for name in ("RIGDEPLOY_INVENTORY", "RIGDEPLOY_STATE", "RIGDEPLOY_LAB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RIG01_BMC_PASSWORD", PASSWORD)
    directory = tmp_path / "inventory"
    directory.mkdir()
    (directory / "fleet.yml").write_text(FLEET.format(port=bmc.port, ssh_port=free_port()))
    return directory
