"""Serve many fake BMCs: ``python -m tests.bmc --count 100 --password-file FILE`` at 127.3.0.1, 127.3.0.2, …

Prints "ready" once all of them listen, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
from pathlib import Path

from tests.bmc import FakeBmc, FakeBmcs, Faults


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.bmc")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--first", default="127.3.0.1", help="the first one's address; the others follow it")
    parser.add_argument("--port", type=int, default=623)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--password-file", type=Path, required=True)
    arguments = parser.parse_args()
    password = arguments.password_file.read_text().rstrip("\n")
    first = ipaddress.ip_address(arguments.first)
    with FakeBmcs() as bmcs:
        for number in range(arguments.count):
            bmc = FakeBmc(password, on=number % 2 == 0, seed=number, faults=Faults(delay=arguments.delay))
            bmcs.start(bmc, str(first + number), arguments.port)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
