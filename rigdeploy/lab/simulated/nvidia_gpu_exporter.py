#!/usr/bin/python3
"""nvidia_gpu_exporter of a rigdeploy twin (simulated): metrics from nvidia-smi, under the real exporter's names.

Real are the server (port 9835, ``--web.listen-address``, ``--web.telemetry-path``) and what it does when nvidia-smi
fails; of the real one's hundreds of metrics there are those that people look at.
"""

from __future__ import annotations

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METRICS = (
    ("clocks.current.graphics", "clocks_current_graphics_clock_hz", 1e6),
    ("enforced.power.limit", "enforced_power_limit_watts", 1.0),
    ("memory.total", "memory_total_bytes", 1048576.0),
    ("memory.used", "memory_used_bytes", 1048576.0),
    ("pcie.link.gen.current", "pcie_link_gen_current", 1.0),
    ("pcie.link.width.current", "pcie_link_width_current", 1.0),
    ("power.draw", "power_draw_watts", 1.0),
    ("power.limit", "power_limit_watts", 1.0),
    ("temperature.gpu", "temperature_gpu", 1.0),
    ("utilization.gpu", "utilization_gpu_ratio", 0.01),
)
LABELS = (("driver_version", "driver_version"), ("index", "index"), ("name", "name"), ("pci.bus_id", "pci_bus_id"))
failures: list[int] = []
"""Exit codes of the questions that failed."""


def metrics() -> str:
    """The page, by a question to nvidia-smi."""
    names = ["uuid", *(field for field, _ in LABELS), *(field for field, _, _ in METRICS)]
    argv = ["nvidia-smi", "--query-gpu=" + ",".join(names), "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        code, text = done.returncode, done.stdout
    except FileNotFoundError:
        code, text = 127, ""
    if code:
        failures.append(code)
    answers = text.splitlines() if code == 0 else []
    rows = [dict(zip(names, line.split(", "))) for line in answers]  # noqa: B905 - Python 3.9 knows no strict
    lines = sample("failed_scrapes_total", "counter", [("", float(len(failures)))])
    lines += sample("command_exit_code", "gauge", [("", float(code))])
    cards = [("{" + card_labels(row) + "}", 1.0) for row in rows]
    lines += sample("gpu_info", "gauge", cards)
    for field, name, factor in METRICS:
        lines += sample(name, "gauge", [(f'{{uuid="{row["uuid"]}"}}', float(row[field]) * factor) for row in rows])
    return "\n".join(lines) + "\n"


def card_labels(row: dict[str, str]) -> str:
    """What the card is, as labels."""
    pairs = [(label, row[field]) for field, label in LABELS] + [("uuid", row["uuid"])]
    return ",".join(f'{label}="{value}"' for label, value in pairs)


def sample(name: str, kind: str, values: list[tuple[str, float]]) -> list[str]:
    """One metric with its values, each with its labels."""
    full = "nvidia_smi_" + name
    return [f"# TYPE {full} {kind}", *(f"{full}{labels} {value:.12g}" for labels, value in values)] if values else []


class Handler(BaseHTTPRequestHandler):
    """Serves the metrics and a front page."""

    def do_GET(self) -> None:
        """Answer."""
        at_metrics = self.path.partition("?")[0] == option("--web.telemetry-path", "/metrics")
        body = (metrics() if at_metrics else "nvidia_gpu_exporter, simulated by rigdeploy's lab\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def option(name: str, default: str) -> str:
    """The value of ``--name=value`` or ``--name value``."""
    for at, word in enumerate(sys.argv):
        if word.startswith(name + "="):
            return word.partition("=")[2]
        if word == name:
            return sys.argv[at + 1]
    return default


def main() -> None:
    """Serve until killed."""
    if "--version" in sys.argv:
        print("nvidia_gpu_exporter: simulated by rigdeploy's lab")
        return
    host, _, port = option("--web.listen-address", ":9835").rpartition(":")
    ThreadingHTTPServer((host.strip("[]"), int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
