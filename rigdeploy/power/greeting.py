"""Whether a rig without a BMC is on: an ssh server greets at its address."""

from __future__ import annotations

import socket
import subprocess

from rigdeploy.fleet.models import Rig
from rigdeploy.power.base import PowerState

ANSWER_SECONDS = 3.0
"""How long the ssh port may take to greet (an unloaded one needs milliseconds, a far or jumped one seconds)."""


def state_by_greeting(rig: Rig) -> PowerState:
    """ON when an ssh server greets, else UNKNOWN: off, hung or unreachable."""
    try:
        greeting = _through_jump_host(rig) if rig.ssh.jump else _directly(rig)
    except (OSError, subprocess.TimeoutExpired):
        greeting = b""
    return PowerState.ON if greeting.startswith(b"SSH-") else PowerState.UNKNOWN


def _directly(rig: Rig) -> bytes:
    with socket.create_connection((rig.address, rig.ssh.port), timeout=ANSWER_SECONDS) as connection:
        return connection.recv(16)


def _through_jump_host(rig: Rig) -> bytes:
    """The greeting as the jump host sees it; ``ssh -W`` ends when its input does."""
    host = f"[{rig.address}]:{rig.ssh.port}"
    command = ["ssh", "-o", "BatchMode=yes", "-W", host, "--", str(rig.ssh.jump)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_SECONDS, check=False
    ).stdout
