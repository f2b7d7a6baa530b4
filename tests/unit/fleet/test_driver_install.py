import pytest

from rigdeploy.fleet.driver_install import (
    Wanted,
    plan_install,
    read_leftovers,
    read_packages,
    read_simulation,
    refusals,
    why_not,
)

KERNEL = "6.1.0-37-amd64"
OPEN = Wanted(
    packages=("nvidia-kernel-open-dkms", "nvidia-driver-cuda"),
    version="580.*",
    dkms=True,
    headers=(f"linux-headers-{KERNEL}", "linux-headers-amd64"),
    rivals=("nvidia-kernel-dkms", "nvidia-driver-pinning-[!5]*", "nvidia-driver-pinning-57*"),
)
PREBUILT = Wanted(
    ("linux-modules-nvidia-580-server-generic", "nvidia-utils-580-server"), "", False, (), ("nvidia-dkms-*",)
)


def installed(*lines: str) -> str:
    """Lines as dpkg-query prints them, from ``NAME STATUS VERSION``."""
    return "".join("\t".join(line.split()) + "\n" for line in lines)


HEADERS = (f"linux-headers-{KERNEL} ii_ 6.1.140-1", "linux-headers-amd64 ii_ 6.1.140-1")
WHOLE = (*HEADERS, "nvidia-kernel-open-dkms ii_ 580.95.05-1", "nvidia-driver-cuda ii_ 1:580.82.07-1")


@pytest.mark.parametrize(
    ("wanted", "lines", "words"),
    [
        (OPEN, WHOLE, ()),
        (OPEN, (*WHOLE, "nvidia-kernel-dkms rc_ 535.1.2-1"), ()),
        (OPEN, WHOLE[1:], "all"),
        (OPEN, (*WHOLE[:3], "nvidia-driver-cuda ii_ 570.195.03-1"), "all"),
        (OPEN, (*WHOLE[:3], "nvidia-driver-cuda iU_ 580.95.05-1"), "all"),
        (OPEN, (*WHOLE, "nvidia-kernel-dkms ii_ 580.95.05-1"), "all and nvidia-kernel-dkms-"),
        (PREBUILT, ("linux-modules-nvidia-580-server-generic ii_ 6.8.0-79", "nvidia-utils-580-server ii_ 580.1"), ()),
        (PREBUILT, (), PREBUILT.packages),
    ],
)
def test_what_is_missing(wanted, lines, words):
    everything = (*OPEN.headers, *OPEN.packages)
    expected = {"all": everything, "all and nvidia-kernel-dkms-": (*everything, "nvidia-kernel-dkms-")}.get(
        words, words
    )
    plan = plan_install(wanted, read_packages(installed(*lines)))
    assert plan.words == expected
    assert bool(plan.why) == bool(expected)


def test_locks_of_other_branches_go_even_where_only_their_file_is_left():
    text = installed(*WHOLE, "nvidia-driver-pinning-570 rc_ 570-1", "nvidia-driver-pinning-610 ii_ 610-1", "old rc_ 1")
    plan = plan_install(OPEN, read_packages(text), read_leftovers(text))
    assert plan.pins == ("nvidia-driver-pinning-610", "nvidia-driver-pinning-570")
    assert plan.words == ()


NVIDIA = "NVIDIA CUDA:1.0/NVIDIA"
DEBIAN = "Debian:12.11/oldstable, Debian-Security:12/oldstable-security"
GOOD = f"""\
NOTE: This is only a simulation!
Inst linux-headers-{KERNEL} (6.1.140-1 {DEBIAN} [amd64])
Inst nvidia-kernel-open-dkms (580.95.05-1 {NVIDIA} [amd64])
Inst glx-alternative-nvidia (1.2.2 {DEBIAN} [amd64])
Inst libcuda1 [570.195.03-1] (580.95.05-1 {NVIDIA} [amd64]) []
Inst nvidia-driver-cuda (580.95.05-1 {NVIDIA} [amd64])
Conf nvidia-driver-cuda (580.95.05-1 {NVIDIA} [amd64])
"""


def verdict(simulation: str, *lines: str, wanted: Wanted = OPEN, kernels: tuple[str, ...] = (KERNEL,)) -> list[str]:
    return list(refusals(wanted, read_packages(installed(*lines)), read_simulation(simulation), kernels))


@pytest.mark.parametrize(
    ("more", "lines", "says"),
    [
        ("", (), []),
        ("Remv nvidia-kernel-dkms [535.309.01-1]", (), []),
        ("Remv libnvidia-old [570.195.03-1]", (), []),
        ("", ("libcuda1 hi_ 570.195.03-1",), ["held", "libcuda1"]),
        ("Remv chrony [4.3-2]", ("chrony hi_ 4.3-2",), ["held", "none of the driver's", "chrony"]),
        ("Remv nvidia-container-toolkit [1.18.0-1]", (), ["none of the driver's", "nvidia-container-toolkit"]),
        (f"Inst linux-image-6.1.0-40-amd64 (6.1.150-1 {DEBIAN} [amd64])", (), ["change the kernel", "6.1.0-40"]),
        ("Remv linux-image-6.1.0-37-amd64 [6.1.140-1]", (), ["change the kernel"]),
        (
            f"Inst libnvidia-ml1 (535.309.01-1 {DEBIAN} [amd64])",
            (),
            ["mix package sources", "libnvidia-ml1 535.309.01-1 from Debian", "NVIDIA CUDA"],
        ),
    ],
)
def test_what_must_not_happen(more, lines, says):
    found = verdict(f"{GOOD}{more}\n", *lines)
    assert bool(found) == bool(says)
    for text in says:
        assert text in "; ".join(found)


@pytest.mark.parametrize(
    ("wanted", "simulation", "lines", "missing"),
    [
        (OPEN, GOOD, (), ["6.1.0-40-amd64"]),
        (OPEN, GOOD, ("linux-headers-6.1.0-40-amd64 ii_ 6.1.150-1",), []),
        (
            OPEN,
            GOOD + "Remv linux-headers-6.1.0-40-amd64 [1]\n",
            ("linux-headers-6.1.0-40-amd64 ii_ 1",),
            ["none of", "6.1.0-40"],
        ),
        (
            PREBUILT,
            f"Inst linux-modules-nvidia-580-server-{KERNEL} (6.1 Ubuntu:24.04/noble [amd64])\n",
            (),
            ["6.1.0-40-amd64"],
        ),
        (PREBUILT, "", tuple(f"linux-modules-nvidia-580-server-{k} ii_ 6" for k in (KERNEL, "6.1.0-40-amd64")), []),
    ],
)
def test_no_kernel_boots_without_a_module(wanted, simulation, lines, missing):
    found = verdict(simulation, *lines, wanted=wanted, kernels=(KERNEL, "6.1.0-40-amd64"))
    assert len(found) == len(missing)
    for text, sentence in zip(missing, found, strict=True):
        assert text in sentence


@pytest.mark.parametrize(
    ("simulation", "lines", "says"),
    [
        (GOOD, (), ""),
        (
            GOOD.replace("580.95", "615.71"),
            (),
            "no 580.* of what would be there instead: nvidia-kernel-open-dkms 615.71",
        ),
        ("", (*WHOLE[:3], "nvidia-driver-cuda ii_ 570.195.03-1"), "there instead: nvidia-driver-cuda 570.195.03-1"),
    ],
)
def test_no_other_branch_comes_or_stays_where_the_source_lacks_the_declared_one(simulation, lines, says):
    found = "; ".join(verdict(simulation, *HEADERS, *lines))
    assert says in found
    assert bool(found) == bool(says)


def test_the_fabric_manager_has_the_drivers_version():
    wanted = Wanted((*OPEN.packages, "nvidia-fabricmanager"), "580.*", True, OPEN.headers, ())
    fabric = f"Inst nvidia-fabricmanager ({{}} {NVIDIA} [amd64])\n"
    assert verdict(GOOD + fabric.format("580.95.05-1"), wanted=wanted) == []
    found = verdict(GOOD + fabric.format("580.105.08-1"), wanted=wanted)
    assert "nvidia-fabricmanager 580.105.08-1 does not fit nvidia-kernel-open-dkms 580.95.05-1" in found[0]


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (f"E: Unable to locate package linux-headers-{KERNEL}\n", "no headers for the running kernel", "reboot first"),
        ("E: Version '535.*' for 'nvidia-smi' was not found\n", "has no nvidia-smi 535.*", ""),
        ("E: Package 'libcuda1' has no installation candidate\n", "has no libcuda1", ""),
        ("E: Unable to correct problems, you have held broken packages.\n", "finds no way", "libcuda1"),
    ],
)
def test_what_apt_could_not_do_is_explained(error, message, remedy):
    said = why_not(error, read_packages(installed("libcuda1 hi_ 570.1.2-1")))
    assert message in said[0]
    assert remedy in said[1]
