"""What others than we see of a BMC: ipmitool and FreeIPMI of one that speaks IPMI, plain HTTP of a Redfish service."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from power_servers import LOG, ROOT, SYSTEM, StrictBmc
from redfish_emulator import Emulator
from simulator import Simulator, ipmitool

from tests.bmc import FakeBmc

_DEVICES = {0: "none", 1: "pxe", 2: "disk", 5: "cd", 6: "bios"}
"""Boot flags, data 2, bits 5 to 2 (IPMI 2.0, table 28-14)."""
_ADD_EVENT = ["0x0a", "0x44", *(str(byte) for byte in (0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 0x59, 0x5B, 0x5A))]
"""Add SEL Entry: the temperature has gone over its limit."""
_TARGETS = {"None": "none", "Pxe": "pxe", "Hdd": "disk", "Cd": "cd", "UsbCd": "cd", "BiosSetup": "bios"}


class IpmiJudges:
    """ipmitool and ipmipower; they have to agree on the power."""

    def __init__(self, bmc: FakeBmc | Simulator, directory: Path, password: str) -> None:
        self._bmc, self._password, self._config = bmc, directory / "judge.password", directory / "freeipmi.conf"
        self.learn(password)
        if isinstance(bmc, FakeBmc):
            bmc.state.add_sel(0x01, 1, 0x01, bytes((0x59, 0x5B, 0x5A)))
        else:
            self._ask("raw", *_ADD_EVENT)

    def learn(self, password: str) -> None:
        """Log in with another password from now on."""
        self._password.write_text(password)
        cipher = 3 if isinstance(self._bmc, Simulator) else 17
        self._config.write_text(
            f'driver-type LAN_2_0\nusername admin\npassword "{password}"\ncipher-suite-id {cipher}\n'
            "workaround-flags opensesspriv\n"
        )

    def _ask(self, *words: str) -> str:
        return ipmitool(self._bmc, self._password, *words)

    @property
    def power(self) -> str:
        host = f"{self._bmc.address}:{self._bmc.port}"
        command = ["ipmipower", "--config-file", self._config, "-h", host, "--stat"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()[-1]
        assert said == self._ask("chassis", "power", "status").split()[-1]
        return said

    @property
    def boot(self) -> str:
        flags = bytes.fromhex(self._ask("raw", "0", "9", "5", "0", "0"))[2:]
        return _DEVICES[flags[1] >> 2 & 0xF]

    @property
    def booted(self) -> str:
        """What the last start was from; the simulator's board leaves its flags as they are."""
        if isinstance(self._bmc, Simulator):
            return self.boot
        return _DEVICES[bytes.fromhex(self._bmc.events("boot")[-1])[1] >> 2 & 0xF]

    @property
    def lamp(self) -> bool:
        if isinstance(self._bmc, Simulator):
            file = self._bmc.directory / "identify"  # seconds, and whether for good
            return file.exists() and file.read_text().split() != ["0", "0"]
        return bool(bytes.fromhex(self._ask("raw", "0", "1"))[2] & 0x30)

    @property
    def events(self) -> int:
        return int(self._ask("sel", "info").partition("Entries")[2].split()[1])

    @property
    def temperature(self) -> float:
        row = next(line for line in self._ask("sensor").splitlines() if line.startswith("CPU Temp"))
        return float(row.split("|")[1])

    @property
    def serial(self) -> str:
        return self._ask("fru", "print", "0").partition("Board Serial")[2].split("\n")[0].strip(" :")

    @property
    def touched(self) -> tuple[Any, ...]:
        return self.power, self.boot, self.lamp, self.events


class HttpJudge:
    """A plain HTTP client, which logs in by a session where there are sessions."""

    def __init__(self, bmc: Emulator | StrictBmc, password: str) -> None:
        self._bmc = bmc
        self.learn(password)

    def learn(self, password: str) -> None:
        """Log in with another password from now on."""
        self._password = password

    def _get(self, path: str) -> Any:
        if isinstance(self._bmc, Emulator):
            return self._bmc.judge(path)
        said = json.dumps({"UserName": "admin", "Password": self._password}).encode()
        sessions = urllib.request.Request(f"{self._bmc.url}{ROOT}/SessionService/Sessions", data=said)
        with urllib.request.urlopen(sessions, timeout=10) as answer:
            token = answer.headers["X-Auth-Token"]
        headers = {"X-Auth-Token": token}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self._bmc.url}{path}", headers=headers), timeout=10
            ) as answer:
                return json.load(answer)
        finally:
            with suppress(OSError):
                ended = f"{self._bmc.url}{ROOT}/SessionService/Sessions/{token}"
                urllib.request.urlopen(urllib.request.Request(ended, headers=headers, method="DELETE"), timeout=10)

    @property
    def _system(self) -> Any:
        return self._get(f"{ROOT}/Systems/node1" if isinstance(self._bmc, Emulator) else SYSTEM)

    @property
    def power(self) -> str:
        return str(self._system["PowerState"]).lower()

    @property
    def boot(self) -> str:
        boot = self._system["Boot"] if isinstance(self._bmc, Emulator) else self._get(f"{SYSTEM}/SD")["Boot"]
        if boot["BootSourceOverrideEnabled"] == "Disabled":
            return "none"
        return _TARGETS[boot["BootSourceOverrideTarget"]]

    @property
    def booted(self) -> str:
        """What the last start was from; neither service plays the firmware, which would take it back."""
        return self.boot

    @property
    def lamp(self) -> bool:
        return bool(self._system["IndicatorLED"] != "Off")

    @property
    def events(self) -> int:
        count, page = 0, f"{LOG}/Entries"
        while page:
            found = self._get(page)
            count, page = count + len(found["Members"]), found.get("Members@odata.nextLink")
        return count

    @property
    def temperature(self) -> float:
        chassis = self._get(f"{ROOT}/Chassis")["Members"][0]["@odata.id"]
        return float(self._get(f"{chassis}/Thermal")["Temperatures"][0]["ReadingCelsius"])

    @property
    def serial(self) -> str:
        return str(self._system.get("SerialNumber", ""))

    @property
    def touched(self) -> tuple[Any, ...]:
        if isinstance(self._bmc, Emulator):
            return (self._bmc.changes,)
        changes = [r for r in self._bmc.requests if r.method != "GET" and "/Sessions" not in r.path]
        return (len(changes),)
