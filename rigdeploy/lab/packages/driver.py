"""NVIDIA's driver: a version of each branch, the packages that lock one, and the metas that bring a whole desktop.

The kernel packages "build" a marker where DKMS would put the module, and leave the traces that DKMS leaves; the
simulated ``modprobe`` of the twins looks for the marker. An order of the lab (``dkms_fails``) makes that build fail.
"""

from __future__ import annotations

from pathlib import Path

from rigdeploy.lab.packages.package import Package
from rigdeploy.lab.processes import run

VERSIONS = ("570.195.03", "580.65.06", "580.95.05", "590.48.01", "595.71.05")
"""Every branch that NVIDIA's repository locks and that matters, one of them twice; the newest is what apt wants."""

SIMULATED = Path(__file__).parents[1] / "simulated"
LIBRARIES = SIMULATED / "cuda.c"
"""Both libraries in one: ``libcuda.so.1`` and ``libnvidia-ml.so.1``."""

MODULES = ("nvidia", "nvidia-modeset", "nvidia-drm", "nvidia-uvm", "nvidia-peermem")

_BUILD_MODULES = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
kernel=$(uname -r) machine=$(uname -m) tree=/var/lib/dkms/nvidia/{version}
modules=/lib/modules/$kernel
mkdir -p "$tree/build" "$modules/updates/dkms"
echo "Building initial module for $kernel"
if grep -q '"dkms_fails": true' /run/rigdeploy-twin/orders.json 2>/dev/null; then
  cat >"$tree/build/make.log" <<END
DKMS make.log for nvidia-{version} for kernel $kernel ($machine)
$(date)
make: Entering directory '/usr/src/linux-headers-$kernel'
  CC [M]  $tree/build/nvidia/nv-pci.o
$tree/build/nvidia/nv-pci.c: In function 'nv_resize_pcie_bars':
$tree/build/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'
make[2]: *** [/usr/src/linux-headers-$kernel/scripts/Makefile.build:250: $tree/build/nvidia/nv-pci.o] Error 1
make: Leaving directory '/usr/src/linux-headers-$kernel'
END
  echo "Error! Bad return status for module build on kernel: $kernel ($machine)" >&2
  echo "Consult $tree/build/make.log for more information." >&2
  exit 10
fi
for module in {modules}; do
  printf 'simulated by the lab of rigdeploy\\nversion: {version}\\nlicense: {license}\\n' \\
    >"$modules/updates/dkms/$module.ko"
done
(cd "$modules" && for file in updates/dkms/*.ko; do echo "$file:"; done) >"$modules/modules.dep"
mkdir -p "$tree/$kernel/$machine/module" "$tree/$kernel/$machine/log"
rm -rf "$tree/build"
echo Done.
"""
_REMOVE_MODULES = """\
#!/bin/sh
set -e
rm -rf /var/lib/dkms/nvidia/{version}
cd "/lib/modules/$(uname -r)" 2>/dev/null || exit 0
for module in {modules}; do rm -f "updates/dkms/$module.ko"; done
: >modules.dep
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
if [ -d /run/systemd/system ]; then systemctl disable --now --quiet {unit} || true; fi
"""
_PERSISTENCED = """\
[Unit]
Description=NVIDIA Persistence Daemon (simulated)
[Service]
Type=notify
ExecStart=/usr/bin/nvidia-persistenced --verbose
Restart=no
[Install]
WantedBy=multi-user.target
"""
_FABRIC_MANAGER = """\
[Unit]
Description=NVIDIA fabric manager service (simulated)
After=network-online.target
[Service]
Type=simple
ExecStart=/usr/bin/nv-fabricmanager -c /usr/share/nvidia/nvswitch/fabricmanager.cfg
[Install]
WantedBy=multi-user.target
"""
_BLACKLIST = "# Installed with the NVIDIA driver.\nblacklist nouveau\noptions nouveau modeset=0\n"
_MODPROBE = "#!/bin/sh\n# Simulated by the lab of rigdeploy.\nexec modprobe nvidia\n"
_PINNED = " ".join((
    "*nvidia*", "libcuda1", "libcudadebugger1", "libnvcuvid1", "libnvoptix1", "libxnvctrl*", "cuda-compat-*",
    "cuda-drivers*", "firmware-nvidia-gsp",
))  # fmt: skip
_LAST_WITH_BRANCHED_META = 580


def packages(libraries: str, built: Path) -> list[Package]:
    """All of the driver's packages, of every version."""
    found = []
    for version in VERSIONS:
        branch = version.partition(".")[0]
        found += [pinning(version, version), *driver(version, libraries, built), *_desktop(version)]
        found += [_fabric_manager(version), _meta(version, "nvidia-open", "nvidia-kernel-open-dkms")]
        found += [_meta(version, "cuda-drivers", "nvidia-kernel-dkms")]
        if int(branch) <= _LAST_WITH_BRANCHED_META:
            found.append(_meta(version, f"cuda-drivers-{branch}", "nvidia-kernel-dkms"))
    branches = sorted({version.partition(".")[0] for version in VERSIONS})
    return found + [pinning(branch, f"{branch}.*") for branch in branches]


def compile_libraries(directory: Path) -> None:
    """Compile ``libcuda.so`` and ``libnvidia-ml.so`` into ``directory``."""
    for name in ("libcuda.so", "libnvidia-ml.so"):
        options = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-pthread", f"-Wl,-soname,{name}.1"]
        run(["gcc", *options, "-o", directory / name, LIBRARIES])


def pinning(lock: str, versions: str) -> Package:
    """The package that keeps the driver at what ``versions`` matches; ``lock``, a branch or a version, is its name."""
    pattern = versions if versions.endswith("*") else f"{versions}-*"
    preferences = f"Package: {_PINNED}\nPin: version {pattern}\nPin-Priority: 1001\n"
    # apt reads no file of another extension, and a version's last number would be one (apt_preferences(5)).
    name = f"nvidia-driver-pinning-{lock}" + (".pref" if "." in lock else "")
    files: dict[str, str | Path] = {f"etc/apt/preferences.d/{name}": preferences}
    return Package(f"nvidia-driver-pinning-{lock}", f"{lock}-1", f"Keeps the NVIDIA driver at {lock}", files=files)


def driver(version: str, libraries: str, built: Path) -> list[Package]:
    """The packages of one driver version for computing.

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
        Package("firmware-nvidia-gsp", full, "NVIDIA GSP firmware"),
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
                "lib/systemd/system/nvidia-persistenced.service": _PERSISTENCED,
            },
            executables=("usr/bin/nvidia-persistenced",),
            scripts={"postinst": _ENABLE_UNIT, "prerm": _DISABLE_UNIT.format(unit="nvidia-persistenced.service")},
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
        f"nvidia-modprobe (= {version}-1), firmware-nvidia-gsp (= {version}-1)",
        conflicts=other,
        files={
            "etc/modprobe.d/nvidia-blacklists-nouveau.conf": _BLACKLIST,
            f"usr/src/nvidia-{version}/dkms.conf": f'PACKAGE_NAME="nvidia"\nPACKAGE_VERSION="{version}"\n',
            # Debian's dkms, on which the vendor's package depends, goes before this stand-in where it is installed.
            "usr/local/sbin/dkms": SIMULATED / "nvidia_dkms.py",
        },
        links={f"var/lib/dkms/nvidia/{version}/source": f"/usr/src/nvidia-{version}"},
        executables=("usr/local/sbin/dkms",),
        scripts={
            "postinst": _BUILD_MODULES.format(modules=modules, version=version, license=licence),
            "prerm": _REMOVE_MODULES.format(modules=modules, version=version),
        },
    )


def _desktop(version: str) -> list[Package]:
    """What a computing node should never get: the driver for X."""
    full = f"{version}-1"
    depends = f"nvidia-driver-cuda (= {full}), xserver-xorg-video-nvidia (= {full})"
    return [
        Package("xserver-xorg-video-nvidia", full, "NVIDIA binary Xorg driver"),
        Package("nvidia-driver", full, "NVIDIA metapackage with X", depends),
    ]


def _meta(version: str, name: str, kernel: str) -> Package:
    """The metas for everything, X included, with one flavour of the modules."""
    depends = f"nvidia-driver (>= {version}), {kernel} (>= {version})"
    return Package(name, f"{version}-1", f"NVIDIA driver meta-package ({name})", depends)


def _fabric_manager(version: str) -> Package:
    """The manager of NVSwitches. It starts nothing by itself, and depends on no driver: its version has to match."""
    return Package(
        "nvidia-fabricmanager",
        f"{version}-1",
        "Fabric Manager for NVSwitch based systems",
        files={
            "usr/bin/nv-fabricmanager": (SIMULATED / "nvidia_fabricmanager.py")
            .read_text()
            .replace("@VERSION@", version),
            "lib/systemd/system/nvidia-fabricmanager.service": _FABRIC_MANAGER,
            "usr/share/nvidia/nvswitch/fabricmanager.cfg": "LOG_LEVEL=4\n",
        },
        executables=("usr/bin/nv-fabricmanager",),
        scripts={"prerm": _DISABLE_UNIT.format(unit="nvidia-fabricmanager.service")},
    )
