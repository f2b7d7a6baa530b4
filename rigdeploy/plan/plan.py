"""What ``up`` will do to each rig, and why: a pure function of the declaration and what was seen.

A phase that the observation shows to be right is not needed. What cannot be known before a node answers is
said to be so (``needed`` is None), and decided again when it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rigdeploy.errors import RigdeployError, UnreachableError
from rigdeploy.fleet.models import BMC_DRIVERS, Rig
from rigdeploy.fleet.variables import PHASE_ROLES
from rigdeploy.node.bmc_reading import BmcSettings
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Drift, Driver, Managed, Observation
from rigdeploy.power.base import Door, PowerState

SCHEMA = 1
"""Version of the plan's JSON."""

PHASES = ("power", "connect", "bmc", *PHASE_ROLES, "verify")
"""The phases of ``up`` in their order."""

WITHOUT_LOGIN = ("power", "connect", "bmc")
"""The phases that need no node that answers."""

SHOWN_DRIFT = 3
"""Drifted items named in a reason; the rest are counted."""

_LATER = "decided when the node answers"


@dataclass(frozen=True)
class NodeView:
    """All that the plan of one rig is made from.

    ``power`` is None when nobody asked, because the node answers. ``error`` says why there is no
    ``observation``; ``refused`` that the node is there and does not accept our key. ``expected`` holds, per
    role, the hash of the inputs that the declaration asks for; ``last_seconds``, per phase, how long it took
    when it last succeeded; ``load`` is the last active check that is kept, of whatever boot. ``bmc`` is how the BMC is
    set, or why that is not known; None when nobody asked, because nothing is declared about it.
    """

    rig: Rig
    power: PowerState | None = None
    observation: Observation | None = None
    error: RigdeployError | None = None
    refused: bool = False
    expected: Mapping[str, str] = field(default_factory=dict)
    last_seconds: Mapping[str, float] = field(default_factory=dict)
    load: Load | None = None
    bmc: BmcSettings | RigdeployError | None = None

    @property
    def current_load(self) -> Load | None:
        """The active check that is kept, if it is of the boot that was observed; of an unknown boot there is none."""
        boot = self.observation.host.boot_id if self.observation is not None else None
        return self.load if self.load is not None and boot is not None and self.load.boot_id == boot else None

    def wants_load(self, *, changed: bool) -> bool:
        """Whether the cards are to be put under load to be judged; ``changed``: something was done to the rig.

        A check that found no card to load (the driver's library was missing) is made again.
        """
        seen = self.observation
        # Without a boot id no check could be told to be of this boot.
        if seen is None or not self.rig.verify.active or not seen.driver.answers or seen.host.boot_id is None:
            return False
        return changed or self.current_load is None or not self.current_load.cards


@dataclass(frozen=True)
class Step:
    """One phase of one rig. ``needed`` is None when only the node itself can tell; ``changes`` says what is done.

    ``roles`` are those that have to run, in their order; a phase that no role does has none.
    """

    phase: str
    needed: bool | None
    why: str
    changes: tuple[str, ...] = ()
    reboots: bool = False
    last_seconds: float | None = None
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodePlan:
    """The steps of one rig, in order. With ``blocked`` nothing is done to it: a person has to act first.

    ``not_done`` names what is declared and this version does not do.
    """

    rig: str
    steps: tuple[Step, ...]
    blocked: RigdeployError | None = None
    not_done: tuple[str, ...] = ()

    def step(self, phase: str) -> Step:
        """The step of a phase."""
        return next(step for step in self.steps if step.phase == phase)

    @property
    def changes_nothing(self) -> bool:
        """Whether the rig is as declared already, as far as the plan goes: only the verdict is left."""
        return self.blocked is None and all(step.needed is False for step in self.steps if step.phase != "verify")

    @property
    def reboots(self) -> bool:
        """Whether a step that is needed, or may turn out to be, may reboot the node."""
        return any(step.reboots for step in self.steps if step.needed is not False)

    def as_dict(self) -> dict[str, Any]:
        """The plan of one rig as JSON-ready data."""
        steps = [
            {
                "phase": step.phase,
                "needed": step.needed,
                "why": step.why,
                "changes": list(step.changes),
                "roles": list(step.roles),
                "reboots": step.reboots,
                "last_seconds": step.last_seconds,
            }
            for step in self.steps
        ]
        blocked = None if self.blocked is None else {"message": self.blocked.message, "remedy": self.blocked.remedy}
        return {"blocked": blocked, "steps": steps, "not_done": list(self.not_done)}


@dataclass(frozen=True)
class Plan:
    """The plan of every rig asked for."""

    nodes: tuple[NodePlan, ...]

    @property
    def changes_something(self) -> bool:
        """Whether there is a rig to which anything will be done but judging it."""
        return any(node.blocked is None and not node.changes_nothing for node in self.nodes)

    @property
    def blocked(self) -> list[NodePlan]:
        """The rigs on which nothing can be done."""
        return [node for node in self.nodes if node.blocked is not None]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {"schema": SCHEMA, "rigs": {node.rig: node.as_dict() for node in self.nodes}}


def make_plan(views: Iterable[NodeView], *, only: str | None = None) -> Plan:
    """The plan for these rigs; ``only`` leaves one phase and turns the others off."""
    return Plan(tuple(_plan_node(view, only) for view in views))


def _plan_node(view: NodeView, only: str | None) -> NodePlan:
    steps = [_power(view), _connect(view), _bmc(view), *(_play(view, phase) for phase in PHASE_ROLES)]
    if only is not None:
        steps = [step if step.phase == only else _left_out(step, only) for step in steps]
    verify = _verify(view, steps)
    steps.append(verify if only in (None, "verify") else _left_out(verify, only))
    kept = [replace(step, last_seconds=view.last_seconds.get(step.phase)) for step in steps]
    return NodePlan(view.rig.name, tuple(kept), _blocked(view, only), _not_done(view.rig))


def _left_out(step: Step, only: str) -> Step:
    return replace(step, needed=False, why=f"left out by --only {only}", changes=(), reboots=False, roles=())


def _blocked(view: NodeView, only: str | None) -> RigdeployError | None:
    """The error that no phase can cure, if there is one."""
    if view.observation is not None or view.error is None:
        return None
    if view.refused:
        return None if view.rig.ssh.password is not None and only in (None, "connect") else view.error
    if isinstance(view.error, UnreachableError):
        return None if only in (None, *WITHOUT_LOGIN) else view.error
    return view.error


def _not_done(rig: Rig) -> tuple[str, ...]:
    """What is declared and has no phase yet."""
    declared = {
        "an image to install": rig.os is not None,
        "a model to serve": rig.serve is not None,
    }
    return tuple(name for name, wanted in declared.items() if wanted)


def _power(view: NodeView) -> Step:
    if view.observation is not None or view.refused:
        return Step("power", False, "on: the node answers")
    if view.power is PowerState.ON:
        return Step("power", False, "on")
    hand = view.rig.power.driver == "manual"
    change = "ask a person to switch it on" if hand else "switch on"
    if view.power is PowerState.OFF:
        return Step("power", True, "off", (change,))
    return Step("power", True, "off or unreachable", (change,))


def _connect(view: NodeView) -> Step:
    if view.observation is not None:
        return Step("connect", False, "answers over ssh")
    if view.refused:
        change = "log in once with the declared password, and install the key"
        return Step("connect", True, "the node refuses our key", (change,))
    if view.power is PowerState.ON:
        return Step("connect", True, "on, and does not answer over ssh", ("wait until it does",))
    return Step("connect", True, "not on yet", ("wait until the node answers over ssh",))


def _bmc(view: NodeView) -> Step:
    declared, found, driver = view.rig.bmc, view.bmc, view.rig.power.driver
    if not declared.settings:
        return Step("bmc", False, "nothing is declared about its settings")
    if driver not in BMC_DRIVERS:
        return Step("bmc", False, f"{declared.settings[0]} is declared, and power.driver {driver} is no BMC")
    if isinstance(found, BmcSettings):
        changes = found.changes(declared.power_restore)
        if not changes:
            return Step("bmc", False, found.told() if found.unknown else "as declared")
        return Step("bmc", True, "; ".join(changes.values()), tuple(changes))
    unread = f"cannot be read: {_own_words(view.rig, found)}" if isinstance(found, RigdeployError) else "was not read"
    as_if_open = BmcSettings(None, dict.fromkeys(map(Door, declared.close), True))
    wanted = (f"set power_restore to {declared.power_restore}",) if declared.power_restore else ()
    return Step("bmc", True, f"how it is set {unread}", (*wanted, *as_if_open.changes(None)))


def _own_words(rig: Rig, error: RigdeployError) -> str:
    """An error's message for a line that names the rig already."""
    return error.message.removeprefix(f"{rig.name}: ")


def _play(view: NodeView, phase: str) -> Step:
    """A phase that roles do: which of them have to run, and why."""
    declared = [role for role in PHASE_ROLES[phase] if role in view.expected]
    if not declared:
        return Step(phase, False, "nothing is declared for it")
    reboots = "nvidia_driver" in declared
    if view.observation is None:
        return Step(phase, None, _LATER, reboots=reboots)
    reasons = {role: why for role in declared if (why := _why_role(view, view.observation, role))}
    if not reasons:
        return Step(phase, False, "as declared")
    why = "; ".join(reasons.values() if len(declared) == 1 else (f"{role}: {why}" for role, why in reasons.items()))
    # The role may bring another version or flavour, and a module in use cannot be exchanged in a running system.
    driver = view.observation.driver
    reboots = "nvidia_driver" in reasons and bool(driver.nouveau or driver.loaded)
    return Step(phase, True, why, tuple(map(partial(_apply, view), reasons)), reboots=reboots, roles=tuple(reasons))


def _apply(view: NodeView, role: str) -> str:
    stack = view.rig.gpu_stack
    return f"apply role {role}" + (f": branch {stack.driver}" if role == "nvidia_driver" and stack is not None else "")


def _verify(view: NodeView, before: list[Step]) -> Step:
    """The verdict, and whether the cards are put under load for it: as far as that can be told in advance."""
    step = Step("verify", True, "every run ends with it")
    if not view.rig.verify.active:
        return step
    load = f"put the cards under load, at most {view.rig.verify.seconds} s"
    if view.observation is None:
        return replace(step, changes=(f"{load}, if the driver answers",))
    changed = any(earlier.needed for earlier in before)
    driver_comes = any("nvidia_driver" in earlier.roles for earlier in before)
    if driver_comes or view.wants_load(changed=changed):
        return replace(step, changes=(load,))
    return step


def _why_role(view: NodeView, observation: Observation, role: str) -> str:
    """Why a role has to run; empty when what it recorded is what is asked for and still so."""
    why = _why_record(observation, role, view.expected)
    if role != "nvidia_driver" or view.rig.gpu_stack is None:
        return why
    return "; ".join(reason for reason in (why, _why_driver(observation.driver, view.rig.gpu_stack.driver)) if reason)


def _why_record(observation: Observation, role: str, expected: Mapping[str, str]) -> str:
    record: Managed | None = observation.managed.get(role)
    if record is None:
        unread = observation.why_unread("managed")
        return f"whether it was applied cannot be read: {unread}" if unread else "never applied"
    if record.inputs != expected.get(role):
        return f"what is declared changed since it was applied{f' ({record.recorded})' if record.recorded else ''}"
    if record.drift:
        shown = [_name(drift) for drift in record.drift[:SHOWN_DRIFT]]
        more = len(record.drift) - len(shown)
        return "drifted: " + ", ".join([*shown, f"{more} more"] if more > 0 else shown)
    return ""


def _name(drift: Drift) -> str:
    return f"{drift.kind} {drift.name} ({drift.found or 'missing'}, applied was {drift.expected or 'none'})"


def _why_driver(driver: Driver, branch: str) -> str:
    """Why the driver phase has to run whatever the record says: the driver itself is not there."""
    if driver.loaded is False:
        return "the driver is not loaded" + (", nouveau is" if driver.nouveau else "")
    if driver.nouveau:
        return "nouveau is loaded beside the driver"
    if driver.version and _branch(driver.version) != branch:
        return f"driver {driver.version} is loaded, {branch} is declared"
    return ""


def _branch(version: str | None) -> str:
    return (version or "").split(".", maxsplit=1)[0]
