"""The verbs of ``rigdeploy power`` that change something."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.batch import READ_SECONDS, confirm, over, select, select_named, yes_option
from rigdeploy.cli.boot import device_argument, efi_options
from rigdeploy.cli.common import json_option, rig_arguments, workspace_options
from rigdeploy.cli.power.shown import Outcome, show
from rigdeploy.errors import UsageError
from rigdeploy.power import policy
from rigdeploy.power.base import BootDevice, BootOverride, Capability, Driver, PowerState, require
from rigdeploy.power.policy import Clock, Say
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig

soft_option = click.option("--soft", is_flag=True, help="Ask the system to shut down first, then cut the power.")


@dataclass(frozen=True)
class Change:
    """Whether an action changed the rig, and what its BMC dropped of the boot override that was asked for."""

    changed: bool
    dropped: tuple[str, ...] = ()


Action = Callable[[Driver, "Rig", Say, Clock], Change]


@click.command()
@workspace_options
@rig_arguments
@json_option
def on(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Switch rigs on, and wait until they are.

    \b
    Example:
      rigdeploy power on rig01 rig02
    """
    return _run(workspace, select(workspace, rigs), partial(_bring, PowerState.ON), as_json=as_json)


@click.command()
@workspace_options
@rig_arguments
@soft_option
@yes_option
@json_option
def off(workspace: Workspace, rigs: tuple[str, ...], *, soft: bool, yes: bool, as_json: bool) -> int:
    """Switch rigs off, and wait until they are.

    The power is cut at once unless --soft is given.

    \b
    Example:
      rigdeploy power off rig01 --soft
    """
    chosen = select_named(workspace, rigs)
    confirm("switch off", chosen, yes=yes)
    return _run(workspace, chosen, partial(_bring, PowerState.OFF, soft=soft), as_json=as_json)


@click.command()
@workspace_options
@rig_arguments
@click.option("--no-hard", is_flag=True, help="Leave a rig on whose system does not shut down; that is an error then.")
@yes_option
@json_option
def soft(workspace: Workspace, rigs: tuple[str, ...], *, no_hard: bool, yes: bool, as_json: bool) -> int:
    """Ask the system to shut down; cut the power of a rig whose system does not.

    A system has two minutes. What happens is said as it happens; with --no-hard no power is ever cut.

    \b
    Example:
      rigdeploy power soft rig01
      rigdeploy power soft '*' --no-hard --yes
    """
    chosen = select_named(workspace, rigs)
    confirm("shut down", chosen, yes=yes)
    return _run(workspace, chosen, partial(_bring, PowerState.OFF, soft=True, hard=not no_hard), as_json=as_json)


@click.command()
@workspace_options
@rig_arguments
@soft_option
@click.option("--boot", type=device_argument, help="What to boot from, this once; set while the rig is off.")
@efi_options
@yes_option
@json_option
def cycle(
    workspace: Workspace,
    rigs: tuple[str, ...],
    *,
    soft: bool,
    boot: str | None,
    efi: bool | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Switch rigs off and on again; one that is off is switched on.

    \b
    Example:
      rigdeploy power cycle rig01 --yes
      rigdeploy power cycle rig01 --boot pxe --efi
    """
    if efi is not None and boot is None:
        raise UsageError("--efi and --legacy are about --boot", "rigdeploy power cycle RIG --boot pxe --efi")
    chosen = select_named(workspace, rigs)
    confirm("switch off and on", chosen, yes=yes)
    override = BootOverride(BootDevice(boot), efi=efi) if boot else None
    return _run(workspace, chosen, partial(_cycle, soft=soft, boot=override), as_json=as_json)


@click.command()
@workspace_options
@rig_arguments
@yes_option
@json_option
def reset(workspace: Workspace, rigs: tuple[str, ...], *, yes: bool, as_json: bool) -> int:
    """Reset rigs without cutting their power; only rigs that are on.

    The system is not asked: what it has not written is lost. Power stays on, so a card that hangs may need a
    'cycle' instead.

    \b
    Example:
      rigdeploy power reset rig01
    """
    chosen = select_named(workspace, rigs)
    confirm("reset", chosen, yes=yes)
    return _run(workspace, chosen, _reset, as_json=as_json)


def _bring(
    want: PowerState, driver: Driver, rig: Rig, say: Say, clock: Clock, *, soft: bool = False, hard: bool = True
) -> Change:
    seconds = rig.power.timeout_seconds
    return Change(policy.ensure(driver, want, seconds, say, soft=soft, hard=hard, clock=clock))


def _cycle(driver: Driver, rig: Rig, say: Say, clock: Clock, *, soft: bool, boot: BootOverride | None) -> Change:
    if boot is not None:
        require(driver, Capability.BOOT)
    dropped = policy.cycle(driver, rig.power.timeout_seconds, say, soft=soft, boot=boot, clock=clock)
    return Change(changed=True, dropped=tuple(dropped))


def _reset(driver: Driver, rig: Rig, say: Say, clock: Clock) -> Change:
    policy.reset(driver, rig.power.timeout_seconds, say, clock=clock)
    return Change(changed=True)


def _run(workspace: Workspace, rigs: list[Rig], action: Action, *, as_json: bool) -> int:
    def run(driver: Driver, rig: Rig, say: Say, clock: Clock) -> Outcome:
        started = time.monotonic()
        change = action(driver, rig, say, clock)
        state = policy.read(driver, READ_SECONDS, clock)
        return Outcome(state, change.changed, time.monotonic() - started, change.dropped)

    return show(rigs, over(workspace, rigs, run, changes=True), as_json=as_json)
