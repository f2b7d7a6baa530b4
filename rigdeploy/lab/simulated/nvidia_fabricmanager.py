#!/usr/bin/python3
"""nv-fabricmanager of a rigdeploy twin (simulated): runs where an NVSwitch is, and the driver is of its version."""

from __future__ import annotations

import glob
import signal
import sys

VERSION = "@VERSION@"
CLASS, DEVICES = "0x0680", "/sys/bus/pci/devices/*"


def read(path: str) -> str:
    """The text of a file; empty when it cannot be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except OSError:
        return ""


def has_switch() -> bool:
    """Whether there is a bridge of NVIDIA's that is none of PCI's."""
    found = glob.glob(DEVICES)
    return any(read(f"{at}/vendor") == "0x10de" and read(f"{at}/class").startswith(CLASS) for at in found)


def main() -> int:
    """Manage the fabric until told to stop."""
    if "--version" in sys.argv or "-v" in sys.argv:
        print(f"Fabric Manager version is : {VERSION} (simulated by rigdeploy's lab)")
        return 0
    if not has_switch():
        sys.stderr.write("request to query NVSwitch device information from NVSwitch driver failed with error: "
                         "WARNING Nothing to do [NV_WARN_NOTHING_TO_DO]\n")  # fmt: skip
        return 1
    loaded = read("/sys/module/nvidia/version")
    if loaded != VERSION:
        sys.stderr.write(
            f"fabric manager NVIDIA GPU driver interface version {VERSION} don't match with driver version {loaded}. "
            "Please update with matching NVIDIA driver package.\n"
        )
        return 1
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
