"""What the BMC saw: sensors out of range, new events of its log, and what could not be asked."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.models import Bmc
from rigdeploy.node.bmc_reading import DAY, BmcReading
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import Unread
from rigdeploy.power.audit import Facts, Strength, Tls
from rigdeploy.power.base import Door, EventRecord, Health, Sensor
from rigdeploy.verify.rules import judge

NOW = 1.8e9
UPTIME = 10 * DAY
OK, WARNING, CRITICAL, UNKNOWN = Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN


def sensor(name="CPU Temp", health=OK, kind="temperature", value=45.0, unit="C", states=()):
    return Sensor(name, kind, value, unit, health, states)


def event(text, health=CRITICAL, age=60.0, source="", number=1):
    return EventRecord(number, None if age is None else NOW - age, source, text, health)


@pytest.fixture
def wrong(bench, catalogue):
    """Judge a sound rig whose BMC said this; gives what it adds, as (check, subject, status, cause)."""

    def run(sensors=(), events=(), unread=(), ignore=(), uptime=UPTIME, audit=None):
        node = bench()
        node.document["host"]["uptime_seconds"] = uptime
        rig = node.rig.model_copy(update={"bmc": Bmc(ignore_sensors=list(ignore))})
        said = BmcReading.of(NOW, sensors, events, unread, audit)
        found = judge(rig, catalogue, Observation.parse(node.document), None, said)
        run.findings = [one for one in found if one.check.startswith("bmc.")]
        return [(one.check, one.subject, one.status.value, one.cause) for one in run.findings if one.status != "PASS"]

    return run


def test_without_a_reading_nothing_is_said(bench):
    assert not [one for one in bench().findings() if one.check.startswith("bmc.")]


def test_what_is_open_on_the_bmc_is_judged_with_the_rest(wrong):
    well = [sensor()]
    shut = Facts("ipmi", "admin", strength=Strength.LONG, doors=dict.fromkeys(Door, False))
    assert wrong(well, audit=shut) == []
    assert [one.check for one in wrong.findings[2:]] == [
        *("bmc.cipher_0", "bmc.ipmi_1_5", "bmc.null_user", "bmc.password"),
    ]
    open_ = Facts("ipmi", "admin", strength=Strength.SHORT, doors={Door.CIPHER_0: True, Door.NULL_USER: None})
    assert wrong(well, audit=open_) == [
        ("bmc.cipher_0", "bmc", "FAIL", "cipher-0"),
        ("bmc.null_user", "bmc", "UNKNOWN", "unreadable"),
        ("bmc.password", "bmc", "WARN", "short"),
    ]
    assert wrong(well, audit=Facts("redfish", "admin", tls=Tls.UNCHECKED)) == [
        ("bmc.tls", "bmc", "WARN", "unchecked"),
    ]


def test_a_well_rig_passes_once_for_each(wrong):
    fan = sensor("FAN1", kind="fan", value=900, unit="RPM")
    assert wrong([sensor(), fan, sensor("NVMe", UNKNOWN)], [event("log cleared", OK)]) == []
    assert [(one.check, one.observed) for one in wrong.findings] == [
        ("bmc.sensors", "2 sensors in range"),
        ("bmc.events", "1 new, none of them a fault"),
    ]


@pytest.mark.parametrize(
    ("made", "said", "words"),
    [
        (sensor(health=CRITICAL, value=99), ("FAIL", "sensor-critical"), "air flow"),
        (sensor(health=WARNING, value=88), ("WARN", "sensor-warning"), "air flow"),
        (sensor("FAN3", CRITICAL, "fan", 0, "RPM"), ("FAIL", "sensor-critical"), "bmc.ignore_sensors"),
        (sensor("PSU2 Status", CRITICAL, "discrete", None, "", ("failed",)), ("FAIL", "sensor-critical"), "plug"),
        (sensor("P12V", WARNING, "voltage", 10.9, "V"), ("WARN", "sensor-warning"), "P12V"),
    ],
)
def test_a_sensor_out_of_range(wrong, made, said, words):
    assert wrong([sensor("MB Temp"), made]) == [("bmc.sensors", made.name, *said)]
    [finding] = [one for one in wrong.findings if one.subject == made.name]
    assert words in finding.remedy
    assert finding.observed


def test_ignored_sensors_are_not_looked_at(wrong):
    bad = [sensor("FAN3", CRITICAL, "fan"), sensor("FAN4", CRITICAL, "fan"), sensor("CPU Temp", CRITICAL)]
    assert [subject for _, subject, _, _ in wrong(bad, ignore=["FAN[34]"])] == ["CPU Temp"]
    assert wrong(bad, ignore=["FAN?", "CPU Temp"]) == []


def test_sensors_that_say_nothing_about_their_range_prove_nothing(wrong):
    assert wrong([sensor(health=UNKNOWN)]) == [("bmc.sensors", "bmc", "UNKNOWN", "unreadable")]


@pytest.mark.parametrize(
    ("text", "health", "said"),
    [
        ("Power Supply #0x51: AC lost", CRITICAL, ("FAIL", "psu-event")),
        ("Power Supply #0x51: AC lost", WARNING, ("WARN", "psu-event")),
        ("Temperature CPU: upper critical going high", CRITICAL, ("FAIL", "thermal-event")),
        ("FAN2: lower critical going low", CRITICAL, ("WARN", "fan-event")),
        ("Memory: uncorrectable ECC, DIMM_A1", CRITICAL, ("FAIL", "ecc-event")),
        ("Memory: correctable ECC, DIMM_A1", WARNING, ("WARN", "ecc-event")),
        ("Critical Interrupt: PCI SERR", CRITICAL, ("FAIL", "pcie-event")),
        ("PCIe error on slot 3", UNKNOWN, ("WARN", "pcie-event")),
        ("Chassis intrusion", CRITICAL, ("WARN", "bmc-event")),
        ("Password attempt failed", UNKNOWN, None),
        ("Power Supply redundancy regained", OK, None),
    ],
)
def test_events_by_kind(wrong, text, health, said):
    assert wrong(events=[event(text, health)]) == ([("bmc.events", "bmc", *said)] if said else [])


def test_many_of_a_kind_are_one_finding(wrong):
    many = [event("PSU1 AC lost", number=n) for n in range(500)] + [event("DIMM_A1 ECC", WARNING, number=501)]
    assert [cause for _, _, _, cause in wrong(events=many)] == ["psu-event", "ecc-event"]
    psu = next(one for one in wrong.findings if one.cause == "psu-event")
    assert psu.observed == "PSU1 AC lost (500 events)"
    assert len(psu.evidence["events"]) == 64


@pytest.mark.parametrize(
    ("ages", "uptime", "new"),
    [
        ([UPTIME - 60], UPTIME, 1),
        ([UPTIME + 60], UPTIME, 0),
        ([DAY - 60], 3600, 1),
        ([DAY + 60], 3600, 0),
        ([DAY - 60, DAY + 60], None, 1),
        ([-9 * 3600], 3600, 1),
        ([60, None], 3600, 2),
        ([2 * DAY, None], 3600, 0),
    ],
)
def test_which_events_are_new(ages, uptime, new):
    said = BmcReading.of(NOW, [], [event("PSU1", age=age) for age in ages])
    assert len(said.new_events(uptime)) == new


def test_events_of_no_known_day_are_unknown(wrong):
    assert wrong(events=[event("PSU1 AC lost", age=None)]) == [("bmc.events", "bmc", "UNKNOWN", "no-clock")]
    assert wrong(events=[event("log cleared", OK, age=None)]) == []


def test_what_could_not_be_asked_is_unknown_and_not_a_pass(wrong):
    unread = [Unread("sensors", "no answer"), Unread("events", "no answer")]
    assert wrong(unread=unread) == [
        ("bmc.sensors", "bmc", "UNKNOWN", "unreadable"),
        ("bmc.events", "bmc", "UNKNOWN", "unreadable"),
    ]


def test_what_a_bmc_says_is_bounded_and_fit_to_show(wrong):
    long = "\x1b[31m" + "PSU " * 1000
    assert wrong([sensor(long, CRITICAL)] * 5000, [event(long)] * 5000)
    shown = [text for one in wrong.findings for text in (one.subject, one.observed, one.remedy)]
    assert len(wrong.findings) <= 65
    assert all("\x1b" not in text and len(text) < 1000 for text in shown)
