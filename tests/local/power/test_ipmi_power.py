"""The IPMI driver on a real BMC (ipmi_sim), judged by ipmitool and by the rig itself."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from contextlib import closing

import pytest
from pyipmi.interfaces.rmcpplus import CIPHER_SUITES, SessionKeys

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerTimeoutError,
    PowerUnreachableError,
)
from rigdeploy.power import policy, rmcp
from rigdeploy.power.base import PowerState
from rigdeploy.power.policy import Clock
from rigdeploy.power.quirks import QuirkCache

PASSWORD = "Planted-Pa55word"


def test_on_off_cycle_agree_with_ipmitool(bmc, connect, fast_clock):
    driver = connect(bmc.port)
    assert driver.state() is PowerState.OFF
    assert bmc.judge() == "off"

    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock) is True
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock) is False
    assert bmc.is_on
    assert bmc.judge() == "on"

    policy.cycle(driver, 60, clock=fast_clock)
    assert (bmc.count("now 0"), bmc.count("now 1")) == (1, 2)
    assert bmc.judge() == "on"

    assert policy.ensure(driver, PowerState.OFF, 60, clock=fast_clock) is True
    assert not bmc.is_on
    assert bmc.judge() == "off"
    assert bmc.count("ask 1") == 2
    assert bmc.count("ask 0") == 2


def test_the_cipher_that_worked_is_remembered(bmc, connect, tmp_path):
    connect(bmc.port).state()
    assert QuirkCache(tmp_path).get(f"127.1.0.1:{bmc.port}", "cipher") == 3


def test_operator_may_switch_when_declared_so(bmc, connect, fast_clock):
    driver = connect(bmc.port, username="oper", privilege="operator")
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert bmc.is_on


def test_a_bmc_may_have_an_ipv6_address(start_bmc, connect):
    try:
        bmc = start_bmc("::1")
    except OSError as error:
        pytest.skip(f"not tested: a BMC at an IPv6 address; this machine has none: {error}")
    assert connect(bmc.port, address="::1").state() is PowerState.OFF


def test_log_ins_that_fail_half_way_leave_no_session_behind(bmc, connect, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            rmcp.Wire, "_set_session_privilege_level", lambda *_: rmcp.pyipmi.utils.check_completion_code(0x81)
        )
        for _ in range(80):  # more than the simulator has slots for
            refused = pytest.raises(PowerAuthenticationError, match="log in as administrator")
            with closing(connect(bmc.port, cipher=3)) as driver, refused:
                driver.state()
    assert connect(bmc.port).state() is PowerState.OFF


@pytest.mark.parametrize(
    "stray",
    [
        b"",
        b"\x06\x00\xff",
        b"\x06\x00\xff\x07",
        b"\x06\x00\xff\x06\x00\x00\x11\xbe\x40\x00\x00\x00",
        b"\x06\x00\xff\x07\x06\x00" + bytes(10),
        b"\x06\x00\xff\x07\x06\xc0" + bytes(50),
    ],
)
def test_stray_datagrams_are_dropped(bmc, lossy, connect, stray):
    lossy.loss, lossy.stray = 0, stray
    driver = connect(lossy.port)
    assert driver.state() is PowerState.OFF
    driver.on()
    assert bmc.is_on


def test_suite_17_keys_come_from_20_octets_and_suite_3_keys_stay():
    sik = bytes(range(32))
    seventeen, three = CIPHER_SUITES[17], CIPHER_SUITES[3]
    # hmac_sha256(00..1f, 20 octets of 01) and of 02, computed by openssl dgst -mac HMAC
    assert rmcp._Keys(seventeen, sik).k1.hex().startswith("8f34f198a044babe")
    assert rmcp._Keys(seventeen, sik).k2.hex().startswith("4711da70e361cc48")
    assert vars(rmcp._Keys(three, sik)) == vars(SessionKeys(three, sik))


def test_swallowed_request_is_made_again(bmc, connect, fast_clock):
    bmc.write("swallow", 1)
    assert policy.ensure(connect(bmc.port), PowerState.ON, 60, clock=fast_clock)
    assert bmc.is_on
    assert bmc.count("ask 1") == 2


def test_a_rig_that_never_comes_on_is_named(bmc, connect):
    slept = [0.0]
    only_waiting_counts = Clock(now=lambda: sum(slept), sleep=slept.append)  # and no slow machine
    bmc.write("swallow", 99)
    with pytest.raises(PowerTimeoutError, match=r"rig01 .* asked 3 times to switch on"):
        policy.ensure(connect(bmc.port), PowerState.ON, 21, clock=only_waiting_counts)
    assert bmc.count("ask 1") == policy.ATTEMPTS


def test_lag_is_waited_out_with_one_request(bmc, connect, fast_clock):
    bmc.write("lag", 4)
    assert policy.ensure(connect(bmc.port), PowerState.ON, 60, clock=fast_clock)
    assert bmc.count("ask 1") == 1
    assert bmc.judge() == "on"


def test_soft_off_asks_the_system(bmc, connect, fast_clock):
    bmc.write("power", 1)
    said = []
    assert policy.ensure(connect(bmc.port), PowerState.OFF, 60, said.append, soft=True, clock=fast_clock)
    assert bmc.judge() == "off"
    assert said == ["asking the system to shut down (up to 120 s)"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": "wrong-one"}, ["password for user 'admin'", "is wrong", "inline"]),
        ({"password": "x" * 21}, ["password for user 'admin'", "longer than the 20 bytes"]),
        ({"username": "nobody"}, ["knows no user 'nobody'"]),
        ({"username": "a-user-name-too-long"}, ["'a-user-name-too-long'", "16 bytes"]),
    ],
)
def test_refused_credentials_say_what_to_correct(bmc, connect, fields, words):
    with pytest.raises(PowerAuthenticationError) as caught:
        connect(bmc.port, **fields).state()
    for word in (*words, "rig01", f"127.1.0.1:{bmc.port}"):
        assert word in caught.value.message
    if "password" in fields:
        assert fields["password"] not in "".join(traceback.format_exception(caught.value))


def test_wrong_password_is_tried_once(bmc, connect, fast_clock, monkeypatch):
    tries = []
    real = rmcp.connect
    monkeypatch.setattr(rmcp, "connect", lambda *a, **k: (tries.append(k["cipher"]), real(*a, **k))[1])
    with pytest.raises(PowerAuthenticationError):
        policy.ensure(connect(bmc.port, password="wrong-one", cipher=3), PowerState.ON, 60, clock=fast_clock)
    assert tries == [3]
    assert bmc.count("ask 1") == 0


def test_closed_port_is_told_at_once(bmc, connect):
    bmc.stop()
    started = time.monotonic()
    with pytest.raises(PowerUnreachableError, match="nothing listens on UDP port"):
        connect(bmc.port).state()
    assert time.monotonic() - started < 1


def test_silent_address_is_given_up_after_five_tries(connect):
    # A socket that is bound and never read: datagrams arrive and nothing answers.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.1.0.1", 0))
        started = time.monotonic()
        with pytest.raises(PowerUnreachableError, match="does not answer"):
            connect(silent.getsockname()[1], answer_seconds=0.1).state()
    assert 0.45 < time.monotonic() - started < 1
    assert rmcp.ANSWER_SECONDS * (rmcp.RETRIES + 1) <= 6


def test_unknown_name_is_told(connect):
    with pytest.raises(PowerUnreachableError, match=r"bmc\.invalid does not resolve"):
        connect(623, address="bmc.invalid").state()


def test_a_dead_session_is_replaced(bmc, connect):
    driver = connect(bmc.port, answer_seconds=0.1)
    driver.state()
    driver._session.session.sid ^= 0xFF  # the BMC knows no such session: it stays silent, as after a restart
    assert driver.state() is PowerState.OFF


def test_second_caller_waits_its_turn_and_is_told(bmc, connect):
    first = connect(bmc.port)
    first.state()
    with pytest.raises(PowerBusyError, match=r"rig01 .* in use by another rigdeploy"):
        connect(bmc.port, timeout_seconds=1).state()
    waiting = connect(bmc.port, timeout_seconds=10)
    threading.Timer(0.2, first.close).start()
    assert waiting.state() is PowerState.OFF


def test_no_log_line_text_or_session_shows_the_password(bmc, connect, fast_clock, caplog):
    for name in ("pyipmi", "pyipmi.interfaces.rmcp", "pyipmi.interfaces.rmcpplus", "pyipmi.interfaces.base"):
        caplog.set_level(logging.DEBUG, logger=name)
    driver = connect(bmc.port)
    policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    opened = driver._session
    driver.close()
    assert "Close Session" in caplog.text  # the very line that prints the password in pyipmi
    shown = [caplog.text, repr(driver), str(driver), repr(driver._power), str(driver._power), str(opened.session)]
    shown.append(repr(vars(opened.session)))
    for text in shown:
        assert PASSWORD not in text
        assert PASSWORD.encode().hex(" ") not in text


def test_pyipmi_writes_no_datagrams_out_by_default(bmc, connect):
    assert not logging.getLogger("pyipmi.interfaces.rmcpplus").isEnabledFor(logging.DEBUG)


def test_twenty_cycles_at_twenty_percent_loss_switch_exactly_twenty_times(bmc, lossy, connect):
    bmc.write("power", 1)
    clock = Clock(now=lambda: time.monotonic() * 60, sleep=lambda seconds: time.sleep(seconds / 60))
    driver = connect(lossy.port, answer_seconds=0.03)
    for _ in range(20):
        policy.cycle(driver, 120, clock=clock)
    assert (bmc.count("now 0"), bmc.count("now 1")) == (20, 20)
    assert lossy.lost > 20
    assert bmc.judge() == "on"
