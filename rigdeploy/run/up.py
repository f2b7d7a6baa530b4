"""``up``: brings rigs from wherever they are to verified, phase by phase, each rig on its own.

Rigs that have to be switched on arrive in threads; those that answer go through the roles together, so that one
rig that waits for a person's hand holds back no other. After every role the rig is looked at again, and that
observation decides whether the phase is done: that no task failed proves nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rigdeploy.content import content_dir
from rigdeploy.errors import LockedError, NodeError, PhaseError, RigdeployError, UsageError
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.fleet.variables import PHASE_ROLES
from rigdeploy.node.bmc_reading import BmcReading
from rigdeploy.plan.plan import WITHOUT_LOGIN, NodeView, Plan, make_plan
from rigdeploy.power.base import PowerState
from rigdeploy.power.batch import each
from rigdeploy.run.active import Measured, failed, gone_under_load, how_it_ended, put_under_load, what_is_done
from rigdeploy.run.arrival import ANSWER_SECONDS, BOOT_SECONDS, BootConsole, switch_on, wait_for_login
from rigdeploy.run.bmc import Readings, set_as_declared
from rigdeploy.run.events import Event
from rigdeploy.run.ledger import Ledger, PhaseEntry
from rigdeploy.run.leftovers import bury
from rigdeploy.run.loads import keep
from rigdeploy.run.lock import hold
from rigdeploy.run.node import Node, Options, Report, own_words
from rigdeploy.run.playbook import PlayResult, run_playbook
from rigdeploy.run.probe import observe
from rigdeploy.run.progress import Progress
from rigdeploy.run.signals import StoppedError, stoppable
from rigdeploy.run.survey import seen_as, survey
from rigdeploy.verify.findings import worst
from rigdeploy.verify.rules import judge
from rigdeploy.workspace import Workspace

GATHER_SECONDS = 15.0
"""How long rigs that are ready wait for the next one, so that they share a play."""

FAREWELL_SECONDS = 5.0
"""How long an interrupted run waits for its threads, so that sessions with BMCs are closed."""


Confirm = Callable[[Plan], bool]
"""Shown the plan; says whether to go on. Called only when something would change."""


def bring_up(
    rigs: list[Rig],
    fleet: Fleet,
    workspace: Workspace,
    options: Options,
    progress: Progress,
    confirm: Confirm,
) -> Report:
    """Do what the plan says and judge the result; errors of single rigs are in the report, not raised."""
    workspace.prepare()
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        for dead in bury(ledger, workspace.runs):
            progress.note(f"run {dead.id} died; carrying on from what the rigs show")
        run = ledger.begin(options.command, [rig.name for rig in rigs])
        up = _Up(run, ledger, fleet, workspace, options, progress)
        outcome = "interrupted"  # whatever ends the run before it says otherwise
        refused: dict[str, LockedError] = {}
        try:
            names = [rig.name for rig in rigs]
            command = f"rigdeploy {options.command}"
            with hold(names, workspace.locks, command=command, run=run, say=progress.note) as refused:
                outcome = up.go([rig for rig in rigs if rig.name not in refused], confirm)
        except UsageError:
            outcome = "declined"
            raise
        except KeyboardInterrupt:
            progress.note("stopped")
        finally:
            ledger.end(run, outcome)
    locked = [_locked(rig, refused[rig.name]) for rig in rigs if rig.name in refused]
    if outcome == "done" and locked:
        outcome = "failed"
    return Report(run, outcome, (*up.nodes.values(), *locked), options.strict)


def _locked(rig: Rig, error: LockedError) -> Node:
    view = NodeView(rig, error=error)
    return Node(view, make_plan([view]).nodes[0], error=error, phase="lock")


class _Up:
    """One run: its rigs, and what every step needs."""

    def __init__(
        self, run: str, ledger: Ledger, fleet: Fleet, workspace: Workspace, options: Options, progress: Progress
    ) -> None:
        self.run = run
        self.nodes: dict[str, Node] = {}
        self._ledger = ledger
        self._fleet = fleet
        self._workspace = workspace
        self._options = options
        self._progress = progress
        self._stop = threading.Event()
        self._arrived: queue.SimpleQueue[Node] = queue.SimpleQueue()
        self._plays = 0

    def go(self, rigs: list[Rig], confirm: Confirm) -> str:
        """Look, plan, ask, act; returns the run's outcome."""
        history = self._ledger.last_seconds()
        forks, say = self._options.forks, self._progress.note
        views = survey(rigs, self._workspace, self._fleet, history, forks=forks, say=say)
        plan = make_plan(views.values(), only=self._options.only)
        self.nodes = {
            node.rig: Node(views[node.rig], node, error=node.blocked, phase="plan" if node.blocked else "connect")
            for node in plan.nodes
        }
        if plan.changes_something and not confirm(plan):
            return "declined"
        with stoppable(self._stop), self._progress:
            try:
                self._act()
            except BaseException:
                self._stop.set()  # no thread may go on switching a rig whose lock is given back
                raise
        if self._stop.is_set():
            return "interrupted"
        return "failed" if any(node.error is not None for node in self.nodes.values()) else "done"

    # --- the order of things ---------------------------------------------------------------

    def _act(self) -> None:
        alive = [node for node in self.nodes.values() if node.error is None]
        ready = [node for node in alive if node.view.observation is not None]
        coming = [node for node in alive if node.view.observation is None]
        if self._options.check:
            for node in coming:
                self._progress.note(f"{node.name}: does not answer yet, so its roles are not rehearsed")
            self._rehearse(ready)
            return
        threads = [threading.Thread(target=self._arrive, args=(node,), daemon=True) for node in coming]
        for thread in threads:
            thread.start()
        if ready:
            self._together(ready)
        left = len(coming)
        while left and not self._stop.is_set():
            group = self._gather(left)
            left -= len(group)
            self._together([node for node in group if node.error is None])
        if self._stop.is_set():
            deadline = time.monotonic() + FAREWELL_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _gather(self, left: int) -> list[Node]:
        """The rigs that arrived: at least one, and those that follow it soon."""
        group: list[Node] = []
        until: float | None = None
        while len(group) < left and not self._stop.is_set():
            try:
                group.append(self._arrived.get(timeout=0.2))
            except queue.Empty:
                if until is not None and time.monotonic() > until:
                    break
                continue
            if until is None and group[-1].error is None:
                until = time.monotonic() + GATHER_SECONDS
        return group

    def _together(self, nodes: list[Node]) -> None:
        """Take rigs that answer through the roles to the verdict."""
        unseen = [node for node in nodes if node.view.observation is None]
        if unseen and self._options.only not in WITHOUT_LOGIN:
            self._look(unseen)
        due = [node for node in nodes if node.error is None and node.plan.step("bmc").needed]
        if due and not self._stop.is_set():
            self._set_bmcs(due)
        for phase in PHASE_ROLES:
            for roles, due in self._due(phase, nodes):
                self._play(phase, roles, due)
        due = [node for node in nodes if node.error is None]
        if due and not self._stop.is_set() and self._options.only in (None, "verify"):
            self._verify(due)

    # --- the phases ------------------------------------------------------------------------

    def _arrive(self, node: Node) -> None:
        """Power and connect, in the rig's own thread."""
        try:
            old_boot = self._ledger.last_boot(node.name)
            console = self._console(node)
            try:
                if node.plan.step("power").needed:
                    self._power(node)
                if node.plan.step("connect").needed:
                    self._connect(node, old_boot)
            except NodeError:
                if console is not None:
                    console.end()
                    self._show_console(node, console)
                raise
            finally:
                if console is not None:
                    console.end()
        except StoppedError:
            pass
        except RigdeployError as error:
            self._fail(node, error)
        except Exception as error:  # noqa: BLE001 - a defect met in one rig's thread must not leave the run waiting
            if not self._stop.is_set():  # a stopped run closes the ledger under a thread that is slow to end
                self._fail(node, PhaseError(f"{node.name}: {type(error).__name__}: {error}"))
        finally:
            self._arrived.put(node)

    def _console(self, node: Node) -> BootConsole | None:
        """The console of a rig that is to boot, or that is on and may be stuck in a boot."""
        boots = node.plan.step("power").needed or (node.plan.step("connect").needed and not node.view.refused)
        path = self._workspace.runs / self.run / f"console-{node.name}.log"
        return BootConsole(node.rig, self._workspace, path) if boots else None

    def _show_console(self, node: Node, console: BootConsole) -> None:
        if lines := console.last_lines():
            self._progress.note(f"{node.name}: the last that its console showed; all of it: {console.path}")
            for line in lines:
                self._progress.note(f"{node.name}| {line}")
        elif console.why_none:
            self._progress.note(f"{node.name}: its console could not be looked at: {console.why_none}")

    def _power(self, node: Node) -> None:
        with self._recorded(node, "power"):
            changed = switch_on(node.rig, self._workspace, lambda text: self._say(node, text), self._stop)
        node.changed |= changed
        self._progress.end(node.name, "power", "on", ok=True)

    def _connect(self, node: Node, old_boot: str | None) -> None:
        # A rig that was seen to be off must come back with another boot id; one that was only unreachable need not.
        off = node.view.power is PowerState.OFF
        patience = ANSWER_SECONDS if node.view.power is PowerState.ON or node.view.refused else BOOT_SECONDS
        with self._recorded(node, "connect") as entry:
            entry.boot_after = wait_for_login(
                node.rig,
                self._workspace,
                old_boot if off else None,
                patience,
                lambda text: self._say(node, text),
                self._stop,
            )
        self._progress.end(node.name, "connect", "answers over ssh", ok=True)

    def _set_bmcs(self, nodes: list[Node]) -> None:
        """Set the BMCs of these rigs as they are declared."""
        entries = {}
        for node in nodes:
            node.phase = "bmc"
            self._say(node, node.plan.step("bmc").why)
            entries[node.name] = self._ledger.begin_phase(self.run, node.name, "bmc", boot=node.boot)
        rigs = [node.rig for node in nodes]
        for rig, found in each(rigs, lambda rig, _: set_as_declared(rig, self._workspace), stop=self._stop):
            node, entry = self.nodes[rig.name], entries[rig.name]
            if isinstance(found, RigdeployError) and self._stop.is_set():
                entry.end("interrupted", own_words(node, found))
                continue
            if isinstance(found, RigdeployError):
                entry.end("failed", own_words(node, found))
                self._fail(node, found)
                continue
            before, after = found
            node.changed |= after.as_dict() != before.as_dict()
            node.view = replace(node.view, bmc=after)
            entry.end("done")
            self._progress.end(node.name, "bmc", after.told(), ok=True)
            node.plan = make_plan([node.view], only=self._options.only).nodes[0]

    @contextmanager
    def _recorded(self, node: Node, phase: str) -> Iterator[PhaseEntry]:
        node.phase = phase
        with self._ledger.phase(self.run, node.name, phase, boot=node.boot) as entry:
            yield entry

    def _look(self, nodes: list[Node], *, after_load: bool = False) -> None:
        """Observe, and plan again from what is there now."""
        seen = observe([node.rig for node in nodes], self._workspace, forks=self._options.forks)
        for node in nodes:
            found = seen[node.name]
            view = seen_as(gone_under_load(node.name, found) if after_load else found, node.view)
            if isinstance(view.error, RigdeployError):
                self._fail(node, view.error)
                continue
            node.view = view
            node.plan = make_plan([view], only=self._options.only).nodes[0]

    def _due(self, phase: str, nodes: list[Node]) -> Iterator[tuple[tuple[str, ...], list[Node]]]:
        """Rigs that need a phase, together where the same roles of it have to run; none once we are stopped."""
        due: dict[tuple[str, ...], list[Node]] = {}
        for node in nodes:
            if node.error is None and (step := node.plan.step(phase)).needed:
                due.setdefault(step.roles, []).append(node)
        for roles, together in due.items():
            if not self._stop.is_set():
                yield roles, together

    def _play(self, phase: str, roles: tuple[str, ...], nodes: list[Node], *, check: bool = False) -> PlayResult:
        """Run roles of a phase's playbook on these rigs, look at them again, and let that decide."""
        entries = {}
        for node in nodes:
            node.phase = phase
            self._say(node, node.plan.step(phase).why)
            asked = " ".join(node.view.expected[role] for role in roles)
            entries[node.name] = self._ledger.begin_phase(self.run, node.name, phase, asked=asked, boot=node.boot)
        self._plays += 1
        result = run_playbook(
            content_dir() / "playbooks" / f"{phase}.yml",
            self._workspace.runs / self.run / f"{self._plays}-{phase}",
            self._workspace,
            hosts=[node.name for node in nodes],
            roles=roles,
            stop=self._stop,
            on_event=self._on_event,
            check=check,
            forks=self._options.forks,
        )
        if result.outcome == "interrupted" or check:
            for entry in entries.values():
                # A rehearsal is not done: how long it took says nothing about the phase.
                entry.end("rehearsed" if result.outcome == "done" else result.outcome)
            return result
        self._look(nodes)
        for node in nodes:
            self._settle(phase, node, result, entries[node.name])
        return result

    def _settle(self, phase: str, node: Node, result: PlayResult, entry: PhaseEntry) -> None:
        """Decide, from the new observation, whether a phase is done on a rig."""
        node.changed |= bool(result.changes.get(node.name))
        failure = result.failure_of(node.name)
        step = node.plan.step(phase)
        entry.boot_after = node.boot
        if node.error is None and not step.needed:
            entry.end("done", f"in spite of: {failure.task}: {failure.message}" if failure else "")
            self._progress.end(node.name, phase, "done", ok=True)
            return
        if failure is not None:
            message = f"{failure.task or phase}: {failure.message}"
        elif node.error is not None:
            message = f"gone after the play: {node.error.message}"
        elif result.outcome == "failed" and not result.failures:
            message = f"Ansible ended with status {result.status}: {_tail(result)}"
        else:
            message = f"the play ended well, and still: {step.why}"
        entry.end("failed", message)
        self._fail(
            node,
            PhaseError(f"{node.name}: {message}", f"all that Ansible said: rigdeploy log {self.run} --rig {node.name}"),
        )

    def _verify(self, nodes: list[Node]) -> None:
        """Judge rigs; first those that are as they were, then those whose cards have to be put under load for it.

        The BMCs of those to which anything was done are asked at the same time; of the others they are left alone,
        since many take longer for their sensors than the whole look at a node that is right.
        """
        loading = [node for node in nodes if node.view.wants_load(changed=node.changed)]
        resting = [node for node in nodes if node not in loading]
        asked = Readings([node.rig for node in resting if node.changed], self._workspace)
        for node in sorted(resting, key=lambda node: node.changed):
            self._judge(node, self._begin_verify(node), said=asked.of(node.name, self._stop))
        if not loading:
            return
        entries = {node.name: self._begin_verify(node) for node in loading}
        try:
            measured = self._load(loading)
        except StoppedError:
            return  # the phases end as the run does
        asked = Readings([node.rig for node in loading], self._workspace)  # while the cards are still hot
        self._look(loading, after_load=True)
        for node in loading:
            if node.error is None:
                self._judge(node, entries[node.name], measured[node.name], asked.of(node.name, self._stop))
            else:
                entries[node.name].end("failed", own_words(node, node.error))

    def _begin_verify(self, node: Node) -> PhaseEntry:
        node.phase = "verify"
        return self._ledger.begin_phase(self.run, node.name, "verify", boot=node.boot)

    def _load(self, nodes: list[Node]) -> dict[str, Measured | RigdeployError]:
        """Put the cards of these rigs under load; what they did becomes part of each rig's view."""
        for node in nodes:
            self._say(node, what_is_done(node.rig))
        measured = put_under_load(
            [node.rig for node in nodes],
            self._workspace,
            forks=self._options.forks,
            stop=self._stop,
            heard=lambda rig, answer: self._say(self.nodes[rig], how_it_ended(answer)),
        )
        for node in nodes:
            if isinstance(answer := measured[node.name], Measured):
                node.view = replace(node.view, load=answer.load)
        return measured

    def _judge(
        self,
        node: Node,
        entry: PhaseEntry,
        measured: Measured | RigdeployError | None = None,
        said: BmcReading | None = None,
    ) -> None:
        observation = node.view.observation
        if observation is None:
            raise AssertionError(f"{node.name} is judged without having been looked at")
        entry.boot_after = node.boot
        node.findings = judge(node.rig, self._fleet.catalogue, observation, node.view.current_load, said)
        if isinstance(measured, RigdeployError):
            node.findings.append(failed(measured))
        self._ledger.record_verdict(node.name, node.findings, boot_id=node.boot, run=self.run)
        entry.end("done")
        node.judged = True
        self._progress.end(node.name, "verify", worst(node.findings).value, ok=True)
        if isinstance(measured, Measured):
            self._keep(node, measured)

    def _keep(self, node: Node, measured: Measured) -> None:
        try:
            keep(self._workspace, node.name, measured)
        except OSError as error:
            self._progress.note(f"{node.name}: what its cards did under load could not be kept: {error}")

    def _rehearse(self, nodes: list[Node]) -> None:
        """The roles in check mode on rigs that answer: says what would change, changes nothing."""
        for node in nodes:
            if (step := node.plan.step("bmc")).needed:
                node.check_changes += tuple(f"bmc: {change}" for change in step.changes)
        for phase in PHASE_ROLES:
            for roles, due in self._due(phase, nodes):
                result = self._play(phase, roles, due, check=True)
                for node in due:
                    node.check_changes += tuple(f"{phase}: {task}" for task in result.changes.get(node.name, ()))
                    if (failure := result.failure_of(node.name)) is not None:
                        self._fail(node, PhaseError(f"{node.name}: {failure.task}: {failure.message}"))

    # --- telling -----------------------------------------------------------------------------

    def _say(self, node: Node, text: str) -> None:
        self._progress.say(node.name, node.phase, text)

    def _on_event(self, event: Event) -> None:
        node = self.nodes.get(event.host)
        if node is None:
            return
        if event.kind == "started":
            self._progress.busy(node.name, node.phase, event.task)
        elif event.kind == "changed":
            self._say(node, f"{'would change' if self._options.check else 'changed'}: {event.task}")

    def _fail(self, node: Node, error: RigdeployError) -> None:
        node.error = error
        self._progress.end(node.name, node.phase, own_words(node, error).partition("\n")[0], ok=False)


def _tail(result: PlayResult) -> str:
    """The last line of Ansible's output, for a failure that belongs to no task."""
    try:
        lines = [line.strip() for line in result.output.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
