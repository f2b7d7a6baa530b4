"""From a rig's declaration to the driver that switches it."""

from __future__ import annotations

from rigdeploy.fleet.models import IpmiPower, Rig
from rigdeploy.power.base import Driver
from rigdeploy.power.manual import Hand, ManualDriver, ask_on_terminal
from rigdeploy.workspace import Workspace


def open_driver(rig: Rig, workspace: Workspace, hand: Hand | None = None) -> Driver:
    """The rig's driver; touches nothing yet, and whoever asked for it closes it (``contextlib.closing``).

    ``hand`` presses the button of a rig that is switched by a person: by default a line on the terminal, and
    in the lab the lab itself.
    """
    power = rig.power
    if isinstance(power, IpmiPower):
        from rigdeploy.power.ipmi import IpmiDriver
        from rigdeploy.power.quirks import QuirkCache

        workspace.prepare()
        return IpmiDriver(rig.name, power, workspace.locks, QuirkCache(workspace.state))
    return ManualDriver(rig, hand or _default_hand(workspace))


def _default_hand(workspace: Workspace) -> Hand:
    if not workspace.lab:
        return ask_on_terminal
    from rigdeploy.lab import press

    return lambda rig, what: press(workspace, rig.name, what)
