#!/usr/bin/python3
"""dkms of a rigdeploy twin (simulated): tells what became of the simulated modules, in the words of dkms 3.0.

Debian's own dkms goes first where it is installed. RIGDEPLOY_TWIN_ROOT puts another directory before every path, for
tests.
"""

from __future__ import annotations

import glob
import os
import sys

ROOT = os.environ.get("RIGDEPLOY_TWIN_ROOT", "/")
REAL = "/usr/sbin/dkms"


def status() -> list[str]:
    """One line for each version and kernel; a version that no kernel has is only added."""
    lines = []
    for tree in sorted(glob.glob(os.path.join(ROOT, "var/lib/dkms/nvidia/*"))):
        version = os.path.basename(tree)
        kernels = sorted(glob.glob(os.path.join(tree, "*", "*", "module")))
        for built in kernels:
            kernel, machine = built.split("/")[-3:-1]
            there = os.path.exists(os.path.join(ROOT, "lib/modules", kernel, "updates/dkms/nvidia.ko"))
            lines.append(f"nvidia/{version}, {kernel}, {machine}: {'installed' if there else 'built'}")
        if not kernels:
            lines.append(f"nvidia/{version}: added")
    return lines


def main() -> int:
    """Answer ``dkms status``; anything else is for the real tool."""
    if os.path.exists(REAL):
        os.execv(REAL, [REAL, *sys.argv[1:]])  # noqa: S606 - to become it is the point
    if sys.argv[1:2] != ["status"]:
        sys.stderr.write("dkms: simulated by rigdeploy's lab; it knows only 'dkms status'\n")
        return 2
    for line in status():
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
