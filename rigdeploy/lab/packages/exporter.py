"""nvidia_gpu_exporter: the one that needs no more than nvidia-smi, and so works on GeForce cards.

Names as the project's own .deb has them (its goreleaser configuration); ``simulated/nvidia_gpu_exporter.py`` answers.
"""

from __future__ import annotations

from rigdeploy.lab.packages.driver import SIMULATED
from rigdeploy.lab.packages.package import Package

VERSION = "1.9.1"

_UNIT = """\
[Unit]
Description=NVIDIA GPU exporter (simulated)
Wants=network-online.target
After=network-online.target
[Service]
Type=simple
User=nvidia_gpu_exporter
Group=nvidia_gpu_exporter
ExecStart=/usr/bin/nvidia_gpu_exporter
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
_START = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
getent passwd nvidia_gpu_exporter >/dev/null || useradd -r -s /bin/false nvidia_gpu_exporter
systemctl daemon-reload
systemctl --quiet enable nvidia_gpu_exporter.service
systemctl restart nvidia_gpu_exporter.service
"""
_STOP = """\
#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
systemctl disable --now --quiet nvidia_gpu_exporter.service || true
"""


def packages() -> list[Package]:
    """The exporter."""
    return [
        Package(
            "nvidia-gpu-exporter",
            VERSION,
            "GPU exporter for Prometheus, on nvidia-smi",
            files={
                "usr/bin/nvidia_gpu_exporter": SIMULATED / "nvidia_gpu_exporter.py",
                "usr/lib/systemd/system/nvidia_gpu_exporter.service": _UNIT,
            },
            executables=("usr/bin/nvidia_gpu_exporter",),
            scripts={"postinst": _START, "prerm": _STOP},
        )
    ]
