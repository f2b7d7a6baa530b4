"""OpenIPMI's simulator with all that a board has: sensors and their records, an event log, a FRU, boot, a console."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from tests.bmc import FakeBmc, records

ADDRESS = "127.1.0.9"

_LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_admin md5
    guid a123456789abcdef0000000000000000
  endlan
  chassis_control "{directory}/chassis"
  sol "tcp:{address}:{console}" 115200
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "admin" "{password}" admin 10 none md2 md5 straight
  user 3 true "oper" "{password}" operator 10 none md2 md5 straight
"""
_EMU = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x0002a2 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 1 0x01 0x01 poll 200 file "{directory}/cputemp"
sensor_set_value 0x20 0 1 42 0
sensor_set_threshold 0x20 0 1 settable 111000 0x5f 0x5a 0x55 00 00 00
sensor_set_event_support 0x20 0 1 enable scanning per-state \
000111111000000 000111111000000 000111111000000 000111111000000
mc_add_fru_data 0x20 0 256 file 0 "{directory}/fru.bin"
mc_enable 0x20
"""
_CHASSIS = """\
#!/bin/sh
# Called as DIRECTORY-less: get|set NAME [VALUE]...; power and boot are files, identify is taken.
verb=$1
shift
if [ "$verb" = get ]; then
    for name; do
        echo "$name:$(cat "{directory}/$name" 2>/dev/null || echo 0)"
    done
    exit 0
fi
while [ $# -ge 2 ]; do
    case $1 in
        power|boot|identify|reset) echo "$2" >"{directory}/$1" ;;
        shutdown) echo 0 >"{directory}/power" ;;
        *) exit 1 ;;
    esac
    shift 2
done
"""


def _free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


class Simulator:
    """One ipmi_sim; its board is that of the fake BMC, so that both must be reported alike."""

    address = ADDRESS

    def __init__(self, directory: Path, password: str) -> None:
        self.directory = directory
        self.port = _free(socket.SOCK_DGRAM)
        self.console = socket.create_server((ADDRESS, 0))
        values = {
            "address": ADDRESS,
            "port": self.port,
            "console": self.console.getsockname()[1],
            "directory": directory,
            "password": password,
        }
        (directory / "lan.conf").write_text(_LAN.format(**values))
        (directory / "emu").write_text(_EMU.format(**values))
        (directory / "chassis").write_text(_CHASSIS.replace("{directory}", str(directory)))
        (directory / "chassis").chmod(0o755)
        (directory / "password").write_text(password)
        (directory / "cputemp").write_text("42\n")
        (directory / "boot").write_text("none\n")
        board = FakeBmc(password).state
        board.sensors = [sensor for sensor in board.sensors if sensor.number == 1]
        (directory / "fru.bin").write_bytes(records.fru(board))
        repository = directory / "state" / "ipmi_sim" / "bmc"
        repository.mkdir(parents=True)
        (repository / "sdr.20.main").write_text(_stored(records.sdr(board)))
        self._process = subprocess.Popen(
            ["ipmi_sim", "-c", directory / "lan.conf", "-f", directory / "emu", "-s", directory / "state", "-n"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while f":{self.port:04X} " not in Path("/proc/net/udp").read_text():
            assert self._process.poll() is None, "ipmi_sim ended"
            assert time.monotonic() < deadline, "ipmi_sim does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self.console.close()


def _stored(known: list[bytes]) -> str:
    """The simulator's own file of records, the highest first."""
    lines = [f"last_add_time:i:{int(time.time())}"]
    for number, record in reversed(list(enumerate(known, start=1))):
        text = "".join(chr(b) if 0x20 < b < 0x7F and b != 0x5C else f"\\{b:02x}" for b in record)
        lines.append(f"{number}:d:{text}")
    return "\n".join(lines) + "\n"


def ipmitool(bmc: object, password: Path, *words: str) -> str:
    """What ipmitool, which shares no code with us, says."""
    cipher = "3" if isinstance(bmc, Simulator) else "17"
    return subprocess.run(
        [
            *("ipmitool", "-I", "lanplus", "-C", cipher, "-H", bmc.address, "-p", str(bmc.port), "-U", "admin"),
            *("-f", password, *words),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
