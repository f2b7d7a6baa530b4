"""How a rig may be switched: what is accepted, what is said about it, what its twin has."""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from small_fleet import FLEET, MakeFleet

from rigdeploy.errors import DeclarationError, LabError
from rigdeploy.fleet.load import load_fleet, read_fleet
from rigdeploy.fleet.models import IpmiPower, ManualPower, Rig
from rigdeploy.fleet.schema import schema
from rigdeploy.fleet.twins import has_bmc, overlay

IPMITOOL = "{driver: ipmitool, address: 192.0.2.112, username: a, password: {env: B}, cipher: 3, timeout_seconds: 30}"
REDFISH = "{driver: redfish, url: 'https://192.0.2.112', username: a, password: {env: B}, timeout_seconds: 30}"
WOL = "{driver: wol, mac: '02:00:5e:10:00:02', timeout_seconds: 30}"
PLUG = """{driver: webhook, timeout_seconds: 30,
      switch_on: {url: 'https://plugs.example.com/{rig}/on', headers: {Authorization: {env: PLUGS}}},
      switch_off: {url: 'https://plugs.example.com/{rig}/off', body: '{"on": false}'}}"""
STATUS = PLUG[:-1] + ", status: {url: 'https://plugs.example.com/{rig}', says_on: 'on', says_off: 'off'}}"

TWIN = {"address": "10.90.0.12", "port": 22, "user": "root", "private_key": "/lab/id"}
BMC = {"address": "10.90.0.112", "port": 623, "username": "lab", "password_file": "/lab/bmc"}


def fleet_with(power: str) -> str:
    return FLEET.replace("build: mine\n    power: {driver: manual}", f"build: pro-4x3090\n    power: {power}")


@pytest.mark.parametrize("power", [IPMITOOL, REDFISH, WOL, PLUG, STATUS])
def test_every_kind_is_accepted_by_the_loader_and_by_the_schema(power: str, make_fleet: MakeFleet) -> None:
    text = fleet_with(power)
    assert load_fleet(make_fleet(text)).problems == []
    jsonschema.Draft202012Validator(schema("fleet")).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("power", "driver"),
    [(IPMITOOL, "ipmi"), (REDFISH, "ipmi"), (STATUS, "ipmi"), (WOL, "manual"), (PLUG, "manual")],
)
def test_a_twin_has_a_bmc_or_a_button_and_nothing_of_the_real_rig(
    power: str, driver: str, make_fleet: MakeFleet
) -> None:
    rig: Rig = load_fleet(make_fleet(fleet_with(power))).rigs["rig02"]
    assert has_bmc(rig.power) is (driver == "ipmi")
    twin = overlay(rig, TWIN | {"bmc": BMC if driver == "ipmi" else None})
    assert twin.power.driver == driver
    assert twin.power.timeout_seconds == 30
    assert isinstance(twin.power, ManualPower) or twin.power.address == "10.90.0.112"
    for real in ("192.0.2", "example.com", "02:00:5e"):
        assert real not in repr(twin)
    if isinstance(rig.power, IpmiPower):
        assert isinstance(twin.power, IpmiPower)
        assert twin.power.cipher == 3
    if driver == "ipmi":
        with pytest.raises(LabError, match="the twin of rig02 has no BMC"):
            overlay(rig, TWIN | {"bmc": None})


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


ERRORS = [
    (changed(REDFISH, "https://", "ftp://"), "power.url", "http:// or https://"),
    (changed(REDFISH, "192.0.2.112", "admin:pw@192.0.2.112"), "power.url", "without a login"),
    (changed(REDFISH, "192.0.2.112", "192.0.2.112:https"), "power.url", "ort"),
    (changed(REDFISH, "192.0.2.112", "[::1"), "power.url", "IPv6"),
    (changed(REDFISH, "192.0.2.112", "/redfish"), "power.url", "no host"),
    (changed(REDFISH, "192.0.2.112", "192.0.2.12"), "power.url", "a BMC has its own"),
    (changed(REDFISH, "timeout_seconds: 30", "certificate: a.pem, verify: false"), "power.certificate", "never looked"),
    (changed(REDFISH, "timeout_seconds: 30", "verify: 0"), "power.verify", "found 0"),
    (changed(WOL, "02:00:5e:10:00:02", "01:00:5e:10:00:02"), "power.mac", "no card's address"),
    (changed(WOL, "02:00:5e:10:00:02", "02-00-5e-10-00-02"), "power.mac", "such as 02:00:5e:10:00:01"),
    (changed(STATUS, "says_on: 'on'", "says_on: '(on'"), "power.status.says_on", "no regular expression"),
    (changed(STATUS, "says_on: 'on'", "says_on: '(on)?'"), "power.status.says_on", "fits an empty answer"),
    (changed(STATUS, "says_off: 'off'", "says_off: 'on'"), "power.status.says_off", "both told by 'on'"),
    (changed(STATUS, "says_on: 'on'", "on: 'on'"), "power.status", "no string"),
    (changed(PLUG, "/off', body: '{\"on\": false}'", "/on'"), "power.switch_off", "same call"),
    (changed(PLUG, "/on',", "/on', method: GET, body: x,"), "power.switch_on.body", "a GET has no body"),
    (changed(PLUG, "Authorization:", "'Autho rization':"), "power.switch_on.headers", "text like"),
    (WOL + "\n    bmc: {power_restore: always-on}", "bmc.power_restore", "wol has no BMC"),
    (WOL + "\n    bmc: {close: [cipher_0]}", "bmc.close", "wol has no BMC"),
    (REDFISH + "\n    bmc: {close: [cipher_0]}", "bmc.close", "set by IPMI"),
    (
        changed(IPMITOOL, "cipher: 3", "privilege: operator") + "\n    bmc: {close: [cipher_0]}",
        "bmc.close",
        "only an administrator",
    ),
    (changed(IPMITOOL, "username: a", "username: ''") + "\n    bmc: {close: [null_user]}", "bmc.close", "out"),
    (IPMITOOL + "\n    bmc: {close: [cipher_1]}", "bmc.close", "cipher_0"),
]


@pytest.mark.parametrize(("power", "path", "words"), ERRORS)
def test_what_cannot_be(power: str, path: str, words: str, make_fleet: MakeFleet) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_fleet(make_fleet(fleet_with(power)))
    assert [p for p in caught.value.problems if p.path.startswith(f"rigs.rig02.{path}") and words in f"{p} {p.remedy}"]


WARNINGS = [
    (changed(REDFISH, "https://", "http://"), "power.url", "as it is"),
    (changed(REDFISH, "timeout_seconds: 30", "verify: false"), "power.verify", "not checked"),
    (changed(REDFISH, "{env: B}", "Planted-1"), "power.password", "in the file itself"),
    (changed(PLUG, "{env: PLUGS}", "Planted-1"), "power.switch_on.headers.Authorization", "in the file itself"),
    (changed(PLUG, "https://plugs.example.com/{rig}/on", "http://plug"), "power.switch_on.url", "Authorization goes"),
]


@pytest.mark.parametrize(("power", "path", "words"), WARNINGS)
def test_what_is_probably_not_meant(power: str, path: str, words: str, make_fleet: MakeFleet) -> None:
    [problem] = load_fleet(make_fleet(fleet_with(power))).problems
    assert (problem.severity, problem.path) == ("warning", f"rigs.rig02.{path}")
    assert words in problem.message
    assert "Planted" not in f"{problem} {problem.remedy}"


def test_a_header_that_is_no_secret_may_stand_in_the_file(make_fleet: MakeFleet) -> None:
    power = changed(PLUG, "headers: {Authorization: {env: PLUGS}}", "headers: {Content-Type: application/json}")
    assert load_fleet(make_fleet(fleet_with(power))).problems == []


def test_what_stands_in_a_header_is_shown_nowhere(make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet(fleet_with(changed(PLUG, "{env: PLUGS}", "Planted-1"))))
    assert "Planted" not in repr(fleet.rigs["rig02"]) + fleet.rigs["rig02"].model_dump_json()


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (REDFISH, "192.0.2.112 is the BMC of rig01 already"),
        (WOL, "is the network card of rig01 already"),
        (changed(PLUG, "{rig}", "1"), "is the switch of rig01 already"),
        (PLUG, None),
        (changed(REDFISH, "timeout_seconds: 30", "system: node-SYSTEM"), None),
    ],
)
def test_one_switch_for_two_rigs(power: str, words: str | None, make_fleet: MakeFleet) -> None:
    rigs = "".join(
        f"  rig0{n}: {{address: 192.0.2.{n}, build: pro-4x3090, power: {power.replace('SYSTEM', str(n))}}}\n"
        for n in (1, 2)
    )
    problems = read_fleet(make_fleet(f"plugin: rigdeploy\nrigs:\n{rigs}")).problems
    assert [words in p.message for p in problems if words] == ([True] if words else [])
    assert words or problems == []
