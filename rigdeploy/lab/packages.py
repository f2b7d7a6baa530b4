"""Simulated NVIDIA packages: the vendor's real names and dependencies on Debian 12, with simulated content.

Each says in its description that it is simulated. The kernel packages "build" a marker where DKMS would put the module;
the simulated ``modprobe`` of the twins looks for it.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rigdeploy.lab.processes import run

VERSIONS = ("570.195.03", "580.95.05")
"""One driver per branch; a branch has to be pinned to stay below the newest."""

SIMULATED = Path(__file__).parent / "simulated"
CUDA = SIMULATED / "cuda.c"
"""Both libraries in one: ``libcuda.so.1`` and ``libnvidia-ml.so.1``."""

MODULES = ("nvidia", "nvidia-modeset", "nvidia-drm", "nvidia-uvm")

_BUILD_MODULES = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
dir=/lib/modules/$(uname -r)/updates/dkms
mkdir -p "$dir"
for module in {modules}; do
  printf 'simulated by the lab of rigdeploy\\nversion: {version}\\nlicense: {license}\\n' >"$dir/$module.ko"
done
"""
_REMOVE_MODULES = """\
#!/bin/sh
set -e
cd "/lib/modules/$(uname -r)/updates/dkms" 2>/dev/null || exit 0
for module in {modules}; do rm -f "$module.ko"; done
"""
_ENABLE_UNIT = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
systemctl --quiet enable nvidia-persistenced.service
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl restart nvidia-persistenced.service || true
fi
"""
_DISABLE_UNIT = """\
#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
if [ -d /run/systemd/system ]; then systemctl disable --now --quiet nvidia-persistenced.service || true; fi
"""
_LONG = "Made by rigdeploy's lab for its virtual rigs. It holds nothing of NVIDIA's."
_UNIT = """\
[Unit]
Description=NVIDIA Persistence Daemon (simulated)
[Service]
Type=simple
ExecStart=/usr/bin/nvidia-persistenced --verbose
Restart=no
[Install]
WantedBy=multi-user.target
"""
_BLACKLIST = "# Installed with the NVIDIA driver.\nblacklist nouveau\noptions nouveau modeset=0\n"
_MODPROBE = "#!/bin/sh\n# Simulated by the lab of rigdeploy.\nexec modprobe nvidia\n"
_PINNED = " ".join((
    "*nvidia*", "libcuda1", "libcudadebugger1", "libnvcuvid1", "libnvoptix1", "libxnvctrl*", "cuda-compat-*",
    "cuda-drivers*", "firmware-nvidia-gsp",
))  # fmt: skip


@dataclass(frozen=True)
class Package:
    """One package: control fields, files by path (text or a path to copy), links, maintainer scripts by name."""

    name: str
    version: str
    summary: str
    depends: str = ""
    conflicts: str = ""
    files: dict[str, str | Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    executables: tuple[str, ...] = ()
    scripts: dict[str, str] = field(default_factory=dict)


def recipe() -> str:
    """A text that changes whenever the packages' content would."""
    sources = [Path(__file__), CUDA, *sorted(SIMULATED.glob("nvidia_*.py"))]
    return "\n".join(path.read_text() for path in sources)


def build_all(directory: Path) -> None:
    """Build every simulated package into ``directory``."""
    architecture = run(["dpkg", "--print-architecture"]).strip()
    libraries = "usr/lib/" + run(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"]).strip()
    with tempfile.TemporaryDirectory(prefix="rigdeploy-cuda-") as name:
        built = compile_libraries(Path(name))
        for version in VERSIONS:
            for package in [_pinning(version), *driver(version, libraries, built)]:
                _build(package, architecture, directory)


def compile_libraries(directory: Path) -> Path:
    """Compile ``libcuda.so`` and ``libnvidia-ml.so`` into ``directory``; returns it."""
    for name in ("libcuda.so", "libnvidia-ml.so"):
        options = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-pthread", f"-Wl,-soname,{name}.1"]
        run(["gcc", *options, "-o", directory / name, CUDA])
    return directory


def _pinning(version: str) -> Package:
    branch = version.partition(".")[0]
    preferences = f"Package: {_PINNED}\nPin: version {branch}.*\nPin-Priority: 1001\n"
    files: dict[str, str | Path] = {f"etc/apt/preferences.d/nvidia-driver-pinning-{branch}": preferences}
    summary = f"Keeps the NVIDIA driver on branch {branch}"
    return Package(f"nvidia-driver-pinning-{branch}", f"{branch}-1", summary, files=files)


def driver(version: str, libraries: str, built: Path) -> list[Package]:
    """The packages of one driver version.

    ``libraries`` is the directory of shared libraries, relative to /; ``built`` holds those that were compiled.
    """
    full = f"{version}-1"

    def same(*names: str) -> str:
        return ", ".join(f"{name} (= {full})" for name in names)

    def library(name: str, soname: str, summary: str) -> Package:
        files: dict[str, str | Path] = {f"{libraries}/{soname}.{version}": built / soname}
        links = {f"{libraries}/{soname}.1": f"{soname}.{version}"}
        scripts = {"triggers": "activate-noawait ldconfig\n"}
        return Package(name, full, summary, files=files, links=links, scripts=scripts)

    return [
        library("libnvidia-ml1", "libnvidia-ml.so", "NVIDIA Management Library (NVML) runtime library"),
        library("libcuda1", "libcuda.so", "NVIDIA CUDA Driver Library"),
        Package(
            "nvidia-modprobe", full, "Utility to load NVIDIA kernel modules and create device nodes",
            files={"usr/bin/nvidia-modprobe": _MODPROBE},
            executables=("usr/bin/nvidia-modprobe",),
        ),
        Package(
            "nvidia-persistenced", full, "Daemon to maintain persistent software state in the NVIDIA driver",
            same("libnvidia-ml1", "nvidia-modprobe"),
            files={
                "usr/bin/nvidia-persistenced": SIMULATED / "nvidia_persistenced.py",
                "lib/systemd/system/nvidia-persistenced.service": _UNIT,
            },
            executables=("usr/bin/nvidia-persistenced",),
            scripts={"postinst": _ENABLE_UNIT, "prerm": _DISABLE_UNIT},
        ),
        Package(
            "nvidia-driver-cuda", full, "NVIDIA driver, compute only: nvidia-smi and what CUDA needs",
            same("libcuda1", "libnvidia-ml1", "nvidia-persistenced")
            + f", nvidia-kernel-dkms (= {full}) | nvidia-kernel-open-dkms (= {full})",
            files={"usr/bin/nvidia-smi": SIMULATED / "nvidia_smi.py"},
            executables=("usr/bin/nvidia-smi",),
        ),
        _kernel("nvidia-kernel-open-dkms", version, "Dual MIT/GPL", "nvidia-kernel-dkms"),
        _kernel("nvidia-kernel-dkms", version, "NVIDIA", "nvidia-kernel-open-dkms"),
    ]  # fmt: skip


def _kernel(name: str, version: str, licence: str, other: str) -> Package:
    modules = " ".join(MODULES)
    return Package(
        name,
        f"{version}-1",
        f"NVIDIA kernel modules, built with DKMS ({'open' if licence != 'NVIDIA' else 'proprietary'})",
        f"nvidia-modprobe (= {version}-1)",
        conflicts=other,
        files={"etc/modprobe.d/nvidia-blacklists-nouveau.conf": _BLACKLIST},
        scripts={
            "postinst": _BUILD_MODULES.format(modules=modules, version=version, license=licence),
            "prerm": _REMOVE_MODULES.format(modules=modules),
        },
    )


def _build(package: Package, architecture: str, directory: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rigdeploy-deb-") as name:
        tree = Path(name)
        tree.chmod(0o755)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(control(package, architecture))
        for script, text in package.scripts.items():
            path = tree / "DEBIAN" / script
            path.write_text(text)
            path.chmod(0o755)
        for relative, content in package.files.items():
            path = tree / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_text(content)
            path.chmod(0o755 if relative in package.executables else 0o644)
        for relative, target in package.links.items():
            (tree / relative).symlink_to(target)
        archive = directory / f"{package.name}_{package.version}_{architecture}.deb"
        run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, archive])


def control(package: Package, architecture: str) -> str:
    """The package's control file."""
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": architecture,
        "Maintainer": "rigdeploy lab <root@localhost>",
        "Depends": package.depends,
        "Conflicts": package.conflicts,
        "Section": "contrib/kernel",
        "Priority": "optional",
        "Description": f"{package.summary} (simulated)\n {_LONG}",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
