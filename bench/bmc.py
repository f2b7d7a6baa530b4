"""Measure ``rigdeploy power status`` of 100 BMCs against FreeIPMI's ipmipower and ipmitool: ratios of medians.

    .venv/bin/python bench/bmc.py

The BMCs are the tests' own (tests/bmc), all in one process; every tool asks all of them with cipher suite 17 and as
operator, in turns with the others: with BMCs that answer as fast as a loopback does, and with BMCs that take 30 and
100 ms for an answer, which is nearer to what their small processors do (no real BMC was at hand). ipmipower asks all at
once by itself; ipmitool knows one BMC only, so 16 of it run at a time.

What is compared is the second call and those after it: the first one reads the declaration and keeps what it found.
A first call, nothing being kept, and what a call costs before and beside its BMCs, have lines of their own.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RUNS = 7
COUNT = 100
FIRST, PORT = "127.4.0.1", 6230
ADDRESSES = [f"127.4.0.{number}" for number in range(1, COUNT + 1)]
DELAYS = (0.0, 0.03, 0.1)
"""Seconds that a BMC takes for an answer."""
PASSWORD = "bench-only-Pa55word"  # noqa: S105 - of simulated BMCs

OURS = "rigdeploy"
# DESIGN section 7.
BUDGETS = {"ipmipower": 1.0, "ipmitool, 16 at a time": 0.1}

FLOORS = {"Python alone": "pass", "Python and click": "import click"}
"""What no command of ours can be faster than."""

RIG = """\
  rig{number:03}:
    address: 192.0.2.{number}
    build: pro-4x3090
    power: {{driver: ipmi, address: {address}, port: {port}, username: admin, password: {{file: {secret}}},
            privilege: operator}}
"""


def write(path: Path, text: str) -> Path:
    """A file that only its owner reads."""
    path.touch(0o600)
    path.write_text(text)
    return path


def commands(directory: Path, secret: Path) -> dict[str, list[str]]:
    """What each tool is started with; passwords go by file."""
    inventory = directory / "fleet" / "inventory"
    inventory.mkdir(parents=True)
    rigs = "".join(
        RIG.format(number=number, address=address, port=PORT, secret=secret)
        for number, address in enumerate(ADDRESSES, start=1)
    )
    (inventory / "fleet.yml").write_text(f"plugin: rigdeploy\nrigs:\n{rigs}")
    hosts = ",".join(f"{address}:{PORT}" for address in ADDRESSES)
    config = write(
        directory / "freeipmi.conf",
        f"driver-type LAN_2_0\nusername admin\npassword {PASSWORD}\ncipher-suite-id 17\nprivilege-level OPERATOR\n",
    )
    listed = directory / "addresses"
    listed.write_text("\n".join(ADDRESSES))
    ipmitool = f"ipmitool -I lanplus -C 17 -L OPERATOR -p {PORT} -U admin -f {secret} -H {{}} chassis power status"
    return {
        OURS: [str(BIN / "rigdeploy"), "power", "status", "-i", str(inventory)],
        "ipmipower": ["ipmipower", "--config-file", str(config), "-h", hosts, "--stat"],
        "ipmitool, 16 at a time": ["xargs", "-a", str(listed), "-P", "16", "-I", "{}", *ipmitool.split()],
    }


@contextmanager
def served(secret: Path, delay: float) -> Iterator[None]:
    """100 BMCs, every other one's rig switched on, for as long as this lasts."""
    command = [sys.executable, "-m", "tests.bmc", "--count", str(COUNT), "--first", FIRST, "--port", str(PORT)]
    with subprocess.Popen(
        [*command, "--delay", str(delay), "--password-file", secret],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as bmcs:
        if bmcs.stdout is None or bmcs.stdin is None or bmcs.stdout.readline() != "ready\n":
            sys.exit("the BMCs did not start")
        yield
        bmcs.stdin.close()


def seconds(command: list[str], rigs: int = COUNT) -> float:
    """Wall seconds of one run; one that does not see every other rig on and the rest off stops the measurement."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    said = [word.strip(",") for word in done.stdout.split()]
    if done.returncode or (said.count("on"), said.count("off")) != (rigs - rigs // 2, rigs // 2):
        sys.exit(f"{command[0]} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return taken


def compare(tools: dict[str, list[str]], state: Path, delay: float) -> bool:
    """Measure every tool in turns and print; False when a budget is missed."""
    ours = tools[OURS]
    rounds = []
    for _ in range(RUNS):
        shutil.rmtree(state, ignore_errors=True)
        one = {"first": seconds(ours)}
        one |= {tool: seconds(command) for tool, command in tools.items()}
        one["one"] = seconds([*ours, "rig001"], rigs=1)
        one |= {name: seconds([sys.executable, "-c", code], rigs=0) for name, code in FLOORS.items()}
        rounds.append(one)
    medians = {what: statistics.median(one[what] for one in rounds) for what in rounds[0]}
    print(f"power status of {COUNT} BMCs that answer in {delay * 1000:.0f} ms: {medians[OURS]:.3f} s")
    kept = True
    for tool, budget in BUDGETS.items():
        ratio = medians[OURS] / medians[tool]
        kept = kept and ratio <= budget
        verdict = "" if ratio <= budget else ", missed"
        print(f"  against {tool}: {medians[tool]:.3f} s, ratio {ratio:.2f} (budget {budget}{verdict})")
    print(f"  the first call, nothing being kept: {medians['first']:.3f} s; of one BMC alone: {medians['one']:.3f} s")
    print("  " + "; ".join(f"{name}: {medians[name]:.3f} s" for name in FLOORS))
    return kept


def main() -> int:
    """Measure at every delay; exit 1 when a budget is missed."""
    kept = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        secret = write(directory / "password", PASSWORD)
        tools = commands(directory, secret)
        for delay in DELAYS:
            with served(secret, delay):
                kept.append(compare(tools, directory / "fleet" / ".rigdeploy", delay))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
