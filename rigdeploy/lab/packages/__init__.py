"""Simulated vendor packages: real names, versions and dependencies on Debian 12, with simulated content.

Each says in its description that it is simulated. What is not in ``docs`` of the vendors that can be read by anyone is
said where it stands. Names and versions: NVIDIA's driver installation guide (version locking, kernel modules), CUDA
release notes and container images' environment (NV_CUDA_*), and lists of packages that people publish from their
machines.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rigdeploy.lab.packages import container_toolkit, cuda, driver, exporter
from rigdeploy.lab.packages.driver import VERSIONS
from rigdeploy.lab.packages.package import Package, build
from rigdeploy.lab.processes import run

__all__ = ["VERSIONS", "Package", "build_all", "container_toolkit", "cuda", "driver", "every", "exporter", "recipe"]

HERE = Path(__file__).parent


def recipe() -> str:
    """A text that changes whenever the packages' content would."""
    sources = [*sorted(HERE.glob("*.py")), driver.LIBRARIES, *sorted(driver.SIMULATED.glob("nvidia_*.py"))]
    return "\n".join(path.read_text() for path in sources)


def build_all(directory: Path) -> None:
    """Build every simulated package into ``directory``."""
    architecture = run(["dpkg", "--print-architecture"]).strip()
    libraries = "usr/lib/" + run(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"]).strip()
    with tempfile.TemporaryDirectory(prefix="rigdeploy-cuda-") as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        driver.compile_libraries(Path(name))
        cuda.compile_stub(Path(name))
        list(pool.map(lambda package: build(package, architecture, directory), every(libraries, Path(name))))


def every(libraries: str, built: Path) -> list[Package]:
    """All of them; ``libraries`` is where libraries go, relative to /, and ``built`` holds those that were compiled."""
    return [
        *driver.packages(libraries, built),
        *cuda.packages(libraries, built),
        *container_toolkit.packages(libraries, built),
        *exporter.packages(),
    ]
