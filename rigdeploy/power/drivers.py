"""From a rig's declaration to the driver that switches it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from rigdeploy.fleet.models import IpmiPower, RedfishPower, Rig, WebhookPower, WolPower
from rigdeploy.power.base import Driver
from rigdeploy.power.manual import Hand, ManualDriver, ask_on_terminal
from rigdeploy.workspace import Workspace


def open_driver(rig: Rig, workspace: Workspace, hand: Hand = ask_on_terminal, *, locks: Path | None = None) -> Driver:
    """The rig's driver; touches nothing yet, and whoever asked for it closes it (``contextlib.closing``).

    ``hand`` asks the person who switches a rig that nothing else can switch: by default a line on the terminal. In the
    lab the lab then plays that person. ``locks`` is another directory than the workspace's for the BMC's lock, for
    callers that hold the BMC's own lock themselves.
    """
    power = rig.power
    locks = locks or workspace.locks
    if isinstance(power, IpmiPower):
        return _ipmi(rig, power, workspace, locks)
    if isinstance(power, RedfishPower):
        from rigdeploy.power.redfish import RedfishDriver

        workspace.prepare()
        return RedfishDriver(rig.name, power, locks)
    if isinstance(power, WolPower):
        from rigdeploy.power.wol import WolDriver

        return WolDriver(rig, power, lambda asked: _shut_down(asked, workspace))
    if isinstance(power, WebhookPower):
        from rigdeploy.power.webhook import WebhookDriver

        return WebhookDriver(rig, power)
    return ManualDriver(rig, _played_by_the_lab(hand, workspace) if workspace.lab else hand)


@contextmanager
def beside(rig: Rig, power: IpmiPower | RedfishPower, workspace: Workspace) -> Iterator[Driver]:
    """Another session with a BMC whose lock the caller holds, as ``power`` has it; closed at the end."""
    with tempfile.TemporaryDirectory(prefix="rigdeploy-") as locks:
        changed = rig.model_copy(update={"power": power})
        with closing(open_driver(changed, workspace, locks=Path(locks))) as driver:
            yield driver


def _ipmi(rig: Rig, power: IpmiPower, workspace: Workspace, locks: Path) -> Driver:
    from rigdeploy.power.quirks import QuirkCache

    workspace.prepare()
    quirks = QuirkCache(workspace.state, rig.bmc.quirks, rig.board_quirks)
    if power.driver == "ipmitool":
        from rigdeploy.power.ipmitool import IpmitoolDriver

        return IpmitoolDriver(rig.name, power, locks, quirks)
    from rigdeploy.power.ipmi import IpmiDriver

    return IpmiDriver(rig.name, power, locks, quirks)


def _shut_down(rig: Rig, workspace: Workspace) -> None:
    # The one thing that power asks of run: how this fleet's rigs are reached is decided there.
    from rigdeploy.run.shutdown import shut_down

    shut_down(rig, workspace)


def _played_by_the_lab(hand: Hand, workspace: Workspace) -> Hand:
    from rigdeploy.lab import press

    def ask_and_press(rig: Rig, what: Literal["on", "off"]) -> None:
        hand(rig, what)
        press(workspace, rig.name, what)

    return ask_and_press
