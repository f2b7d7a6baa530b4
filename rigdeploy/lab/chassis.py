"""The chassis control of a twin's BMC, called by ipmi_sim.

``python -m rigdeploy.lab.chassis LAB_DIR RIG get NAME... | set NAME VALUE... | after SECONDS COMMAND``

The simulator waits until this program's output is closed, so whatever takes time is started apart.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from rigdeploy.lab import node, processes
from rigdeploy.lab.twins import Lab, Twin

PROGRAM = "rigdeploy.lab.chassis"
DELAYED = "after"


def main(lab_directory: str, name: str, *words: str) -> int:
    """Carry out one request of the BMC; 1 for one that it does not know."""
    twin = Lab(Path(lab_directory)).twin(name)
    match words:
        case ["get", *names]:
            return _get(twin, list(names))
        case ["set", *pairs]:
            return max((_set(twin, *pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)), default=0)
        case [word, seconds, command] if word == DELAYED:
            time.sleep(float(seconds))
            return _act(twin, command)
    return 1


def _get(twin: Twin, names: list[str]) -> int:
    boot = twin.directory / "bmc/boot"
    values = {"power": "1" if node.is_on(twin) else "0", "boot": boot.read_text() if boot.exists() else "none"}
    for name in names:
        if name not in values:
            return 1
        print(f"{name}:{values[name]}")
    return 0


def _set(twin: Twin, name: str, value: str) -> int:
    match name, value:
        case "power", "1":
            return _later(twin, "on")
        case "power", "0":
            return _later(twin, "off")
        case (("reset" | "shutdown"), _):
            return _later(twin, name)
        case "boot", _:
            (twin.directory / "bmc/boot").write_text(value)
    return 0 if name in ("boot", "identify") else 1


def _later(twin: Twin, command: str) -> int:
    """Act now, or after the BMC's lag; a power-on may be forgotten altogether."""
    if command == "on" and _swallowed(twin):
        return 0
    lag = node.faults(twin).bmc_lag
    if not lag:
        return _act(twin, command)
    lab = str(twin.lab.directory)
    argv = [sys.executable, "-m", PROGRAM, lab, twin.name, DELAYED, str(lag), command]
    processes.spawn(argv, group=twin.bmc_group, log=twin.directory / "bmc/log")
    return 0


def _swallowed(twin: Twin) -> bool:
    """Whether this power-on is one that the BMC forgets; counts it."""
    with twin.hardware_lock():
        now = node.faults(twin)
        if not now.swallow_power_on or node.is_on(twin):
            return False
        node.save_faults(twin, dataclasses.replace(now, swallow_power_on=now.swallow_power_on - 1))
        return True


def _act(twin: Twin, command: str) -> int:
    match command:
        case "on":
            node.power_on(twin)
        case "off":
            node.power_off(twin)
        case "shutdown":
            node.shut_down(twin)
        case "reset":
            if node.is_on(twin):
                node.power_off(twin)
                node.power_on(twin)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
