"""``rigdeploy bmc sensors``, ``sel``, ``fru`` and ``identify``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from rigdeploy.cli.batch import confirm, over, present, refuse_unnamed, say, select_bmcs, select_named, yes_option
from rigdeploy.cli.common import json_option, rig_arguments, workspace_options
from rigdeploy.errors import PowerRefusedError
from rigdeploy.node.values import display
from rigdeploy.power.base import (
    AnswerLostError,
    Capability,
    Driver,
    EventRecord,
    Health,
    ReportsDriver,
    Sensor,
    require,
)
from rigdeploy.power.policy import Clock, Say
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig

_COLOURS = {Health.OK: "green", Health.WARNING: "yellow", Health.CRITICAL: "red", Health.UNKNOWN: "magenta"}


@dataclass(frozen=True)
class Log:
    """An event log, and whether it has been cleared since."""

    events: tuple[EventRecord, ...]
    cleared: bool


@click.command()
@workspace_options
@rig_arguments
@click.option("--all", "everything", is_flag=True, help="Also sensors without a reading.")
@json_option
def sensors(workspace: Workspace, rigs: tuple[str, ...], *, everything: bool, as_json: bool) -> int:
    """Show temperatures, fans, voltages and power, as the BMC sees them; without names, of all that have a BMC.

    What is out of its range is shown as 'warning' or 'critical'; 'verify' judges it.

    \b
    Example:
      rigdeploy bmc sensors rig01
      rigdeploy bmc sensors '*' --json
    """
    chosen = select_bmcs(workspace, rigs)
    results = over(workspace, chosen, _sensors, changes=False)
    show = partial(_show_sensors, everything)
    return present(chosen, results, _sensor_rows, show, as_json=as_json, fields=("sensors",))


@click.command()
@workspace_options
@rig_arguments
@click.option("--clear", is_flag=True, help="Clear the log, once it has been shown.")
@yes_option
@json_option
def sel(workspace: Workspace, rigs: tuple[str, ...], *, clear: bool, yes: bool, as_json: bool) -> int:
    """Show the event log, oldest line first, and clear it with --clear.

    Times are this machine's; a BMC whose clock was not set has none.

    \b
    Example:
      rigdeploy bmc sel rig01
      rigdeploy bmc sel rig01 --clear --json > sel.json
    """
    if clear:
        refuse_unnamed(rigs)
    chosen = select_bmcs(workspace, rigs)
    if clear:
        confirm("clear the event log of", chosen, yes=yes)
    results = over(workspace, chosen, partial(_events, clear=clear), changes=clear)
    return present(chosen, results, _event_rows, _show_events, as_json=as_json, fields=("events", "cleared"))


@click.command()
@workspace_options
@rig_arguments
@json_option
def fru(workspace: Workspace, rigs: tuple[str, ...], *, as_json: bool) -> int:
    """Show what board and BMC say they are: names, part and serial numbers, firmware.

    \b
    Example:
      rigdeploy bmc fru '*' --json
    """
    chosen = select_bmcs(workspace, rigs)
    results = over(workspace, chosen, _inventory, changes=False)
    return present(chosen, results, _inventory_row, _show_inventory, as_json=as_json, fields=("inventory",))


@click.command()
@workspace_options
@rig_arguments
@click.option("--seconds", type=click.IntRange(1, 255), default=120, show_default=True, help="How long it is lit.")
@click.option("--off", is_flag=True, help="Put it out.")
@json_option
def identify(workspace: Workspace, rigs: tuple[str, ...], *, seconds: int, off: bool, as_json: bool) -> int:
    """Light the lamp that shows which rig it is.

    Redfish knows no time: such a lamp is lit until --off.

    \b
    Example:
      rigdeploy bmc identify rig03
      rigdeploy bmc identify rig03 --off
    """
    chosen = select_named(workspace, rigs)
    results = over(workspace, chosen, partial(_identify, 0 if off else seconds), changes=False)
    return present(chosen, results, _lamp_row, _show_lamp, as_json=as_json, fields=("lit_seconds",))


# --- sensors ---


def _sensors(driver: Driver, _rig: Rig, _say: Say, _clock: Clock) -> Sequence[Sensor]:
    require(driver, Capability.SENSORS)
    return cast(ReportsDriver, driver).sensors()


def _sensor_rows(found: Sequence[Sensor]) -> dict[str, Any]:
    return {"sensors": [asdict(sensor) for sensor in found]}


def _show_sensors(everything: bool, rig: Rig, found: Sequence[Sensor], _width: int) -> None:
    shown = [sensor for sensor in found if everything or sensor.value is not None or sensor.states]
    _head(rig, f"{len(shown)} of {len(found)} sensors" if len(shown) < len(found) else f"{len(found)} sensors")
    width = max((len(display(sensor.name)) for sensor in shown), default=0)
    for sensor in shown:
        value = "" if sensor.value is None else f"{sensor.value:g} {sensor.unit}"
        states = ", ".join(display(state) for state in sensor.states)
        health = f"{_health(sensor.health)}  {states}" if states else _health(sensor.health, 0)
        click.echo(f"  {display(sensor.name):<{width}}  {value:<12}  {health}")


# --- events ---


def _events(driver: Driver, rig: Rig, _say: Say, _clock: Clock, *, clear: bool) -> Log:
    require(driver, Capability.EVENTS, *([Capability.CLEAR_EVENTS] if clear else []))
    reports = cast(ReportsDriver, driver)
    events = tuple(reports.events())
    if not clear or not events:
        return Log(events, cleared=False)
    # A lost answer is no answer: reading the log says whether the request arrived.
    with suppress(AnswerLostError):
        reports.clear_events()
    if set(events) <= set(reports.events()):
        raise PowerRefusedError(f"{rig.name}: the BMC was asked to clear its event log, and all of it is still there")
    return Log(events, cleared=True)


def _event_rows(log: Log) -> dict[str, Any]:
    return {"events": [asdict(event) for event in log.events], "cleared": log.cleared}


def _show_events(rig: Rig, log: Log, _width: int) -> None:
    count = f"{len(log.events)} event" + ("" if len(log.events) == 1 else "s")
    _head(rig, count + (", cleared" if log.cleared else ""))
    width = max((len(display(event.source)) for event in log.events), default=0)
    for event in log.events:
        when = "no clock" if event.time is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.time))
        source = display(event.source)
        click.echo(f"  {when:<19}  {_health(event.health)}  {source:<{width}}  {display(event.text)}".rstrip())


# --- inventory and lamp ---


def _inventory(driver: Driver, _rig: Rig, _say: Say, _clock: Clock) -> Mapping[str, str]:
    require(driver, Capability.INVENTORY)
    return cast(ReportsDriver, driver).inventory()


def _inventory_row(found: Mapping[str, str]) -> dict[str, Any]:
    return {"inventory": dict(found)}


def _show_inventory(rig: Rig, found: Mapping[str, str], _width: int) -> None:
    _head(rig, "" if found else "says nothing about itself")
    width = max(map(len, found), default=0)
    for name, value in found.items():
        click.echo(f"  {display(name):<{width}}  {display(value)}")


def _identify(seconds: int, driver: Driver, _rig: Rig, _say: Say, _clock: Clock) -> int:
    require(driver, Capability.IDENTIFY)
    cast(ReportsDriver, driver).identify(seconds)
    return seconds


def _lamp_row(seconds: int) -> dict[str, Any]:
    return {"lit_seconds": seconds}


def _show_lamp(rig: Rig, seconds: int, _width: int) -> None:
    say(rig, f"its lamp is lit for {seconds} s" if seconds else "its lamp is out")


def _head(rig: Rig, what: str) -> None:
    click.echo(f"{click.style(rig.name, bold=True)}  {what}".rstrip())


def _health(health: Health, width: int = 8) -> str:
    return click.style(f"{health.value:<{width}}", fg=_COLOURS[health])
