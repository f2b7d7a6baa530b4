"""``rigdeploy boot``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from rigdeploy.cli.batch import confirm, over, present, select_bmcs, select_named, warn_dropped, yes_option
from rigdeploy.cli.common import json_option, rig_arguments, workspace_options
from rigdeploy.power import policy
from rigdeploy.power.base import BootDevice, BootOverride, BootsDriver, Capability, Driver, require
from rigdeploy.power.policy import Clock, Say
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig

F = TypeVar("F", bound=Callable[..., Any])

device_argument = click.Choice([device.value for device in BootDevice if device is not BootDevice.NONE])
"""What can be booted from."""

_WHAT = {
    BootDevice.PXE: "from the network",
    BootDevice.DISK: "from disk",
    BootDevice.BIOS: "into the firmware's setup",
    BootDevice.CD: "from a CD, which may be a virtual one",
}


@dataclass(frozen=True)
class Outcome:
    """What a rig's next boot is set to, and what its BMC dropped of what was asked for."""

    override: BootOverride
    dropped: tuple[str, ...] = ()


def efi_options(function: F) -> F:
    """Add ``--efi`` and ``--legacy``, passed as ``efi``: True, False, or None for neither."""
    for name, value, text in (
        ("--legacy", False, "Boot it as a BIOS of old does."),
        ("--efi", True, "Boot it by UEFI; say so for a UEFI system, most BMCs take legacy for granted."),
    ):
        function = click.option(name, "efi", flag_value=value, type=bool, default=None, help=text)(function)
    return function


@click.group()
def command() -> None:
    """Choose what rigs boot from next, and see what is chosen.

    The choice is read back, and holds until the next start, however late that comes; power stays as it is. What a
    BMC accepts and drops is said: EFI mode and permanence as warnings (exit code 0), the device as an error (5).

    \b
    Example:
      rigdeploy boot pxe rig01 --efi
      rigdeploy power cycle rig01 --boot pxe --efi     both at once
      rigdeploy boot status
    """


@command.command()
@workspace_options
@rig_arguments
@json_option
def status(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Show what rigs boot from next; without names, all that have a BMC.

    \b
    Example:
      rigdeploy boot status rig01 --json
    """
    chosen = select_bmcs(workspace, rigs)
    return _report(workspace, chosen, _read, as_json=as_json, changes=False)


def _add(device: BootDevice) -> None:
    """The subcommand that boots rigs from ``device``."""

    @command.command(device.value, help=_help(device), short_help=f"Boot rigs {_WHAT[device]}, the next time.")
    @workspace_options
    @rig_arguments
    @efi_options
    @click.option("--persistent", is_flag=True, help="At every start from now on; many BMCs cannot.")
    @yes_option
    @json_option
    def choose(
        workspace: Workspace,
        rigs: tuple[str, ...],
        *,
        efi: bool | None,
        persistent: bool,
        yes: bool,
        as_json: bool,
    ) -> int:
        chosen = select_named(workspace, rigs)
        if persistent:
            confirm(f"boot {_WHAT[device]}, at every start,", chosen, yes=yes)
        wanted = BootOverride(device, efi=efi, persistent=persistent)
        return _report(workspace, chosen, partial(_choose, wanted), as_json=as_json)


def _help(device: BootDevice) -> str:
    return (
        f"Boot rigs {_WHAT[device]}, the next time they start.\n\n\b\nExample:\n"
        f"  rigdeploy boot {device.value} rig01 --efi\n"
    )


for _device in _WHAT:
    _add(_device)


@command.command()
@workspace_options
@rig_arguments
@json_option
def none(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Take the choice back: rigs boot as their firmware is set.

    \b
    Example:
      rigdeploy boot none rig01
    """
    chosen = select_named(workspace, rigs)
    return _report(workspace, chosen, partial(_choose, BootOverride(BootDevice.NONE)), as_json=as_json)


def _read(driver: Driver, _rig: Rig, _say: Say, _clock: Clock) -> Outcome:
    require(driver, Capability.BOOT)
    return Outcome(cast(BootsDriver, driver).boot_override())


def _choose(wanted: BootOverride, driver: Driver, _rig: Rig, say: Say, clock: Clock) -> Outcome:
    require(driver, Capability.BOOT)
    boots = cast(BootsDriver, driver)
    dropped = policy.set_boot(boots, wanted, say, clock)
    return Outcome(boots.boot_override(), tuple(dropped))


def _report(
    workspace: Workspace,
    rigs: list[Rig],
    action: Callable[[Driver, Rig, Say, Clock], Outcome],
    *,
    as_json: bool,
    changes: bool = True,
) -> int:
    results = over(workspace, rigs, action, changes=changes)
    return present(rigs, results, _row, _show, as_json=as_json, fields=("device", "efi", "persistent", "dropped"))


def _row(outcome: Outcome) -> dict[str, Any]:
    override = outcome.override
    return {
        "device": override.device.value,
        "efi": override.efi,
        "persistent": override.persistent,
        "dropped": list(outcome.dropped),
    }


def _show(rig: Rig, outcome: Outcome, width: int) -> None:
    override = outcome.override
    words = []
    if override.device is not BootDevice.NONE:
        words = [
            {True: "EFI", False: "legacy", None: ""}[override.efi],
            "at every start" if override.persistent else "",
        ]
    color = "green" if override.device is BootDevice.NONE else "cyan"
    note = ", ".join(filter(None, words))
    click.echo(f"{rig.name:<{width}}  {click.style(f'{override.device.value:<4}', fg=color)}  {note}".rstrip())
    warn_dropped(rig, outcome.dropped)
