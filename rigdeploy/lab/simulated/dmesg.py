#!/usr/bin/python3
"""dmesg of a rigdeploy twin: the kernel's log as the simulated hardware would have written it; any option will do."""

from __future__ import annotations

import sys

LOG = "/run/rigdeploy-twin/kmsg"


def main() -> int:
    """Print the log, with time stamps as the kernel writes them."""
    if "--version" in sys.argv or "-V" in sys.argv:
        print("dmesg: simulated by rigdeploy's lab")
        return 0
    with open(LOG) as stream:
        for number, line in enumerate(stream):
            sys.stdout.write("[{0:12.6f}] {1}".format(40 + number * 0.5, line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
