"""Every rule of the policy, on a scripted driver and a clock of its own."""

from __future__ import annotations

import threading

import pytest

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerError,
    PowerRefusedError,
    PowerTimeoutError,
    PowerUnreachableError,
    PowerUnsupportedError,
)
from rigdeploy.power import policy
from rigdeploy.power.base import AnswerLostError, BootDevice, BootOverride, BootQuirks, Capability, PowerState
from rigdeploy.power.batch import each
from rigdeploy.power.lock import exclusive
from rigdeploy.power.policy import Clock, StoppedError

ON, OFF, UNKNOWN = PowerState.ON, PowerState.OFF, PowerState.UNKNOWN
LOST = AnswerLostError("lost")
BUSY = PowerBusyError("busy")
NO_BOOT = BootOverride(BootDevice.NONE)
PXE = BootOverride(BootDevice.PXE, efi=True)
AWAY = PowerUnreachableError("away")


class FakeRig:
    """A driver and the time it lives in.

    ``answers`` are what the next requests get: None works, an exception is raised, ``("lost", arrived)`` loses
    the answer of a request that arrived or not, ``"swallow"`` is accepted and ignored. ``trouble`` are errors
    of the next readings. ``lag`` is how many seconds a change takes to show. ``boot_answers`` are what the next boot
    overrides get, ``keeps`` makes of one what the BMC then says, ``boot_lag`` is how many readings show the old one.
    """

    label = "rig01 (fake)"
    patience = 10.0
    boot_quirks = BootQuirks()

    def __init__(self, state, *, answers=(), trouble=(), lag=0.0, lacks=(), boot_answers=(), keeps=None):
        self.capabilities = frozenset(Capability) - set(lacks)
        self.shown = state
        self.next = (0.0, state)
        self.answers = list(answers)
        self.trouble = list(trouble)
        self.lag = lag
        self.time = 0.0
        self.asked = []
        self.boot_answers = list(boot_answers)
        self.keeps = keeps or (lambda override: override)
        self.boot = NO_BOOT
        self.boot_lag = 0
        self.clock = Clock(now=lambda: self.time, sleep=self.sleep)

    def sleep(self, seconds):
        assert seconds > 0
        self.time += seconds

    def state(self):
        if self.trouble:
            error = self.trouble.pop(0)
            if error is not None:
                raise error
        if self.time >= self.next[0]:
            self.shown = self.next[1]
        return self.shown

    def request(self, name, state):
        self.asked.append(name)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer == "swallow":
            return
        if answer != ("lost", False):
            self.next = (self.time + self.lag, state)
        if isinstance(answer, tuple):
            raise LOST

    def on(self):
        self.request("on", ON)

    def off(self):
        self.request("off", OFF)

    def soft_off(self):
        self.request("soft", OFF)

    def reset(self):
        self.request("reset", self.next[1])

    def set_boot_override(self, wanted):
        self.asked.append(f"boot {wanted.device}")
        answer = self.boot_answers.pop(0) if self.boot_answers else None
        if answer is None or answer == ("lost", True):
            self.boot = self.keeps(wanted)
        if isinstance(answer, tuple):
            raise LOST
        if isinstance(answer, Exception):
            raise answer

    def boot_override(self):
        if self.boot_lag:
            self.boot_lag -= 1
            return NO_BOOT
        return self.boot

    def close(self):
        pass


def ensure(rig, want, timeout=60.0, **options):
    return policy.ensure(rig, want, timeout, clock=rig.clock, **options)


def test_right_already_asks_for_nothing():
    rig = FakeRig(ON)
    assert ensure(rig, ON) is False
    assert rig.asked == []
    assert rig.time == 0


def test_one_request_and_a_prompt_reading():
    rig = FakeRig(OFF)
    assert ensure(rig, ON) is True
    assert rig.asked == ["on"]
    assert rig.time == 0


def test_lag_within_patience_is_one_request():
    rig = FakeRig(OFF, lag=8)
    assert ensure(rig, ON) is True
    assert rig.asked == ["on"]
    assert 8 <= rig.time <= 10


def test_lost_answer_of_a_request_that_arrived_is_not_sent_again():
    rig = FakeRig(ON, answers=[("lost", True)], lag=2)
    assert ensure(rig, OFF) is True
    assert rig.asked == ["off"]


def test_lost_request_is_made_again_only_after_readings_show_no_change():
    rig = FakeRig(ON, answers=[("lost", False)])
    assert ensure(rig, OFF) is True
    assert rig.asked == ["off", "off"]
    assert rig.time == pytest.approx(policy.LOST_PATIENCE)


def test_lost_requests_are_made_again_up_to_the_deadline():
    rig = FakeRig(ON, answers=[("lost", False)] * 9)
    assert ensure(rig, OFF) is True
    assert rig.asked == ["off"] * 10


def test_swallowed_request_is_made_again_after_patience():
    rig = FakeRig(OFF, answers=["swallow"])
    assert ensure(rig, ON) is True
    assert rig.asked == ["on", "on"]
    assert rig.time == pytest.approx(rig.patience)


def test_three_requests_then_a_named_error_at_the_deadline():
    rig = FakeRig(OFF, answers=["swallow"] * 9)
    with pytest.raises(PowerTimeoutError, match=r"rig01 .* asked 3 times to switch on, and it did not within 60 s"):
        ensure(rig, ON)
    assert rig.asked == ["on"] * 3
    assert rig.time == pytest.approx(60)


def test_a_short_deadline_ends_in_time_too():
    rig = FakeRig(OFF, answers=["swallow"] * 9)
    with pytest.raises(PowerTimeoutError, match="asked 1 times"):
        ensure(rig, ON, 5)
    assert rig.time == pytest.approx(5)


def test_busy_is_backed_off_and_asked_again():
    rig = FakeRig(OFF, answers=[BUSY] * 5)
    assert ensure(rig, ON) is True
    assert len(rig.asked) == 6
    assert rig.time == pytest.approx(0.5 + 1 + 2 + 4 + 8)


def test_busy_that_had_worked_is_seen_and_not_repeated():
    rig = FakeRig(OFF, answers=[BUSY], trouble=[None])
    rig.next = (0.4, ON)
    assert ensure(rig, ON) is True
    assert rig.asked == ["on"]


def test_busy_to_the_deadline_is_busy():
    rig = FakeRig(OFF, answers=[BUSY] * 99)
    with pytest.raises(PowerBusyError):
        ensure(rig, ON)
    assert rig.time <= 60


def test_busy_at_the_first_reading_is_backed_off():
    rig = FakeRig(ON, trouble=[BUSY, BUSY])
    assert ensure(rig, ON) is False
    assert rig.time == pytest.approx(1.5)
    with pytest.raises(PowerBusyError):
        policy.read(FakeRig(ON, trouble=[BUSY] * 99), 0.1, rig.clock)


def test_unreachable_at_first_is_told_at_once():
    rig = FakeRig(OFF, trouble=[AWAY])
    with pytest.raises(PowerUnreachableError):
        ensure(rig, ON)
    assert rig.asked == []
    assert rig.time == 0


def test_bmc_that_restarts_meanwhile_is_waited_for():
    rig = FakeRig(OFF, trouble=[None, AWAY, AWAY, AWAY, BUSY])
    assert ensure(rig, ON) is True
    assert rig.asked == ["on"]


def test_bmc_that_lost_the_request_in_its_restart_is_asked_again():
    rig = FakeRig(OFF, answers=["swallow"], trouble=[None] + [AWAY] * 6)
    assert ensure(rig, ON, 120) is True
    assert rig.asked == ["on", "on"]


def test_bmc_that_never_comes_back_is_unreachable():
    rig = FakeRig(OFF, trouble=[None] + [AWAY] * 999)
    with pytest.raises(PowerUnreachableError):
        ensure(rig, ON)
    assert rig.time == pytest.approx(60)


@pytest.mark.parametrize("where", ["answers", "trouble"])
def test_wrong_credentials_are_never_tried_twice(where):
    error = PowerAuthenticationError("no")
    rig = FakeRig(OFF, **{where: [error]})
    with pytest.raises(PowerAuthenticationError):
        ensure(rig, ON)
    assert len(rig.asked) == (where == "answers")
    assert rig.time == 0


def test_refusal_is_final_unless_the_state_is_there():
    rig = FakeRig(ON, answers=[PowerRefusedError("not in this state")])
    with pytest.raises(PowerRefusedError):
        ensure(rig, OFF)
    rig = FakeRig(ON, answers=[PowerRefusedError("not in this state")])
    rig.trouble = [None]
    rig.next = (0.0, OFF)
    rig.shown = ON
    rig.time = -1.0
    states = iter([ON, OFF])
    rig.state = lambda: next(states)
    assert ensure(rig, OFF) is True


def test_soft_off_waits_and_does_not_cut():
    rig = FakeRig(ON, lag=100)
    assert ensure(rig, OFF, soft=True) is True
    assert rig.asked == ["soft"]
    assert rig.time >= 100


@pytest.mark.parametrize("answer", ["swallow", ("lost", False)])
def test_soft_off_that_is_ignored_ends_hard(answer):
    rig = FakeRig(ON, answers=[answer])
    said = []
    assert ensure(rig, OFF, soft=True, say=said.append) is True
    assert rig.asked == ["soft", "off"]
    assert rig.time == pytest.approx(policy.SOFT_SECONDS)
    assert "cutting its power" in said[1]


def test_soft_off_that_is_refused_ends_hard_at_once():
    rig = FakeRig(ON, answers=[PowerRefusedError("no such command")])
    assert ensure(rig, OFF, soft=True) is True
    assert rig.asked == ["soft", "off"]
    assert rig.time == 0


def test_soft_is_only_for_off():
    rig = FakeRig(OFF)
    assert ensure(rig, ON, soft=True) is True
    assert rig.asked == ["on"]


@pytest.mark.parametrize(
    ("lacks", "call"),
    [
        (Capability.ON, lambda rig: ensure(rig, ON)),
        (Capability.OFF, lambda rig: ensure(rig, OFF)),
        (Capability.SOFT_OFF, lambda rig: ensure(rig, OFF, soft=True)),
        (Capability.ON, lambda rig: policy.cycle(rig, 60, clock=rig.clock)),
        (Capability.SOFT_OFF, lambda rig: policy.cycle(rig, 60, soft=True, clock=rig.clock)),
    ],
)
def test_what_a_driver_cannot_do_is_said_before_anything_is_touched(lacks, call):
    rig = FakeRig(ON, lacks=[lacks], trouble=[AssertionError("touched")])
    with pytest.raises(PowerUnsupportedError, match=f"rig01 .* cannot {lacks}"):
        call(rig)
    assert rig.asked == []


def test_cycle_is_off_a_pause_and_on():
    rig = FakeRig(ON, lag=1)
    policy.cycle(rig, 60, clock=rig.clock)
    assert rig.asked == ["off", "on"]
    assert rig.shown is ON
    assert rig.time >= policy.OFF_SECONDS + 2


def test_cycle_of_a_rig_that_is_off_only_switches_on():
    rig = FakeRig(OFF)
    policy.cycle(rig, 60, clock=rig.clock)
    assert rig.asked == ["on"]


def test_unknown_is_off_only_where_off_cannot_be_seen():
    blind = FakeRig(UNKNOWN, lacks=[Capability.SEES_OFF])
    blind.off = lambda: blind.asked.append("off")
    assert ensure(blind, OFF) is True
    assert blind.asked == ["off"]


def test_no_rig_is_brought_to_unknown():
    with pytest.raises(ValueError, match="unknown"):
        ensure(FakeRig(ON), UNKNOWN)


def test_soft_off_that_must_not_become_hard_leaves_the_rig_on():
    rig = FakeRig(ON, answers=["swallow"])
    with pytest.raises(PowerTimeoutError, match="did not shut down within 120 s, and its power was not cut"):
        ensure(rig, OFF, soft=True, hard=False)
    assert rig.asked == ["soft"]


def set_boot(rig, wanted, **options):
    return policy.set_boot(rig, wanted, clock=rig.clock, **options)


@pytest.mark.parametrize(
    ("wanted", "found", "dropped"),
    [
        (PXE, PXE, []),
        (PXE, BootOverride(BootDevice.PXE, efi=False), ["efi"]),
        (PXE, BootOverride(BootDevice.PXE, efi=None), ["efi"]),
        (BootOverride(BootDevice.PXE, efi=False), BootOverride(BootDevice.PXE, efi=True), ["efi"]),
        (BootOverride(BootDevice.DISK), BootOverride(BootDevice.DISK, efi=True), []),
        (BootOverride(BootDevice.CD, persistent=True), BootOverride(BootDevice.CD), ["persistent"]),
        (BootOverride(BootDevice.CD, efi=True, persistent=True), BootOverride(BootDevice.CD), ["efi", "persistent"]),
        (NO_BOOT, BootOverride(BootDevice.NONE, efi=True), []),
    ],
)
def test_what_a_bmc_drops_of_a_boot_override_is_told(wanted, found, dropped):
    rig = FakeRig(OFF, keeps=lambda _: found)
    assert set_boot(rig, wanted) == dropped
    assert rig.asked == [f"boot {wanted.device}"]
    assert rig.time == 0


def test_a_boot_device_that_is_dropped_is_refused_after_three_requests():
    rig = FakeRig(OFF, keeps=lambda _: NO_BOOT)
    with pytest.raises(PowerRefusedError, match="asked to boot from pxe next, and says none"):
        set_boot(rig, PXE)
    assert rig.asked == ["boot pxe"] * policy.ATTEMPTS
    assert rig.time == pytest.approx(policy.ATTEMPTS * policy.LOST_PATIENCE)


@pytest.mark.parametrize(
    ("wanted", "known", "asked", "said"),
    [
        (BootOverride(BootDevice.DISK), BootQuirks(), None, ""),
        (BootOverride(BootDevice.DISK), BootQuirks(efi=True), True, ""),
        (BootOverride(BootDevice.DISK, efi=False), BootQuirks(efi=True), False, ""),
        (NO_BOOT, BootQuirks(efi=True, dropped=frozenset({"efi"})), None, ""),
        (BootOverride(BootDevice.DISK), BootQuirks(True, frozenset({"efi"})), True, "known to drop efi"),
        (
            BootOverride(BootDevice.DISK, persistent=True),
            BootQuirks(dropped=frozenset({"efi", "persistent"})),
            None,
            "known to drop persistent",
        ),
    ],
)
def test_what_is_known_of_a_bmc_is_asked_for_and_told_at_once(wanted, known, asked, said):
    rig, told = FakeRig(ON), []
    rig.boot_quirks = known
    policy.set_boot(rig, wanted, told.append, rig.clock)
    assert rig.boot.efi is asked
    assert [line for line in told if "known" in line] == ([f"this BMC is {said}"] if said else [])


def test_a_boot_override_may_take_a_moment_to_show():
    rig = FakeRig(OFF)
    rig.boot_lag = 2
    assert set_boot(rig, PXE) == []
    assert rig.asked == ["boot pxe"]


@pytest.mark.parametrize(("arrived", "requests"), [(True, 1), (False, 2)])
def test_a_lost_boot_override_is_made_again_only_when_it_is_not_there(arrived, requests):
    rig = FakeRig(OFF, boot_answers=[("lost", arrived)])
    assert set_boot(rig, PXE) == []
    assert rig.asked == ["boot pxe"] * requests


def test_a_bmc_too_busy_for_a_boot_override_is_given_time_and_then_named():
    rig = FakeRig(OFF, boot_answers=[BUSY] * 3)
    assert set_boot(rig, PXE) == []
    assert rig.time == pytest.approx(0.5 + 1 + 2)
    rig = FakeRig(OFF, boot_answers=[BUSY] * 99)
    with pytest.raises(PowerBusyError):
        set_boot(rig, PXE)
    assert rig.time <= policy.BOOT_SECONDS


def test_cycle_sets_the_boot_device_while_the_rig_is_off():
    rig = FakeRig(ON, keeps=lambda _: BootOverride(BootDevice.PXE))
    assert policy.cycle(rig, 60, boot=PXE, clock=rig.clock) == ["efi"]
    assert rig.asked == ["off", "boot pxe", "on"]


def test_cycle_with_a_boot_device_that_is_refused_says_that_it_left_the_rig_off():
    rig = FakeRig(ON, keeps=lambda _: NO_BOOT)
    with pytest.raises(PowerRefusedError, match="says none; the rig was left off"):
        policy.cycle(rig, 60, boot=PXE, clock=rig.clock)
    assert rig.shown is OFF


@pytest.mark.parametrize("stop", [StoppedError, KeyboardInterrupt])
def test_a_stopped_cycle_says_how_it_left_the_rig(stop):
    rig = FakeRig(ON)

    def sleep(_):
        raise stop("stopped")

    said = []
    with pytest.raises(stop):
        policy.cycle(rig, 60, said.append, clock=Clock(now=lambda: 0.0, sleep=sleep))
    assert said[-1] == "stopped; the rig was left off"


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda rig, **how: policy.ensure(rig, OFF, 60, soft=True, **how), "soft"),
        (lambda rig, **how: policy.ensure(rig, OFF, 60, **how), "off"),
        (lambda rig, **how: policy.reset(rig, 60, **how), "reset"),
        (lambda rig, **how: policy.cycle(rig, 60, soft=True, **how), "soft"),
    ],
)
def test_a_change_that_is_stopped_says_once_how_it_left_the_rig(change, asked):
    rig = FakeRig(ON, answers=[BUSY if asked == "reset" else "swallow"])

    def sleep(_):
        raise StoppedError("stopped")

    said = []
    with pytest.raises(StoppedError):
        change(rig, say=said.append, clock=Clock(now=lambda: 0.0, sleep=sleep))
    assert rig.asked == [asked]
    assert [line for line in said if "stopped" in line] == ["stopped; the rig was left on"]


def test_a_cycle_whose_bmc_goes_away_says_that_the_state_is_not_known():
    rig = FakeRig(ON)
    rig.on = lambda: setattr(rig, "trouble", [AWAY] * 999)
    with pytest.raises(PowerUnreachableError, match="in a state that is not known"):
        policy.cycle(rig, 60, clock=rig.clock)


def reset(rig):
    policy.reset(rig, 60, clock=rig.clock)


def test_reset_is_asked_for_once():
    rig = FakeRig(ON)
    reset(rig)
    assert rig.asked == ["reset"]


def test_a_rig_that_is_off_is_not_reset():
    rig = FakeRig(OFF)
    with pytest.raises(PowerRefusedError, match="is off"):
        reset(rig)
    assert rig.asked == []


def test_a_reset_whose_answer_was_lost_is_not_repeated_and_told():
    rig = FakeRig(ON, answers=[("lost", True)], trouble=[None, AWAY, BUSY])
    with pytest.raises(AnswerLostError, match="it is on, and may have been reset or not"):
        reset(rig)
    assert rig.asked == ["reset"]


def test_a_reset_by_way_of_off_is_waited_for():
    rig = FakeRig(ON, lag=4.0)

    def by_way_of_off():
        rig.request("reset", ON)
        rig.shown = OFF

    rig.reset = by_way_of_off
    reset(rig)
    assert rig.asked == ["reset"]
    assert 4.0 <= rig.time < 5.0


def test_a_rig_that_goes_off_at_a_reset_is_told():
    rig = FakeRig(ON)
    rig.reset = rig.off
    with pytest.raises(PowerError, match="went off when it was reset"):
        reset(rig)


@pytest.mark.parametrize(
    ("lacks", "call"),
    [
        (Capability.RESET, reset),
        (Capability.BOOT, lambda rig: set_boot(rig, PXE)),
        (Capability.BOOT, lambda rig: policy.cycle(rig, 60, boot=PXE, clock=rig.clock)),
    ],
)
def test_boot_and_reset_need_their_capability_too(lacks, call):
    rig = FakeRig(ON, lacks=[lacks], trouble=[AssertionError("touched")])
    with pytest.raises(PowerUnsupportedError, match=f"cannot {lacks}"):
        call(rig)
    assert rig.asked == []


def test_waiting_for_a_bmcs_lock_ends_when_a_batch_is_stopped(tmp_path):
    begun, ended = threading.Event(), threading.Event()

    def work(rig, _):
        if rig == "waits":
            begun.set()
            try:
                with exclusive(tmp_path / "lock", 60, rig):
                    pass
            except StoppedError:
                ended.set()

    with exclusive(tmp_path / "lock", 1, "held"):
        results = each(["done", "waits"], work)
        next(results)
        assert begun.wait(5)
        results.close()
        assert ended.wait(5)
