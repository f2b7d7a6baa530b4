"""Debian's own NVIDIA driver and what DKMS needs to build it: real packages, for a mirror of their own.

Nothing of a lab needs them but the tests that build them: they are downloaded (about 400 MB) when first asked for.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

from rigdeploy.lab import repository, root
from rigdeploy.lab.processes import run
from rigdeploy.lab.sources import apt_settings, debian_sources

PACKAGES = (
    "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "nvidia-persistenced", "linux-image-amd64",
    "linux-headers-amd64",
)  # fmt: skip
"""The headless driver of branch 535, and a kernel with its headers."""
COMPONENTS = "main contrib non-free non-free-firmware"


def ensure(say: Callable[[str], None]) -> Path:
    """The cached repository with PACKAGES, and with all that they need and the twins' root lacks."""
    shared = root.ensure_root(say)

    def build(directory: Path) -> None:
        say("downloading Debian's own NVIDIA driver and a kernel to build it for")
        _download(shared / "root", directory)
        repository.publish(directory, "Debian's NVIDIA driver for rigdeploy twins")

    recipe = "\n".join([shared.name, *PACKAGES, COMPONENTS, inspect.getsource(_download)])
    return root.ensure("debian-driver", recipe, build)


def _download(twin: Path, directory: Path) -> None:
    """Download what a system with the packages of the root ``twin`` would install."""
    state = directory / "apt"
    (state / "lists/partial").mkdir(parents=True)
    (directory / "partial").mkdir()
    (state / "sources.list").write_text("\n".join(debian_sources(components=COMPONENTS)) + "\n")
    (state / "apt.conf").write_text(apt_settings())
    none = "/dev/null"
    options = {
        "Dir::Etc": str(state), "Dir::Etc::SourceList": str(state / "sources.list"), "Dir::Etc::SourceParts": none,
        "Dir::Etc::Preferences": none, "Dir::Etc::PreferencesParts": none,
        "Dir::State": str(state), "Dir::State::Lists": str(state / "lists"),
        "Dir::State::status": str(twin / "var/lib/dpkg/status"),
        "Dir::Cache": str(state), "Dir::Cache::Archives": str(directory),
        "APT::Sandbox::User": "root", "APT::Install-Recommends": "false", "Acquire::Languages": "none",
    }  # fmt: skip
    apt = ["apt-get", "--yes", "--quiet", f"--config-file={state / 'apt.conf'}"]
    apt += [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    run([*apt, "update"])
    run([*apt, "--download-only", "install", *PACKAGES])
    shutil.rmtree(state)
    shutil.rmtree(directory / "partial")
    (directory / "lock").unlink(missing_ok=True)
