"""What ``choose_driver`` names is asked of apt itself: what comes, what goes, from where, what an upgrade leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatch
from functools import cache

import pytest

from rigdeploy.fleet.driver_choice import DriverChoice, PciCard, System, choose_driver
from rigdeploy.fleet.driver_install import Package as Installed
from rigdeploy.fleet.driver_install import Wanted, plan_install, read_simulation, refusals
from tests.local.apt import archives
from tests.local.apt.conftest import Apt, RefusedError

RTX_3090 = PciCard("0000:01:00.0", "10de:2204", "030000")
P40 = PciCard("0000:01:00.0", "10de:1b38", "030200")
A100 = PciCard("0000:01:00.0", "10de:20b2", "030200")
SWITCH = PciCard("0000:02:00.0", "10de:1af1", "068000")

KERNELS = {
    "Debian 12": "6.1.0-41-amd64",
    "Debian 13": "6.12.107+deb13-amd64",
    "Ubuntu 22.04": "5.15.0-119-generic",
    "Ubuntu 24.04": "6.8.0-117-generic",
    "Ubuntu 26.04": "7.0.0-31-generic",
}
HWE = "6.14.0-37-generic"

NEVER = (
    "xserver-*",
    "*-driver",
    "nvidia-driver-[0-9]*",
    "cuda-drivers*",
    "nvidia-open*",
    "libnvidia-gl*",
    "linux-image-*",
)
"""What no computing node asked for."""


@pytest.fixture(scope="session")
def nodes(signed, tmp_path_factory) -> Callable[[str], Apt]:
    """A node of a release with its own archive, and NVIDIA's repository beside it: the mixture that breaks drivers."""
    key, publish = signed

    @cache
    def make(release: str) -> Apt:
        name, version = release.split()
        own = list(archives.ubuntu(version) if name == "Ubuntu" else archives.debian(version))
        nvidia = list(archives.nvidia_ubuntu() if name == "Ubuntu" else archives.nvidia_debian())
        apt = Apt(tmp_path_factory.mktemp("node"), key)
        apt.add_source("own", f"file:{publish(f'{name}-{version}', name, own)}/", own)
        apt.add_source("nvidia", f"file:{publish(f'nvidia-{name}', 'NVIDIA', nvidia)}/", nvidia)
        apt.update()
        return apt

    return make


@pytest.fixture
def node(nodes) -> Callable[[str], Apt]:
    """The same, with nothing but its kernels installed."""

    def fresh(release: str) -> Apt:
        apt = nodes(release)
        kernels = {name: version for name, version in apt.offered if name.startswith("linux-image-")}
        apt.start_over(kernels)
        return apt

    return fresh


def choose(
    release: str, branch: str, source: str, *cards: PciCard, modules: str = "auto", kernel: str = ""
) -> DriverChoice:
    name, version = release.split()
    system = System(name, version, kernel or KERNELS[release], secure_boot=False)
    return choose_driver(cards or (RTX_3090,), system, branch=branch, modules=modules, source=source)


def deploy(apt: Apt, choice: DriverChoice, kernel: str = "") -> None:
    """What role ``nvidia_driver`` does with a choice: other locks go, its own comes, and one request settles the rest.

    The role's guard has nothing against what apt would do, and afterwards nothing is left to do.
    """
    wanted = Wanted.of(asdict(choice))
    plan = plan_install(wanted, packages_of(apt))
    apt.prefer("00-rigdeploy-nvidia", choice.preferences)
    apt.remove(plan.pins)
    apt.install(*filter(None, [choice.pin_package]))
    before = packages_of(apt)
    said = apt.ask(*plan.words) if plan.words else ""
    kernels = [name.removeprefix("linux-headers-") for name in choice.headers[:1]] or list(filter(None, [kernel]))
    assert list(refusals(wanted, before, read_simulation(said), kernels)) == []
    apt.apply(said)
    assert plan_install(wanted, packages_of(apt)).why == ()


def packages_of(apt: Apt) -> dict[str, Installed]:
    return {name: Installed(name, version) for name, version in apt.installed.items()}


def driver_of(apt: Apt) -> dict[str, str]:
    """The installed packages but for the kernel's, DKMS and the pin."""
    plain = ("linux-image-*", "linux-headers-*", "dkms", "nvidia-driver-pinning-*")
    return {name: one for name, one in apt.installed.items() if not any(fnmatch(name, pattern) for pattern in plain)}


def named(text: str, branch: str = "") -> set[str]:
    return {word.replace("BBB", branch) for word in text.split()}


UBUNTU_570 = """nvidia-dkms-BBB-open nvidia-kernel-source-BBB-open nvidia-kernel-common-BBB nvidia-firmware-BBB
    nvidia-modprobe libnvidia-compute-BBB libnvidia-gpucomp-BBB libnvidia-cfg1-BBB nvidia-utils-BBB
    nvidia-compute-utils-BBB"""
UBUNTU_580 = UBUNTU_570.replace("nvidia-compute-utils-BBB", "nvidia-persistenced")
UBUNTU_590 = """nvidia-dkms-open nvidia-kernel-source-open nvidia-kernel-common nvidia-firmware nvidia-modprobe
    libnvidia-compute libnvidia-gpucomp libnvidia-cfg1 nvidia-persistenced"""
UBUNTU_OWN = """linux-modules-nvidia-BBB-server-open-LINE linux-modules-nvidia-BBB-server-open-KERNEL
    linux-objects-nvidia-BBB-server-open-KERNEL linux-signatures-nvidia-KERNEL nvidia-headless-no-dkms-BBB-server-open
    nvidia-kernel-source-BBB-server-open nvidia-kernel-common-BBB-server libnvidia-cfg1-BBB-server
    libnvidia-compute-BBB-server nvidia-compute-utils-BBB-server nvidia-utils-BBB-server"""
DEBIAN = """nvidia-kernel-open-dkms firmware-nvidia-gsp nvidia-kernel-support nvidia-kernel-common nvidia-modprobe
    nvidia-driver-cuda libcuda1 libnvidia-ml1 libnvidia-cfg1 libnvidia-ptxjitcompiler1 libnvidia-gpucomp
    nvidia-persistenced"""
DEBIAN_OWN = """nvidia-kernel-dkms firmware-nvidia-gsp nvidia-kernel-support nvidia-kernel-common nvidia-modprobe
    nvidia-alternative glx-alternative-nvidia nvidia-legacy-check nvidia-installer-cleanup nvidia-support libcuda1
    libnvidia-pkcs11-openssl3 libnvidia-ptxjitcompiler1 libnvidia-ml1 libnvidia-cfg1 nvidia-smi nvidia-persistenced"""


def closed(text: str) -> str:
    """The same packages with proprietary modules."""
    return text.replace("-open-dkms", "-dkms").replace("-open", "")


@pytest.mark.parametrize("release", ["Ubuntu 22.04", "Ubuntu 24.04", "Ubuntu 26.04"])
@pytest.mark.parametrize(
    ("branch", "modules", "expected"),
    [
        ("570", "auto", UBUNTU_570),
        ("580", "auto", UBUNTU_580),
        ("580", "proprietary", closed(UBUNTU_580)),
        ("590", "auto", UBUNTU_590),
        ("595", "proprietary", closed(UBUNTU_590)),
        ("610", "auto", UBUNTU_590),
        ("615", "auto", UBUNTU_590),
    ],
)
def test_from_nvidia_for_ubuntu(node, release, branch, modules, expected):
    apt = node(release)
    deploy(apt, choose(release, branch, "nvidia", modules=modules))
    assert set(driver_of(apt)) == named(expected, branch)
    assert {version.partition("-")[0] for version in driver_of(apt).values()} == {NEWEST_UBUNTU[branch]}
    assert f"linux-headers-{KERNELS[release]}" in apt.installed


NEWEST_UBUNTU = {
    "570": "570.195.03",
    "580": "580.159.04",
    "590": "590.48.01",
    "595": "595.71.05",
    "610": "610.43.02",
    "615": "615.71.09",
}


@pytest.mark.parametrize("release", ["Debian 12", "Debian 13"])
@pytest.mark.parametrize("source", ["nvidia", "mirror"])
@pytest.mark.parametrize(
    ("branch", "modules", "expected"),
    [
        ("570", "auto", DEBIAN),
        ("580", "auto", DEBIAN),
        ("580", "proprietary", closed(DEBIAN)),
        ("590", "auto", DEBIAN),
        ("615", "auto", DEBIAN),
    ],
)
def test_from_nvidia_for_debian(node, release, source, branch, modules, expected):
    apt = node(release)
    deploy(apt, choose(release, branch, source, modules=modules))
    found = driver_of(apt)
    assert set(found) == named(expected)
    shared = found.pop("nvidia-kernel-common")  # one package of Debian's own that serves all drivers
    assert shared.startswith("2024")
    assert {version[:3] for version in found.values()} == {branch}


@pytest.mark.parametrize(
    ("release", "kernel", "line"),
    [
        ("Ubuntu 22.04", "5.15.0-119-generic", "generic"),
        ("Ubuntu 22.04", "6.8.0-117-generic", "generic-hwe-22.04"),
        ("Ubuntu 24.04", "6.8.0-117-generic", "generic"),
        ("Ubuntu 24.04", "6.14.0-37-generic", "generic-hwe-24.04"),
        ("Ubuntu 26.04", "7.0.0-31-generic", "generic"),
    ],
)
@pytest.mark.parametrize(("branch", "version"), [("570", "570.172.08"), ("580", "580.178.04"), ("595", "595.91.07")])
@pytest.mark.parametrize("modules", ["open", "proprietary"])
def test_ubuntus_own_signed_modules(node, release, kernel, line, branch, version, modules):
    apt = node(release)
    before = dict(apt.installed)
    deploy(apt, choose(release, branch, "distro", kernel=kernel, modules=modules), kernel)
    expected = UBUNTU_OWN if modules == "open" else closed(UBUNTU_OWN)
    expected = expected.replace("LINE", line).replace("KERNEL", kernel)
    assert set(driver_of(apt)) == named(expected, branch) | {f"nvidia-firmware-{branch}-server-{version}"}
    assert not {name for name in apt.installed if fnmatch(name, "*dkms") or name.startswith("linux-headers-")}
    assert {name: one for name, one in apt.installed.items() if "linux-image" in name} == before


@pytest.mark.parametrize(("release", "branch"), [("Debian 12", "535"), ("Debian 13", "550")])
def test_debians_own(node, release, branch):
    apt = node(release)
    deploy(apt, choose(release, branch, "distro"))
    assert set(driver_of(apt)) == named(DEBIAN_OWN)
    newest = archives.DEBIAN_OWN[release.split()[1]][-1]
    assert apt.installed["nvidia-kernel-dkms"] == apt.installed["libcuda1"] == apt.installed["libnvidia-cfg1"] == newest


def test_debian_12_cannot_install_its_open_modules_beside_its_libraries(node):
    with pytest.raises(RefusedError, match="held broken packages"):
        node("Debian 12").install("nvidia-open-kernel-dkms", "libcuda1=535.309.01-0+deb12u1")


@pytest.mark.parametrize(("release", "source", "branch"), [
    ("Ubuntu 24.04", "nvidia", "580"), ("Ubuntu 24.04", "nvidia", "595"), ("Ubuntu 24.04", "distro", "580"),
    ("Debian 12", "nvidia", "570"), ("Debian 12", "nvidia", "580"), ("Debian 13", "mirror", "595"),
])  # fmt: skip
def test_a_fabric_manager_has_its_drivers_version(node, release, source, branch):
    apt = node(release)
    deploy(apt, choose(release, branch, source, A100, SWITCH))
    versions = {version.partition("-")[0] for name, version in apt.installed.items() if "fabricmanager" in name}
    driver = next(
        version for name, version in apt.installed.items() if fnmatch(name, "libnvidia-compute*") or name == "libcuda1"
    )
    assert versions == {driver.partition("-")[0]}


@pytest.mark.parametrize(("release", "branches"), [
    ("Ubuntu 24.04", ("570", "580", "590", "580", "570", "595", "610", "580")),
    ("Debian 12", ("570", "580", "590", "580", "570", "610", "580")),
])  # fmt: skip
def test_switching_branches_ends_where_a_fresh_install_does(node, release, branches):
    apt = node(release)
    for branch in branches:
        deploy(apt, choose(release, branch, "nvidia"))
        suits = named({"570": UBUNTU_570, "580": UBUNTU_580}.get(branch, UBUNTU_590), branch)
        assert set(driver_of(apt)) == (suits if release.startswith("Ubuntu") else named(DEBIAN))
        pins = [name for name in apt.installed if "-pinning-" in name]
        assert pins == [f"nvidia-driver-pinning-{branch}"]
        assert branch in {version[:3] for version in driver_of(apt).values()}


@pytest.mark.parametrize("branch", ["570", "580", "590", "595", "610"])
@pytest.mark.parametrize("release", ["Ubuntu 24.04", "Debian 13"])
def test_an_upgrade_of_everything_leaves_the_branch(node, release, branch):
    apt = node(release)
    deploy(apt, choose(release, branch, "nvidia"))
    before = dict(apt.installed)
    apt.upgrade()
    assert apt.installed == before


def test_without_the_pin_an_upgrade_would_not(): ...


FLAVOURS = ("open", "proprietary")


@pytest.mark.parametrize(
    ("release", "branch"), [("Ubuntu 24.04", "580"), ("Ubuntu 24.04", "595"), ("Debian 12", "580")]
)
def test_switching_the_flavour(node, release, branch):
    apt = node(release)
    for modules in ("open", "proprietary", "open"):
        choice = choose(release, branch, "nvidia", modules=modules)
        deploy(apt, choice)
        assert [name for name in apt.installed if fnmatch(name, "nvidia-*dkms*")] == [choice.packages[0]]


@pytest.mark.parametrize(("release", "branches"), [
    ("Ubuntu 24.04", {"nvidia": "580", "distro": "580"}),
    ("Ubuntu 24.04", {"nvidia": "595", "distro": "580"}),
    ("Ubuntu 26.04", {"nvidia": "615", "distro": "615"}),
    ("Debian 12", {"nvidia": "580", "distro": "535"}),
    ("Debian 13", {"nvidia": "580", "distro": "550"}),
])  # fmt: skip
def test_switching_the_source_leaves_nothing_of_the_other(node, release, branches):
    apt = node(release)
    alone = {}
    for source in ("nvidia", "distro", "nvidia", "distro"):
        deploy(apt, choose(release, branches[source], source))
        found = {name: version for name, version in driver_of(apt).items() if name not in SHARED}
        assert alone.setdefault(source, found) == found
    assert not set(alone["nvidia"].items()) & set(alone["distro"].items())


SHARED = named(
    """nvidia-kernel-common glx-alternative-nvidia nvidia-installer-cleanup nvidia-support nvidia-modprobe"""
)
"""Packages that serve either, and stay."""


@pytest.mark.parametrize("before", [
    ("nvidia-driver-570",), ("cuda-drivers-570",), ("nvidia-open",), ("nvidia-dkms-580-open", "nvidia-persistenced"),
    ("nvidia-headless-no-dkms-580-open", "linux-modules-nvidia-580-open-generic", "nvidia-utils-580"),
    ("nvidia-headless-no-dkms-535-server", "linux-modules-nvidia-535-server-generic"),
])  # fmt: skip
@pytest.mark.parametrize(("source", "branch"), [("nvidia", "580"), ("nvidia", "595"), ("distro", "580")])
def test_whatever_was_there_goes(node, before, source, branch):
    """Somebody followed another guide first, and mixed as apt likes it."""
    choice = choose("Ubuntu 24.04", branch, source)
    apt = node("Ubuntu 24.04")
    deploy(apt, choice)
    alone = driver_of(apt)
    apt = node("Ubuntu 24.04")
    apt.install(*before)
    deploy(apt, choice)
    found = {name: one for name, one in driver_of(apt).items() if name not in HARMLESS}
    assert found.items() >= {name: one for name, one in alone.items() if name not in HARMLESS}.items()
    assert {one[:3] for name, one in found.items() if name not in alone} <= {branch}


HARMLESS = frozenset({"nvidia-modprobe", "nvidia-open", "xserver-xorg-core", "xserver-xorg-video-nvidia"})
"""Of these a version that another driver left behind does no harm."""


def test_without_the_preferences_two_sources_would_mix(node):
    """The trap that they are for: Ubuntu's build of the branch is newer than NVIDIA's, and has the same names."""
    apt = node("Ubuntu 24.04")
    choice = choose("Ubuntu 24.04", "580", "nvidia")
    apt.install(choice.pin_package)
    apt.install(*choice.packages)
    assert len({version.partition("-")[2] for version in driver_of(apt).values()}) == 2


@pytest.mark.parametrize("release", KERNELS)
def test_nothing_for_a_desktop_comes_along(node, release):
    apt = node(release)
    before = set(apt.installed)
    for source, branch in (("nvidia", "580"), ("distro", OWN_BRANCH[release.split()[0]].get(release, "580"))):
        deploy(apt, choose(release, branch, source))
        assert not [name for name in set(apt.installed) - before for pattern in NEVER if fnmatch(name, pattern)]


OWN_BRANCH = {"Debian": {"Debian 12": "535", "Debian 13": "550"}, "Ubuntu": {}}


def test_pascal_is_locked_to_its_last_branch(node):
    apt = node("Ubuntu 24.04")
    deploy(apt, choose("Ubuntu 24.04", "580", "nvidia", P40))
    apt.upgrade()
    assert set(driver_of(apt)) == named(closed(UBUNTU_580), "580")
