"""Many BMCs looked at from one thread: what is seen, what is left to the driver, and what is never tried twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import PASSWORD, Fleet

from rigdeploy.fleet.reach import KnownPower
from rigdeploy.fleet.secrets import Secret
from rigdeploy.power import sweep as sweeping
from rigdeploy.power.lock import bmc_lock_path, exclusive
from rigdeploy.power.look import LogInRefusedError, WrongPasswordError
from tests.bmc import FakeBmc, FakeBmcs, Faults, commands

MESSAGES = 5
"""Open Session, RAKP 1, RAKP 3, Get Chassis Status, Close Session."""


class Wire(FakeBmc):
    """A BMC that counts what it gets, and passes its n-th answer (from 0) through ``spoil``; b"" is never sent."""

    def __init__(
        self, *arguments: Any, spoil: Mapping[int, Callable[[bytes], bytes]] | None = None, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self.received = self.sent = 0
        self._spoil = spoil or {}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received += 1
        super().datagram_received(data, addr)

    def _send(self, answer: bytes, addr: Any) -> None:
        answer = self._spoil.get(self.sent, lambda same: same)(answer)
        self.sent += 1
        if answer:
            super()._send(answer, addr)


@pytest.fixture
def start() -> Iterator[Callable[..., Wire]]:
    """Start a BMC made with the given arguments, ``address`` being where."""
    with FakeBmcs() as bmcs:

        def started(address: str = "127.3.0.1", **arguments: Any) -> Wire:
            bmc = Wire(PASSWORD, **arguments)
            bmcs.start(bmc, address)
            return bmc

        yield started


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What one look at a BMC gives, with fields of the declaration replaced."""
    monkeypatch.setattr(sweeping, "ANSWER_SECONDS", 0.2)

    def look(bmc: FakeBmc, ciphers: Mapping[str, int] | None = None, **fields: Any) -> Any:
        [(name, found, _)] = sweeping.sweep({"rig01": declared(bmc, **fields)}, ciphers or {}, tmp_path)
        assert name == "rig01"
        return found

    return look


def declared(bmc: FakeBmc, **fields: Any) -> KnownPower:
    known = {
        "username": "admin",
        "password": Secret("inline", PASSWORD),
        "cipher": "auto",
        "privilege": "administrator",
    }
    return KnownPower(**{"address": bmc.address, "port": bmc.port} | known | fields)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(
    ("suites", "cipher", "worked", "used"),
    [((3, 17), "auto", {}, 17), ((3,), "auto", {"": 3}, 3), ((3, 17), 3, {}, 3), ((17,), 17, {"": 3}, 17)],
)
def test_four_answers_suffice(start, seen, suites, cipher, worked, used, on):
    bmc = start(suites=suites, on=on)
    ciphers = {f"{bmc.address}:{bmc.port}": suite for suite in worked.values()}
    assert seen(bmc, ciphers, cipher=cipher) == ("on" if on else "off")
    assert bmc.events("log-in") == [f"admin {used}"]
    assert bmc.becomes_free()
    assert bmc.received == MESSAGES


def test_by_ipv6(start, seen):
    assert seen(start("::1", on=True)) == "on"


@pytest.mark.parametrize("suite", [3, 17])
def test_a_bmc_that_wants_more_than_a_user_for_a_status(start, seen, monkeypatch, suite):
    reading = commands.COMMANDS[commands.CHASSIS, 1]
    monkeypatch.setitem(commands.COMMANDS, (commands.CHASSIS, 1), replace(reading, privilege=3))
    bmc = start(on=True)
    assert seen(bmc, cipher=suite, privilege="operator", username="oper") == "on"
    assert bmc.becomes_free()
    assert bmc.received == MESSAGES + 2


def flipped(position: int) -> Callable[[bytes], bytes]:
    return lambda answer: answer[:position] + bytes((answer[position] ^ 1,)) + answer[position + 1 :]


RAKP_2 = 1
UNREAD = {(0, "session"), (0, "end"), (1, "session"), (2, "session")}
"""Octets that mean nothing: outside a session its number, and a length that is always the same."""
SPOILT = {
    "lost": lambda _: b"",
    "cut": lambda answer: answer[:-1],
    "more": lambda answer: answer + b"\0",
    "one octet": lambda answer: answer[:1],
    "header alone": lambda answer: answer[:16],
    "noise": lambda answer: bytes(reversed(answer)),
    "zeros": lambda answer: bytes(len(answer)),
    "kind": flipped(5),
    "session": flipped(6),
    "payload": flipped(20),
    "end": flipped(-5),
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("answer", range(4))
def test_a_spoilt_answer_is_no_state(start, seen, answer, how):
    found = seen(start(on=True, spoil={answer: SPOILT[how]}))
    if answer == RAKP_2 and how == "end":
        assert isinstance(found, WrongPasswordError)  # that it is spoilt where the password is proved cannot be seen
    elif (answer, how) in UNREAD:
        assert found == "on"
    else:
        assert found is None


@pytest.mark.parametrize(
    ("faults", "fields", "logged_in"),
    [
        ({}, {"suites": (3,)}, 0),
        ({"silent": True}, {}, 0),
        ({"max_sessions": 0}, {}, 0),
        ({"busy_next": 1}, {}, 1),
        ({"delay": 0.3}, {}, 0),
    ],
)
def test_what_needs_patience_is_left_to_the_driver(start, seen, faults, fields, logged_in):
    bmc = start(faults=Faults(**faults), **fields)
    assert seen(bmc) is None
    assert len(bmc.events("log-in")) == logged_in


@pytest.mark.parametrize(
    "fields",
    [
        {"address": "localhost"},
        {"password": Secret("file", "/nowhere")},
        {"password": Secret("env", "RIG_NOT_SET")},
        {"password": Secret("command", "echo x")},
        {"password": Secret("vault", "x")},
        {"password": Secret("inline", "longer-than-twenty-octets")},
        {"username": "longer-than-16-octets"},
    ],
    ids=str,
)
def test_what_cannot_be_quick_sends_nothing(start, seen, fields):
    bmc = start()
    assert seen(bmc, **fields) is None
    assert bmc.received == 0


@pytest.mark.parametrize("kept", [[3], {}, "3", 2, None])
def test_what_is_kept_of_a_suite_and_spoilt_is_left_to_the_driver(start, seen, kept):
    bmc = start()
    assert seen(bmc, {f"{bmc.address}:{bmc.port}": kept}) is None
    assert bmc.received == 0


def test_a_bmc_that_somebody_talks_to_is_left_alone(start, seen, tmp_path):
    bmc = start(on=True)
    with exclusive(bmc_lock_path(tmp_path, f"{bmc.address}:{bmc.port}"), 1, "test"):
        assert seen(bmc) is None
    assert bmc.received == 0
    assert seen(bmc) == "on"


def test_a_password_is_read_behind_the_lock(start, seen, tmp_path, monkeypatch):
    """Until then a rotation may store another."""
    bmc = start(on=True)
    real, order = sweeping.exclusive, []
    monkeypatch.setattr(sweeping, "exclusive", lambda *how: order.append("lock") or real(*how))
    monkeypatch.setattr(Secret, "reveal", lambda _: order.append("password") or PASSWORD)
    assert seen(bmc) == "on"
    assert order == ["lock", "password"]


def test_a_port_where_nothing_listens_is_left_to_the_driver(start, seen):
    bmc = start()
    assert seen(bmc, port=9) is None


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"password": Secret("inline", "wrong")}, WrongPasswordError, None),
        ({"username": "nobody"}, LogInRefusedError, 0x0D),
        ({"username": "oper"}, LogInRefusedError, 0x09),
    ],
)
@pytest.mark.parametrize("cipher", [3, 17])
def test_refused_credentials_are_tried_once(start, seen, fields, error, code, cipher):
    bmc = start()
    found = seen(bmc, cipher=cipher, **fields)
    assert isinstance(found, error)
    assert getattr(found, "code", None) == code
    assert bmc.becomes_free()
    assert len(bmc.events("refused")) == 1
    assert bmc.events("log-in") == []


def test_more_bmcs_than_are_asked_at_once(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "AT_ONCE", 3)
    monkeypatch.setattr(sweeping, "ANSWER_SECONDS", 0.2)
    bmcs = [start(on=number % 2 == 0, faults=Faults(silent=number == 4)) for number in range(10)]
    rigs = {f"rig{number}": declared(bmc) for number, bmc in enumerate(bmcs)}
    found = {name: state for name, state, _ in sweeping.sweep(rigs, {}, tmp_path)}
    assert found == {f"rig{n}": None if n == 4 else "off" if n % 2 else "on" for n in range(10)}


def test_who_stops_early_leaves_nothing_open(start, tmp_path):
    quick, slow = start(), start(faults=Faults(delay=0.3))
    looks = sweeping.sweep({"quick": declared(quick), "slow": declared(slow)}, {}, tmp_path)
    assert next(looks)[0] == "quick"
    looks.close()
    assert quick.becomes_free()
    for bmc in (quick, slow):
        with exclusive(bmc_lock_path(tmp_path, f"{bmc.address}:{bmc.port}"), 0, "test"):
            pass


def test_who_takes_long_over_a_result_does_not_make_the_others_late(start, tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(sweeping, "ANSWER_SECONDS", 0.2)
    bmcs = {f"rig{number}": declared(start(on=True)) for number in range(5)}
    found = []
    for name, state, _ in sweeping.sweep(bmcs, {}, tmp_path):
        found.append((name, state))
        time.sleep(0.3)
    assert sorted(found) == [(f"rig{number}", "on") for number in range(5)]


def test_a_real_bmc_is_read_like_this_too(bmc, tmp_path):
    known = KnownPower("127.1.0.1", bmc.port, "admin", Secret("inline", PASSWORD), 3, "administrator")
    for power, state in ((1, "on"), (0, "off")):
        bmc.write("power", power)
        assert [found for _, found, _ in sweeping.sweep({"rig01": known}, {}, tmp_path)] == [state]


# --- the command -----------------------------------------------------------------------------


def test_all_that_is_left_over_is_seen_by_the_drivers(fleet: Fleet, monkeypatch):
    monkeypatch.setattr(sweeping, "ANSWER_SECONDS", 0.3)
    fleet.add("good", on=True)
    fleet.add("old", on=True, suites=(3,))
    fleet.add("busy", faults=Faults(busy_next=1))
    fleet.add("lossy", on=True, faults=Faults(drop_answers=2))
    fleet.add("tool", on=True, driver="ipmitool")
    fleet.add("wrong", secret="not-this-one")
    for _ in range(2):
        code, rows = fleet.rows("power", "status")
        assert code == 5
        assert {name: row["state"] for name, row in rows.items()} == {
            "hand": "unknown",
            "good": "on",
            "old": "on",
            "busy": "off",
            "lossy": "on",
            "tool": "on",
            "wrong": None,
        }
        assert rows["wrong"]["error"]["kind"] == "PowerAuthenticationError"
        assert "password for user 'admin' (from inline) is wrong" in rows["wrong"]["error"]["message"]
        fleet.bmcs["busy"].faults.busy_next = 1
    assert fleet.bmcs["wrong"].events("refused") == ["admin"] * 2


def test_a_fleet_that_is_known_loads_neither_models_nor_python_ipmi(fleet: Fleet, tmp_path):
    fleet.add("rig01", on=True)
    fleet.add("rig02")
    program = (
        "import sys; from rigdeploy.cli import main; code = main.run(); "
        "print([name for name in ('pydantic', 'pyipmi', 'yaml', 'rich') if name in sys.modules], code)"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program, "power", "status", "-i", tmp_path / "inventory", "rig0*"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        said.append(done.stdout.splitlines())
    assert [sorted(line.split() for line in lines[:-1]) for lines in said] == [[["rig01", "on"], ["rig02", "off"]]] * 2
    assert "pydantic" in said[0][-1]
    assert said[1][-1] == "[] 0"


def test_the_drivers_say_the_same_of_every_rig(fleet: Fleet, monkeypatch):
    fleet.add("runs", on=True)
    fleet.add("rests")
    fleet.add("nobody", username="nobody")
    fleet.add("lower", username="oper")
    for name, secret in (("wrong", "not-this-one"), ("long", "longer-than-twenty-octets")):
        fleet.add(name)
        (fleet.directory / "inventory" / f"{name}.password").write_text(secret)
    fleet.add("unset", secret="{env: RIG_NOT_SET}")

    def said() -> tuple[Any, ...]:
        bmcs = sorted(fleet.bmcs)  # without the one that has none: these are kept
        code, rows = fleet.rows("power", "status", *bmcs)
        _, out, err = fleet.run("power", "status", *bmcs)
        steady = {name: {key: value for key, value in row.items() if key != "seconds"} for name, row in rows.items()}
        return code, steady, sorted(out.splitlines()), sorted(err.splitlines())

    swept = said()
    assert (fleet.state / "reach.json").exists()
    assert said() == swept
    monkeypatch.setattr("rigdeploy.cli.power.status.sweep", lambda bmcs, *_: ((name, None, 0.0) for name in bmcs))
    assert said() == swept
    assert {name for name, row in swept[1].items() if row["error"]} == {"wrong", "nobody", "lower", "long", "unset"}
