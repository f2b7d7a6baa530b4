"""Many BMCs asked and set at once, on BMCs that speak IPMI as the specification has it and fail on request."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from rigdeploy.errors import PowerAuthenticationError, PowerBusyError, PowerRefusedError
from rigdeploy.node.bmc_reading import BmcSettings
from rigdeploy.power import console, ipmi_audit
from rigdeploy.power.base import Door, Health, RestorePolicy
from rigdeploy.run import bmc
from rigdeploy.run.arrival import CONSOLE_LINES, BootConsole
from rigdeploy.run.bmc import Readings, read_settings, set_as_declared
from tests.bmc import OPERATOR, FakeBmc, FakeBmcs, Faults, User

PASSWORD = "Planted-Pa55word"
ALWAYS_ON = {"power_restore": "always-on"}


@pytest.fixture
def start():
    with FakeBmcs() as bmcs:
        yield lambda **arguments: bmcs.start(FakeBmc(PASSWORD, **arguments))


@pytest.fixture
def rig_of(make_rig):
    """A rig behind a BMC."""

    def make(fake, name="rig01", *, declared=ALWAYS_ON, password=PASSWORD, driver="ipmi"):
        power = {"driver": driver, "address": fake.address, "port": fake.port, "username": "admin"}
        return make_rig(name, power=power | {"password": password, "timeout_seconds": 5}, bmc=declared)

    return make


def test_set_once_and_then_right(start, rig_of, workspace):
    fake = start()
    rig = rig_of(fake)
    assert read_settings([rig], workspace) == {"rig01": BmcSettings(RestorePolicy.OFF)}
    assert set_as_declared(rig, workspace) == (BmcSettings(RestorePolicy.OFF), BmcSettings(RestorePolicy.ON))
    assert read_settings([rig], workspace) == {"rig01": BmcSettings(RestorePolicy.ON)}
    assert set_as_declared(rig, workspace) == (BmcSettings(RestorePolicy.ON), BmcSettings(RestorePolicy.ON))


def test_only_bmcs_about_which_something_is_declared_are_asked(start, rig_of, make_rig, workspace):
    fake = start()
    silent = rig_of(fake, declared={})
    by_hand = make_rig("rig02", bmc=ALWAYS_ON)
    assert read_settings([silent, by_hand], workspace) == {}
    assert fake.events("log-in") == []


def test_a_bmc_that_takes_a_setting_and_does_not_keep_it(start, rig_of, workspace, monkeypatch):
    fake = start()
    monkeypatch.setattr(type(fake.state), "restore", property(lambda _: 0, lambda _, __: None), raising=False)
    with pytest.raises(PowerRefusedError, match="still says always-off"):
        set_as_declared(rig_of(fake), workspace)


def test_a_lost_answer_is_followed_by_a_reading(start, rig_of, workspace, monkeypatch):
    from rigdeploy.power.ipmi import IpmiDriver

    fake = start()
    real = IpmiDriver.set_restore_policy

    def lossy(driver, policy):
        fake.faults.drop_answers = 1
        real(driver, policy)

    monkeypatch.setattr(IpmiDriver, "set_restore_policy", lossy)
    assert set_as_declared(rig_of(fake), workspace)[1] == BmcSettings(RestorePolicy.ON)


def test_one_wrong_password_is_that_rigs_error(start, rig_of, workspace):
    good, bad = rig_of(start()), rig_of(start(), "rig02", password="not-this-one")
    found = read_settings([good, bad], workspace)
    assert found["rig01"] == BmcSettings(RestorePolicy.OFF)
    assert isinstance(found["rig02"], PowerAuthenticationError)
    assert "not-this-one" not in found["rig02"].message


def test_a_driver_without_the_capability_is_said_so(make_rig, workspace):
    before, after = set_as_declared(make_rig(bmc=ALWAYS_ON), workspace)
    assert before.as_dict() == after.as_dict() == {}
    assert "mains power" in after.told()


DOORS = ["cipher_0", "null_user", "ipmi_1_5"]


def opened(start, **faults):
    """A BMC with everything open that IPMI leaves open."""
    fake = start(suites=(0, 3, 17), faults=Faults(**faults))
    fake.state.users[1] = User("", b"", OPERATOR)
    fake.state.set_lan(2, bytes((0x14,) * 5)) if not faults.get("lan_ignored") else None
    return fake


@pytest.mark.parametrize("driver", ["ipmi", "ipmitool"])
def test_what_is_open_is_closed_once(start, rig_of, workspace, driver):
    fake = opened(start)
    rig = rig_of(fake, declared={"close": DOORS}, driver=driver)
    before, after = set_as_declared(rig, workspace)
    assert before.open == dict.fromkeys(map(Door, DOORS), True)
    assert after.as_dict() == dict.fromkeys(DOORS, "closed")
    assert (fake.state.suites, fake.state.users[1].enabled, fake.state.get_lan(2)) == (
        *({0: 0, 3: 4, 17: 4}, False, bytes(5)),
    )
    assert read_settings([rig], workspace) == {"rig01": after}
    assert set_as_declared(rig, workspace) == (after, after)


def test_only_what_is_declared_is_closed(start, rig_of, workspace):
    fake = opened(start)
    set_as_declared(rig_of(fake, declared={"close": ["null_user"]}), workspace)
    assert (fake.state.suites[0], fake.state.users[1].enabled, fake.state.get_lan(2)[0]) == (4, False, 0x14)


def test_who_would_be_locked_out_is_not(start, rig_of, workspace):
    fake = opened(start, suites_locked=True)
    with pytest.raises(PowerRefusedError, match="nobody was let in any more, so it was opened again"):
        set_as_declared(rig_of(fake, declared={"close": DOORS}), workspace)
    assert (fake.state.suites, fake.state.users[1].enabled, fake.state.get_lan(2)) == (
        *({0: 4, 3: 4, 17: 4}, True, bytes((0x14,) * 5)),
    )


def test_who_could_not_be_told_is_not_locked_out(start, rig_of, workspace, monkeypatch):
    """The BMC gets too busy half-way, before it was seen that a log-in still works."""
    from rigdeploy.power.ipmi import IpmiDriver

    fake = opened(start, suites_locked=True)
    real, made = IpmiDriver.change, []

    def overloaded(driver, *request):
        made.append(request)
        if len(made) == 2:
            raise PowerBusyError("busy")
        return real(driver, *request)

    monkeypatch.setattr(bmc, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr(IpmiDriver, "change", overloaded)
    with pytest.raises(PowerBusyError):
        set_as_declared(rig_of(fake, declared={"close": DOORS}), workspace)
    assert (fake.state.suites, fake.state.users[1].enabled) == ({0: 4, 3: 4, 17: 4}, True)


def test_what_cannot_be_opened_again_is_not_said_to_be(start, rig_of, workspace, monkeypatch):
    fake = opened(start, suites_locked=True)
    monkeypatch.setattr(bmc, "_taken_back", lambda *_: False)
    with pytest.raises(PowerRefusedError, match="nobody was let in any more, and it could not be opened again"):
        set_as_declared(rig_of(fake, declared={"close": ["cipher_0"]}), workspace)


def test_what_stays_open_is_an_error_and_the_rest_is_closed(start, rig_of, workspace):
    fake = opened(start, lan_ignored=True)
    rig = rig_of(fake, declared={"close": DOORS})
    with pytest.raises(PowerRefusedError, match="cipher_0 cannot be closed this way: the BMC takes the setting"):
        set_as_declared(rig, workspace)
    assert not fake.state.users[1].enabled


def test_a_lost_answer_while_closing_is_followed_by_a_look(start, rig_of, workspace, monkeypatch):
    from rigdeploy.power.ipmi import IpmiDriver

    fake = opened(start)
    real = IpmiDriver.change

    def lossy(driver, netfn, command, data=b""):
        fake.faults.drop_answers = 1
        return real(driver, netfn, command, data)

    monkeypatch.setattr(IpmiDriver, "change", lossy)
    after = set_as_declared(rig_of(fake, declared={"close": DOORS}), workspace)[1]
    assert set(after.as_dict().values()) == {"closed"}


def test_a_door_that_a_bmc_does_not_tell_of_is_left(start, rig_of, workspace, monkeypatch):
    monkeypatch.setattr(ipmi_audit, "allows_ipmi_1_5", lambda *_: None)
    fake = start()
    before, after = set_as_declared(rig_of(fake, declared=ALWAYS_ON | {"close": ["ipmi_1_5"]}), workspace)
    assert after.as_dict() == ALWAYS_ON
    assert before.unknown == after.unknown == {"ipmi_1_5": "the BMC does not say whether it is open"}


def test_the_labs_simulator_is_not_asked_for_what_it_cannot_close(start, rig_of, workspace):
    lab = replace(workspace, lab=True)
    fake = opened(start)
    found = read_settings([rig_of(fake, declared={"close": DOORS})], lab)["rig01"]
    assert (list(found.open), list(found.unknown)) == ([Door.NULL_USER, Door.IPMI_1_5], ["cipher_0"])


def test_what_is_open_is_seen_on_the_way(start, rig_of, workspace):
    rig = rig_of(opened(start), declared={})
    assert bmc.read(rig, workspace).audit.doors == dict.fromkeys(Door, True)


def test_a_wrong_password_is_tried_once(start, rig_of, workspace, monkeypatch):
    from rigdeploy.power.ipmi import IpmiDriver

    monkeypatch.setattr(IpmiDriver, "events", lambda _: pytest.fail("asked again"))
    wrong = bmc.read(rig_of(start(), password="not-this-one"), workspace)
    assert wrong.audit is None
    assert wrong.why_unread("events") == wrong.why_unread("sensors") != ""


def test_sensors_and_events_of_many(start, rig_of, make_rig, workspace):
    hot, well = start(), start()
    hot.state.sensors[0].reading = 92
    hot.state.add_sel(0x08, 5, 0x6F, b"\x01\xff\xff")
    rigs = [rig_of(hot, declared={}), rig_of(well, "rig02", declared={}), make_rig("rig03")]
    said = Readings(rigs, workspace).all()
    assert set(said) == {"rig01", "rig02"}
    assert said["rig01"].unread == said["rig02"].unread == ()
    health = {sensor.name: sensor.health for sensor in said["rig01"].sensors}
    assert health["CPU Temp"] is Health.CRITICAL
    assert health["FAN1"] is Health.OK
    [event] = said["rig01"].new_events(None)
    assert event.health is not Health.OK
    assert said["rig02"].new_events(None) == []


def test_a_bmc_that_is_slow_costs_the_time_that_is_given_and_no_more(start, rig_of, workspace):
    quick, slow = rig_of(start()), rig_of(start(faults=Faults(delay=0.8)), "rig02")
    began = time.monotonic()
    readings = Readings([slow, quick], workspace, seconds=1.5)
    assert readings.of("rig01").unread == ()
    assert "longer than" in readings.of("rig02").why_unread("sensors")
    assert time.monotonic() - began < 3
    assert readings.of("rig03") is None


def test_a_silent_bmc_is_unread(start, rig_of, workspace):
    rig = rig_of(start(faults=Faults(silent=True)))
    reading = bmc.read(rig, workspace)
    assert "does not answer" in reading.why_unread("sensors")
    assert reading.why_unread("events") == reading.why_unread("sensors")
    assert PASSWORD not in str(reading)


def test_one_that_goes_silent_is_not_waited_for_twice(start, rig_of, workspace, monkeypatch):
    from rigdeploy.power.ipmi import IpmiDriver

    fake = start()
    real = IpmiDriver.sensors

    def then_silent(driver):
        fake.faults.silent = True
        return real(driver)

    monkeypatch.setattr(IpmiDriver, "sensors", then_silent)
    monkeypatch.setattr(IpmiDriver, "events", lambda _: pytest.fail("asked again"))
    assert [line.what for line in bmc.read(rig_of(fake), workspace).unread] == ["sensors", "events"]


def test_a_defect_is_told_and_does_not_pass_for_silence(start, rig_of, workspace, monkeypatch):
    from rigdeploy.power.ipmi import IpmiDriver

    monkeypatch.setattr(IpmiDriver, "sensors", lambda _: 1 / 0)
    assert "ZeroDivisionError" in Readings([rig_of(start())], workspace).of("rig01").why_unread("events")


SCREEN = (
    b"\x1b[2J\x1b[1;1HCopyright\x1b[2;1HMemory training\x1b[0m\r\n"
    + b"".join(b"line %d\r\n" % number for number in range(100))
    + b"\x1b]0;title\x07\x1b[31mKernel panic\x1b[0m - not syncing\r\n\r\n\xff\xfe"
)


def test_the_console_of_a_boot(start, rig_of, workspace, monkeypatch):
    ended = []

    def capture(driver, path, stop):
        path.write_bytes(SCREEN)
        ended.append(stop.wait(5))

    monkeypatch.setattr(console, "capture", capture)
    shown = BootConsole(rig_of(start()), workspace, workspace.runs / "console.log")
    shown.end()
    assert ended == [True]
    lines = shown.last_lines()
    assert len(lines) == CONSOLE_LINES
    assert lines[-3:] == ["line 99", "Kernel panic - not syncing", "��"]
    (workspace.runs / "console.log").write_bytes(SCREEN[:60])
    assert shown.last_lines()[:2] == ["Copyright", "Memory training"]


def test_where_there_is_no_console_nothing_waits_for_one(start, rig_of, make_rig, workspace):
    began = time.monotonic()
    for rig in (rig_of(start()), make_rig("rig02"), rig_of(start(), password="not-this-one")):
        console_of = BootConsole(rig, workspace, workspace.runs / "console.log")
        console_of.end()
        assert console_of.last_lines() == []
    assert time.monotonic() - began < 8
