"""What the vendors' package archives offer of the driver, as far as apt decides by it: names, versions, relations.

Nothing is in these packages: apt is asked what it would do, and never does it. Where each list was read:

- NVIDIA's repository for Ubuntu: names and versions of 580.65.06 and 595.71.05 from lists of its own files that other
  projects pin by checksum; those of 580.95.05 from a ``dpkg -l`` of a machine with it; that later ``nvidia-utils-580``
  are empty from NVIDIA/k8s-test-infra (deployments/nvml-mock/Dockerfile); the names from 590 on from NVIDIA's "Recent
  updates"; pinning packages and fabric manager from an apt-cache listing of May 2026.
- NVIDIA's repository for Debian: ``dpkg -l`` of a machine with 595.58.03, and what NVIDIA's guide says of Debian.
- Ubuntu's restricted: packages.ubuntu.com (noble, resolute), and "Install NVIDIA drivers" of Ubuntu's server guide.
- Debian's contrib and non-free: the archive itself, read with apt-cache in November 2026.

A relation that no list shows is taken over from the same package of Ubuntu's own archive, and marked with (*).
Libraries of the system, and what they need, are left out: a package ``system`` stands for all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One version of a package; ``relations`` are further fields of its stanza."""

    name: str
    version: str
    depends: str = ""
    source: str = ""
    recommends: str = ""
    provides: str = ""
    conflicts: str = ""

    def stanza(self, *, installed: bool = False) -> str:
        """The package as ``Packages`` has it, or as dpkg's status has it."""
        needs = ", ".join(part for part in ("system", self.depends) if part and self.name != "system")
        fields = {
            "Package": self.name,
            "Status": "install ok installed" if installed else "",
            "Version": self.version,
            "Architecture": "amd64",
            "Maintainer": "nobody",
            "Source": self.source,
            "Depends": needs,
            "Recommends": self.recommends,
            "Provides": self.provides,
            "Conflicts": self.conflicts,
            "Replaces": self.conflicts,
            "Filename": "" if installed else f"./{self.name}_{self.version}.deb",
            "Size": "" if installed else "1",
            "SHA256": "" if installed else "0" * 64,
            "Description": "part of a test",
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value) + "\n"


def publish(directory: Path, origin: str, packages: Iterable[Package]) -> Path:
    """Write a flat, unsigned repository with the vendor's ``Origin``, which apt's preferences go by."""
    directory.mkdir(parents=True)
    index = "".join(package.stanza() for package in packages).encode()
    (directory / "Packages").write_bytes(index)
    listed = f"{hashlib.sha256(index).hexdigest()} {len(index)} Packages"
    fields = {"Origin": origin, "Label": origin, "Date": "Sat, 21 Nov 2026 00:00:00 UTC"}
    release = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (directory / "Release").write_text(f"{release}SHA256:\n {listed}\n")
    return directory


# --- NVIDIA --------------------------------------------------------------------------------------

PINNED = ("570", "580", "590", "595", "610", "615")
"""Branches with a pinning package (570 to 610 on Ubuntu 24.04 in May 2026; 615 since September)."""

PIN = """Package: src:*nvidia*:any src:cuda-drivers:any src:cuda-compat:any
Pin: version {branch}.*
Pin-Priority: 1000
"""
"""What a pinning package brings, by NVIDIA's guide ("Version locking"); the file's own name is assumed (*)."""

UBUNTU_BRANCHED = ("570.195.03-0ubuntu1", "580.65.06-0ubuntu1", "580.95.05-0ubuntu1", "580.159.04-1ubuntu1")
UBUNTU_UNBRANCHED = ("590.48.01-0ubuntu1", "595.71.05-1ubuntu1", "610.43.02-1ubuntu1", "615.71.09-1ubuntu1")
DEBIAN = ("570.195.03-1", "580.95.05-1", "590.48.01-1", "595.58.03-1", "610.43.02-1", "615.71.09-1")


def nvidia_ubuntu() -> Iterator[Package]:
    """NVIDIA's repository for an Ubuntu release."""
    for version in UBUNTU_BRANCHED:
        yield from _ubuntu_branched(version)
    for version in UBUNTU_UNBRANCHED:
        yield from _ubuntu_unbranched(version)
    yield from _pins("1ubuntu1")
    yield Package("dkms", "1:3.2.1-1ubuntu2")


def nvidia_debian() -> Iterator[Package]:
    """NVIDIA's repository for a Debian release."""
    for version in DEBIAN:
        yield from _debian(version)
    yield from _pins("1")


def _pins(revision: str) -> Iterator[Package]:
    one = {"provides": "nvidia-driver-pinning", "conflicts": "nvidia-driver-pinning"}
    for branch in PINNED:
        yield Package(f"nvidia-driver-pinning-{branch}", f"{branch}-{revision}", **one)
    for version in ("580.159.04", "590.48.01", "595.71.05"):
        yield Package(f"nvidia-driver-pinning-{version}", f"{version}-{revision}", **one)


def _ubuntu_branched(v: str) -> Iterator[Package]:
    b = v[:3]
    source = f"nvidia-graphics-drivers-{b}"

    def package(stem: str, suffix: str = "", depends: str = "", **more: str) -> Package:
        return Package(f"{stem}-{b}{suffix}", v, depends, source, **more)

    def one_of(name: str) -> dict[str, str]:
        return {"provides": name, "conflicts": name}

    # Until 580.65.06 the tools had a package of their own; afterwards that is empty.
    yield package("nvidia-utils", depends=f"libnvidia-compute-{b} (= {v})", **one_of("nvidia-utils"))
    yield package("libnvidia-cfg1", **one_of("libnvidia-cfg1"))
    yield package("libnvidia-common", **one_of("libnvidia-common"))
    yield package("libnvidia-gpucomp", **one_of("libnvidia-gpucomp"))
    libraries = f"libnvidia-gpucomp-{b} (= {v}), libnvidia-cfg1-{b} (= {v})"  # (*)
    yield package("libnvidia-compute", depends=libraries, **one_of("libnvidia-compute"))
    yield package("nvidia-compute-utils", depends=f"libnvidia-compute-{b}", **one_of("nvidia-compute-utils"))
    yield package("nvidia-firmware", **one_of("nvidia-firmware"))
    kernel_common = f"nvidia-firmware-{b} (= {v}), nvidia-modprobe"  # (*)
    yield package("nvidia-kernel-common", depends=kernel_common, **one_of("nvidia-kernel-common"))
    for flavour in ("", "-open"):
        sources = f"nvidia-kernel-source-{b}{flavour} (= {v}), nvidia-kernel-common-{b} (= {v}), dkms"
        yield package("nvidia-kernel-source", flavour, **one_of("nvidia-kernel-source"))
        yield package("nvidia-dkms", flavour, sources, **one_of("nvidia-dkms-kernel"))
        whole = f"nvidia-dkms-{b}{flavour} (= {v}), libnvidia-gl-{b} (= {v}), xserver-xorg-video-nvidia-{b} (= {v})"
        yield package("nvidia-driver", flavour, f"{whole}, libnvidia-compute-{b} (= {v})")
    yield package("libnvidia-gl", depends=f"libnvidia-gpucomp-{b} (= {v})")
    yield package("xserver-xorg-video-nvidia", depends="xserver-xorg-core")
    yield Package(f"nvidia-open-{b}", v, f"nvidia-driver-{b}-open | nvidia-driver-{b}-server-open")
    yield Package(f"cuda-drivers-{b}", v, f"nvidia-driver-{b} (>= {v})", "cuda-drivers")
    if int(b) >= 580:  # before, nvidia-compute-utils had it
        yield Package("nvidia-persistenced", v, source="nvidia-persistenced")
    yield from _floating(v, fabric=f"nvidia-fabricmanager-{b}" if int(b) < 580 else "nvidia-fabricmanager")


def _floating(v: str, fabric: str) -> Iterator[Package]:
    """What carries no branch, on either distribution."""
    yield Package("nvidia-modprobe", v, source="nvidia-modprobe")
    yield Package(fabric, v, source="nvidia-fabricmanager")


def _ubuntu_unbranched(v: str) -> Iterator[Package]:
    source = "nvidia-graphics-drivers"

    def package(name: str, depends: str = "", **more: str) -> Package:
        return Package(name, v, depends, source, **more)

    yield package("libnvidia-cfg1")
    yield package("libnvidia-gpucomp")
    yield package("libnvidia-compute", f"libnvidia-gpucomp (= {v}), libnvidia-cfg1 (= {v})")  # (*)
    yield package("libnvidia-decode", f"libnvidia-compute (= {v})")
    yield package("nvidia-firmware")
    yield package("nvidia-kernel-common", f"nvidia-firmware (= {v}), nvidia-modprobe")  # (*)
    # From 615 on the proprietary modules are gone, and the names with them.
    for flavour in ("", "-open") if int(v[:3]) < 615 else ("-open",):
        clash = {"provides": "nvidia-dkms-kernel", "conflicts": "nvidia-dkms-kernel"}
        sources = f"nvidia-kernel-source{flavour} (= {v}), nvidia-kernel-common (= {v}), dkms"
        yield package(f"nvidia-kernel-source{flavour}")
        yield package(f"nvidia-dkms{flavour}", sources, **clash)
        whole = f"nvidia-dkms{flavour} (= {v}), libnvidia-gl (= {v}), xserver-xorg-video-nvidia (= {v})"
        yield package(f"nvidia-driver{flavour}", f"{whole}, libnvidia-compute (= {v})")
    yield package("libnvidia-gl", f"libnvidia-gpucomp (= {v})")
    yield package("xserver-xorg-video-nvidia", "xserver-xorg-core")
    yield Package("nvidia-open", v, "nvidia-driver-open", conflicts="cuda-drivers, nvidia-driver")
    yield Package("nvidia-persistenced", v, source="nvidia-persistenced")
    yield from _floating(v, "nvidia-fabricmanager")


def _debian(v: str) -> Iterator[Package]:
    source = "nvidia-graphics-drivers"

    def package(name: str, depends: str = "", **more: str) -> Package:
        return Package(name, v, depends, source, **more)

    yield package("firmware-nvidia-gsp")
    for library in ("libnvidia-cfg1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1", "libnvidia-gpucomp"):
        yield package(library)
    yield package("libcuda1", f"libnvidia-ptxjitcompiler1 (= {v}), libnvidia-gpucomp (= {v})")  # (*)
    tools = f"libcuda1 (= {v}), libnvidia-ml1 (= {v}), libnvidia-cfg1 (= {v}), nvidia-kernel-support (= {v})"  # (*)
    yield package("nvidia-driver-cuda", tools, recommends="nvidia-persistenced", conflicts="nvidia-smi")
    yield package("nvidia-kernel-support", "nvidia-kernel-common, nvidia-modprobe")
    both = ("nvidia-kernel-open-dkms", "nvidia-kernel-dkms")
    for name in both if int(v[:3]) < 615 else both[:1]:
        clash = {"provides": "nvidia-kernel-dkms-any", "conflicts": "nvidia-kernel-dkms-any"}
        yield package(name, f"firmware-nvidia-gsp (= {v}), nvidia-kernel-support (= {v}), dkms", **clash)
    yield package("xserver-xorg-video-nvidia", "xserver-xorg-core")
    yield package("nvidia-driver", f"xserver-xorg-video-nvidia (= {v}), nvidia-kernel-support (= {v})")
    needs = (f"{name} (>= {v})" for name in ("nvidia-driver", "nvidia-driver-cuda"))
    yield Package("cuda-drivers", v, ", ".join(needs), "cuda-drivers")
    yield Package("nvidia-persistenced", v, source="nvidia-persistenced")
    yield from _floating(v, f"nvidia-fabricmanager-{v[:3]}" if int(v[:3]) < 580 else "nvidia-fabricmanager")


# --- Ubuntu --------------------------------------------------------------------------------------

UBUNTU_KERNELS = {
    "22.04": (("5.15.0-119", "generic"), ("6.8.0-117", "generic-hwe-22.04")),
    "24.04": (("6.8.0-117", "generic"), ("6.14.0-37", "generic-hwe-24.04")),
    "26.04": (("7.0.0-31", "generic"),),
}
"""By release: kernels and the line that each belongs to; the meta package of a line brings its newest."""

UBUNTU_SERVER = ("535.261.03", "570.172.08", "580.178.04", "595.91.07", "615.71.09")
UBUNTU_DESKTOP = ("580.178.04",)
_SIGNATURES = "linux-signatures-nvidia"


def ubuntu(release: str) -> Iterator[Package]:
    """Main and restricted of an Ubuntu release: kernels, their headers, and the driver in both of its builds."""
    yield Package("dkms", "3.0.11-1ubuntu13")
    yield Package("xserver-xorg-core", "2:21.1.12-1ubuntu1")
    yield Package("nvidia-modprobe", "535.161.07-1", source="nvidia-modprobe")
    for kernel, line in UBUNTU_KERNELS[release]:
        yield Package(f"linux-image-{kernel}-generic", f"{kernel}.1")
        yield Package(f"linux-headers-{kernel}-generic", f"{kernel}.1")
        yield Package(f"linux-headers-{line}", f"{kernel}.1", f"linux-headers-{kernel}-generic")
        yield Package(f"{_SIGNATURES}-{kernel}-generic", f"{kernel}.1")
    for version in UBUNTU_SERVER:
        yield from _ubuntu_build(version, release, "-server")
    for version in UBUNTU_DESKTOP:
        yield from _ubuntu_build(version, release, "")


def _ubuntu_build(version: str, release: str, build: str) -> Iterator[Package]:
    b = f"{version[:3]}{build}"
    v, source = f"{version}-0ubuntu0.{release}.1", f"nvidia-graphics-drivers-{b}"

    def one_of(name: str) -> dict[str, str]:
        return {"provides": name, "conflicts": name}

    def package(name: str, depends: str = "", **more: str) -> Package:
        return Package(name, v, depends, source, **more)

    yield package(f"libnvidia-cfg1-{b}", **one_of("libnvidia-cfg1"))
    yield package(f"libnvidia-compute-{b}", **one_of("libnvidia-compute"))
    yield package(f"nvidia-compute-utils-{b}", f"libnvidia-compute-{b}", **one_of("nvidia-compute-utils"))
    yield package(f"nvidia-firmware-{b}-{version}", **one_of("nvidia-firmware"))
    common = {"provides": f"nvidia-kernel-common, nvidia-kernel-common-{b}-{version}"}
    yield package(
        f"nvidia-kernel-common-{b}", f"nvidia-firmware-{b}-{version}", conflicts="nvidia-kernel-common", **common
    )
    tools = f"libnvidia-compute-{b} (>= {version}), nvidia-kernel-common-{b}-{version}"
    yield package(f"nvidia-utils-{b}", tools, **one_of("nvidia-utils"))
    for flavour in ("", "-open"):
        yield package(f"nvidia-kernel-source-{b}{flavour}", **one_of("nvidia-kernel-source"))
        needs = (  # the first from packages.ubuntu.com, the others (*)
            f"libnvidia-cfg1-{b} (= {v}), libnvidia-compute-{b} (= {v}), nvidia-compute-utils-{b} (= {v}), "
            f"nvidia-kernel-common-{b} (= {v}), nvidia-kernel-source-{b}{flavour} (= {v})"
        )
        yield package(f"nvidia-headless-no-dkms-{b}{flavour}", needs, **one_of("nvidia-headless-no-dkms"))
        built = f"nvidia-kernel-source-{b}{flavour} (= {v}), nvidia-kernel-common-{b} (= {v}), dkms"
        yield package(f"nvidia-dkms-{b}{flavour}", built, **one_of("nvidia-dkms-kernel"))
        yield from _ubuntu_modules(b, flavour, version, release)
    if build:
        yield package(f"nvidia-fabricmanager-{version[:3]}")
        yield package(f"libnvidia-nscq-{version[:3]}")


def _ubuntu_modules(b: str, flavour: str, version: str, release: str) -> Iterator[Package]:
    for kernel, line in UBUNTU_KERNELS[release]:
        v, modules = f"{kernel}.1", f"linux-modules-nvidia-{b}{flavour}"
        objects, signatures = f"linux-objects-nvidia-{b}{flavour}-{kernel}-generic", f"{_SIGNATURES}-{kernel}-generic"
        common = f"nvidia-kernel-common-{b} (>= {version})"
        needs = f"{objects} (= {v}), {signatures} (= {v}), linux-image-{kernel}-generic, {common}"
        yield Package(objects, v)
        yield Package(f"{modules}-{kernel}-generic", v, needs, "linux-restricted-modules")
        latest = f"{modules}-{kernel}-generic (= {v}), {common}"
        yield Package(f"{modules}-{line}", v, latest, "linux-restricted-modules")


# --- Debian --------------------------------------------------------------------------------------

DEBIAN_KERNELS = {"12": ("6.1.0-41", "amd64"), "13": ("6.12.107+deb13", "amd64")}
DEBIAN_OWN = {"12": ("535.261.03-1", "535.309.01-0+deb12u1"), "13": ("550.163.01-2",)}
"""The first of Debian 12 is that of its last point release, the other came as a security update."""


def debian(release: str) -> Iterator[Package]:
    """Main, contrib and non-free of a Debian release, security updates included."""
    kernel, line = DEBIAN_KERNELS[release]
    yield Package("dkms", "3.0.10-8+deb12u1")
    yield Package("xserver-xorg-core", "2:21.1.7-3")
    yield Package(f"linux-headers-{kernel}-{line}", kernel)
    yield Package(f"linux-headers-{line}", kernel, f"linux-headers-{kernel}-{line}")
    for name in ("glx-alternative-nvidia", "nvidia-support", "nvidia-installer-cleanup", "nvidia-kernel-common"):
        yield Package(name, "20240109+1")
    for v in DEBIAN_OWN[release]:
        yield from _debian_own(v)
    yield from _debian_open(DEBIAN_OWN[release][0])
    cfg = "libnvidia-cfg1 | libnvidia-cfg.so.1 | libnvidia-cfg1-any"
    version = {"12": "535.171.04-1~deb12u1", "13": "550.163.01-1"}[release]
    yield Package("nvidia-persistenced", version, cfg, "nvidia-persistenced")
    version = {"12": "535.309.01-0+deb12u1", "13": "570.133.07-1"}[release]
    yield Package("nvidia-modprobe", version, source="nvidia-modprobe")


def _debian_own(v: str) -> Iterator[Package]:
    version, source = v.rpartition("-")[0], "nvidia-graphics-drivers"
    same = f"nvidia-alternative (= {v})"

    def package(name: str, depends: str = same, **more: str) -> Package:
        return Package(name, v, depends, source, **more)

    yield package("nvidia-legacy-check", "nvidia-installer-cleanup")
    kmod = f"nvidia-alternative--kmod-alias, nvidia-alternative-{version}, nvidia-alternative-any"
    yield package("nvidia-alternative", "glx-alternative-nvidia, nvidia-legacy-check", provides=kmod)
    yield package("libnvidia-ptxjitcompiler1", "")
    yield package("libnvidia-pkcs11-openssl3", conflicts=f"libnvidia-pkcs11-openssl3-{version}")
    needs = f"nvidia-support, {same}, libnvidia-ptxjitcompiler1 (= {v}), libnvidia-pkcs11-openssl3 (= {v})"
    kernel = f"nvidia-kernel-dkms (= {v}) | nvidia-kernel-{version} | nvidia-open-kernel-{version}"
    yield package("libcuda1", needs, recommends=f"{kernel}, nvidia-smi, nvidia-persistenced")
    yield package("libnvidia-ml1", provides=f"libnvidia-ml.so.1 (= {version})")
    yield package("libnvidia-cfg1", provides=f"libnvidia-cfg.so.1 (= {version}), libnvidia-cfg1-any")
    yield package("nvidia-smi", f"{same}, libnvidia-ml1 (= {v})", recommends=kernel)
    firmware = f"firmware-nvidia-gsp-{version}"
    yield package(
        "firmware-nvidia-gsp", "", provides=f"firmware-nvidia-gsp (= {version}), {firmware}", conflicts=firmware
    )
    support = f"{same}, nvidia-alternative--kmod-alias, nvidia-kernel-common, nvidia-modprobe (>= {version[:3]})"
    yield package("nvidia-kernel-support", support, provides="nvidia-kernel-support--v1, nvidia-kernel-support-any")
    needs = f"firmware-nvidia-gsp (= {version}) | {firmware}, nvidia-kernel-support--v1, dkms, nvidia-installer-cleanup"
    dkms_any = f"nvidia-kernel-{version}, nvidia-kernel-dkms-any (= {version})"
    yield package("nvidia-kernel-dkms", needs, provides=dkms_any, recommends=f"libcuda1 (>= {version})")
    yield package("xserver-xorg-video-nvidia", f"{same}, xserver-xorg-core")
    yield package("nvidia-driver", f"xserver-xorg-video-nvidia (= {v}), nvidia-kernel-dkms (= {v})")


def _debian_open(v: str) -> Iterator[Package]:
    version, source = v.rpartition("-")[0], "nvidia-open-gpu-kernel-modules"
    needs = f"nvidia-alternative-{version}, nvidia-kernel-common, nvidia-modprobe (>= {version[:3]})"
    support = {"provides": f"nvidia-open-kernel-support--v1, nvidia-open-kernel-support-{version}"}
    yield Package("nvidia-open-kernel-support", v, needs, source, **support)
    needs = f"firmware-nvidia-gsp (= {version}) | firmware-nvidia-gsp-{version}, nvidia-open-kernel-support--v1, dkms"
    yield Package("nvidia-open-kernel-dkms", v, needs, source, provides=f"nvidia-open-kernel-{version}")
