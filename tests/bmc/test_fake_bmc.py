"""The fake BMC, judged by clients that share no code with it: ipmitool and FreeIPMI."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

import pytest

from rigdeploy.power import rmcp
from tests.bmc import OPERATOR, wire
from tests.bmc.conftest import PASSWORD

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("ipmitool", "ipmipower"))),
    reason="not tested: the fake BMC against other clients (Debian: ipmitool, freeipmi-tools)",
)


@pytest.mark.parametrize("cipher", [3, 17])
def test_ipmitool_logs_in_with_either_suite_and_switches(bmc, ipmitool, cipher):
    assert "Power is off" in ipmitool(bmc, "chassis", "power", "status", cipher=cipher)
    ipmitool(bmc, "chassis", "power", "on", cipher=cipher)
    assert "System Power         : on" in ipmitool(bmc, "chassis", "status", cipher=cipher)
    ipmitool(bmc, "chassis", "power", "cycle", cipher=cipher)
    ipmitool(bmc, "chassis", "power", "soft", cipher=cipher)
    assert bmc.events("power") == ["on", "off", "on", "off"]
    assert bmc.events("control") == ["on", "cycle", "soft"]
    assert bmc.becomes_free()


@pytest.mark.parametrize("cipher", [3, 17])
def test_freeipmi_agrees_with_either_suite(bmc, tmp_path, cipher):
    config = tmp_path / "freeipmi.conf"
    config.write_text(
        f"driver-type LAN_2_0\nusername admin\npassword {PASSWORD}\ncipher-suite-id {cipher}\n"
        "ipmipower-on-if-off enable\nipmipower-wait-until-on enable\n"
    )

    def run(*command: str) -> str:
        host = f"{bmc.address}:{bmc.port}"
        return subprocess.run(
            [*command, "--config-file", config, "-h", host], capture_output=True, text=True, check=True, timeout=30
        ).stdout

    assert run("ipmipower", "--stat").strip().endswith(": off")
    run("ipmipower", "--cycle")
    assert bmc.events("power") == ["on"]
    assert run("ipmipower", "--stat").strip().endswith(": on")
    assert "Manufacturer ID       : 49622" in run("bmc-info", "--get-device-id")


def test_suite_0_lets_anybody_in_where_it_is_open(start, ipmitool):
    wrong = {"cipher": 0, "password": "wrong"}
    assert "Power is off" in ipmitool(start(suites=(0, 3)), "chassis", "power", "status", **wrong)
    assert "Unable to establish" in ipmitool(start(), "chassis", "power", "status", **wrong)


def test_a_suite_that_was_closed_is_refused(start, ipmitool):
    bmc = start(suites=(0, 3, 17))
    assert "RMCP+ Cipher Suites     : 0,3,17" in ipmitool(bmc, "lan", "print", "1")
    ipmitool(bmc, "lan", "set", "1", "cipher_privs", "XaaXXXXXXXXXXXX")
    assert "Cipher Suite Priv Max   : XaaXXXXXXXXXXXX" in ipmitool(bmc, "lan", "print", "1")
    assert "Unable to establish" in ipmitool(bmc, "chassis", "power", "status", cipher=0)


def test_sensors_and_their_thresholds(bmc, ipmitool):
    table = ipmitool(bmc, "sdr", "elist")
    assert "CPU Temp         | 01h | ok  |  3.1 | 42 degrees C" in table
    assert "FAN1             | 02h | ok  |  7.2 | 1200 RPM" in table
    assert "12V              | 03h | ok  |  7.3 | 12.06 Volts" in table
    assert "GPU3 Temp        | 04h | ns  |  3.4 | No Reading" in table
    assert "Presence detected" in table
    bmc.state.sensors[0].reading = 91
    assert "CPU Temp         | 91.000     | degrees C  | cr " in ipmitool(bmc, "sensor")


def test_the_event_log_is_read_and_cleared(bmc, ipmitool):
    bmc.state.add_sel(0x01, 1, 0x01, bytes((0x59, 91, 90)), when=1_700_000_000)
    bmc.state.add_sel(0x08, 5, 0x6F, bytes((0x01, 0xFF, 0xFF)))
    log = ipmitool(bmc, "sel", "elist")
    assert "11/14/23" in log
    assert "Temperature CPU Temp | Upper Critical going high | Asserted" in log
    assert "Power Supply PSU1 Status | Failure detected" in log
    ipmitool(bmc, "sel", "clear")
    assert "SEL has no entries" in ipmitool(bmc, "sel", "elist")


def test_what_the_board_says_of_itself(bmc, ipmitool):
    inventory = ipmitool(bmc, "fru")
    assert "Board Product         : ROMED8-2T" in inventory
    assert "Product Serial        : SN0001" in inventory
    assert "Manufacturer ID           : 49622" in ipmitool(bmc, "mc", "info")
    assert "412 Watts" in [ipmitool(bmc, "chassis", "power", "on"), ipmitool(bmc, "dcmi", "power", "reading")][1]


def test_users_and_passwords_of_16_and_20_octets(bmc, ipmitool):
    assert "2   admin            true    false      true       ADMINISTRATOR" in ipmitool(bmc, "user", "list", "1")
    longest = "20-octets-of-password"[:20]
    ipmitool(bmc, "user", "set", "password", "3", longest, "20")
    assert "Success" in ipmitool(bmc, "user", "test", "3", "20", longest)
    assert "wrong password size" in ipmitool(bmc, "user", "test", "3", "16", longest[:16])
    assert "System Power" in ipmitool(bmc, "-L", "OPERATOR", "chassis", "status", user="oper", password=longest)
    ipmitool(bmc, "user", "disable", "3")
    assert "Unable to establish" in ipmitool(bmc, "-L", "OPERATOR", "chassis", "status", user="oper", password=longest)
    assert bmc.events("refused") == ["oper"]


def test_rights_are_checked_at_log_in_and_per_command(bmc, ipmitool):
    assert "Unable to establish" in ipmitool(bmc, "chassis", "status", user="oper")
    assert "Insufficient privilege" in ipmitool(bmc, "-L", "USER", "chassis", "power", "on", user="oper")
    assert bmc.events("control") == []
    bmc.state.users[4].privilege = OPERATOR
    ipmitool(bmc, "-L", "OPERATOR", "chassis", "power", "on", user="user")
    assert bmc.state.power


def test_boot_flags_are_kept_octet_for_octet_and_used_once(bmc, ipmitool):
    ipmitool(bmc, "chassis", "bootdev", "pxe", "options=efiboot")
    ipmitool(bmc, "raw", "0", "8", "5", "0xa0", "4", "0x12", "0x34", "0x56")
    assert "a004123456" in ipmitool(bmc, "chassis", "bootparam", "get", "5")
    for _ in range(2):
        ipmitool(bmc, "chassis", "power", "on")
        ipmitool(bmc, "chassis", "power", "off")
    assert bmc.events("boot") == ["a0 04 12 34 56", "none"]


def test_persistent_boot_flags_stay(bmc, ipmitool):
    ipmitool(bmc, "chassis", "bootdev", "disk", "options=persistent")
    for control in ("on", "cycle", "reset"):
        ipmitool(bmc, "chassis", "power", control)
    assert bmc.events("boot") == ["c0 08 00 00 00"] * 3


def test_boot_flags_expire_unless_their_timer_was_stopped(bmc, ipmitool):
    bmc.faults.boot_timeout = 0.05
    ipmitool(bmc, "raw", "0", "8", "5", "0x80", "4", "0", "0", "0")
    time.sleep(0.1)
    assert "00 04 00 00 00" in ipmitool(bmc, "raw", "0", "9", "5", "0", "0")
    ipmitool(bmc, "raw", "0", "8", "3", "8")
    ipmitool(bmc, "raw", "0", "8", "5", "0x80", "4", "0", "0", "0")
    time.sleep(0.1)
    assert "80 04 00 00 00" in ipmitool(bmc, "raw", "0", "9", "5", "0", "0")


@pytest.mark.parametrize(("fault", "kept"), [("efi_ignored", "c0"), ("persist_ignored", "a0")])
def test_flags_can_be_dropped(bmc, ipmitool, fault, kept):
    setattr(bmc.faults, fault, True)
    ipmitool(bmc, "raw", "0", "8", "5", "0xe0", "4", "0", "0", "0")
    assert f"{kept} 04 00 00 00" in ipmitool(bmc, "raw", "0", "9", "5", "0", "0")


def test_a_request_whose_answer_was_lost_is_carried_out_once(start):
    bmc = start(on=True)
    credentials = ("admin", PASSWORD)
    client = rmcp.connect(bmc.address, bmc.port, *credentials, cipher=17, privilege="administrator", answer_seconds=0.1)
    bmc.faults.drop_answers = 2
    client.chassis_control_hard_reset()
    assert bmc.faults.drop_answers == 0
    assert bmc.events("control") == ["reset"]
    client.chassis_control_hard_reset()
    assert bmc.events("control") == ["reset", "reset"]
    client.close()


def test_restore_policy_identify_and_guid(bmc, ipmitool):
    ipmitool(bmc, "chassis", "policy", "always-on")
    assert "Power Restore Policy : always-on" in ipmitool(bmc, "chassis", "status")
    ipmitool(bmc, "chassis", "identify", "7")
    assert bmc.events("identify") == ["7"]


def test_slots_run_out_and_come_back(bmc, ipmitool):
    bmc.faults.max_sessions = 0
    assert "insufficient resources" in ipmitool(bmc, "chassis", "status").lower()
    bmc.faults.max_sessions = 1
    assert "System Power" in ipmitool(bmc, "chassis", "status")


def test_a_cold_reset_silences_it_and_keeps_the_power(bmc, ipmitool):
    bmc.faults.reset_seconds = 1
    ipmitool(bmc, "chassis", "power", "on")
    assert "Sent cold reset" in ipmitool(bmc, "mc", "reset", "cold")
    assert bmc.becomes_free()
    assert not answers_ping(bmc)
    time.sleep(1)
    assert answers_ping(bmc)
    assert "Power is on" in ipmitool(bmc, "chassis", "power", "status")


def test_pings_may_be_off(bmc):
    bmc.faults.ping = False
    assert not answers_ping(bmc)


def answers_ping(bmc) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.1)
        client.sendto(wire.RMCP_ASF + wire.PING + bytes((7, 0, 0)), (bmc.address, bmc.port))
        try:
            return client.recv(100)[9] == 7
        except TimeoutError:
            return False
