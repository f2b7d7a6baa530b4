"""A rotation that fails, or is killed, at any step: the owner always has the password that the BMC wants."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
    UsageError,
)
from rigdeploy.fleet.models import IpmiPower, ManualPower
from rigdeploy.power import rotate
from rigdeploy.power.base import AnswerLostError
from rigdeploy.power.policy import Clock
from rigdeploy.power.rotate import Outcome, RotationError, Target

OLD = "Old-Planted-Pa55"
CLOCK = Clock(now=lambda: 0.0, sleep=lambda seconds: None)


class FakeBmc:
    """A BMC whose passwords are a file, so that they outlive a process. ``faults``: what the n-th call does instead.

    A fault is an error to raise, or a pair of one and whether the request is carried out all the same.
    """

    def __init__(self, directory: Path, *faults) -> None:
        self.file = directory / "bmc.json"
        if not self.file.exists():
            self.file.write_text(json.dumps({"admin": OLD, "other": "unknown"}))
        self.secret = directory / "secret"
        self.faults = list(faults)
        self.calls: list[str] = []

    @property
    def passwords(self):
        return json.loads(self.file.read_text())

    def _fault(self, call, carry_out=lambda: None):
        sys.audit("fake-bmc", call)  # a step at which a test may kill
        self.calls.append(call)
        fault = self.faults.pop(0) if self.faults else None
        error, done = fault if isinstance(fault, tuple) else (fault, fault is None)
        if done:
            carry_out()
        sys.audit("fake-bmc", f"{call} done")
        if error is not None:
            raise error

    def open(self):
        self._fault("open", lambda: self._log_in("admin", self.secret.read_text().strip()))

    def declared(self):
        return self.secret.read_text().strip()

    def set_password(self, username, password):
        self._fault("set", lambda: self.file.write_text(json.dumps(self.passwords | {username: password})))

    def check(self, username, password):
        self._fault("check", lambda: self._log_in(username, password))

    def _log_in(self, username, password):
        if self.passwords[username] != password:
            raise PowerAuthenticationError("refused")


@pytest.fixture
def target(tmp_path):
    (tmp_path / "secret").write_text(f"{OLD}\n")
    return Target("rig01", "bmc:623", "admin", OLD, tmp_path / "secret", tmp_path / "state" / "rig01.json")


@pytest.fixture(autouse=True)
def state(tmp_path):
    (tmp_path / "state").mkdir()


def stored(target):
    return target.stored.read_text().rstrip("\n")


def assert_sound(target, bmc):
    """The declared password is the BMC's, and nothing is left over."""
    assert stored(target) == bmc.passwords["admin"]
    assert not target.journal.exists()
    left = {path.name for path in target.stored.parent.iterdir() if path.is_file()}
    assert left == {"secret", "bmc.json"}


def test_a_new_password_is_noted_set_tried_and_stored(target, tmp_path):
    bmc = FakeBmc(tmp_path)
    assert rotate.rotate(target, bmc, CLOCK) is Outcome.CHANGED
    assert bmc.calls == ["open", "set", "check"]
    assert_sound(target, bmc)
    assert stored(target) != OLD
    assert stat.S_IMODE(target.stored.stat().st_mode) == 0o600


def test_passwords_are_long_random_and_of_all_kinds():
    made = {rotate.new_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert len(password) == 16
        assert password.isascii()
        assert password.isalnum()
        assert any(c.isupper() for c in password)
        assert any(c.islower() for c in password)
        assert any(c.isdigit() for c in password)


LOST = AnswerLostError("lost")
REFUSED = PowerRefusedError("no")
AWAY = PowerUnreachableError("away")


def test_a_lost_answer_is_looked_into_and_not_repeated(target, tmp_path):
    bmc = FakeBmc(tmp_path, None, (LOST, True))
    assert rotate.rotate(target, bmc, CLOCK) is Outcome.CHANGED
    assert bmc.calls == ["open", "set", "check"]
    assert_sound(target, bmc)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([None, (LOST, False)], id="request lost"),
        pytest.param([None, REFUSED], id="refused"),
        pytest.param([None, None, AWAY], id="new session impossible"),
        pytest.param([None, None, PowerAuthenticationError("no")], id="BMC keeps another password"),
        pytest.param([None, None, AWAY, (LOST, True)], id="and the way back's answer lost"),
    ],
)
def test_what_fails_is_taken_back(target, tmp_path, faults):
    bmc = FakeBmc(tmp_path, *faults)
    with pytest.raises(RotationError, match="has the old password, as before; nothing was stored"):
        rotate.rotate(target, bmc, CLOCK)
    assert_sound(target, bmc)
    assert stored(target) == OLD


def test_what_is_taken_back_is_the_password_of_the_moment(target, tmp_path):
    """Another rotation came between the choice of targets, or a prompt, and the lock."""
    target.stored.write_text("Another-Pa55word\n")
    (tmp_path / "bmc.json").write_text(json.dumps({"admin": "Another-Pa55word"}))
    bmc = FakeBmc(tmp_path, None, None, PowerUnreachableError("away"))
    with pytest.raises(RotationError, match="has the old password, as before"):
        rotate.rotate(target, bmc, CLOCK)
    assert stored(target) == "Another-Pa55word"
    assert_sound(target, bmc)


def test_a_password_that_cannot_be_stored_is_taken_back(target, tmp_path):
    gone = Target(**{**vars(target), "stored": tmp_path / "gone" / "secret"})
    bmc = FakeBmc(tmp_path)
    with pytest.raises(RotationError, match=r"gone.* cannot be written.*has the old password"):
        rotate.rotate(gone, bmc, CLOCK)
    assert_sound(target, bmc)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([None, None, AWAY, REFUSED, AWAY], "has the old or the new password: away"),
        ([None, None, AWAY, REFUSED], "could not be given the old password again"),
    ],
)
def test_what_cannot_be_taken_back_is_finished_by_the_next(target, tmp_path, faults, said):
    bmc = FakeBmc(tmp_path, *faults)
    with pytest.raises(RotationError, match=said) as raised:
        rotate.rotate(target, bmc, CLOCK)
    assert str(target.journal) in raised.value.remedy
    new = json.loads(target.journal.read_text())["password"]
    assert stat.S_IMODE(target.journal.stat().st_mode) == 0o600
    assert new not in str(raised.value) + raised.value.remedy
    assert rotate.rotate(target, FakeBmc(tmp_path), CLOCK) is Outcome.FINISHED
    assert stored(target) == new
    assert_sound(target, bmc)


def test_wrong_credentials_touch_nothing(target, tmp_path):
    bmc = FakeBmc(tmp_path, PowerAuthenticationError("wrong"))
    with pytest.raises(PowerAuthenticationError):
        rotate.rotate(target, bmc, CLOCK)
    assert bmc.calls == ["open"]
    assert_sound(target, bmc)


def test_when_neither_password_is_taken_the_journal_stays(target, tmp_path):
    bmc = FakeBmc(tmp_path, None, None, AWAY, REFUSED, AWAY)
    with pytest.raises(RotationError):
        rotate.rotate(target, bmc, CLOCK)
    bmc.file.write_text(json.dumps({"admin": "somebody else's"}))
    with pytest.raises(PowerAuthenticationError):
        rotate.rotate(target, FakeBmc(tmp_path), CLOCK)
    assert target.journal.exists()


@pytest.mark.parametrize("other", [{"username": "other"}, {"bmc": "elsewhere:623"}])
def test_a_journal_about_something_else_stops_everything(target, tmp_path, other):
    with pytest.raises(RotationError):
        rotate.rotate(target, FakeBmc(tmp_path, None, None, AWAY, REFUSED, AWAY), CLOCK)
    before = target.journal.read_text()
    bmc = FakeBmc(tmp_path)
    with pytest.raises(RotationError, match="was interrupted, of user 'admin'") as raised:
        rotate.rotate(Target(**{**vars(target), **other}), bmc, CLOCK)
    assert json.loads(before)["password"] not in str(raised.value) + raised.value.remedy
    assert bmc.calls == []
    assert target.journal.read_text() == before


def test_a_spoilt_journal_is_left_for_a_person(target, tmp_path):
    target.journal.write_text("{")
    with pytest.raises(RotationError, match="cannot be read"):
        rotate.rotate(target, FakeBmc(tmp_path), CLOCK)
    assert target.journal.read_text() == "{"


def test_another_users_password_cannot_be_taken_back_and_is_kept(target, tmp_path):
    other = Target(**{**vars(target), "username": "other", "old": None, "stored": tmp_path / "output"})
    bmc = FakeBmc(tmp_path, None, None, AWAY)
    with pytest.raises(RotationError, match="user 'other' has the old or the new password"):
        rotate.rotate(other, bmc, CLOCK)
    assert bmc.calls == ["open", "set", "check"]
    assert rotate.rotate(other, FakeBmc(tmp_path), CLOCK) is Outcome.FINISHED
    assert stored(other) == bmc.passwords["other"]
    assert stored(target) == OLD == bmc.passwords["admin"]


# --- killed at every step ---

_STEPS = ("fake-bmc", "open", "os.rename", "os.remove", "tempfile.mkstemp", "os.mkdir")


def killed_at(step, target, bmc):
    """Rotate in a process that dies at its n-th touch of a file or of the BMC; False when it ended before that."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event, arguments):
            nonlocal seen
            seen += event in _STEPS
            if seen == step:
                os._exit(9)

        try:
            sys.addaudithook(count)
            rotate.rotate(target, bmc, CLOCK)
        except RotationError:
            pass
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("faults", [[], [None, None, AWAY]], ids=["that works", "that is taken back"])
def test_killed_at_every_step(tmp_path, faults):
    for step in range(1, 200):
        directory = tmp_path / str(step)
        (directory / "state").mkdir(parents=True)
        (directory / "secret").write_text(f"{OLD}\n")
        target = Target("rig01", "bmc:623", "admin", OLD, directory / "secret", directory / "state" / "rig01.json")
        bmc = FakeBmc(directory, *faults)
        killed = killed_at(step, target, bmc)
        noted = json.loads(target.journal.read_text())["password"] if target.journal.exists() else None
        assert bmc.passwords["admin"] in (stored(target), noted)
        again = Target(**{**vars(target), "old": stored(target)})
        rotate.rotate(again, FakeBmc(directory), CLOCK)
        assert stored(target) == bmc.passwords["admin"] != OLD
        assert not target.journal.exists()
        if not killed:
            assert step > 15
            return
    pytest.fail("it never came to its end")


def test_finishing_is_killed_at_every_step(tmp_path, target):
    for step in range(1, 100):
        bmc = FakeBmc(tmp_path, None, (LOST, True), AWAY, REFUSED, AWAY)
        target.stored.write_text(OLD)
        bmc.file.write_text(json.dumps({"admin": OLD}))
        with pytest.raises(RotationError):
            rotate.rotate(target, bmc, CLOCK)
        killed = killed_at(step, target, FakeBmc(tmp_path))
        noted = json.loads(target.journal.read_text())["password"] if target.journal.exists() else None
        assert bmc.passwords["admin"] in (stored(target), noted)
        if not killed:
            assert step > 5
            return
        rotate.rotate(target, FakeBmc(tmp_path), CLOCK)
    pytest.fail("it never came to its end")


# --- where a password goes ---


def declared(directory, password, name="rig01", address="192.0.2.1"):
    (directory / "secret").write_text(f"{OLD}\n")
    power = {"driver": "ipmi", "address": address, "username": "admin", "password": password}
    model = IpmiPower.model_validate(power, context={"base": str(directory)})
    return SimpleNamespace(name=name, power=model)


def targets(rig, tmp_path, *, fleet=(), username=None, output=None):
    workspace = SimpleNamespace(state=tmp_path / "state")
    rigs = {one.name: one for one in (rig, *fleet)}
    return rotate.targets(rigs, [rig], workspace, username, output)


def test_a_declared_file_is_where_the_password_goes(tmp_path):
    [target] = targets(declared(tmp_path, {"file": "secret"}), tmp_path)
    assert target.stored == tmp_path / "secret"
    assert (target.rig, target.bmc, target.username, target.old) == ("rig01", "192.0.2.1:623", "admin", OLD)
    assert OLD not in repr(target)


@pytest.mark.parametrize("password", [{"env": "NOT_SET"}, {"command": "false"}, "inline"])
def test_what_cannot_be_written_is_refused_before_the_secret_is_read(tmp_path, password):
    with pytest.raises(UsageError, match="cannot store a new one") as raised:
        targets(declared(tmp_path, password), tmp_path)
    assert "--output" in raised.value.remedy


def test_output_takes_what_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("RIG_PASSWORD", OLD)
    rig = declared(tmp_path, {"env": "RIG_PASSWORD"})
    [target] = targets(rig, tmp_path, output=tmp_path / "new")
    assert (target.stored, target.old) == (tmp_path / "new", OLD)
    with pytest.raises(UsageError, match="is there already"):
        targets(rig, tmp_path, output=tmp_path / "secret")
    with pytest.raises(UsageError, match="no directory"):
        targets(rig, tmp_path, output=tmp_path / "no" / "new")


def test_another_user_needs_an_output(tmp_path):
    rig = declared(tmp_path, {"file": "secret"})
    with pytest.raises(UsageError, match="user 'other' is not the declared one"):
        targets(rig, tmp_path, username="other")
    [target] = targets(rig, tmp_path, username="other", output=tmp_path / "new")
    assert (target.username, target.old) == ("other", None)


def test_a_file_shared_by_several_bmcs_is_refused(tmp_path):
    rig = declared(tmp_path, {"file": "secret"})
    other = declared(tmp_path, {"file": str(tmp_path / "." / "secret")}, "rig02", "192.0.2.2")
    with pytest.raises(UsageError, match="holds the password of rig02, too"):
        targets(rig, tmp_path, fleet=[other])


def test_a_rig_without_a_bmc_has_no_users(tmp_path):
    rig = SimpleNamespace(name="rig01", power=ManualPower(driver="manual"))
    with pytest.raises(PowerUnsupportedError, match="no users"):
        targets(rig, tmp_path)
