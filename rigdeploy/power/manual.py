"""Power by a person at the button: we ask, and watch the rig's ssh port."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal

from rigdeploy.errors import PowerUnsupportedError
from rigdeploy.fleet.models import Rig
from rigdeploy.power.base import Capability, PowerState
from rigdeploy.power.greeting import state_by_greeting

Hand = Callable[[Rig, Literal["on", "off"]], None]
"""Whoever presses the button: told of the rig and what is wanted, and not waited for."""


def ask_on_terminal(rig: Rig, what: Literal["on", "off"]) -> None:
    """Ask whoever reads the terminal; nothing is typed, the rig itself shows that it was done."""
    if what == "on":
        text = f"{rig.name}: please switch it on; waiting until {rig.address} answers on ssh port {rig.ssh.port}"
    else:
        text = f"{rig.name}: please switch it off, or see that it is off"
    print(text, file=sys.stderr, flush=True)


class ManualDriver:
    """A rig without a BMC: it is ON when its ssh port greets, else UNKNOWN (off, hung or unreachable)."""

    capabilities = frozenset({Capability.ON, Capability.OFF})

    def __init__(self, rig: Rig, hand: Hand = ask_on_terminal) -> None:
        self._rig = rig
        self._hand = hand
        self.label = f"{rig.name} (switched by hand)"
        self.patience = rig.power.timeout_seconds / 3

    def state(self) -> PowerState:
        """ON when an ssh server greets at the rig's address."""
        return state_by_greeting(self._rig)

    def on(self) -> None:
        """Ask the person to switch on."""
        self._hand(self._rig, "on")

    def off(self) -> None:
        """Ask the person to switch off."""
        self._hand(self._rig, "off")

    def soft_off(self) -> None:
        """A person asked to switch off does that by the system where it answers."""
        raise PowerUnsupportedError(f"{self.label}: ask for a plain 'off'")

    def reset(self) -> None:
        """There is no hand for that."""
        raise PowerUnsupportedError(f"{self.label}: switch it off and on")

    def close(self) -> None:
        """Nothing is held."""
