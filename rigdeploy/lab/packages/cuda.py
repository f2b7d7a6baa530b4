"""CUDA toolkits side by side, the metas that drag a driver in, cuDNN and NCCL, and NVIDIA's keyring.

Of the hundred packages of a toolkit there are those that roles and guards meet: compiler, runtime, one library, their
metas, and the three ``config-common`` that own /usr/local/cuda. Versions: CUDA 12.9 update 1, 13.0 update 2, 13.1
update 1. That ``cuda-runtime`` takes either flavour of the driver, and that the two cuDNN are in each other's way, is
this lab's reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rigdeploy.lab.packages.package import Package
from rigdeploy.lab.processes import run

_STUB = "libstub.so"
_TARGET = "targets/x86_64-linux"


@dataclass(frozen=True)
class Toolkit:
    """One toolkit: package versions without the revision, and the least driver of its own branch."""

    release: str
    meta: str
    nvcc: str
    cudart: str
    cublas: str
    driver: str

    @property
    def dashed(self) -> str:
        """The release in package names: ``13-0``."""
        return self.release.replace(".", "-")

    @property
    def major(self) -> str:
        """What cuDNN and shared configuration go by."""
        return self.release.partition(".")[0]

    @property
    def home(self) -> str:
        """Its directory, relative to /."""
        return f"usr/local/cuda-{self.release}"


TOOLKITS = (
    Toolkit("12.9", "12.9.1", "12.9.86", "12.9.79", "12.9.1.4", "575.57.08"),
    Toolkit("13.0", "13.0.2", "13.0.88", "13.0.96", "13.1.0.3", "580.95.05"),
    Toolkit("13.1", "13.1.1", "13.1.115", "13.1.80", "13.2.1.1", "590.48.01"),
)
CUDNN = "9.20.0.48"
NCCL = ("2.27.3-1+cuda12.9", "2.28.9-1+cuda12.9", "2.28.9-1+cuda13.0", "2.29.2-1+cuda13.1")
"""Every version is built for several toolkits; apt takes the newest unless the suffix is pinned."""

_NVCC = """\
#!/bin/sh
# Simulated by the lab of rigdeploy: it says its version, and compiles nothing.
cat <<END
nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Cuda compilation tools, release {release}, V{nvcc}
Build cuda_{release}.r{release} (simulated by rigdeploy's lab)
END
"""
_ALTERNATIVES = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
update-alternatives --install /usr/local/cuda cuda /usr/local/cuda-{release} {priority}
update-alternatives --install /usr/local/cuda-{major} cuda-{major} /usr/local/cuda-{release} {priority}
"""
_NO_ALTERNATIVES = """\
#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
update-alternatives --remove cuda /usr/local/cuda-{release}
update-alternatives --remove cuda-{major} /usr/local/cuda-{release}
"""
_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] "
    "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/ /\n"
)
_PREFERENCES = "Package: *\nPin: release l=NVIDIA CUDA\nPin-Priority: 600\n"


def compile_stub(directory: Path) -> None:
    """Compile into ``directory`` the empty library that stands for each of NVIDIA's: ldconfig wants a real one."""
    run(["gcc", "-shared", "-fPIC", "-nostdlib", "-x", "c", "/dev/null", "-o", directory / _STUB])


def packages(libraries: str, built: Path) -> list[Package]:
    """All of them; ``libraries`` is the directory of shared libraries relative to /."""
    found = [package for toolkit in TOOLKITS for package in _toolkit(toolkit, built / _STUB)]
    for major in ("12", "13"):
        found += _cudnn(major, libraries, built / _STUB)
    for version in NCCL:
        found += _nccl(version, libraries, built / _STUB)
    return [*found, _keyring()]


def _toolkit(toolkit: Toolkit, stub: Path) -> list[Package]:
    dashed, home, major = toolkit.dashed, toolkit.home, toolkit.major
    meta, target = f"{toolkit.meta}-1", f"{toolkit.home}/{_TARGET}"
    shared = f"cuda-toolkit-{dashed}-config-common, cuda-toolkit-{major}-config-common, cuda-toolkit-config-common"

    def family(name: str, version: str, *parts: str) -> Package:
        depends = ", ".join(f"{part}-{dashed} (>= {toolkit.release})" for part in parts)
        return Package(f"{name}-{dashed}", version, f"{name.replace('-', ' ')} {toolkit.release}", depends)

    def library(name: str, version: str) -> Package:
        soname = f"{name.removeprefix('cuda-').removeprefix('lib')}.so"
        files: dict[str, str | Path] = {f"{target}/lib/lib{soname}.{version}": stub}
        links = {f"{target}/lib/lib{soname}.{major}": f"lib{soname}.{version}"}
        scripts = {"triggers": "activate-noawait ldconfig\n"}
        return Package(
            f"{name}-{dashed}", f"{version}-1", f"{name} for CUDA {toolkit.release}", shared,
            files=files, links=links, scripts=scripts,
        )  # fmt: skip

    def header(name: str, version: str, file: str) -> Package:
        content: dict[str, str | Path] = {f"{target}/include/{file}": "/* simulated by rigdeploy's lab */\n"}
        depends = f"{name}-{dashed} (>= {version})"
        return Package(f"{name}-dev-{dashed}", f"{version}-1", f"{name}: headers", depends, files=content)

    return [
        library("cuda-cudart", toolkit.cudart),
        library("libcublas", toolkit.cublas),
        header("cuda-cudart", toolkit.cudart, "cuda_runtime.h"),
        header("libcublas", toolkit.cublas, "cublas_v2.h"),
        Package(
            f"cuda-nvcc-{dashed}", f"{toolkit.nvcc}-1", f"CUDA nvcc {toolkit.release}", shared,
            files={f"{home}/bin/nvcc": _NVCC.format(release=toolkit.release, nvcc=toolkit.nvcc)},
            executables=(f"{home}/bin/nvcc",),
        ),
        family("cuda-compiler", meta, "cuda-nvcc"),
        family("cuda-libraries", meta, "cuda-cudart", "libcublas"),
        family("cuda-libraries-dev", meta, "cuda-cudart-dev", "libcublas-dev"),
        family("cuda-toolkit", meta, "cuda-compiler", "cuda-libraries", "cuda-libraries-dev"),
        Package(
            f"cuda-runtime-{dashed}", meta, f"CUDA runtime {toolkit.release}, driver included",
            f"cuda-drivers (>= {toolkit.driver}) | nvidia-open (>= {toolkit.driver}), cuda-libraries-{dashed}",
        ),
        Package(
            f"cuda-{dashed}", meta, f"CUDA {toolkit.release}, driver included",
            f"cuda-runtime-{dashed} (>= {toolkit.meta}), cuda-toolkit-{dashed} (>= {toolkit.meta})",
        ),
        Package("cuda", meta, "CUDA, driver included", f"cuda-{dashed} (>= {toolkit.meta})"),
        Package("cuda-toolkit", meta, "The newest CUDA toolkit", f"cuda-toolkit-{dashed} (>= {toolkit.meta})"),
        *_configuration(toolkit),
    ]  # fmt: skip


def _configuration(toolkit: Toolkit) -> list[Package]:
    """The packages behind /usr/local/cuda: the alternatives, and where the loader looks."""
    version, major, home = f"{toolkit.cudart}-1", toolkit.major, toolkit.home
    values = {"release": toolkit.release, "major": major, "priority": toolkit.release.replace(".", "")}
    return [
        Package(
            f"cuda-toolkit-{toolkit.dashed}-config-common", version, f"Common configuration, CUDA {toolkit.release}",
            f"cuda-toolkit-{major}-config-common, cuda-toolkit-config-common",
            links={f"{home}/lib64": f"{_TARGET}/lib", f"{home}/include": f"{_TARGET}/include"},
            scripts={"postinst": _ALTERNATIVES.format(**values), "prerm": _NO_ALTERNATIVES.format(**values)},
        ),
        Package(
            f"cuda-toolkit-{major}-config-common", version, f"Common configuration, CUDA {major}",
            "cuda-toolkit-config-common",
            files={f"etc/ld.so.conf.d/988_cuda-{major}.conf": f"/usr/local/cuda-{major}/{_TARGET}/lib\n"},
        ),
        Package(
            "cuda-toolkit-config-common", version, "Common configuration, CUDA",
            files={"etc/ld.so.conf.d/000_cuda.conf": f"/usr/local/cuda/{_TARGET}/lib\n"},
        ),
    ]  # fmt: skip


def _cudnn(major: str, libraries: str, stub: Path) -> list[Package]:
    full, other = f"{CUDNN}-1", "12" if major == "13" else "13"
    files: dict[str, str | Path] = {f"{libraries}/libcudnn.so.{CUDNN}": stub}
    names = (f"libcudnn9-cuda-{major}", f"libcudnn9-dev-cuda-{major}", f"libcudnn9-headers-cuda-{major}")
    return [
        Package(
            names[0], full, f"cuDNN for CUDA {major}", conflicts=f"libcudnn9-cuda-{other}", files=files,
            links={f"{libraries}/libcudnn.so.9": f"libcudnn.so.{CUDNN}"},
        ),
        Package(
            names[1], full, f"cuDNN for CUDA {major}: development",
            f"{names[0]} (= {full}), {names[2]} (= {full})",
        ),
        Package(names[2], full, f"cuDNN for CUDA {major}: headers"),
        Package(f"cudnn9-cuda-{major}", full, f"cuDNN for CUDA {major}: all of it",
                ", ".join(f"{name} (>= {full})" for name in names)),
    ]  # fmt: skip


def _nccl(version: str, libraries: str, stub: Path) -> list[Package]:
    number = version.partition("-")[0]
    files: dict[str, str | Path] = {f"{libraries}/libnccl.so.{number}": stub}
    links = {f"{libraries}/libnccl.so.2": f"libnccl.so.{number}"}
    return [
        Package("libnccl2", version, "NVIDIA Collective Communication Library", files=files, links=links),
        Package("libnccl-dev", version, "NCCL: development", f"libnccl2 (= {version})"),
    ]


def _keyring() -> Package:
    return Package(
        "cuda-keyring",
        "1.1-1",
        "GPG keyring and source of the CUDA repository",
        files={
            "etc/apt/sources.list.d/cuda-debian12-x86_64.list": _SOURCE,
            "etc/apt/preferences.d/cuda-repository-pin-600": _PREFERENCES,
            "usr/share/keyrings/cuda-archive-keyring.gpg": "simulated by rigdeploy's lab\n",
        },
    )
