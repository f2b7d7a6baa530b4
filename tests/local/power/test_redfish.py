"""The Redfish driver on sushy-tools' emulator, judged by plain HTTP, and on a service as strict as AMI's firmware."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable
from contextlib import closing

import pytest
from power_servers import ACCOUNT, CHASSIS, HOST, ROOT, SYSTEM, Answer, Server, StrictBmc, make_certificate

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerCertificateError,
    PowerError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
)
from rigdeploy.power import policy, web
from rigdeploy.power.base import (
    AnswerLostError,
    BootDevice,
    BootOverride,
    EventRecord,
    Health,
    PowerState,
    RestorePolicy,
)
from rigdeploy.power.redfish import RedfishDriver

Connect = Callable[..., RedfishDriver]


@pytest.fixture
def connect(connect_redfish: Connect) -> Connect:
    return connect_redfish


@pytest.fixture
def bmc(strict_bmc: StrictBmc) -> StrictBmc:
    return strict_bmc


# --- the emulator ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "efi", "kept"),
    [
        (BootDevice.PXE, True, ("Pxe", "UEFI")),
        (BootDevice.PXE, False, ("Pxe", "Legacy")),
        (BootDevice.CD, None, ("Cd", "UEFI")),
        (BootDevice.DISK, True, ("Hdd", "UEFI")),
    ],
)
def test_the_boot_override_is_what_plain_http_shows(device, efi, kept, emulate, connect):
    emulator = emulate()
    driver = connect(emulator.url)
    driver.set_boot_override(BootOverride(device, efi))
    boot = emulator.judge(f"{ROOT}/Systems/node1")["Boot"]
    assert (boot["BootSourceOverrideTarget"], boot["BootSourceOverrideMode"]) == kept
    # The emulator keeps no "Once": what it kept is told, not what was asked.
    assert boot["BootSourceOverrideEnabled"] == "Continuous"
    assert driver.boot_override() == BootOverride(device, kept[1] == "UEFI", persistent=True)


def test_a_boot_device_that_is_not_offered_is_refused_before_anything_is_sent(emulate, connect):
    emulator = emulate()
    before = emulator.judge(f"{ROOT}/Systems/node1")["Boot"]
    with pytest.raises(PowerUnsupportedError, match="cannot boot from bios: it offers Pxe, Cd, Hdd"):
        connect(emulator.url).set_boot_override(BootOverride(BootDevice.BIOS))
    assert emulator.judge(f"{ROOT}/Systems/node1")["Boot"] == before


def test_an_image_goes_in_and_out(emulate, connect):
    emulator = emulate()
    driver = connect(emulator.url)
    with closing(Server(lambda _: Answer(200, b"image"))) as images:
        assert driver.media() is None
        driver.insert_media(f"{images.url}/live.iso")
        assert driver.media() == f"{images.url}/live.iso"
        device = f"{ROOT}/Systems/node1/VirtualMedia/Cd"
        assert emulator.judge(device)["Inserted"] is True
        driver.eject_media()
        assert emulator.judge(device)["Inserted"] is False
        driver.eject_media()
        assert driver.media() is None


def test_what_the_emulator_reports(emulate, connect):
    driver = connect(emulate().url)
    assert {sensor.kind for sensor in driver.sensors()} == {"temperature", "fan"}
    assert driver.inventory()["firmware"]
    driver.identify(15)
    for missing in (driver.events, driver.clear_events, driver.bios, lambda: driver.set_password("admin", "x")):
        with pytest.raises(PowerUnsupportedError, match="rig01"):
            missing()
    assert driver.restore_policy() is None
    with pytest.raises(PowerUnsupportedError):
        driver.set_restore_policy(RestorePolicy.ON)


def test_one_of_several_systems_has_to_be_named(emulate, connect):
    emulator = emulate(("node1", "node2"))
    driver = connect(emulator.url)
    with pytest.raises(PowerRefusedError, match="has several systems") as caught:
        driver.state()
    driver.close()
    assert "node1" in caught.value.remedy
    assert "node2" in caught.value.remedy
    with pytest.raises(PowerRefusedError, match="has no system 'node3'"):
        connect(emulator.url, system="node3").state()


def test_the_named_system_is_switched_and_no_other(emulate, connect):
    emulator = emulate(("node1", "node2"))
    assert policy.ensure(connect(emulator.url, system="node2"), PowerState.ON, 30)
    assert emulator.judge(f"{ROOT}/Systems/node2")["PowerState"] == "On"
    assert emulator.power == "Off"


def test_a_wrong_password_is_told(emulate, connect):
    driver = connect(emulate().url, password="wrong-one")
    with pytest.raises(PowerAuthenticationError, match=r"'admin' or the password \(from inline\) is wrong") as caught:
        driver.state()
    assert "wrong-one" not in str(caught.value.__cause__) + caught.value.message


# --- certificates ---------------------------------------------------------------------------------


def test_the_emulator_is_reached_over_tls_with_its_certificate(emulate, connect, tmp_path):
    pair = make_certificate(tmp_path)
    emulator = emulate(certificate=pair)
    with pytest.raises(PowerCertificateError, match="is not trusted: self-signed certificate") as caught:
        connect(emulator.url).state()
    assert f"openssl s_client -connect {HOST}:{emulator.port}" in caught.value.remedy
    assert "declare power.certificate: FILE" in caught.value.remedy


def test_a_declared_certificate_is_enough_even_without_a_name(connect, tmp_path):
    for address in (HOST, None):
        pair = make_certificate(tmp_path, address=address)
        with closing(StrictBmc(pair)) as bmc:
            driver = connect(bmc.url, certificate=str(pair[0]))
            assert driver.state() is PowerState.OFF
            driver.on()
            assert driver.state() is PowerState.ON
            driver.close()


def test_another_certificate_is_not(connect, tmp_path):
    pair, other = make_certificate(tmp_path), make_certificate(tmp_path, "other", address=None)
    with closing(StrictBmc(pair)) as bmc:
        with pytest.raises(PowerCertificateError, match="not trusted"):
            connect(bmc.url, certificate=str(other[0])).state()
        assert bmc.requests == []


def test_certificates_that_cannot_be_used(connect, tmp_path):
    (tmp_path / "empty.pem").write_text("hello\n")
    with pytest.raises(PowerCertificateError, match="holds no certificate"):
        connect("https://127.1.0.1:1", certificate=str(tmp_path / "empty.pem")).state()
    with pytest.raises(PowerCertificateError, match="cannot be read: No such file"):
        connect("https://127.1.0.1:2", certificate=str(tmp_path / "none.pem")).state()


def test_an_unchecked_certificate_is_warned_of_each_time(connect, tmp_path, caplog):
    with closing(StrictBmc(make_certificate(tmp_path))) as bmc:
        for _ in range(2):
            with closing(connect(bmc.url, verify=False)) as driver:
                assert driver.state() is PowerState.OFF
    warned = [record.message for record in caplog.records if record.name.startswith("rigdeploy")]
    assert len(warned) == 2
    assert "certificate is not checked" in warned[0]


def test_plain_http_on_a_tls_url_is_named(connect):
    with closing(StrictBmc()) as bmc, pytest.raises(PowerCertificateError, match="no TLS with"):
        connect(bmc.url.replace("http:", "https:")).state()


# --- as strict as AMI's firmware -------------------------------------------------------------------


def test_the_boot_override_goes_whole_to_the_settings_resource(bmc, connect):
    driver = connect(bmc.url)
    assert driver.boot_override() == BootOverride(BootDevice.NONE)
    for wanted in (
        BootOverride(BootDevice.PXE, efi=True),
        BootOverride(BootDevice.BIOS, efi=True, persistent=True),
        BootOverride(BootDevice.DISK, efi=False),
    ):
        driver.set_boot_override(wanted)
        assert driver.boot_override() == wanted
    driver.set_boot_override(BootOverride(BootDevice.CD))
    assert bmc.documents[f"{SYSTEM}/SD"]["Boot"] == {
        "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideTarget": "UsbCd",
        "BootSourceOverrideMode": "Legacy",
    }
    driver.set_boot_override(BootOverride(BootDevice.NONE))
    assert driver.boot_override() == BootOverride(BootDevice.NONE)
    assert bmc.documents[f"{SYSTEM}/SD"]["Boot"]["BootSourceOverrideEnabled"] == "Disabled"
    # What is now is not what is to come: the firmware takes it over at the next start.
    assert bmc.documents[SYSTEM]["Boot"]["BootSourceOverrideTarget"] == "None"


def test_a_target_without_a_name_here_is_told(bmc, connect):
    bmc.documents[f"{SYSTEM}/SD"]["Boot"].update(BootSourceOverrideEnabled="Once", BootSourceOverrideTarget="Diags\x07")
    with pytest.raises(PowerError, match=r"next boot is from Diags, which has no name here"):
        connect(bmc.url).boot_override()


def test_reports(bmc, connect):
    driver = connect(bmc.url)
    assert {sensor.name: (sensor.kind, sensor.value, sensor.unit, sensor.health) for sensor in driver.sensors()} == {
        "CPU": ("temperature", 61.0, "C", Health.OK),
        "FAN1": ("fan", 300.0, "RPM", Health.CRITICAL),
        "12V": ("voltage", 12.1, "V", Health.OK),
        "PSU2": ("power", None, "W", Health.WARNING),
        "whole": ("power", 412.0, "W", Health.UNKNOWN),
    }
    assert driver.inventory() == {
        "board_manufacturer": "ASRockRack",
        "board_product": "ROMED8-2T [31m",
        "board_serial": "M80-1",
        "bios": "3.80",
        "bmc": "AST2500",
        "firmware": "1.30.00",
    }
    assert driver.bios() == {"PCIS007": "Enabled", "ABOVE4G": "True"}


def test_the_newer_sensors_are_read_where_there_are_no_others(bmc, connect):
    bmc.documents[CHASSIS] = {"Id": "Self", "Name": "c", "Sensors": {"@odata.id": f"{CHASSIS}/Sensors"}}
    fields = {"Status": {"Health": "OK"}}
    bmc.documents[f"{CHASSIS}/Sensors"] = {
        "Members": [
            {"Name": "VRM", "ReadingType": "Temperature", "Reading": 50.5, **fields},
            {"Name": "Humid", "ReadingType": "Humidity", "Reading": 40, **fields},
            {"Name": "FAN", "ReadingType": "Rotational", "Reading": 40, "ReadingUnits": "%", **fields},
        ]
    }
    assert [(s.name, s.value, s.unit) for s in connect(bmc.url).sensors()] == [("VRM", 50.5, "C"), ("FAN", 40.0, "%")]


def test_the_event_log_is_read_page_by_page_and_cleared(bmc, connect):
    driver = connect(bmc.url)
    assert driver.events() == [
        EventRecord(1, None, "", "", Health.UNKNOWN),
        EventRecord(2, None, "", "up", Health.OK),
        EventRecord(3, 1772355600.0, "Power Supply", "Power Supply 2 lost its input", Health.CRITICAL),
    ]
    driver.clear_events()
    assert driver.events() == []


def test_lamp_and_restore_policy(bmc, connect):
    driver = connect(bmc.url)
    driver.identify(15)
    assert bmc.documents[SYSTEM]["IndicatorLED"] == "Lit"
    driver.identify(0)
    assert bmc.documents[SYSTEM]["IndicatorLED"] == "Off"
    bmc.documents[SYSTEM]["LocationIndicatorActive"] = False
    driver.identify(1)
    assert bmc.documents[SYSTEM]["LocationIndicatorActive"] is True
    assert driver.restore_policy() is RestorePolicy.PREVIOUS
    for wanted in RestorePolicy:
        driver.set_restore_policy(wanted)
        assert driver.restore_policy() is wanted


def test_a_password_is_changed(bmc, connect):
    driver = connect(bmc.url)
    driver.set_password("admin", "Planted-Other-1")
    driver.close()
    with closing(connect(bmc.url, password="Planted-Other-1")) as changed:
        assert changed.state() is PowerState.OFF
    driver = connect(bmc.url, password="Planted-Other-1")
    with pytest.raises(PowerRefusedError, match="knows no user 'ops'"):
        driver.set_password("ops", "Planted-Other-2")
    assert bmc.password == "Planted-Other-1"
    assert ACCOUNT in [request.path for request in bmc.requests]


def test_an_image_in_the_only_device_that_takes_one(bmc, connect):
    driver = connect(bmc.url)
    driver.insert_media("http://192.0.2.1/live.iso")
    assert driver.media() == "http://192.0.2.1/live.iso"
    driver.eject_media()
    assert driver.media() is None


def test_the_session_is_ended_though_the_bmc_calls_itself_something_else(bmc, connect):
    driver = connect(bmc.url)
    driver.state()
    driver.state()
    assert len(bmc.tokens) == bmc.log_ins == 1
    driver.close()
    driver.close()
    assert bmc.tokens == set()
    assert driver.state() is PowerState.OFF
    assert bmc.log_ins == 2


def test_a_session_that_expired_is_renewed(bmc, connect):
    driver = connect(bmc.url)
    driver.state()
    bmc.tokens.clear()
    driver.on()
    assert bmc.resets == ["On"]
    assert bmc.log_ins == 2


def test_a_refused_log_in_is_not_repeated(bmc, connect):
    with pytest.raises(PowerAuthenticationError, match=r"Invalid user or password admin"):
        connect(bmc.url, password="wrong-one").state()
    assert bmc.log_ins == 1
    # Nor as a password with every request, which is what sushy falls back to.
    assert not any("Authorization" in request.headers for request in bmc.requests)


def test_a_user_who_may_only_look_is_no_wrong_password(bmc, connect):
    bmc.operator = True
    driver = connect(bmc.url)
    assert driver.state() is PowerState.OFF
    for change in (driver.on, lambda: driver.set_boot_override(BootOverride(BootDevice.PXE))):
        with pytest.raises(PowerRefusedError, match=r"does not let user 'admin' do this: There are insufficient"):
            change()
    assert bmc.resets == []


# --- the policy, and what goes wrong ----------------------------------------------------------------


def test_a_lost_answer_is_followed_by_a_reading(bmc, connect, fast_clock):
    bmc.lose = 2
    driver = connect(bmc.url)
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert bmc.resets == ["On"]
    with pytest.raises(AnswerLostError):
        driver.off()
    assert bmc.resets == ["On", "ForceOff"]


def test_busy_is_waited_out(bmc, connect, fast_clock):
    bmc.busy = 3
    driver = connect(bmc.url)
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert bmc.resets == ["On"]
    bmc.busy = 99
    with pytest.raises(PowerBusyError, match=r"rig01 .* is busy"):
        policy.ensure(driver, PowerState.OFF, 20, clock=fast_clock)
    assert bmc.resets == ["On"]


def test_a_swallowed_request_is_made_again(bmc, connect, fast_clock):
    bmc.swallow = 1
    assert policy.ensure(connect(bmc.url), PowerState.ON, 60, clock=fast_clock)
    assert bmc.resets == ["On", "On"]


def test_already_so_is_success(bmc, connect, fast_clock, monkeypatch):
    driver = connect(bmc.url)
    said = iter([PowerState.OFF])
    real = driver.state
    monkeypatch.setattr(driver, "state", lambda: next(said, None) or real())
    bmc.documents[SYSTEM]["PowerState"] = "On"  # somebody was faster
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert bmc.resets == ["On"]


def test_a_cycle_sets_what_the_next_boot_is_from(bmc, connect, fast_clock):
    driver = connect(bmc.url)
    bmc.documents[SYSTEM]["PowerState"] = "On"
    assert policy.cycle(driver, 60, boot=BootOverride(BootDevice.PXE, efi=True), clock=fast_clock) == []
    assert bmc.resets == ["ForceOff", "On"]
    assert bmc.documents[f"{SYSTEM}/SD"]["Boot"]["BootSourceOverrideTarget"] == "Pxe"
    policy.reset(driver, 60, clock=fast_clock)
    assert bmc.resets == ["ForceOff", "On", "ForceRestart"]


def test_a_reset_of_a_rig_that_is_off_is_refused_in_the_bmc_s_words(bmc, connect):
    with pytest.raises(PowerRefusedError, match=r"refused: The system is off\. \(HTTP status 409\)"):
        connect(bmc.url).reset()


@pytest.mark.parametrize(
    ("state", "seen"),
    [("PoweringOn", PowerState.OFF), ("PoweringOff", PowerState.ON), ("Paused", PowerState.ON)],
)
def test_on_the_way_is_not_there(state, seen, bmc, connect):
    bmc.documents[SYSTEM]["PowerState"] = state
    assert connect(bmc.url).state() is seen


@pytest.mark.parametrize("state", [None, "Aus", 1, ["On"], "\x1b[31m" * 1000])
def test_a_state_that_is_none_is_an_error(state, bmc, connect):
    bmc.documents[SYSTEM]["PowerState"] = state
    with pytest.raises(PowerError, match="does not say whether the rig is on") as caught:
        connect(bmc.url).state()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_unreachable_is_said_in_the_right_words(connect):
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(PowerUnreachableError, match="nothing listens at"):
        connect(f"http://{HOST}:{port}").state()
    with pytest.raises(PowerUnreachableError, match="does not resolve"):
        connect("https://bmc.invalid").state()


def test_a_bmc_that_falls_silent_is_given_up(connect, monkeypatch):
    monkeypatch.setattr(web, "ANSWER_SECONDS", 0.2)
    with socket.create_server((HOST, 0)) as silent, pytest.raises(PowerUnreachableError, match="stopped answering"):
        connect(f"http://{HOST}:{silent.getsockname()[1]}").state()


def test_only_one_caller_at_a_time(bmc, connect):
    first = connect(bmc.url)
    first.state()
    with pytest.raises(PowerBusyError, match="in use by another rigdeploy"):
        connect(bmc.url, timeout_seconds=1).state()
    first.close()
    assert connect(bmc.url).state() is PowerState.OFF


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>"),
        Answer(200, b"[]"),
        Answer(200, b'{"Id": "x", "Systems": 3}'),
        Answer(200, b'{"Id": "x", "Systems": {"@odata.id": 7}}'),
        Answer(200, b"[" * 100_000),
        Answer(400, b'{"error": []}'),
        Answer(200, b"x" * (web.ANSWER_LIMIT + 1)),
        Answer(500, b"\x00" * 5000),
        Answer(302, b"", {"Location": "http://198.51.100.1/redfish/v1/"}),
    ],
    ids=lambda answer: str(answer.status) + str(answer.body[:12]),
)
def test_strange_answers_are_errors_that_can_be_read(answer, connect):
    with closing(Server(lambda _: answer)) as server, pytest.raises(PowerError) as caught:
        connect(server.url).state()
    assert caught.value.message.startswith("rig01 (Redfish at ")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


def test_the_password_goes_to_no_other_host(connect):
    """A service without sessions, whose systems are said to be elsewhere."""
    with closing(Server(lambda _: Answer(404))) as elsewhere:
        systems = {"@odata.id": f"{elsewhere.url}{ROOT}/Systems"}
        root = {"Id": "x", "RedfishVersion": "1.0.0", "Systems": systems}
        with closing(
            Server(lambda request: Answer(200, root) if request.path.rstrip("/") == ROOT else Answer(404))
        ) as bmc:
            with pytest.raises(PowerError):
                connect(bmc.url).state()
            assert [request.path for request in bmc.requests if "Authorization" in request.headers]
        assert elsewhere.requests == []


def test_no_log_line_or_text_shows_a_secret(bmc, connect, fast_clock, caplog):
    for name in ("sushy", "sushy.connector", "sushy.main", "sushy.auth", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, logger=name)
    driver = connect(bmc.url)
    policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    driver.set_password("admin", "Planted-Other-1")
    held = [repr(driver), repr(driver._power), repr(vars(driver._log_in).keys())]
    driver.close()
    with pytest.raises(PowerAuthenticationError) as caught:
        connect(bmc.url).state()
    assert "HTTP request" in caplog.text
    for text in (caplog.text, *held, "".join(traceback.format_exception(caught.value))):
        assert "Planted" not in text
        assert "token1" not in text.replace("Sessions/token1", "")
