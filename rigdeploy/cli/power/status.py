"""``rigdeploy power status``, which a whole fleet answers in the time that one rig takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

import click

from rigdeploy.cli.batch import READ_SECONDS, load, over
from rigdeploy.cli.common import json_option, rig_arguments, workspace_options
from rigdeploy.cli.power.shown import Outcome, show
from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.reach import KnownRig, Reach
from rigdeploy.power.quirks import QuirkCache
from rigdeploy.power.sweep import Refusal, in_words, sweep
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.fleet.models import IpmiPower, Rig
    from rigdeploy.power.base import Driver
    from rigdeploy.power.policy import Clock, Say
    from rigdeploy.power.sweep import Declared


@click.command()
@workspace_options
@rig_arguments
@json_option
def status(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Show whether rigs are on.

    A rig without a BMC is 'on' when its ssh port answers, and 'unknown' otherwise.

    \b
    Example:
      rigdeploy power status 'rig0*' --json
    """
    fleet = cache(lambda: load(workspace))
    reach = Reach(workspace)
    chosen: Sequence[Rig | KnownRig] | None = reach.select(rigs)
    if chosen is None:
        chosen = fleet().select(rigs)
        workspace.prepare()
        reach.keep(fleet())
    return show(chosen, _states(workspace, chosen, fleet), as_json=as_json)


def _states(
    workspace: Workspace, rigs: Sequence[Rig | KnownRig], fleet: Callable[[], Fleet]
) -> Iterator[tuple[Rig | KnownRig, Outcome | RigdeployError]]:
    """The state of each: what answers as it should by one thread, and then the others by their drivers."""
    by_name = {rig.name: rig for rig in rigs}
    bmcs = {rig.name: cast("Declared", rig.power) for rig in rigs if rig.power.driver == "ipmi"}
    left = [rig.name for rig in rigs if rig.name not in bmcs]
    for name, seen, seconds in sweep(bmcs, QuirkCache(workspace.state).all("cipher"), workspace.locks):
        if seen is None:
            left.append(name)
        elif isinstance(seen, str):
            yield by_name[name], Outcome(seen, changed=False, seconds=seconds)
        else:
            [rig] = fleet().select([name])
            yield rig, _refused(seen, rig, workspace)
    if left:
        yield from over(workspace, fleet().select(left), _read, changes=False)


def _refused(refusal: Refusal, rig: Rig, workspace: Workspace) -> RigdeployError:
    from rigdeploy.power.rotate import explained

    return explained(in_words(refusal, rig.name, cast("IpmiPower", rig.power)), rig, workspace)


def _read(driver: Driver, _rig: Rig, _say: Say, clock: Clock) -> Outcome:
    from rigdeploy.power import policy

    started = time.monotonic()
    state = policy.read(driver, READ_SECONDS, clock)
    return Outcome(state, changed=False, seconds=time.monotonic() - started)
