"""A twin's BMC: OpenIPMI's ipmi_sim on its own address in the hub; it starts and kills that very node."""

from __future__ import annotations

import os
import secrets
import shlex
import string
import sys
from pathlib import Path

from rigdeploy.lab import processes
from rigdeploy.lab.twins import BMC_PORT, BMC_USER, Twin, write_atomically

PASSWORD_LENGTH = 16
"""The longest that IPMI 1.5 and most BMCs take."""

_LAN = """\
name "{name}"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    guid {guid}
    lan_config_program "{lan}"
  endlan
  chassis_control "{chassis}"
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_EMU = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x0002a2 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
# The simulator waits for its programs, and is mostly asked for the power state: that has to cost next to nothing.
_CHASSIS = """\
#!/bin/sh
if [ "$*" = "get power" ]; then
  if grep -q 'populated 1' {events} 2>/dev/null; then echo power:1; else echo power:0; fi
  exit 0
fi
exec {python} -m rigdeploy.lab.chassis {lab} {name} "$@"
"""
_LAN_PROGRAM = """\
#!/bin/sh
[ "$1" = get ] || exit 0
shift
for name; do
  case $name in
    ip_addr) echo "$name:{address}" ;;
    ip_addr_src) echo "$name:static" ;;
    subnet_mask) echo "$name:255.255.255.0" ;;
    mac_addr) echo "$name:02:00:00:00:00:{number:02x}" ;;
    default_gw_ip_addr|backup_gw_ip_addr) echo "$name:0.0.0.0" ;;
    *mac_addr) echo "$name:00:00:00:00:00:00" ;;
  esac
done
"""


def start(twin: Twin) -> None:
    """Start the BMC unless it runs; its password is made once and kept."""
    if processes.alive(twin.bmc_group):
        return
    processes.kill(twin.bmc_group)
    home = twin.directory / "bmc"
    home.mkdir(mode=0o700, exist_ok=True)
    if not twin.password_file.exists():
        letters = string.ascii_letters + string.digits
        write_atomically(twin.password_file, "".join(secrets.choice(letters) for _ in range(PASSWORD_LENGTH)))
    _configure(twin)
    (home / "state").mkdir(exist_ok=True)
    argv: list[str | Path] = ["ipmi_sim", "-c", home / "lan.conf", "-f", home / "emu", "-s", home / "state", "-n"]
    processes.spawn(argv, group=twin.bmc_group, log=home / "log", netns=twin.lab.netns)


def _configure(twin: Twin) -> None:
    home = twin.directory / "bmc"
    chassis, lan = home / "chassis", home / "lan"
    write_atomically(
        chassis,
        _CHASSIS.format(
            events=shlex.quote(str(twin.group / "cgroup.events")),
            python=shlex.quote(sys.executable),
            lab=shlex.quote(str(twin.lab.directory)),
            name=twin.name,
        ),
        mode=0o700,
    )
    write_atomically(lan, _LAN_PROGRAM.format(address=twin.bmc_address, number=twin.number), mode=0o700)
    write_atomically(home / "emu", _EMU)
    write_atomically(
        home / "lan.conf",
        _LAN.format(
            name=twin.name,
            address=twin.bmc_address,
            port=BMC_PORT,
            guid=os.urandom(16).hex(),
            lan=lan,
            chassis=chassis,
            user=BMC_USER,
            password=twin.password_file.read_text(),
        ),
    )
