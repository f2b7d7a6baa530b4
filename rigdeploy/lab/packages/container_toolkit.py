"""NVIDIA's container toolkit: the last version before its own CDI units, and one with them.

Names and dependencies from packaging/debian of NVIDIA/nvidia-container-toolkit, the units from its deployments/systemd;
what the tools do is in ``simulated/nvidia_container_toolkit.py``, one file under several names.
"""

from __future__ import annotations

from pathlib import Path

from rigdeploy.lab.packages.driver import SIMULATED
from rigdeploy.lab.packages.package import Package

WITHOUT_UNITS, CURRENT = "1.17.8", "1.18.1"

_TOOL = SIMULATED / "nvidia_container_toolkit.py"
_SERVICE = """\
[Unit]
Description=Refresh NVIDIA CDI specification file (simulated)
ConditionPathExists=|/usr/bin/nvidia-smi
ConditionPathExists=|/usr/sbin/nvidia-smi
ConditionPathExists=/usr/bin/nvidia-ctk
[Service]
Type=oneshot
Environment=NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml
EnvironmentFile=-/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env
ExecCondition=/usr/bin/grep -qE '/(nvidia|nvidia-current)[.]ko' /lib/modules/%v/modules.dep
ExecStart=/usr/bin/nvidia-ctk cdi generate
[Install]
WantedBy=multi-user.target
"""
_PATH = """\
[Unit]
Description=Trigger CDI refresh on NVIDIA driver or toolkit changes (simulated)
[Path]
PathChanged=/lib/modules/%v/modules.dep
PathChanged=/lib/modules/%v/modules.dep.bin
PathChanged=/usr/bin/nvidia-ctk
[Install]
WantedBy=multi-user.target
"""
_CONFIGURE = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
/usr/bin/nvidia-ctk --quiet config --config-file=/etc/nvidia-container-runtime/config.toml --in-place
"""
_ENABLE_REFRESH = """\
systemctl --quiet enable nvidia-cdi-refresh.path nvidia-cdi-refresh.service
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl restart nvidia-cdi-refresh.path nvidia-cdi-refresh.service || true
fi
"""
_DISABLE_REFRESH = """\
#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
if [ -d /run/systemd/system ]; then
  systemctl disable --now --quiet nvidia-cdi-refresh.path nvidia-cdi-refresh.service || true
fi
"""
_OLD_NAMES = "nvidia-container-runtime (<= 3.5.0-1), nvidia-container-runtime-hook"


def packages(libraries: str, built: Path) -> list[Package]:
    """The four packages of both versions; ``built`` holds ``libstub.so``."""
    return [package for version in (WITHOUT_UNITS, CURRENT) for package in _four(version, libraries, built)]


def _four(version: str, libraries: str, built: Path) -> list[Package]:
    full = f"{version}-1"
    tool = _TOOL.read_text().replace("@VERSION@", version)

    def tools(*names: str) -> dict[str, str | Path]:
        return {f"usr/bin/{name}": tool for name in names}

    base = tools("nvidia-ctk", "nvidia-cdi-hook", "nvidia-container-runtime")
    hook, cli = tools("nvidia-container-runtime-hook"), tools("nvidia-container-cli")
    files, scripts = dict(base), {"postinst": _CONFIGURE}
    if version != WITHOUT_UNITS:
        files |= {
            "lib/systemd/system/nvidia-cdi-refresh.service": _SERVICE,
            "lib/systemd/system/nvidia-cdi-refresh.path": _PATH,
            "etc/nvidia-container-toolkit/nvidia-cdi-refresh.env": "# NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=\n",
        }
        scripts = {"postinst": _CONFIGURE + _ENABLE_REFRESH, "prerm": _DISABLE_REFRESH}
    return [
        Package(
            "nvidia-container-toolkit", full, "NVIDIA Container toolkit",
            f"nvidia-container-toolkit-base (= {full}), libnvidia-container-tools (= {full}), "
            "libnvidia-container-tools (<< 2.0.0)",
            breaks=_OLD_NAMES, replaces=_OLD_NAMES, files=hook, executables=tuple(hook),
        ),
        Package(
            "nvidia-container-toolkit-base", full, "NVIDIA Container Toolkit Base",
            breaks=_OLD_NAMES, replaces=_OLD_NAMES, files=files, executables=tuple(base), scripts=scripts,
        ),
        Package(
            "libnvidia-container-tools", full, "NVIDIA container runtime library (command-line tools)",
            f"libnvidia-container1 (>= {full}), libnvidia-container1 (<< 2.0.0)",
            files=cli, executables=tuple(cli),
        ),
        Package(
            "libnvidia-container1", full, "NVIDIA container runtime library",
            files={f"{libraries}/libnvidia-container.so.{version}": built / "libstub.so"},
            links={f"{libraries}/libnvidia-container.so.1": f"libnvidia-container.so.{version}"},
        ),
    ]  # fmt: skip
