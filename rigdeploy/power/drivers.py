"""From a rig's declaration to the driver that switches it."""

from __future__ import annotations

from typing import Literal

from rigdeploy.fleet.models import IpmiPower, Rig
from rigdeploy.power.base import Driver
from rigdeploy.power.manual import Hand, ManualDriver, ask_on_terminal
from rigdeploy.workspace import Workspace


def open_driver(rig: Rig, workspace: Workspace, hand: Hand = ask_on_terminal) -> Driver:
    """The rig's driver; touches nothing yet, and whoever asked for it closes it (``contextlib.closing``).

    ``hand`` asks the person who switches a rig that nothing else can switch: by default a line on the terminal. In the
    lab the lab then plays that person.
    """
    power = rig.power
    if isinstance(power, IpmiPower):
        from rigdeploy.power.ipmi import IpmiDriver
        from rigdeploy.power.quirks import QuirkCache

        workspace.prepare()
        return IpmiDriver(rig.name, power, workspace.locks, QuirkCache(workspace.state))
    return ManualDriver(rig, _played_by_the_lab(hand, workspace) if workspace.lab else hand)


def _played_by_the_lab(hand: Hand, workspace: Workspace) -> Hand:
    from rigdeploy.lab import press

    def ask_and_press(rig: Rig, what: Literal["on", "off"]) -> None:
        hand(rig, what)
        press(workspace, rig.name, what)

    return ask_and_press
