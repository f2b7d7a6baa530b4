"""Looks at the fleet before anything is planned: observations, and the power of what does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rigdeploy.content import content_dir
from rigdeploy.errors import PowerError, RigdeployError, SecretError, UnreachableError
from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.fleet.variables import PHASE_ROLES, host_variables
from rigdeploy.node.observation import Observation
from rigdeploy.plan.plan import NodeView
from rigdeploy.power.base import PowerState
from rigdeploy.run.bmc import read_settings
from rigdeploy.run.loads import recall
from rigdeploy.run.probe import observe
from rigdeploy.run.ssh import AccessRefusedError
from rigdeploy.workspace import Workspace

POWER_CALLERS = 32
"""BMCs read at the same time; each is slow and answers alone."""

POWER_SECONDS = 15.0
"""Seconds that a busy BMC is given when it is only read."""


def survey(
    rigs: Iterable[Rig],
    workspace: Workspace,
    fleet: Fleet,
    history: Mapping[str, Mapping[str, float]],
    *,
    forks: int = 50,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, NodeView]:
    """What the plan is made from, by rig. A node that answers costs one probe; its BMC is left alone.

    Unless something is declared about how that is set, which is read at the same time. ``say`` is told what is wrong
    with a file that is kept.
    """
    wanted = list(rigs)
    with ThreadPoolExecutor(1) as beside:
        settings = beside.submit(read_settings, wanted, workspace)
        seen = observe(wanted, workspace, forks=forks)
    views = {}
    for rig in wanted:
        view = _unseen(rig, workspace, fleet, history.get(rig.name, {}), say)
        views[rig.name] = replace(seen_as(seen[rig.name], view), bmc=settings.result().get(rig.name))
    silent = [view.rig for view in views.values() if isinstance(view.error, UnreachableError)]
    for name, power in read_power(silent, workspace).items():
        if isinstance(power, RigdeployError):
            views[name] = replace(views[name], error=power)
        else:
            views[name] = replace(views[name], power=power)
    return views


def _unseen(
    rig: Rig, workspace: Workspace, fleet: Fleet, last_seconds: Mapping[str, float], say: Callable[[str], None]
) -> NodeView:
    """What is known of a rig without looking at it."""
    load = recall(workspace, rig.name, say)
    return NodeView(rig, expected=expected_inputs(rig, fleet), last_seconds=last_seconds, load=load)


def seen_as(seen: Observation | RigdeployError, view: NodeView) -> NodeView:
    """A rig's view with another look at it: its observation, or the error that stands in for it."""
    if isinstance(seen, Observation):
        return replace(view, power=None, observation=seen, error=None, refused=False)
    return replace(view, power=None, observation=None, error=seen, refused=isinstance(seen, AccessRefusedError))


def expected_inputs(rig: Rig, fleet: Fleet) -> dict[str, str]:
    """The hash of the inputs that each role would run with now, by role: what the inventory plugin emits."""
    variables = host_variables(fleet, rig, content_dir())
    names = {role: f"{role}_inputs_hash" for roles in PHASE_ROLES.values() for role in roles}
    return {role: str(variables[name]) for role, name in names.items() if name in variables}


def read_power(rigs: Iterable[Rig], workspace: Workspace) -> dict[str, PowerState | RigdeployError]:
    """The power of each rig, or why it cannot be told; many at the same time."""
    wanted = list(rigs)
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(POWER_CALLERS, len(wanted))) as pool:
        states = list(pool.map(lambda rig: _read_one(rig, workspace), wanted))
    return {rig.name: state for rig, state in zip(wanted, states, strict=True)}


def _read_one(rig: Rig, workspace: Workspace) -> PowerState | RigdeployError:
    from rigdeploy.power.drivers import open_driver
    from rigdeploy.power.policy import read

    try:
        driver = open_driver(rig, workspace)
        try:
            return read(driver, POWER_SECONDS)
        finally:
            driver.close()
    except (PowerError, SecretError) as error:
        return error
