"""The ipmitool driver: its own ways to fail, and what it leaves behind; reports are tested with the other driver's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
)
from rigdeploy.power import policy
from rigdeploy.power.base import AnswerLostError, PowerState
from rigdeploy.power.ipmitool import IpmitoolDriver
from rigdeploy.power.quirks import QuirkCache
from tests.bmc import FakeBmc, FakeBmcs

PASSWORD = "Planted-Pa55word"


@pytest.fixture
def start():
    """Start a BMC made with the given arguments."""
    with FakeBmcs() as bmcs:
        yield lambda **arguments: bmcs.start(FakeBmc(PASSWORD, **arguments))


@pytest.fixture
def fake(start):
    return start()


@pytest.fixture
def opened(tmp_path, declare):
    """A driver for a BMC, with any field of the declaration replaced; closed at the end."""
    drivers = []

    def opened(bmc, **fields):
        power = declare(bmc.port, **({"driver": "ipmitool", "address": getattr(bmc, "address", "127.1.0.1")} | fields))
        drivers.append(IpmitoolDriver("rig01", power, tmp_path, QuirkCache(tmp_path), answer_seconds=1))
        return drivers[-1]

    yield opened
    for driver in drivers:
        driver.close()


def tools(driver):
    """The command line of the driver's tool, and its number."""
    process = driver._line._process
    return Path(f"/proc/{process.pid}/cmdline").read_text().split("\0"), process.pid


def test_on_off_cycle_on_a_real_bmc(bmc, opened, fast_clock):
    driver = opened(bmc)
    assert driver.state() is PowerState.OFF
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock) is True
    assert bmc.is_on
    policy.cycle(driver, 60, clock=fast_clock)
    assert (bmc.count("now 0"), bmc.count("now 1")) == (1, 2)
    assert bmc.judge() == "on"


def test_one_process_and_one_session_serve_all_requests(fake, opened):
    driver = opened(fake)
    driver.state()
    first = tools(driver)[1]
    driver.sensors()
    driver.on()
    assert tools(driver)[1] == first
    assert fake.events("log-in") == ["admin 17"]
    driver.close()
    assert fake.becomes_free()
    assert not Path(f"/proc/{first}").exists()


@pytest.mark.parametrize(("suites", "used"), [((3, 17), 17), ((17,), 17), ((3,), 3)])
def test_the_best_suite_is_found_and_remembered(start, opened, tmp_path, suites, used):
    fake = start(suites=suites)
    for log_ins in (1, 2):
        with closing(opened(fake)) as driver:
            assert driver.state() is PowerState.OFF
        assert fake.events("log-in") == [f"admin {used}"] * log_ins
    assert QuirkCache(tmp_path).get(f"{fake.address}:{fake.port}", "cipher") == used


def test_the_password_is_on_no_command_line_and_in_no_file_or_environment(fake, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("RIG01_BMC_PASSWORD", PASSWORD)
    driver = opened(fake)
    driver.set_password("admin", "Another-Pa55word")
    arguments, number = tools(driver)
    for text in (" ".join(arguments), Path(f"/proc/{number}/environ").read_text(), repr(vars(driver))):
        assert PASSWORD not in text
        assert "Another" not in text
    assert fake.state.users[2].password == b"Another-Pa55word"
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and PASSWORD in file.read_text()]


def test_nothing_is_left_when_the_caller_is_killed(fake, declare, tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from rigdeploy.fleet.models import IpmiPower\n"
        "from rigdeploy.power.ipmitool import IpmitoolDriver\n"
        "from rigdeploy.power.quirks import QuirkCache\n"
        f"power = IpmiPower.model_validate({{'driver': 'ipmitool', 'address': {fake.address!r}, 'port': {fake.port},"
        f" 'username': 'admin', 'password': {PASSWORD!r}}})\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "driver = IpmitoolDriver('rig01', power, here, QuirkCache(here))\n"
        "driver.state()\n"
        "print(driver._line._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    tool = int(caller.stdout.readline())
    caller.send_signal(signal.SIGKILL)
    caller.communicate()
    deadline = time.monotonic() + 10
    while fake.sessions or _alive(tool):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": "wrong-one"}, ["password for user 'admin'", "is wrong"]),
        ({"password": "x" * 21}, ["longer than the 20 bytes"]),
        ({"username": "nobody"}, ["knows no user 'nobody'"]),
        ({"username": "oper"}, ["does not let user 'oper' log in as administrator"]),
        ({"username": "a-user-name-too-long"}, ["16 bytes"]),
    ],
)
def test_refused_credentials_say_what_to_correct_and_are_tried_once(fake, opened, fields, words):
    with pytest.raises(PowerAuthenticationError) as caught:
        opened(fake, cipher=17, **fields).state()
    for word in (*words, "rig01"):
        assert word in caught.value.message
    assert len(fake.events("refused")) <= 1
    if "password" in fields:
        assert fields["password"] not in "".join(traceback.format_exception(caught.value))


def test_no_slot_is_busy(start, opened):
    fake = start()
    fake.faults.max_sessions = 0
    with pytest.raises(PowerBusyError, match="no session slot"):
        opened(fake, cipher=17).state()


def test_a_silent_bmc_is_unreachable(fake, opened, monkeypatch):
    monkeypatch.setattr("rigdeploy.power.ipmitool.SILENT_LOG_INS", 2)
    fake.faults.silent = True
    started = time.monotonic()
    with pytest.raises(PowerUnreachableError, match="does not answer"):
        opened(fake, cipher=17).state()
    assert time.monotonic() - started < 40


def test_unknown_name_is_told(fake, opened):
    with pytest.raises(PowerUnreachableError, match=r"bmc\.invalid does not resolve"):
        opened(fake, address="bmc.invalid").state()


def test_a_refusal_inside_a_session_is_named(fake, opened):
    with pytest.raises(PowerRefusedError, match="completion code 0xd5"):
        opened(fake).reset()


def test_a_dead_session_is_replaced_for_a_reading(fake, opened):
    driver = opened(fake)
    driver.state()
    fake.drop_sessions()
    assert driver.state() is PowerState.OFF
    assert len(fake.events("log-in")) == 2


def test_a_killed_tool_is_replaced_for_a_reading(fake, opened):
    driver = opened(fake)
    driver.state()
    os.kill(tools(driver)[1], signal.SIGKILL)
    assert driver.state() is PowerState.OFF


def test_a_lost_answer_to_a_change_is_told_and_the_change_is_made_once(fake, opened):
    driver = opened(fake)
    driver.state()
    fake.faults.drop_answers = 1
    with pytest.raises(AnswerLostError):
        driver.on()
    assert fake.events("control") == ["on"]
    assert driver.state() is PowerState.ON


def test_twenty_cycles_at_twenty_percent_loss_switch_exactly_twenty_times(start, opened, fast_clock):
    """Each with a BMC of its own, since nearly all of the time is the tool's waiting."""
    bmcs = [start(on=True, seed=seed) for seed in range(20)]
    drivers = [opened(bmc) for bmc in bmcs]

    def run(bmc: FakeBmc, driver: IpmitoolDriver) -> None:
        driver.state()
        bmc.faults.drop_rate = 0.2
        policy.cycle(driver, 600, clock=fast_clock)
        bmc.faults.drop_rate = 0.0

    with ThreadPoolExecutor(len(bmcs)) as pool:
        list(pool.map(run, bmcs, drivers))
    assert [bmc.events("power") for bmc in bmcs] == [["off", "on"]] * 20
    assert sum(len(bmc.events("control")) for bmc in bmcs) == 40, "what was asked for is asked for again"


def test_log_in_survives_loss(start, opened):
    fake = start(seed=3)
    fake.faults.drop_rate = 0.1
    for _ in range(3):
        with closing(opened(fake)) as driver:
            assert driver.state() is PowerState.OFF


def test_a_machine_without_the_tool_is_told(fake, opened, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PowerUnsupportedError, match="ipmitool is not installed") as caught:
        opened(fake).state()
    assert "driver: ipmi" in caught.value.remedy
