"""The names of driver packages, by distribution, source, branch and flavour: compute only, without X. Pure data.

Sources: NVIDIA's driver installation guide ("Ubuntu", "Debian", "Version locking", "Recent updates" with the renames of
590), Ubuntu's server guide ("Install NVIDIA drivers"), Debian's own archive; others where they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """A distribution's release. ``kernel`` is the series it came with, ``branch`` the only one that its archive has.

    A kernel of another series is Ubuntu's hardware enablement kernel, whose meta packages have other names.
    """

    name: str
    version: str
    kernel: str = ""
    branch: str = ""


RELEASES = (
    Release("Debian", "12", branch="535"),
    Release("Debian", "13", branch="550"),
    Release("Ubuntu", "22.04", kernel="5.15"),
    Release("Ubuntu", "24.04", kernel="6.8"),
    Release("Ubuntu", "26.04", kernel="7.0"),
)


@dataclass(frozen=True)
class PackageSet:
    """Names of packages. ``version`` is what each of ``packages`` but a kernel's must match (``580.*``), or empty.

    ``pin_package`` holds the branch and goes first. ``dkms``: the modules are built on the node, with ``headers``.
    ``rivals`` are patterns (fnmatch) of packages that must not be there: other branches, flavours and sources.
    ``preferences`` is an apt preferences file that keeps the driver to one source; of several files that pin a package
    the first by name counts, so its name has to come before those of NVIDIA's pins (``00-…``).
    ``module`` is what modinfo knows the module as.
    """

    packages: tuple[str, ...]
    version: str
    pin_package: str
    dkms: bool
    headers: tuple[str, ...]
    rivals: tuple[str, ...]
    fabric_manager: tuple[str, ...]
    preferences: str
    module: str = "nvidia"


FIRST_UNBRANCHED = 590
"""From here on NVIDIA's names for Ubuntu carry no branch ("Recent updates": Ubuntu 590 package renames)."""

FIRST_SPLIT = 580
"""From here on NVIDIA has nvidia-persistenced as a package of its own on Ubuntu, and a fabric manager without a branch.

Read in an apt-cache listing of NVIDIA's repository for Ubuntu 24.04 (May 2026) and in lists of its files.
"""

_MODULES, _OBJECTS = "linux-modules-nvidia-", "linux-objects-nvidia-"
_PREBUILT = (f"{_MODULES}*", f"{_OBJECTS}*", "linux-signatures-nvidia-*", "nvidia-headless-no-dkms-*")
"""Ubuntu's prebuilt modules and what goes with them."""

_UBUNTU_STEMS = (
    "nvidia-compute-utils",
    "nvidia-dkms",
    "nvidia-driver",
    "nvidia-firmware",
    "nvidia-headless",
    "nvidia-headless-no-dkms",
    "nvidia-kernel-common",
    "nvidia-kernel-source",
    "nvidia-utils",
    "libnvidia-cfg1",
    "libnvidia-common",
    "libnvidia-compute",
    "libnvidia-decode",
    "libnvidia-encode",
    "libnvidia-extra",
    "libnvidia-fbc1",
    "libnvidia-gl",
    "libnvidia-gpucomp",
    "xserver-xorg-video-nvidia",
)
"""What carries the branch in its name in Ubuntu's archive, and in NVIDIA's repository for Ubuntu up to 580."""

_UBUNTU_UNBRANCHED = (
    *(stem for stem in _UBUNTU_STEMS if not stem.startswith("nvidia-")),
    "nvidia-dkms",
    "nvidia-dkms-open",
    "nvidia-driver",
    "nvidia-driver-open",
    "nvidia-firmware",
    "nvidia-kernel-common",
    "nvidia-kernel-source",
    "nvidia-kernel-source-open",
    "nvidia-open",
)
"""The same from 590 on, in NVIDIA's repository for Ubuntu."""

_UBUNTU_FIRMWARE = "nvidia-firmware-[0-9][0-9][0-9]-*"
"""Ubuntu's own names of the firmware, which go by build and version; NVIDIA's end in the branch, if in that."""

_NVIDIA_ALONE = ("nvidia-driver-pinning-*", "nvidia-persistenced", "nvidia-fabricmanager", "libnvidia-nscq")
"""Names that NVIDIA's repository for Ubuntu has and Ubuntu has not; the same files are in packages of other names."""

_DEBIAN_OWN = (
    "nvidia-open-kernel-*",
    "nvidia-tesla-*",
    "nvidia-alternative",
    "nvidia-legacy-check",
    "nvidia-smi",
)
"""Names that only Debian's own archive has; the alternative renames the modules for modprobe."""

_DEBIAN_NVIDIA = (
    "nvidia-kernel-open-dkms",
    "nvidia-driver-cuda",
    "nvidia-driver-pinning-*",
    "nvidia-fabricmanager*",
    "libnvidia-gpucomp",
)
"""Names that only NVIDIA's repository for Debian has."""


def supported(distribution: str, version: str) -> Release | None:
    """The release, of a version as Ansible gives it: ``12``, ``12.11``, ``24.04``."""
    wanted = version.partition(".")[0] if distribution == "Debian" else version
    return next((one for one in RELEASES if (one.name, one.version) == (distribution, wanted)), None)


def ubuntu(release: Release, kernel: str, branch: str, flavour: str, *, from_distro: bool) -> PackageSet:
    """Ubuntu: its own signed modules, or NVIDIA's repository."""
    if from_distro:
        return _ubuntu_signed(release, kernel, branch, flavour)
    return _ubuntu_nvidia(release, kernel, branch, flavour)


def debian(release: Release, kernel: str, branch: str, flavour: str, *, from_distro: bool) -> PackageSet:
    """Debian: its own contrib and non-free, or NVIDIA's repository."""
    if from_distro:
        return _debian_own(release, kernel)
    return _debian_nvidia(kernel, branch, flavour)


def _ubuntu_signed(release: Release, kernel: str, branch: str, flavour: str) -> PackageSet:
    # The -server builds: Ubuntu's choice for computing. Canonical signs their modules, kernel by kernel.
    kind, other = f"{branch}-server-open", f"{branch}-server"
    if flavour == "proprietary":
        kind, other = other, kind
    return PackageSet(
        packages=(
            f"{_MODULES}{kind}-{ubuntu_kernel(release, kernel)}",
            f"nvidia-headless-no-dkms-{kind}",
            f"nvidia-utils-{branch}-server",
        ),
        version="",
        pin_package="",
        dkms=False,
        headers=(),
        rivals=(
            "nvidia-dkms-*",
            *_NVIDIA_ALONE,
            *_UBUNTU_UNBRANCHED,
            *(f"{stem}-{branch}{suffix}" for stem in _UBUNTU_STEMS for suffix in ("", "-open")),
            f"nvidia-firmware-{branch}-[0-9]*",
            *(pattern for stem in (_MODULES, _OBJECTS, *_stems()) for pattern in _other_branches(stem, branch)),
            *(f"{stem}{branch}-[!s]*" for stem in (_MODULES, _OBJECTS)),
            # The kernels' own names (generic, oracle) follow; no one of them begins like open.
            *(f"{_MODULES}{other}-{rest}" for rest in (("[!o]*", "o[!p]*") if flavour == "open" else ("*",))),
            f"nvidia-headless-no-dkms-{other}",
        ),
        fabric_manager=(f"nvidia-fabricmanager-{branch}", f"libnvidia-nscq-{branch}"),
        preferences=_only_from("Ubuntu"),
    )


def _ubuntu_nvidia(release: Release, kernel: str, branch: str, flavour: str) -> PackageSet:
    names = _ubuntu_branched(branch) if int(branch) < FIRST_UNBRANCHED else _UBUNTU_NEWER
    own, other = (names.open, names.proprietary) if flavour == "open" else (names.proprietary, names.open)
    return PackageSet(
        packages=(own, *names.tools),
        version=f"{branch}.*",
        pin_package=f"nvidia-driver-pinning-{branch}",
        dkms=True,
        headers=(f"linux-headers-{kernel}", f"linux-headers-{ubuntu_kernel(release, kernel)}"),
        rivals=(*_PREBUILT, _UBUNTU_FIRMWARE, *_other_pins(branch), other, *names.rivals),
        fabric_manager=_nvidia_fabric(branch),
        preferences=_not_from("Ubuntu"),
    )


@dataclass(frozen=True)
class _UbuntuNames:
    """NVIDIA's names for Ubuntu: the modules in both flavours, the tools, and who else has the same files."""

    open: str
    proprietary: str
    tools: tuple[str, ...]
    rivals: tuple[str, ...]


_UBUNTU_NEWER = _UbuntuNames(
    "nvidia-dkms-open",
    "nvidia-dkms",
    # nvidia-smi is in libnvidia-compute: NVIDIA's guide brings nothing else for computing, and nvidia-utils is gone.
    ("libnvidia-compute", "nvidia-persistenced"),
    tuple(f"{stem}-[0-9][0-9][0-9]*" for stem in _UBUNTU_STEMS),
)


def _ubuntu_branched(branch: str) -> _UbuntuNames:
    # nvidia-smi was in nvidia-utils up to 580.65.06, which is empty since (read in NVIDIA/k8s-test-infra,
    # deployments/nvml-mock/Dockerfile): asked for by name, it is right for every version.
    daemon = "nvidia-persistenced" if int(branch) >= FIRST_SPLIT else f"nvidia-compute-utils-{branch}"
    return _UbuntuNames(
        f"nvidia-dkms-{branch}-open",
        f"nvidia-dkms-{branch}",
        (f"libnvidia-compute-{branch}", f"nvidia-utils-{branch}", daemon),
        (
            *_UBUNTU_UNBRANCHED,
            *(pattern for stem in _stems() for pattern in _other_branches(stem, branch)),
            *(f"{stem}-{branch}-server*" for stem in _UBUNTU_STEMS),
            *(("nvidia-persistenced",) if int(branch) < FIRST_SPLIT else ()),
        ),
    )


def _debian_nvidia(kernel: str, branch: str, flavour: str) -> PackageSet:
    own, other = "nvidia-kernel-open-dkms", "nvidia-kernel-dkms"
    if flavour == "proprietary":
        own, other = other, own
    return PackageSet(
        packages=(own, "nvidia-driver-cuda", "nvidia-persistenced"),
        version=f"{branch}.*",
        pin_package=f"nvidia-driver-pinning-{branch}",
        dkms=True,
        headers=_debian_headers(kernel),
        rivals=(other, *_DEBIAN_OWN, *_other_pins(branch)),
        fabric_manager=_nvidia_fabric(branch),
        preferences=_not_from("Debian"),
    )


def _debian_own(release: Release, kernel: str) -> PackageSet:
    return PackageSet(
        packages=("nvidia-kernel-dkms", "libcuda1", "nvidia-smi", "nvidia-persistenced", "libnvidia-ml1"),
        version=f"{release.branch}.*",
        pin_package="",
        dkms=True,
        headers=_debian_headers(kernel),
        rivals=("nvidia-open-kernel-*", "nvidia-tesla-*", *_DEBIAN_NVIDIA),
        fabric_manager=(),
        preferences=_only_from("Debian"),
        module="nvidia-current",
    )


_DISTRIBUTION_SOURCES = (
    "src:nvidia-graphics-drivers*:any",
    "src:nvidia-open-gpu-kernel-modules:any",
    "src:nvidia-persistenced:any",
    "src:nvidia-modprobe:any",
)
"""The distributions' source packages of the driver. NVIDIA's packages have some of the same names."""


def _not_from(origin: str) -> str:
    """Apt preferences by which a distribution's own driver is never installed, whatever its version."""
    return _preferences(origin, -1)


def _only_from(origin: str) -> str:
    """Apt preferences by which a distribution's own driver goes before any other's, even as a downgrade."""
    return _preferences(origin, 1001)


def _preferences(origin: str, priority: int) -> str:
    packages = " ".join(_DISTRIBUTION_SOURCES)
    return f"Package: {packages}\nPin: release o={origin}\nPin-Priority: {priority}\n"


def ubuntu_kernel(release: Release, kernel: str) -> str:
    """What Ubuntu's meta packages call a kernel's line: ``generic``, ``generic-hwe-24.04``, ``aws``.

    A cloud's kernel of a later series keeps the plain name: there the newest is what the plain name follows.
    """
    series, _, rest = kernel.partition("-")
    line = rest.partition("-")[2] or "generic"
    enablement = not f"{series}.".startswith(f"{release.kernel}.") and line in ("generic", "lowlatency")
    return f"{line}-hwe-{release.version}" if enablement else line


def _debian_headers(kernel: str) -> tuple[str, ...]:
    # 6.1.0-28-cloud-amd64, 6.12.107+deb13-amd64 and 6.12.9+bpo-amd64 end in the name of the kernel's flavour.
    flavour = re.sub(r"^[0-9.]+(\+[0-9a-z.]+)?(-(rc)?[0-9][0-9a-z.]*)?-", "", kernel)
    return (f"linux-headers-{kernel}", f"linux-headers-{flavour}")


def _nvidia_fabric(branch: str) -> tuple[str, ...]:
    suffix = "" if int(branch) >= FIRST_SPLIT else f"-{branch}"
    return (f"nvidia-fabricmanager{suffix}",)


def _stems() -> tuple[str, ...]:
    return tuple(f"{stem}-" for stem in _UBUNTU_STEMS)


def _other_pins(branch: str) -> tuple[str, ...]:
    # nvidia-driver-pinning-580.95.05 holds a single version, and is one lock too many as well.
    stem = "nvidia-driver-pinning-"
    return (*_other_branches(stem, branch), f"{stem}{branch}?*")


def _other_branches(stem: str, branch: str) -> tuple[str, ...]:
    """Patterns of ``stem`` followed by any branch of three digits but this one."""
    first, second, third = branch[0], branch[1], branch[2]
    return (
        f"{stem}[!{first}a-z][0-9][0-9]*",
        f"{stem}{first}[!{second}][0-9]*",
        f"{stem}{first}{second}[!{third}]*",
    )
