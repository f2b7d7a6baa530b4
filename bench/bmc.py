"""Measure ``rigdeploy power status`` of 100 BMCs against FreeIPMI's ipmipower and ipmitool: ratios of medians.

    .venv/bin/python bench/bmc.py

The BMCs are the tests' own (tests/bmc), all in one process; every tool asks all of them with cipher suite 17, in turns
with the others, once with BMCs that answer as fast as a loopback does and once with BMCs that take 30 ms for an answer,
which is nearer to what their small processors do (no real BMC was at hand). ipmipower asks all at once by itself;
ipmitool knows one BMC only, so 16 of it run at a time.
"""

from __future__ import annotations

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
DELAYS = (0.0, 0.03)
"""Seconds that a BMC takes for an answer."""
PASSWORD = "bench-only-Pa55word"  # noqa: S105 - of simulated BMCs

# DESIGN section 7.
BUDGETS = {"ipmipower": 1.0, "ipmitool, 16 at a time": 0.1}

RIG = """\
  rig{number:03}:
    address: 192.0.2.{number}
    build: pro-4x3090
    power: {{driver: ipmi, address: {address}, port: {port}, username: admin, password: {{file: {secret}}}}}
"""


def write(path: Path, text: str) -> Path:
    """A file that only its owner reads."""
    path.touch(0o600)
    path.write_text(text)
    return path


def commands(directory: Path, secret: Path) -> dict[str, list[str]]:
    """What each tool is started with; passwords go by file."""
    inventory = directory / "inventory"
    inventory.mkdir()
    rigs = "".join(
        RIG.format(number=number, address=address, port=PORT, secret=secret)
        for number, address in enumerate(ADDRESSES, start=1)
    )
    (inventory / "fleet.yml").write_text(f"plugin: rigdeploy\nrigs:\n{rigs}")
    hosts = ",".join(f"{address}:{PORT}" for address in ADDRESSES)
    config = write(
        directory / "freeipmi.conf",
        f"driver-type LAN_2_0\nusername admin\npassword {PASSWORD}\ncipher-suite-id 17\n",
    )
    listed = directory / "addresses"
    listed.write_text("\n".join(ADDRESSES))
    ipmitool = f"ipmitool -I lanplus -C 17 -p {PORT} -U admin -f {secret} -H {{}} chassis power status"
    return {
        "rigdeploy": [str(BIN / "rigdeploy"), "power", "status", "-i", str(inventory)],
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


def seconds(command: list[str]) -> float:
    """Wall seconds of one run; one that does not see 50 rigs on and 50 off stops the measurement."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    said = [word.strip(",") for word in done.stdout.split()]
    if done.returncode or (said.count("on"), said.count("off")) != (COUNT // 2, COUNT // 2):
        sys.exit(f"{command[0]} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return taken


def compare(tools: dict[str, list[str]], delay: float) -> bool:
    """Measure every tool in turns and print; False when a budget is missed."""
    for command in tools.values():
        seconds(command)  # warm
    rounds = [{tool: seconds(command) for tool, command in tools.items()} for _ in range(RUNS)]
    medians = {tool: statistics.median(one[tool] for one in rounds) for tool in tools}
    print(f"power status of {COUNT} BMCs that answer in {delay * 1000:.0f} ms:")
    kept = True
    for tool, budget in BUDGETS.items():
        ratio = medians["rigdeploy"] / medians[tool]
        kept = kept and ratio <= budget
        print(
            f"  against {tool}: {medians['rigdeploy']:.2f} s against {medians[tool]:.2f} s, "
            f"ratio {ratio:.2f} (budget {budget})"
        )
    return kept


def main() -> int:
    """Measure at every delay; exit 1 when a budget is missed."""
    kept = []
    with tempfile.TemporaryDirectory() as name:
        secret = write(Path(name) / "password", PASSWORD)
        tools = commands(Path(name), secret)
        for delay in DELAYS:
            with served(secret, delay):
                kept.append(compare(tools, delay))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
