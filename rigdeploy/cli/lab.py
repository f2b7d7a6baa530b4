"""``rigdeploy lab``: the twins, and what goes wrong with them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rigdeploy.cli.common import echo_json, inventory_option, json_option, rig_arguments, state_option
from rigdeploy.errors import UsageError
from rigdeploy.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])

_SLOT_FAULTS = (
    "width", "gen", "stuck_gen", "missing", "memory_mib", "modded", "ecc", "xid", "replays", "bar1_mib", "bandwidth",
    "bad_memory", "busy", "power_limit", "hw_slowdown",
)  # fmt: skip
_RIG_FAULTS = (
    "nouveau", "no_persistence", "dimm_missing", "disk_missing", "nic_speed", "disk_full", "swallow_power_on",
    "bmc_lag", "lose_datagrams", "dkms_fails", "secure_boot", "nvswitch",
)  # fmt: skip


def fleet_options(function: F) -> F:
    """Add ``--inventory`` and ``--state``: the lab is built and broken from outside, so there is no ``--lab``."""

    @inventory_option
    @state_option
    @functools.wraps(function)
    def wrapped(*args: Any, inventory: Path | None, state: Path | None, **kwargs: Any) -> Any:
        return function(*args, workspace=Workspace.find(inventory, state, lab=False), **kwargs)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the callable, not its type


@click.group()
def command() -> None:
    """Virtual twins of the declared fleet, with faults to order.

    \b
    Twins boot a real Debian behind a real IPMI wire; their cards are simulated. Needs root.
      rigdeploy lab up                              build a twin of every rig, powered off
      rigdeploy up --lab                            bring the twins online
      rigdeploy lab fault rig01 PCIE3 --width 8     a bad riser
      rigdeploy lab down                            remove everything again
    """


@command.command()
@rig_arguments
@fleet_options
@json_option
def up(workspace: Workspace, rigs: tuple[str, ...], as_json: bool) -> None:
    """Build twins, powered off; what is there already stays as it is.

    \b
    Example: rigdeploy lab up rig01 'gpu-*'
    """
    from rigdeploy import lab
    from rigdeploy.fleet.load import load_fleet

    fleet = load_fleet(workspace)
    chosen = [rig.name for rig in fleet.select(list(rigs))]
    lab.up(workspace, fleet, lambda text: click.echo(text, err=True), chosen)
    _show(lab.status(workspace), as_json)


@command.command()
@fleet_options
@json_option
def down(workspace: Workspace, as_json: bool) -> None:
    """Remove the lab: its processes, networks, disks and state.

    \b
    Example: rigdeploy lab down
    """
    from rigdeploy import lab

    removed = lab.down(workspace)
    if as_json:
        echo_json({"schema": 1, "removed": removed})
    else:
        click.echo("the lab is gone" if removed else "there was no lab", err=True)


@command.command()
@fleet_options
@json_option
def status(workspace: Workspace, as_json: bool) -> None:
    """Show the twins: power, addresses, faults.

    \b
    Example: rigdeploy lab status --json
    """
    from rigdeploy import lab

    _show(lab.status(workspace), as_json)


@command.command()
@click.argument("rig")
@click.argument("slot", required=False)
@click.option("--width", type=int, metavar="LANES", help="The link trains with fewer lanes.")
@click.option("--gen", type=int, metavar="N", help="The link trains at a lower generation.")
@click.option("--at", type=click.Choice(["card", "port"]), default="card", show_default=True,
              help="Where width and gen are limited: only measured, or by the slot's own port.")  # fmt: skip
@click.option("--stuck-gen", type=int, metavar="N",
              help="The link does not leave this generation under load, though it trained higher.")  # fmt: skip
@click.option("--bandwidth", type=click.IntRange(1, 100), metavar="PERCENT",
              help="Copies reach this share of what they should.")  # fmt: skip
@click.option(
    "--bad-memory", is_flag=True, default=None, help="Some of the card's memory does not keep what is written."
)
@click.option("--busy", is_flag=True, default=None, help="A program computes on the card.")
@click.option("--power-limit", type=click.IntRange(min=1), metavar="WATTS", help="The card is held to less power.")
@click.option("--hw-slowdown", is_flag=True, default=None, help="The card is slowed down for want of power.")
@click.option("--missing", is_flag=True, default=None, help="The card is not on the bus.")
@click.option(
    "--memory", "memory_mib", type=click.IntRange(min=1), metavar="MIB", help="The card has this much memory."
)
@click.option("--modded", is_flag=True, default=None, help="The card was rebuilt with twice the memory.")
@click.option("--ecc", is_flag=True, default=None, help="ECC is switched on (and takes memory).")
@click.option("--xid", type=click.IntRange(min=1), metavar="N", help="The driver reports this Xid in the kernel's log.")
@click.option(
    "--aer", type=click.IntRange(min=1), metavar="N", help="N correctable PCIe errors per minute, from now on."
)
@click.option("--replays", type=click.IntRange(min=1), metavar="N", help="The driver has counted N replays.")
@click.option(
    "--bar1", "bar1_mib", type=click.IntRange(min=1), metavar="MIB", help="BAR1 has this size (256: no Resizable BAR)."
)
@click.option(
    "--mismatch", is_flag=True, help="The loaded module is not of the library's version, until the next boot."
)
@click.option("--nouveau", is_flag=True, default=None, help="nouveau takes the cards, where it is not blacklisted.")
@click.option("--dkms-fails", is_flag=True, default=None, help="Kernel modules do not compile on the rig.")
@click.option("--secure-boot", is_flag=True, default=None, help="The firmware boots only what is signed.")
@click.option("--nvswitch", is_flag=True, default=None, help="There is an NVSwitch on the bus.")
@click.option("--no-persistence", is_flag=True, default=None, help="Persistence mode is off, whatever runs.")
@click.option("--dimm-missing", is_flag=True, default=None, help="The last memory module is not there.")
@click.option("--disk-missing", is_flag=True, default=None, help="The last disk is not there.")
@click.option(
    "--nic-speed", type=click.IntRange(min=10), metavar="MBPS", help="The first network port negotiates this speed."
)
@click.option("--disk-full", is_flag=True, default=None, help="The disk is full.")
@click.option("--host-key", is_flag=True, help="The node gets new SSH host keys.")
@click.option(
    "--swallow-power-on", type=click.IntRange(min=1), metavar="N", help="The BMC forgets the next N power-ons."
)
@click.option("--bmc-lag", type=click.FloatRange(min=0), metavar="SECONDS", help="The BMC acts this much later.")
@click.option(
    "--lose-datagrams", type=click.IntRange(0, 100), metavar="PERCENT", help="Datagrams to and from the BMC get lost."
)
@click.option("--power-cut", is_flag=True, help="The power fails now.")
@click.option("--power-cut-after", type=click.FloatRange(min=0), metavar="SECONDS", help="The power fails in a while.")
@click.option("--clear", is_flag=True, help="Make the slot, or without SLOT the whole twin, sound again first.")
@fleet_options
@json_option
def fault(workspace: Workspace, rig: str, slot: str | None, as_json: bool, **options: Any) -> None:
    """Break a twin, or mend it; a running node feels it at once.

    \b
    Examples:
      rigdeploy lab fault rig01 PCIE3 --width 8             a bad riser: x8 measured, the port could do x16
      rigdeploy lab fault rig01 PCIE3 --width 8 --at port   the slot itself gives x8
      rigdeploy lab fault rig01 --swallow-power-on 1        the BMC forgets the next power-on
      rigdeploy lab fault rig01 --clear                     all is well again
    """
    from rigdeploy import lab

    present = lab.fault(workspace, rig, slot, _request(options))
    if as_json:
        echo_json({"schema": 1, "rig": rig, "faults": present})
    else:
        for line in present or ["no faults"]:
            click.echo(f"{rig}: {line}")


def _request(options: dict[str, Any]) -> Any:
    from time import time

    from rigdeploy.lab.effects import Request

    slot = {name: options[name] for name in _SLOT_FAULTS if options[name] is not None}
    if "width" in slot or "gen" in slot:
        slot["at"] = options["at"]
    if options["aer"] is not None:
        slot |= {"aer_per_minute": options["aer"], "aer_since": time()}
    rig = {name: options[name] for name in _RIG_FAULTS if options[name] is not None}
    cut = 0.0 if options["power_cut"] else options["power_cut_after"]
    request = Request(slot, rig, options["mismatch"], options["host_key"], cut, options["clear"])
    if request == Request():
        raise UsageError("no fault named", "see rigdeploy lab fault --help")
    return request


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    if not found["up"]:
        click.echo("the lab is not up (rigdeploy lab up)")
    for twin in found["twins"]:
        bmc = f"BMC {twin['bmc']}" if twin["bmc"] else "no BMC"
        click.echo(f"{twin['rig']:<20} {twin['power']:<4} {twin['address']:<12} {bmc}")
        for line in twin["faults"]:
            click.echo(f"{'':<20} fault: {line}")
