#!/usr/bin/python3
"""nvidia-persistenced of a rigdeploy twin (simulated): loads the driver, keeps the cards in persistence mode."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

STATE = "/run/rigdeploy-twin/state.json"
MODULE = "/sys/module/nvidia"


def hold(holding: bool) -> None:
    """Switch the cards' persistence mode, and count as a user of the module."""
    with open(STATE) as stream:
        state = json.load(stream)
    state["persistence"] = holding
    with open(STATE + ".new", "w") as stream:
        json.dump(state, stream)
    os.replace(STATE + ".new", STATE)
    with open(os.path.join(MODULE, "refcnt"), "w") as stream:
        stream.write("1\n" if holding else "0\n")


def say_ready() -> None:
    """Tell systemd that the cards are held: the real daemon puts itself into the background only then."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + place[1:] if place.startswith("@") else place)


def main() -> int:
    """Hold the cards until told to stop."""
    if "--version" in sys.argv or "-v" in sys.argv:
        print("nvidia-persistenced: simulated by rigdeploy's lab")
        return 0
    if not os.path.isdir(MODULE):
        subprocess.run(["nvidia-modprobe"], check=False)
    if not os.path.isdir(MODULE):
        sys.stderr.write("Failed to query NVIDIA devices. Please ensure that the NVIDIA device files exist.\n")
        return 1
    hold(True)
    say_ready()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    hold(False)
    return 0


if __name__ == "__main__":
    # Blocked from the start, so that a stop during start-up is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
