"""The phases of ``up``: a fleet made of fakes whose nodes remember what was done to them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from rigdeploy.errors import (
    NodeError,
    PhaseError,
    PowerAuthenticationError,
    PowerError,
    UnreachableError,
    UsageError,
)
from rigdeploy.node.bmc_reading import BmcReading, BmcSettings
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.power.base import PowerState, RestorePolicy
from rigdeploy.run import survey as survey_module
from rigdeploy.run import up as up_module
from rigdeploy.run.active import Measured
from rigdeploy.run.ledger import Ledger
from rigdeploy.run.lock import RigLock
from rigdeploy.run.node import Options
from rigdeploy.run.playbook import Failure, PlayResult
from rigdeploy.run.progress import PlainProgress
from rigdeploy.run.signals import StoppedError
from rigdeploy.run.summary import summary
from rigdeploy.run.up import bring_up
from rigdeploy.verify.findings import Finding, Status


@dataclass
class Machine:
    """A node: whether it is on, its boots, which roles it has, and what is wrong with it."""

    on: bool = True
    boots: int = 1
    roles: set = field(default_factory=lambda: {"base", "nvidia_driver"})
    breaks: str = ""
    lies: bool = False
    error: Exception | None = None
    power_error: Exception | None = None
    switch_seconds: float = 0.0
    finding: Status = Status.PASS
    answers: bool | None = None
    load_error: Exception | None = None
    loaded_hook: object = None
    restore: RestorePolicy = RestorePolicy.OFF
    bmc_error: Exception | None = None
    settable: bool = True

    def look(self, name):
        if self.error is not None:
            return self.error
        if not self.on:
            return UnreachableError(f"{name}: no route to host")
        records = {role: {"inputs": role, "recorded": "", "drift": []} for role in self.roles}
        loaded = "nvidia_driver" in self.roles
        driver = {
            "loaded": loaded,
            "version": "580.1" if loaded else None,
            "nouveau": False,
            "answers": loaded and self.answers,
        }
        host = {"boot_id": f"{name}-boot-{self.boots}"}
        return Observation.parse({"schema": 1, "host": host, "driver": driver, "managed": records})


class World:
    """Stands in for ssh, power and Ansible."""

    def __init__(self, machines):
        self.machines = machines
        self.looks = []
        self.plays = []
        self.loads = []
        self.bmcs_asked = []
        self.play_hook = lambda: None

    def observe(self, rigs, workspace, *, forks):
        names = [rig.name for rig in rigs]
        self.looks.append(names)
        return {name: self.machines[name].look(name) for name in names}

    def read_power(self, rigs, workspace):
        return {
            rig.name: self.machines[rig.name].power_error
            or (PowerState.ON if self.machines[rig.name].on else PowerState.OFF)
            for rig in rigs
        }

    def read_settings(self, rigs, workspace):
        return {rig.name: BmcSettings(self.machines[rig.name].restore) for rig in rigs if rig.bmc.power_restore}

    def set_as_declared(self, rig, workspace):
        machine = self.machines[rig.name]
        if machine.bmc_error is not None:
            raise machine.bmc_error
        if not machine.settable:
            return BmcSettings(machine.restore), BmcSettings(machine.restore, unknown={"power_restore": "cannot"})
        before, machine.restore = machine.restore, RestorePolicy(rig.bmc.power_restore)
        return BmcSettings(before), BmcSettings(machine.restore)

    def ask_bmcs(self, rigs, workspace):
        names = [rig.name for rig in rigs]
        self.bmcs_asked += names
        return SimpleNamespace(of=lambda name, stop: BmcReading(1.8e9) if name in names else None)

    def switch_on(self, rig, workspace, say, stop):
        machine = self.machines[rig.name]
        say("switching on")
        deadline = time.monotonic() + machine.switch_seconds
        while time.monotonic() < deadline:
            if stop.wait(0.01):
                raise StoppedError
        machine.on = True
        machine.boots += 1
        return True

    def wait_for_login(self, rig, workspace, old_boot, patience, say, stop):
        machine = self.machines[rig.name]
        boot = f"{rig.name}-boot-{machine.boots}"
        assert boot != old_boot
        return boot

    def put_under_load(self, rigs, workspace, *, forks, stop, heard):
        names = [rig.name for rig in rigs]
        self.loads.append(names)
        for name in names:
            if self.machines[name].loaded_hook:
                self.machines[name].loaded_hook()
        if stop.is_set():
            raise StoppedError
        machines = {name: self.machines[name] for name in names}
        answers = {name: one.load_error or measured(f"{name}-boot-{one.boots}") for name, one in machines.items()}
        for name, answer in answers.items():
            heard(name, answer)
        return answers

    def run_playbook(self, playbook, directory, workspace, *, hosts, roles, stop, on_event, check, forks):
        self.plays.append((playbook.stem, list(hosts), check))
        self.play_hook()
        if stop.is_set():
            return PlayResult("interrupted", 99, 0.1, directory)
        failures = []
        for host in hosts:
            machine = self.machines[host]
            if machine.breaks == playbook.stem:
                failures.append(Failure(host, "Install packages", "no space left on device"))
            elif not machine.lies and not check:
                machine.roles.update(roles)
        changes = dict.fromkeys(hosts, ("Install packages",))
        return PlayResult(
            "failed" if failures else "done", 2 if failures else 0, 0.1, directory, tuple(failures), changes
        )


def measured(boot):
    document = {"schema": 1, "boot_id": boot, "ended": "done", "cards": [{"address": "0000:01:00.0", "seconds": 3}]}
    return Measured(Load.parse(document), json.dumps(document).encode())


@pytest.fixture
def world(monkeypatch):
    """Make a World of machines by name."""

    def make(**machines):
        world = World(machines)
        for module in (survey_module, up_module):
            monkeypatch.setattr(module, "observe", world.observe)
        monkeypatch.setattr(survey_module, "read_power", world.read_power)
        monkeypatch.setattr(
            survey_module, "expected_inputs", lambda rig, fleet: {"base": "base", "nvidia_driver": "nvidia_driver"}
        )
        monkeypatch.setattr(survey_module, "read_settings", world.read_settings)
        monkeypatch.setattr(up_module, "set_as_declared", world.set_as_declared)
        monkeypatch.setattr(up_module, "Readings", world.ask_bmcs)
        monkeypatch.setattr(up_module, "switch_on", world.switch_on)
        monkeypatch.setattr(up_module, "wait_for_login", world.wait_for_login)
        monkeypatch.setattr(up_module, "run_playbook", world.run_playbook)
        monkeypatch.setattr(up_module, "put_under_load", world.put_under_load)
        monkeypatch.setattr(up_module, "GATHER_SECONDS", 0.3)
        monkeypatch.setattr(
            up_module,
            "judge",
            lambda rig, catalogue, seen, load, said: [
                Finding(
                    "link.width",
                    "PCIE1",
                    machines[rig.name].finding,
                    evidence={"load": load and load.boot_id, "bmc": said and said.read_at},
                )
            ],
        )
        return world

    return make


@pytest.fixture
def up(workspace, make_rig):
    """Run ``up`` over a world; returns (report, the lines that were printed)."""

    def run(world, *, agree=True, declared=None, **options):
        stack = {"driver": "580"}
        rigs = [make_rig(name, gpu_stack=stack, **(declared or {})) for name in world.machines]
        asked = []

        def confirm(plan):
            asked.append(plan)
            return agree

        fleet = SimpleNamespace(catalogue=None)
        stream = PlainStream()
        report = bring_up(rigs, fleet, workspace, Options("up", **options), PlainProgress(stream), confirm)
        world.asked = asked
        return report, stream.lines

    return run


class PlainStream:
    """A stream that keeps its lines."""

    def __init__(self):
        self.lines = []

    def write(self, text):
        self.lines += [line for line in text.split("\n") if line]

    def flush(self):
        pass


def phases(workspace, run):
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        return [(phase.rig, phase.phase, phase.outcome) for phase in ledger.phases(run)]


def outcome(workspace, run):
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        return next(one.outcome for one in ledger.runs() if one.id == run)


def test_rigs_that_are_right_cost_one_look_and_no_question(world, up, workspace):
    fleet = world(rig01=Machine(), rig02=Machine())
    report, _ = up(fleet)
    assert report.exit_code == 0
    assert fleet.looks == [["rig01", "rig02"]]
    assert fleet.plays == []
    assert fleet.asked == []
    assert not report.changed
    assert summary(report)[-1] == "nothing had to change"
    assert phases(workspace, report.run) == [("rig01", "verify", "done"), ("rig02", "verify", "done")]


def test_from_powered_off_to_verified(world, up, workspace):
    fleet = world(rig01=Machine(on=False, roles=set()))
    report, lines = up(fleet)
    assert report.exit_code == 0
    assert [(phase, done) for _, phase, done in phases(workspace, report.run)] == [
        (phase, "done") for phase in ("power", "connect", "base", "driver", "verify")
    ]
    assert fleet.plays == [("base", ["rig01"], False), ("driver", ["rig01"], False)]
    assert report.changed
    assert any(line.split()[:2] == ["rig01", "power"] for line in lines)
    again, _ = up(fleet)
    assert (again.exit_code, again.changed) == (0, False)


def test_one_rig_that_fails_stops_no_other(world, up, workspace):
    fleet = world(rig01=Machine(roles=set(), breaks="base"), rig02=Machine(roles=set()))
    report, _ = up(fleet)
    assert report.exit_code == 5
    bad, good = report.nodes
    assert isinstance(bad.error, PhaseError)
    assert "Install packages: no space left on device" in bad.error.message
    assert good.judged
    assert fleet.plays == [("base", ["rig01", "rig02"], False), ("driver", ["rig02"], False)]
    assert ("rig01", "base", "failed") in phases(workspace, report.run)
    assert outcome(workspace, report.run) == "failed"


def test_a_play_without_failures_is_not_believed(world, up):
    report, _ = up(world(rig01=Machine(roles={"nvidia_driver"}, lies=True)))
    assert report.exit_code == 5
    assert "the play ended well, and still: never applied" in report.nodes[0].error.message


def test_a_rig_that_takes_long_to_come_holds_back_no_other(world, up):
    fleet = world(rig01=Machine(roles=set()), rig02=Machine(on=False, roles=set(), switch_seconds=0.5))
    report, _ = up(fleet)
    assert report.exit_code == 0
    assert fleet.plays == [
        ("base", ["rig01"], False),
        ("driver", ["rig01"], False),
        ("base", ["rig02"], False),
        ("driver", ["rig02"], False),
    ]


def test_rigs_that_come_together_share_the_plays(world, up):
    fleet = world(rig01=Machine(on=False, roles=set()), rig02=Machine(on=False, roles=set(), switch_seconds=0.1))
    report, _ = up(fleet)
    assert report.exit_code == 0
    assert [sorted(hosts) for _, hosts, _ in fleet.plays] == [["rig01", "rig02"]] * 2


@pytest.mark.parametrize(
    "machine",
    [Machine(error=NodeError("host key changed")), Machine(on=False, power_error=PowerAuthenticationError("wrong"))],
)
def test_what_blocks_a_rig_changes_nothing_on_it(world, up, workspace, machine):
    fleet = world(rig01=machine, rig02=Machine(roles={"nvidia_driver"}))
    report, _ = up(fleet)
    assert report.exit_code == 5
    assert [node.outcome for node in report.nodes] == ["failed", "verified"]
    assert not machine.on or machine.boots == 1
    assert all("rig01" not in hosts for _, hosts, _ in fleet.plays)


def test_findings_decide_the_exit_code(world, up):
    assert up(world(rig01=Machine(finding=Status.FAIL)))[0].exit_code == 2
    assert up(world(rig01=Machine(finding=Status.WARN)))[0].exit_code == 1
    assert up(world(rig01=Machine(finding=Status.UNKNOWN)))[0].exit_code == 3
    assert up(world(rig01=Machine(finding=Status.UNKNOWN)), strict=True)[0].exit_code == 2


def test_no_is_an_answer(world, up, workspace):
    fleet = world(rig01=Machine(roles=set()))
    report, _ = up(fleet, agree=False)
    assert fleet.plays == []
    assert report.outcome == outcome(workspace, report.run) == "declined"
    assert report.exit_code == 4
    assert len(fleet.asked) == 1


def test_an_error_while_asking_releases_the_lock(world, up, workspace, make_rig):
    fleet = world(rig01=Machine(roles=set()))

    def refuse(plan):
        raise UsageError("nobody is there")

    with pytest.raises(UsageError):
        bring_up(
            [make_rig(gpu_stack={"driver": "580"})],
            SimpleNamespace(catalogue=None),
            workspace,
            Options("up"),
            PlainProgress(PlainStream()),
            refuse,
        )
    with RigLock(workspace.locks, "rig01", command="test", run="test") as lock:
        assert lock.previous is None
    assert fleet.plays == []


def test_only_one_phase(world, up, workspace):
    fleet = world(rig01=Machine(on=False, roles=set()))
    report, _ = up(fleet, only="power")
    assert report.exit_code == 0
    assert phases(workspace, report.run) == [("rig01", "power", "done")]
    report, _ = up(fleet, only="base")
    assert [play for play, _, _ in fleet.plays] == ["base"]
    assert not report.nodes[0].judged
    report, _ = up(fleet, only="verify")
    assert report.nodes[0].judged


def test_check_changes_nothing_and_says_what_would(world, up):
    fleet = world(rig01=Machine(roles=set()), rig02=Machine(on=False, roles=set()))
    report, _ = up(fleet, check=True)
    assert fleet.plays == [("base", ["rig01"], True), ("driver", ["rig01"], True)]
    assert not fleet.machines["rig02"].on
    assert fleet.machines["rig01"].roles == set()
    assert "rig01: would change: base: Install packages" in summary(report)
    assert report.exit_code == 0


def test_a_locked_rig_fails_and_the_others_go_on(world, up, workspace):
    with RigLock(workspace.locks, "rig01", command="rigdeploy up rig01", run="other"):
        report, _ = up(world(rig01=Machine(), rig02=Machine()))
    assert report.exit_code == 5
    outcomes = {node.name: node.outcome for node in report.nodes}
    assert outcomes == {"rig01": "failed", "rig02": "verified"}
    assert any("rigdeploy up rig01" in line for line in summary(report))


def interrupt_self():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_a_play_says_where_each_rig_is_left(world, up, workspace):
    fleet = world(rig01=Machine(roles=set()), rig02=Machine())
    fleet.play_hook = interrupt_self
    before = signal.getsignal(signal.SIGINT)
    report, _ = up(fleet)
    assert signal.getsignal(signal.SIGINT) is before
    assert report.exit_code == 130
    assert outcome(workspace, report.run) == "interrupted"
    assert ("rig01", "base", "interrupted") in phases(workspace, report.run)
    lines = summary(report)
    assert "rig01: stopped in base: the role base may be half applied" in lines
    with RigLock(workspace.locks, "rig01", command="test", run="test") as lock:
        assert lock.previous is None


def test_ctrl_c_while_a_rig_is_switched_on(world, up, workspace):
    fleet = world(rig01=Machine(on=False, switch_seconds=30))
    threading.Timer(0.5, interrupt_self).start()
    started = time.monotonic()
    report, _ = up(fleet)
    assert time.monotonic() - started < 5
    assert report.exit_code == 130
    assert phases(workspace, report.run) == [("rig01", "power", "interrupted")]


def test_a_defect_in_a_rigs_thread_is_that_rigs_failure(world, up, monkeypatch):
    fleet = world(rig01=Machine(on=False), rig02=Machine())
    monkeypatch.setattr(up_module, "switch_on", lambda *_: 1 / 0)
    report, _ = up(fleet)
    assert report.exit_code == 5
    assert "ZeroDivisionError" in report.nodes[0].error.message
    assert report.nodes[1].judged


def test_silence_is_broken_by_a_heartbeat():
    stream = PlainStream()
    progress = PlainProgress(stream, heartbeat=0.0)
    progress.say("rig01", "driver", "never applied")
    progress.say("rig01", "driver", "never applied")
    progress.busy("rig01", "driver", "Look for packages")
    progress.busy("rig01", "driver", "Build the module")
    progress.tick()
    progress.end("rig01", "driver", "done", ok=True)
    progress.tick()
    assert [line.split() for line in stream.lines] == [
        ["rig01", "driver", "never", "applied"],
        ["rig01", "driver", "Build", "the", "module", "(0", "s", "so", "far)"],
        ["rig01", "driver", "done"],
    ]


def loaded_of(report):
    """Of which boot the load was that each rig was judged with."""
    return [node.findings[0].evidence["load"] for node in report.nodes]


def test_cards_are_put_under_load_once_per_boot(world, up, workspace):
    fleet = world(rig01=Machine(answers=True), rig02=Machine(answers=False))
    report, lines = up(fleet)
    assert report.exit_code == 0
    assert fleet.loads == [["rig01"]]
    assert fleet.looks == [["rig01", "rig02"], ["rig01"]]
    assert loaded_of(report) == ["rig01-boot-1", None]
    assert any("at most 120 s" in line for line in lines)
    assert any("1 card measured" in line for line in lines)
    report, _ = up(fleet)
    assert len(fleet.loads) == 1
    assert fleet.looks[2:] == [["rig01", "rig02"]]
    assert loaded_of(report) == ["rig01-boot-1", None]
    fleet.machines["rig01"].boots += 1
    report, _ = up(fleet)
    assert len(fleet.loads) == 2
    assert loaded_of(report)[0] == "rig01-boot-2"
    fleet.machines["rig01"].roles.discard("base")
    up(fleet)
    assert len(fleet.loads) == 3, "the run changed the rig"
    assert not fleet.asked[0].nodes[0].changes_nothing


def test_a_rig_may_be_declared_not_to_be_put_under_load(world, up):
    fleet = world(rig01=Machine(answers=True))
    report, _ = up(fleet, declared={"verify": {"active": False}})
    assert report.exit_code == 0
    assert fleet.loads == []


def test_a_load_that_fails_is_unknown_and_fails_no_phase(world, up, workspace):
    fleet = world(rig01=Machine(answers=True, load_error=NodeError("rig01: the active check failed", "look")))
    report, lines = up(fleet)
    assert report.exit_code == 3
    assert phases(workspace, report.run) == [("rig01", "verify", "done")]
    [_, load] = report.nodes[0].findings
    assert (load.check, load.status, load.remedy) == ("load", Status.UNKNOWN, "rig01: the active check failed; look")
    assert any("not done: rig01: the active check failed" in line for line in lines)
    up(fleet)
    assert len(fleet.loads) == 2, "nothing was kept"


def test_a_rig_that_goes_away_under_load_has_failed(world, up, workspace):
    machine = Machine(answers=True, load_error=UnreachableError("rig01: broken pipe"))
    machine.loaded_hook = lambda: setattr(machine, "on", False)
    report, _ = up(world(rig01=machine, rig02=Machine()))
    assert report.exit_code == 5
    assert [node.outcome for node in report.nodes] == ["failed", "verified"]
    assert ("rig01", "verify", "failed") in phases(workspace, report.run)
    assert "gone since its cards were put under load: no route" in report.nodes[0].error.message


def test_ctrl_c_under_load(world, up, workspace):
    fleet = world(rig01=Machine(answers=True), rig02=Machine())
    fleet.machines["rig01"].loaded_hook = interrupt_self
    report, _ = up(fleet)
    assert report.exit_code == 130
    assert ("rig01", "verify", "interrupted") in phases(workspace, report.run)
    lines = summary(report)
    assert "rig01: stopped in verify: changed as planned, and not judged; no load is left on its cards" in lines
    assert "rig02: verified before the run was stopped" in lines


def test_a_kept_load_that_is_damaged_is_made_anew(world, up, workspace):
    fleet = world(rig01=Machine(answers=True))
    up(fleet)
    kept = workspace.loads / "rig01.json"
    kept.write_text(kept.read_text()[:20])
    report, lines = up(fleet)
    assert len(fleet.loads) == 2
    assert any("is ignored: what the node answered cannot be read" in line for line in lines)
    assert loaded_of(report) == ["rig01-boot-1"]


def test_a_load_that_cannot_be_kept_costs_no_verdict(world, up, workspace):
    workspace.loads.write_text("in the way")
    report, lines = up(world(rig01=Machine(answers=True)))
    assert report.exit_code == 0
    assert loaded_of(report) == ["rig01-boot-1"]
    assert any("could not be kept" in line for line in lines)


IPMI = {"driver": "ipmi", "address": "127.0.0.1", "username": "admin", "password": {"env": "PASSWORD"}}
ALWAYS_ON = {"power": IPMI, "bmc": {"power_restore": "always-on"}}


def test_a_bmc_is_set_as_declared_and_then_left_alone(world, up, workspace):
    fleet = world(rig01=Machine(), rig02=Machine(restore=RestorePolicy.ON))
    report, lines = up(fleet, declared=ALWAYS_ON)
    assert report.exit_code == 0
    assert fleet.machines["rig01"].restore is RestorePolicy.ON
    assert [(rig, phase, done) for rig, phase, done in phases(workspace, report.run) if phase == "bmc"] == [
        ("rig01", "bmc", "done")
    ]
    assert any(line.split()[:2] == ["rig01", "bmc"] for line in lines)
    assert fleet.plays == []
    again, _ = up(fleet, declared=ALWAYS_ON)
    assert (again.changed, len(fleet.asked)) == (False, 0)


def test_a_rig_that_was_off_gets_its_bmc_set_before_any_role(world, up, workspace):
    fleet = world(rig01=Machine(on=False, roles=set()))
    report, _ = up(fleet, declared=ALWAYS_ON)
    assert [phase for _, phase, _ in phases(workspace, report.run)] == [
        *("power", "connect", "bmc", "base", "driver", "verify")
    ]


def test_a_bmc_that_fails_stops_its_own_rig(world, up, workspace):
    fleet = world(rig01=Machine(bmc_error=PowerError("rig01 (BMC): stopped answering"), roles=set()), rig02=Machine())
    report, _ = up(fleet, declared=ALWAYS_ON)
    assert report.exit_code == 5
    assert [node.outcome for node in report.nodes] == ["failed", "verified"]
    assert ("rig01", "bmc", "failed") in phases(workspace, report.run)
    assert fleet.plays == []


def test_a_bmc_that_cannot_be_set_is_left_as_it_is(world, up, workspace):
    fleet = world(rig01=Machine(settable=False))
    report, lines = up(fleet, declared=ALWAYS_ON)
    assert report.exit_code == 0
    assert not report.changed
    assert any("left as it is" in line for line in lines)


def test_only_the_bmc_of_a_rig_that_is_off(world, up, workspace):
    fleet = world(rig01=Machine(on=False))
    report, _ = up(fleet, declared=ALWAYS_ON, only="bmc")
    assert report.exit_code == 0
    assert phases(workspace, report.run) == [("rig01", "bmc", "done")]
    assert not fleet.machines["rig01"].on


def test_check_says_how_a_bmc_would_be_set(world, up):
    fleet = world(rig01=Machine())
    report, _ = up(fleet, declared=ALWAYS_ON, check=True)
    assert "rig01: would change: bmc: set power_restore to always-on" in summary(report)
    assert fleet.machines["rig01"].restore is RestorePolicy.OFF


def asked_of(report):
    return [node.findings[0].evidence["bmc"] is not None for node in report.nodes]


def test_bmcs_are_asked_where_something_was_done(world, up):
    fleet = world(rig01=Machine(), rig02=Machine(roles=set()), rig03=Machine(answers=True))
    report, _ = up(fleet)
    assert asked_of(report) == [False, True, True]
    assert sorted(fleet.bmcs_asked) == ["rig02", "rig03"]
    again, _ = up(fleet)
    assert asked_of(again) == [False, False, False]


def test_a_boot_that_fails_shows_the_console(world, up, workspace, monkeypatch):
    from rigdeploy.power import console

    def capture(driver, path, stop):
        path.write_bytes(b"Memory training\r\nKernel panic - not syncing\r\n")
        stop.wait(5)

    def never(rig, workspace, old_boot, patience, say, stop):
        raise UnreachableError(f"{rig.name}: no login within 600 s")

    fleet = world(rig01=Machine(on=False))
    monkeypatch.setattr(console, "capture", capture)
    monkeypatch.setattr(up_module, "wait_for_login", never)
    report, lines = up(fleet, declared={"power": IPMI})
    assert report.exit_code == 5
    assert [line for line in lines if "| " in line] == ["rig01| Memory training", "rig01| Kernel panic - not syncing"]
    assert any(f"{report.run}/console-rig01.log" in line for line in lines)
