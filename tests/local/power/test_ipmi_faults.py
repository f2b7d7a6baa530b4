"""The IPMI driver and the policy around it, on a BMC that fails in the ways real ones do.

Policy seconds pass 20 times as fast as real ones here, so the BMC's own lags and silences are given divided by 20.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerRefusedError,
    PowerTimeoutError,
    PowerUnreachableError,
)
from rigdeploy.power import policy
from rigdeploy.power.base import AnswerLostError, BootDevice, BootOverride, PowerState
from rigdeploy.power.ipmi import IpmiDriver
from rigdeploy.power.policy import Clock
from tests.bmc import FakeBmc, FakeBmcs, Faults

PASSWORD = "Planted-Pa55word"
ANSWER = 0.1
"""Real seconds for an answer: policy's own 1.0, hurried like the rest but for what a busy machine needs."""
SPEED = 20


@pytest.fixture
def start() -> Iterator[Callable[..., FakeBmc]]:
    """Start a BMC made with the given arguments."""
    with FakeBmcs() as bmcs:
        yield lambda **arguments: bmcs.start(FakeBmc(PASSWORD, **arguments))


@pytest.fixture
def fake(start) -> FakeBmc:
    return start()


@pytest.fixture
def open_to(connect) -> Callable[..., IpmiDriver]:
    """A driver for a fake BMC, with any field of the declaration replaced."""
    return lambda bmc, **fields: connect(bmc.port, address=bmc.address, answer_seconds=ANSWER, **fields)


@pytest.fixture
def within(fast_clock: Clock) -> Callable[[float], closing]:
    """A block that may take so many policy seconds, and the time that one reading may overrun."""

    class Within:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        def __enter__(self) -> None:
            self.started = fast_clock.now()

        def __exit__(self, *_) -> None:
            taken = fast_clock.now() - self.started
            assert taken < self.seconds + 5 * ANSWER * SPEED * 2

    return Within


@pytest.mark.parametrize(("suites", "used", "refused"), [((3, 17), 17, 0), ((17,), 17, 0), ((3,), 3, 1)])
def test_the_best_suite_is_found_and_remembered(start, open_to, suites, used, refused):
    bmc = start(suites=suites)
    for log_ins in (1, 2):
        with closing(open_to(bmc)) as driver:
            assert driver.state() is PowerState.OFF
        assert bmc.events("log-in") == [f"admin {used}"] * log_ins
        assert len(bmc.events("suite")) == refused
    assert bmc.becomes_free()


def test_a_suite_that_the_bmc_lacks_is_named(start, open_to):
    with pytest.raises(PowerRefusedError, match="takes no session"):
        open_to(start(suites=(3,)), cipher=17).state()


def test_200_cycles_at_20_percent_loss_are_200_off_and_200_on(start, open_to, fast_clock):
    bmcs = [start(on=True, seed=seed, faults=Faults(drop_rate=0.2)) for seed in range(8)]

    def run(bmc: FakeBmc) -> None:
        with closing(open_to(bmc)) as driver:
            for _ in range(25):
                policy.cycle(driver, 120, clock=fast_clock)

    with ThreadPoolExecutor(len(bmcs)) as pool:
        list(pool.map(run, bmcs))
    assert [bmc.events("power") for bmc in bmcs] == [["off", "on"] * 25] * 8
    assert all(len(bmc.events("control")) < 60 for bmc in bmcs), "requests are repeated blindly"


def test_a_lost_answer_is_not_a_reason_to_ask_again(fake, open_to, fast_clock):
    driver = open_to(fake)
    driver.state()
    fake.faults.drop_answers = 1
    with pytest.raises(AnswerLostError):
        driver.on()
    assert fake.events("control") == ["on"]
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock) is False


def test_a_power_on_that_was_swallowed_is_asked_for_again(fake, open_to, fast_clock, within):
    fake.faults.on_ignored = 1
    with within(60):
        assert policy.ensure(open_to(fake), PowerState.ON, 60, clock=fast_clock)
    assert fake.events("control") == ["on", "on"]
    assert fake.events("power") == ["on"]


def test_a_bmc_that_swallows_every_power_on_is_named_after_three(fake, open_to, fast_clock, within):
    fake.faults.on_ignored = 100
    with within(60), pytest.raises(PowerTimeoutError, match="asked 3 times to switch on"):
        policy.ensure(open_to(fake), PowerState.ON, 60, clock=fast_clock)
    assert fake.events("control") == ["on"] * 3
    assert not fake.state.power


def test_power_that_comes_8_seconds_late_is_waited_for(fake, open_to, fast_clock, within):
    fake.faults.power_lag = 8 / SPEED
    with within(60):
        driver = open_to(fake)
        assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
        policy.cycle(driver, 60, clock=fast_clock)
    assert fake.events("control") == ["on", "off", "on"]
    assert fake.events("power") == ["on", "off", "on"]


def test_a_busy_bmc_is_given_time(fake, open_to, fast_clock, within):
    fake.faults.busy_next = 5
    with within(60):
        assert policy.ensure(open_to(fake), PowerState.ON, 60, clock=fast_clock)
    assert fake.events("power") == ["on"]


def test_a_bmc_that_stays_busy_is_named(fake, open_to, fast_clock, within):
    driver = open_to(fake)
    driver.state()
    fake.faults.busy_next = 1000
    with within(20), pytest.raises(PowerBusyError, match="is busy"):
        policy.ensure(driver, PowerState.ON, 20, clock=fast_clock)
    assert fake.events("control") == []


def test_sessions_that_others_hold_end_by_themselves(start, open_to, fast_clock, within):
    bmc = start(faults=Faults(max_sessions=2, idle_seconds=10 / SPEED))
    others = [open_to(bmc, username="oper", privilege="operator") for _ in range(2)]
    for other in others:
        other._lock = other._lock.with_suffix(f".{id(other)}")  # somebody else's program
        other.state()
    with within(30):
        assert policy.read(open_to(bmc), 30, fast_clock) is PowerState.OFF


def test_a_bmc_without_a_free_session_is_named(start, open_to, fast_clock, within):
    with within(20), pytest.raises(PowerBusyError, match="no session slot"):
        policy.ensure(open_to(start(faults=Faults(max_sessions=0))), PowerState.ON, 20, clock=fast_clock)


def test_a_cold_reset_is_survived(fake, open_to, fast_clock, within):
    driver = open_to(fake)
    driver.state()
    fake.faults.reset_seconds = 5 / SPEED
    fake.cold_reset()
    with within(60):
        assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert fake.events("power") == ["on"]


def test_a_cold_reset_between_request_and_reading_is_survived(fake, open_to, fast_clock, within):
    fake.faults.reset_seconds = 20 / SPEED
    fake.faults.power_lag = 5 / SPEED
    driver = open_to(fake)
    asked = driver.on

    def on_and_reset() -> None:
        asked()
        fake.cold_reset()

    driver.on = on_and_reset
    with within(60):
        assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert fake.events("control") == ["on"]
    assert fake.events("power") == ["on"]


def test_a_session_that_the_bmc_forgot_is_opened_again(fake, open_to):
    driver = open_to(fake)
    assert driver.state() is PowerState.OFF
    fake.drop_sessions()
    assert driver.state() is PowerState.OFF
    assert len(fake.events("log-in")) == 2


def test_soft_off_that_works_cuts_nothing(start, open_to, fast_clock):
    bmc = start(on=True, faults=Faults(power_lag=30 / SPEED))
    assert policy.ensure(open_to(bmc), PowerState.OFF, 60, soft=True, clock=fast_clock)
    assert bmc.events("control") == ["soft"]


def test_soft_off_that_is_ignored_becomes_hard_after_its_time(start, open_to, fast_clock, within):
    bmc = start(on=True, faults=Faults(soft_ignored=True))
    said: list[str] = []
    with within(policy.SOFT_SECONDS + 10):
        assert policy.ensure(open_to(bmc), PowerState.OFF, 60, said.append, soft=True, clock=fast_clock)
    assert bmc.events("control") == ["soft", "off"]
    assert any("cutting its power" in line for line in said)


def test_a_cycle_does_not_ask_a_bmc_that_refuses_it(fake, open_to, fast_clock):
    driver = open_to(fake)
    policy.cycle(driver, 60, clock=fast_clock)
    assert fake.events("control") == ["on"]
    policy.cycle(driver, 60, clock=fast_clock)
    assert fake.events("power") == ["on", "off", "on"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": "wrong"}, "password for user 'admin' .* is wrong"),
        ({"username": "nobody"}, "knows no user 'nobody'"),
        ({"username": "oper"}, "does not let user 'oper' log in as administrator"),
        ({"username": "user", "privilege": "operator"}, "does not let user 'user' log in as operator"),
        ({"password": "longer-than-twenty-octets"}, "longer than the 20 bytes"),
    ],
)
def test_credentials_are_tried_once(fake, open_to, fast_clock, fields, words):
    with pytest.raises(PowerAuthenticationError, match=words) as caught:
        policy.ensure(open_to(fake, **fields), PowerState.ON, 60, clock=fast_clock)
    assert PASSWORD not in str(caught.value)
    assert len(fake.events("refused")) <= 1
    assert fake.events("log-in") == []


@pytest.mark.parametrize("cipher", ["auto", 3, 17])
def test_a_black_hole_is_unreachable_soon(fake, open_to, fast_clock, cipher):
    fake.faults.silent = True
    started = time.monotonic()
    with pytest.raises(PowerUnreachableError, match="does not answer"):
        policy.ensure(open_to(fake, cipher=cipher), PowerState.ON, 60, clock=fast_clock)
    # As many datagrams as one message has, and no more.
    assert time.monotonic() - started < 5 * ANSWER * 2


def test_a_bmc_that_goes_away_for_good_is_unreachable_at_the_deadline(start, open_to, fast_clock, within):
    bmc = start(faults=Faults(on_ignored=100))
    driver = open_to(bmc)

    def gone(_: str) -> None:
        bmc.faults.silent = True

    with within(30), pytest.raises(PowerUnreachableError):
        policy.ensure(driver, PowerState.ON, 30, gone, clock=fast_clock)


def test_neither_pings_nor_the_list_of_suites_are_needed(start, open_to):
    bmc = start(faults=Faults(ping=False, cipher_list=False))
    assert open_to(bmc).state() is PowerState.OFF


def test_answers_that_come_later_than_they_are_waited_for_are_no_errors(start, open_to, fast_clock):
    bmc = start(faults=Faults(delay=ANSWER * 1.5))
    driver = open_to(bmc)
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert driver.state() is PowerState.ON
    assert bmc.events("power") == ["on"]


PXE = BootOverride(BootDevice.PXE, efi=True)


@pytest.mark.parametrize(
    ("wanted", "flags"),
    [
        (PXE, "a0 04 00 00 00"),
        (BootOverride(BootDevice.PXE, efi=False), "80 04 00 00 00"),
        (BootOverride(BootDevice.DISK, efi=True, persistent=True), "e0 08 00 00 00"),
        (BootOverride(BootDevice.CD, efi=True), "a0 14 00 00 00"),
        (BootOverride(BootDevice.BIOS, efi=True), "a0 18 00 00 00"),
    ],
)
def test_a_boot_override_is_what_the_firmware_finds(fake, open_to, fast_clock, wanted, flags):
    driver = open_to(fake)
    driver.set_boot_override(wanted)
    assert driver.boot_override() == wanted
    policy.cycle(driver, 60, clock=fast_clock)
    assert fake.events("boot") == [flags]


def test_a_boot_override_is_taken_back(fake, open_to, fast_clock):
    driver = open_to(fake)
    driver.set_boot_override(BootOverride(BootDevice.DISK, persistent=True))
    driver.set_boot_override(BootOverride(BootDevice.NONE))
    assert driver.boot_override().device is BootDevice.NONE
    policy.cycle(driver, 60, clock=fast_clock)
    assert fake.events("boot") == ["none"]


def test_a_boot_override_outlives_the_timer(fake, open_to, fast_clock):
    fake.faults.boot_timeout = 0.1
    driver = open_to(fake)
    driver.set_boot_override(PXE)
    time.sleep(0.2)
    assert driver.boot_override() == PXE
    policy.cycle(driver, 60, clock=fast_clock)
    assert fake.events("boot") == ["a0 04 00 00 00"]


def test_a_boot_override_that_expired_is_none(fake, open_to):
    fake.faults.boot_timeout, fake.faults.boot_timer_fixed = 0.3, True
    driver = open_to(fake)
    driver.set_boot_override(PXE)
    assert driver.boot_override() == PXE
    time.sleep(0.4)
    assert driver.boot_override().device is BootDevice.NONE


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        ("efi_ignored", BootOverride(BootDevice.PXE, efi=False, persistent=True)),
        ("persist_ignored", BootOverride(BootDevice.PXE, efi=True)),
    ],
)
def test_dropped_boot_flags_are_seen(fake, open_to, fault, kept):
    setattr(fake.faults, fault, True)
    driver = open_to(fake)
    driver.set_boot_override(BootOverride(BootDevice.PXE, efi=True, persistent=True))
    assert driver.boot_override() == kept


@pytest.mark.parametrize(
    ("faults", "dropped"),
    [
        (Faults(), []),
        (Faults(efi_ignored=True), ["efi"]),
        (Faults(persist_ignored=True), ["persistent"]),
        (Faults(efi_ignored=True, persist_ignored=True), ["efi", "persistent"]),
        (Faults(boot_timer_fixed=True), []),
    ],
)
def test_what_the_bmc_dropped_is_told(start, open_to, fast_clock, faults, dropped):
    bmc = start(faults=faults)
    wanted = BootOverride(BootDevice.PXE, efi=True, persistent=True)
    assert policy.set_boot(open_to(bmc), wanted, clock=fast_clock) == dropped


def test_a_dropped_device_is_refused(start, open_to, fast_clock):
    bmc = start(faults=Faults(device_ignored=True))
    with pytest.raises(PowerRefusedError):
        policy.set_boot(open_to(bmc), PXE, clock=fast_clock)
    assert bmc.events("power") == []


def test_a_cycle_sets_the_boot_device_just_before_power_on(start, open_to, fast_clock):
    # The timer cannot be stopped, and is shorter than the way off and on: set any earlier, the device would be gone.
    bmc = start(on=True, faults=Faults(boot_timer_fixed=True, boot_timeout=11 / SPEED, power_lag=8 / SPEED))
    policy.cycle(open_to(bmc), 60, boot=PXE, clock=fast_clock)
    assert bmc.events("power") == ["off", "on"]
    assert bmc.events("boot") == ["a0 04 00 00 00"]
