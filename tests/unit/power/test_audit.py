"""A BMC's audit, judged from facts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rigdeploy.power.audit import (
    ASROCK_RACK,
    DELL,
    MOST_TRIES,
    SUPERMICRO,
    Facts,
    Strength,
    Tls,
    judge,
    strength,
    well_known_logins,
)
from rigdeploy.power.base import Door
from rigdeploy.verify.findings import exit_code

SOUND = Facts(
    driver="ipmi",
    username="rig",
    privilege="administrator",
    offered=(3, 17),
    working={17: True, 3: True},
    doors=dict.fromkeys(Door, False),
    manufacturer=ASROCK_RACK,
    product=0x0F02,
    board="ASUS Pro WS WRX90E-SAGE SE",
    firmware="2.1.30",
    strength=Strength.LONG,
)


def verdicts(facts):
    return {finding.check.removeprefix("bmc."): finding.status.value for finding in judge(facts)}


def the(check, facts):
    return next(finding for finding in judge(facts) if finding.check == f"bmc.{check}")


def test_a_sound_bmc_passes():
    sound = replace(SOUND, manufacturer=DELL)
    assert set(verdicts(sound).values()) == {"PASS"}
    assert list(verdicts(sound)) == ["login", "suites", "cipher_0", "ipmi_1_5", "null_user", "password", "firmware"]
    assert all(not finding.cause and not finding.remedy for finding in judge(sound))
    assert exit_code(judge(sound)) == 0


@pytest.mark.parametrize(
    ("check", "facts", "verdict", "cause"),
    [
        ("login", {"refused": "wrong password", "remedy": "correct it"}, "FAIL", "refused"),
        ("suites", {"working": {17: False, 3: True}}, "WARN", "suite-broken"),
        ("suites", {"working": {17: False, 3: True}, "offered": (3,)}, "PASS", ""),
        ("suites", {"working": {17: False, 3: False}}, "FAIL", "none-works"),
        ("suites", {"working": {}}, "UNKNOWN", "not-tried"),
        ("cipher_0", {"doors": {Door.CIPHER_0: True}}, "FAIL", "cipher-0"),
        ("cipher_0", {"doors": {Door.CIPHER_0: None}}, "UNKNOWN", "unreadable"),
        ("ipmi_1_5", {"doors": {Door.IPMI_1_5: True}}, "WARN", "ipmi-1-5"),
        ("null_user", {"doors": {Door.NULL_USER: True}}, "FAIL", "null-user"),
        ("null_user", {"doors": {Door.NULL_USER: None}}, "UNKNOWN", "unreadable"),
        ("password", {"strength": Strength.WELL_KNOWN}, "FAIL", "well-known"),
        ("password", {"strength": Strength.SHORT}, "WARN", "short"),
        ("default_login", {"default_login": "admin", "defaults_tried": ("admin",)}, "FAIL", "default-password"),
        ("default_login", {"defaults_tried": ("admin",)}, "PASS", ""),
        ("tls", {"tls": Tls.NONE}, "FAIL", "no-tls"),
        ("tls", {"tls": Tls.UNCHECKED}, "WARN", "unchecked"),
        ("tls", {"tls": Tls.CHECKED}, "PASS", ""),
        ("boot_flags", {"dropped": ("device",)}, "FAIL", "device-dropped"),
        ("boot_flags", {"dropped": ("efi", "persistent")}, "WARN", "flags-dropped"),
        ("boot_flags", {"dropped": ()}, "PASS", ""),
        ("firmware", {"firmware": "2.1.27"}, "FAIL", "known-hole"),
        ("firmware", {"firmware": "2.1.28"}, "UNKNOWN", "unknown-version"),
        ("firmware", {"firmware": "2.1"}, "UNKNOWN", "unknown-version"),
        ("firmware", {"firmware": "1.9"}, "FAIL", "known-hole"),
        ("firmware", {"firmware": ""}, "UNKNOWN", "unknown-version"),
        ("firmware", {"board": "ROMED8-2T", "firmware": "9.9.9"}, "UNKNOWN", "unknown-version"),
        ("firmware", {"board": "PowerEdge", "manufacturer": DELL, "firmware": "1"}, "PASS", ""),
    ],
)
def test_each_thing_that_can_be_wrong(check, facts, verdict, cause):
    found = the(check, replace(SOUND, **facts))
    assert (found.status.value, found.cause) == (verdict, cause)
    assert bool(found.remedy) is (verdict != "PASS")


def test_what_was_not_asked_is_not_judged():
    assert "default_login" not in verdicts(SOUND)
    assert "boot_flags" not in verdicts(SOUND)
    redfish = Facts(driver="redfish", username="rig", tls=Tls.CHECKED, strength=Strength.LONG, firmware="2.1.28")
    assert list(verdicts(redfish)) == ["login", "password", "tls", "firmware"]


def test_the_unknown_version_says_what_to_compare():
    remedy = the("firmware", replace(SOUND, firmware="2.1")).remedy
    assert "CVE-2024-54085" in remedy
    assert "fixed in 2.1.28" in remedy


def test_closing_suite_0_keeps_the_others_open():
    opened = replace(SOUND, doors={Door.CIPHER_0: True})
    assert "bmc.close: [cipher_0]" in the("cipher_0", opened).remedy
    assert "cipher_privs XaaXXXXXXXXXXXX" in the("cipher_0", replace(opened, offered=(0, 3, 17))).remedy
    assert "cipher_privs Xaaaaaaaaaaaaaa)" in the("cipher_0", replace(opened, offered=None)).remedy


@pytest.mark.parametrize(
    ("password", "said"),
    [("ADMIN", "well known"), ("changeme", "well known"), ("Xk4jw9", "short"), ("aB3aB3aB3aB3", "long")],
)
def test_a_passwords_strength(password, said):
    assert strength(password).value == said


def test_no_more_than_two_log_ins_are_tried():
    assert well_known_logins(SUPERMICRO) == (("ADMIN", "ADMIN"),)
    for maker in (None, DELL, ASROCK_RACK, 1):
        assert 1 <= len(well_known_logins(maker)) <= MOST_TRIES == 2


def test_facts_are_json():
    facts = replace(SOUND, tls=Tls.CHECKED, dropped=("efi",))
    said = json.loads(json.dumps(facts.as_dict()))
    assert said["working"] == {"17": True, "3": True}
    assert (said["cipher_0"], said["ipmi_1_5"], said["null_user"]) == (False, False, False)
