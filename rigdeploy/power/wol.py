"""Power without a BMC: a magic packet wakes the rig, its own system shuts it down."""

from __future__ import annotations

import socket
from collections.abc import Callable

from rigdeploy.errors import (
    NodeError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
    UnreachableError,
)
from rigdeploy.fleet.models import Rig, WolPower
from rigdeploy.power.base import Capability, PowerState
from rigdeploy.power.greeting import state_by_greeting

ShutDown = Callable[[Rig], None]
"""Has the rig's system power itself off, and returns when it has taken the order; NodeError when it has not."""

PACKETS = 3
"""How often a packet is sent: nothing acknowledges it, and a card that sleeps may miss one."""


class WolDriver:
    """A rig that wakes on LAN: it is ON when its ssh port greets, else UNKNOWN (off, hung or unreachable).

    Switching off, hard or not, is the system's own shutdown: nothing here can cut its power.
    """

    capabilities = frozenset({Capability.ON, Capability.OFF, Capability.SOFT_OFF})

    def __init__(self, rig: Rig, power: WolPower, shut_down: ShutDown) -> None:
        self._rig = rig
        self._power = power
        self._shut_down = shut_down
        self.label = f"{rig.name} (wake on LAN, {power.mac})"
        self.patience = power.timeout_seconds / 3

    def state(self) -> PowerState:
        """ON when an ssh server greets at the rig's address."""
        return state_by_greeting(self._rig)

    def on(self) -> None:
        """Send the magic packet to the broadcast address."""
        packet = magic_packet(self._power.mac)
        try:
            self._send(packet)
        except socket.gaierror:
            raise PowerUnreachableError(
                f"{self.label}: the name {self._power.broadcast} does not resolve", "correct power.broadcast"
            ) from None
        except OSError as error:
            raise PowerUnreachableError(
                f"{self.label}: the magic packet cannot be sent to {self._power.broadcast}: {error.strerror or error}",
                "declare power.broadcast: the broadcast address of the rig's network, such as 192.0.2.255",
            ) from error

    def off(self) -> None:
        """Have the system power itself off."""
        try:
            self._shut_down(self._rig)
        except UnreachableError as error:
            raise PowerUnreachableError(error.message, error.remedy) from error
        except NodeError as error:
            raise PowerRefusedError(error.message, error.remedy) from error

    def soft_off(self) -> None:
        """The same: this is the only way."""
        self.off()

    def reset(self) -> None:
        """Nothing can press that button."""
        raise PowerUnsupportedError(f"{self.label}: switch it off and on")

    def close(self) -> None:
        """Nothing is held."""

    def _send(self, packet: bytes) -> None:
        target = (self._power.broadcast, self._power.port)
        family, kind, protocol, _, address = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for _ in range(PACKETS):
                sender.sendto(packet, address)


def magic_packet(mac: str) -> bytes:
    """Six bytes of ones, then the card's address sixteen times (AMD's white paper 20213)."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16
