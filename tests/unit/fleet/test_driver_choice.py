"""Every card of the catalogue, branch, flavour, system and source: what is chosen, and what is refused in which words.

The rules stand here a second time, as NVIDIA's guide puts them, and not as the code does.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

import pytest

from rigdeploy.fleet.architectures import RANGES, architecture_of
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.driver_choice import DriverChoice, DriverChoiceError, PciCard, System, choose_driver
from rigdeploy.fleet.models import Gpu

BRANCHES = ("470", "535", "550", "560", "570", "580", "590", "595", "610", "615", "620")
MODULES = ("auto", "open", "proprietary")
SOURCES = ("nvidia", "mirror", "distro")
SYSTEMS = {
    ("Debian", "12"): "6.1.0-41-amd64",
    ("Debian", "13"): "6.12.107+deb13-amd64",
    ("Ubuntu", "22.04"): "5.15.0-119-generic",
    ("Ubuntu", "24.04"): "6.8.0-117-generic",
    ("Ubuntu", "26.04"): "7.0.0-31-generic",
}
OWN_BRANCH = {"12": 535, "13": 550}


def card(gpu: Gpu, address: str = "0000:01:00.0") -> PciCard:
    return PciCard(address, gpu.pci_ids[0], "030000", gpu.name, gpu.architecture)


def choose(
    *cards: PciCard,
    system: tuple[str, str] = ("Debian", "12"),
    branch: str = "580",
    modules: str = "auto",
    source: str = "nvidia",
    secure_boot: bool | None = False,
    kernel: str = "",
    container: bool = False,
) -> DriverChoice:
    node = System(*system, kernel or SYSTEMS.get(system, "1.2-x"), secure_boot=secure_boot, container=container)
    return choose_driver(cards, node, branch=branch, modules=modules, source=source)


def flavour_by_the_guide(gpu: Gpu, branch: int, modules: str, system: tuple[str, str], source: str) -> str | None:
    """What suits; None where nothing does."""
    old, new = gpu.architecture in ("pascal", "volta"), gpu.architecture == "blackwell"
    if (old and branch > 580) or (new and branch < 570):
        return None
    suits = {"open": not old and branch >= 515, "proprietary": not new and branch < 615}
    if system[0] == "Debian" and source == "distro":
        if branch != OWN_BRANCH[system[1]]:
            return None
        suits["open"] = False
    if modules != "auto":
        return modules if suits[modules] else None
    desk = "GeForce" in gpu.name or "RTX" in gpu.name
    order = ("proprietary", "open") if branch < 560 and desk else ("open", "proprietary")
    return next((flavour for flavour in order if suits[flavour]), None)


def module_package(system: tuple[str, str], source: str, branch: str, flavour: str) -> str:
    """The package that brings the kernel's modules."""
    tail = "-open" if flavour == "open" else ""
    if system[0] == "Debian":
        return "nvidia-kernel-open-dkms" if tail else "nvidia-kernel-dkms"
    if source == "distro":
        return f"linux-modules-nvidia-{branch}-server{tail}-generic"
    return f"nvidia-dkms{'' if int(branch) >= 590 else '-' + branch}{tail}"


@pytest.mark.parametrize("system", SYSTEMS, ids=" ".join)
@pytest.mark.parametrize("gpu", Catalogue.load().gpus.values(), ids=lambda gpu: gpu.id)
def test_every_card_by_the_guide(gpu: Gpu, system: tuple[str, str]) -> None:
    for branch, modules, source in product(BRANCHES, MODULES, SOURCES):
        expected = flavour_by_the_guide(gpu, int(branch), modules, system, source)
        case = f"{branch} {modules} {source}"
        declared = {"system": system, "branch": branch, "modules": modules, "source": source}
        if expected is None:
            with pytest.raises(DriverChoiceError):
                choose(card(gpu), **declared)
            continue
        choice = choose(card(gpu), **declared)
        assert choice.flavour == expected, case
        assert choice.packages[0] == module_package(system, source, branch, choice.flavour), case
        assert choice.dkms is ("dkms" in choice.packages[0]), case
        assert bool(choice.headers) is choice.dkms, case
        assert choice.pin_package == ("" if source == "distro" else f"nvidia-driver-pinning-{branch}"), case
        assert choice.fabric_manager == (), case
        own = [*choice.packages, choice.pin_package]
        assert not [one for one in own for rival in choice.rivals if fnmatch(one, rival)], case


def test_a_mirror_has_nvidias_names(catalogue: Catalogue) -> None:
    for system in SYSTEMS:
        one, other = (
            choose(card(catalogue.gpus["l4"]), system=system, source=source) for source in ("nvidia", "mirror")
        )
        assert one == other


# The declaration, and what is said against it.
IMPOSSIBLE = [
    (["p40"], {"branch": "590"}, "driver", "Tesla P40 is last driven by branch 580, not 590"),
    (["v100-pcie-16gb"], {"branch": "615"}, "driver", "last driven by branch 580"),
    (["p40"], {"modules": "open"}, "modules", "Tesla P40 needs proprietary modules"),
    (["rtx-5090"], {"modules": "proprietary"}, "modules", "NVIDIA GeForce RTX 5090 needs open modules"),
    (["rtx-5090"], {"branch": "550"}, "driver", "needs branch 570 or later, not 550"),
    (["rtx-4090"], {"branch": "615", "modules": "proprietary"}, "modules", "branch 615 has no proprietary modules"),
    (["t4"], {"branch": "470", "modules": "open"}, "modules", "branch 470 has no open modules"),
    (["p40", "rtx-5090"], {}, "", "no driver drives both Tesla P40 (proprietary modules) and NVIDIA GeForce RTX 5090"),
    (["rtx-4090"], {"source": "distro"}, "driver", "Debian 12 itself has branch 535, not 580"),
    (["rtx-4090"], {"source": "distro", "system": ("Debian", "13")}, "driver", "Debian 13 itself has branch 550"),
    (["rtx-4090"], {"source": "distro", "branch": "535", "modules": "open"}, "modules", "no two versions together"),
    (["rtx-4090"], {"source": "distro", "branch": "550", "modules": "open", "system": ("Debian", "13")}, "modules",
     "do not build against its own kernels"),
    (["rtx-4090"], {"system": ("Debian", "11")}, "", "this is Debian 11"),
    (["rtx-4090"], {"system": ("Debian", "trixie/sid")}, "", "this is Debian trixie/sid"),
    (["rtx-4090"], {"system": ("Ubuntu", "24.10")}, "", "this is Ubuntu 24.10"),
    (["rtx-4090"], {"system": ("Rocky", "9.6")}, "", "this is Rocky 9.6"),
    (["rtx-4090"], {"secure_boot": True}, "source", "Secure Boot is on"),
    (["rtx-4090"], {"secure_boot": True, "system": ("Ubuntu", "24.04")}, "source", "Secure Boot is on"),
]  # fmt: skip


@pytest.mark.parametrize(("gpus", "declared", "subject", "words"), IMPOSSIBLE)
def test_the_impossible_is_refused_with_the_reason(catalogue, gpus, declared, subject, words) -> None:
    with pytest.raises(DriverChoiceError) as caught:
        choose(*(card(catalogue.gpus[name]) for name in gpus), **declared)
    assert words in caught.value.message
    assert caught.value.subject == subject
    assert caught.value.remedy or not subject


def test_secure_boot_takes_signed_modules_and_names_the_way_there(catalogue: Catalogue) -> None:
    gpu = card(catalogue.gpus["rtx-4090"])
    assert not choose(gpu, system=("Ubuntu", "24.04"), source="distro", secure_boot=True).dkms
    assert choose(gpu, secure_boot=None).dkms  # what could not be read stops nothing
    remedies = {}
    for system in (("Ubuntu", "24.04"), ("Debian", "13")):
        with pytest.raises(DriverChoiceError) as caught:
            choose(gpu, system=system, secure_boot=True)
        remedies[system[0]] = caught.value.remedy
    assert "source: distro" in remedies["Ubuntu"]
    assert "mokutil --import" in remedies["Debian"]
    assert "mokutil" not in remedies["Ubuntu"]


# Ids of real machines (recorded by nvidia-smi, lspci or sysfs), and the architecture that NVIDIA gives the card.
SEEN = {
    "10de:13c2": "maxwell",  # GTX 970
    "10de:17c8": "maxwell",  # GTX 980 Ti
    "10de:15f8": "pascal",  # Tesla P100
    "10de:1b82": "pascal",  # GTX 1070 Ti
    "10de:1bb3": "pascal",  # Tesla P4
    "10de:1db6": "volta",  # V100 32 GB
    "10de:1e87": "turing",  # RTX 2080
    "10de:1eb8": "turing",  # T4
    "10de:2184": "turing",  # GTX 1660
    "10de:20b2": "ampere",  # A100 of a DGX
    "10de:2216": "ampere",  # RTX 3080 LHR
    "10de:2487": "ampere",  # RTX 3060
    "10de:2237": "ampere",  # A10G
    "10de:2330": "hopper",  # H100 SXM
    "10de:2684": "ada",  # RTX 4090
    "10de:27b8": "ada",  # L4
    "10de:2882": "ada",  # RTX 4060
    "10de:2901": "blackwell",  # B200
    "10de:2b85": "blackwell",  # RTX 5090
    "10de:2d04": "blackwell",  # RTX 5060 Ti
    "10de:2e12": "blackwell",  # GB10
    "10de:3182": "blackwell",  # B300
    "10de:3021": "rubin",
    "10de:1180": "kepler",  # GTX 680
    "10de:0fc6": "kepler",  # GTX 650
    "10de:3fff": "newer",
    "10de:2100": None,  # between two chips
    "10de:what": None,
    "10de:": None,
    "1002:744c": None,  # not NVIDIA's
}


@pytest.mark.parametrize(("pci_id", "expected"), SEEN.items())
def test_architecture_by_pci_id(pci_id: str, expected: str | None) -> None:
    assert architecture_of(pci_id) == expected


def test_the_ranges_are_in_order_apart_and_agree_with_the_catalogue(catalogue: Catalogue) -> None:
    bounds = [bound for first, last, _ in RANGES for bound in (first, last)]
    assert bounds == sorted(bounds)
    assert len(set(bounds)) == len(bounds)
    for gpu in catalogue.gpus.values():
        assert {architecture_of(pci_id) for pci_id in gpu.pci_ids} == {gpu.architecture}


CORPUS = Path(os.environ.get("RIGDEPLOY_CORPUS") or Path(__file__).parents[4] / "shared" / "corpus")
"""Real captures, which are not part of the project."""

NAMES = {"Turing": "turing", "Ampere": "ampere", "Ada Lovelace": "ada"}


@pytest.mark.skipif(not CORPUS.is_dir(), reason="not tested: the architectures of real captures; there are none")
def test_what_real_cards_say_of_themselves() -> None:
    found = 0
    for path in CORPUS.glob("nvidia-smi-xml/*.xml"):
        text = path.read_text(errors="replace")
        architectures = re.findall(r"<product_architecture>([^<]*)<", text)
        ids = re.findall(r"<pci_device_id>([0-9A-F]{4})10DE<", text)
        for architecture, device in zip(architectures, ids, strict=False):
            assert architecture_of(f"10de:{device.lower()}") == NAMES[architecture]
            found += 1
    assert found >= 4


@pytest.mark.parametrize(("device", "branch", "modules", "flavour"), [
    ("10de:3021", "610", "auto", "open"),  # Rubin
    ("10de:4abc", "615", "auto", "open"),  # newer than all known
    ("10de:2100", "615", "auto", "open"),  # unknown, but there is no choice
    ("10de:2100", "580", "open", "open"),
    ("10de:2100", "580", "proprietary", "proprietary"),
    ("10de:13c2", "580", "auto", "proprietary"),  # Maxwell
])  # fmt: skip
def test_a_card_that_the_catalogue_does_not_know(device: str, branch: str, modules: str, flavour: str) -> None:
    assert choose(PciCard("0000:01:00.0", device, "030200"), branch=branch, modules=modules).flavour == flavour


@pytest.mark.parametrize(("device", "declared", "words", "remedy"), [
    ("10de:2100", {}, "which modules the card at 0000:01:00.0 (10de:2100) needs cannot be told", "declare modules:"),
    ("10de:4abc", {"modules": "proprietary"}, "needs open modules", "auto or open"),
    ("10de:1180", {}, "older than Maxwell", "take it out"),
])  # fmt: skip
def test_a_card_that_cannot_be_told(device: str, declared: dict[str, str], words: str, remedy: str) -> None:
    with pytest.raises(DriverChoiceError, match=re.escape(words)) as caught:
        choose(PciCard("0000:01:00.0", device, "030200"), **declared)
    assert remedy in caught.value.remedy


def test_without_a_card_there_is_nothing_to_choose() -> None:
    with pytest.raises(DriverChoiceError, match="no NVIDIA card on the PCI bus"):
        choose(PciCard("0000:01:00.1", "10de:1aef", "040300"))


def test_functions_that_compute_nothing_decide_nothing(catalogue: Catalogue) -> None:
    sound = PciCard("0000:01:00.1", "10de:1aef", "040300")
    unknown = PciCard("0000:01:00.2", "10de:2100", "0c0330")
    assert choose(card(catalogue.gpus["rtx-3090"]), sound, unknown).flavour == "open"


@pytest.mark.parametrize(("class_code", "branch", "flavour"), [
    ("030000", "550", "proprietary"), ("030000", "560", "open"), ("030200", "550", "open"),
    ("030200", "510", "proprietary"),
])  # fmt: skip
def test_before_560_open_modules_are_for_datacentres(class_code: str, branch: str, flavour: str) -> None:
    ampere = PciCard("0000:01:00.0", "10de:2237", class_code)
    assert choose(ampere, branch=branch).flavour == flavour


@pytest.mark.parametrize(("system", "source", "branch", "expected"), [
    (("Ubuntu", "24.04"), "nvidia", "570", ("nvidia-fabricmanager-570",)),
    (("Ubuntu", "24.04"), "nvidia", "580", ("nvidia-fabricmanager",)),
    (("Ubuntu", "24.04"), "distro", "580", ("nvidia-fabricmanager-580", "libnvidia-nscq-580")),
    (("Debian", "12"), "mirror", "595", ("nvidia-fabricmanager",)),
])  # fmt: skip
def test_only_an_nvswitch_brings_a_fabric_manager(catalogue, system, source, branch, expected) -> None:
    gpu = card(catalogue.gpus["a100-pcie-80gb"])
    switch = PciCard("0000:c4:00.0", "10de:1af1", "068000")
    assert choose(gpu, switch, system=system, source=source, branch=branch).fabric_manager == expected
    assert choose(gpu, system=system, source=source, branch=branch).fabric_manager == ()


@pytest.mark.parametrize(("system", "kernel", "headers"), [
    (("Debian", "12"), "6.1.0-41-amd64", "amd64"),
    (("Debian", "12.11"), "6.1.0-41-cloud-amd64", "cloud-amd64"),
    (("Debian", "13"), "6.12.107+deb13-amd64", "amd64"),
    (("Debian", "13"), "6.16.3+deb13-rt-amd64", "rt-amd64"),
    (("Debian", "12"), "6.12.9+bpo-amd64", "amd64"),
    (("Ubuntu", "22.04"), "5.15.0-119-generic", "generic"),
    (("Ubuntu", "22.04"), "6.8.0-117-generic", "generic-hwe-22.04"),
    (("Ubuntu", "24.04"), "6.8.0-117-lowlatency", "lowlatency"),
    (("Ubuntu", "24.04"), "6.14.0-37-generic", "generic-hwe-24.04"),
    (("Ubuntu", "24.04"), "6.14.0-1012-aws", "aws"),
    (("Ubuntu", "26.04"), "7.0.0-31-generic", "generic"),
])  # fmt: skip
def test_headers_of_the_running_kernel_and_of_the_next(catalogue, system, kernel, headers) -> None:
    gpu = card(catalogue.gpus["l4"])
    choice = choose(gpu, system=system, kernel=kernel)
    assert choice.headers == (f"linux-headers-{kernel}", f"linux-headers-{headers}")
    assert choose(gpu, system=system, kernel=kernel, container=True).headers == ()


def test_debians_own_modules_have_a_name_of_their_own(catalogue: Catalogue) -> None:
    gpu = card(catalogue.gpus["l4"])
    assert choose(gpu, branch="535", source="distro").module == "nvidia-current"
    assert choose(gpu).module == "nvidia"


@pytest.mark.parametrize(("gpu", "declared", "words"), [
    ("rtx-5090", {}, "NVIDIA GeForce RTX 5090 (blackwell) has open modules only"),
    ("p40", {}, "Tesla P40 (pascal) has no GSP"),
    ("l4", {}, "all cards have a GSP"),
    ("l4", {"branch": "615"}, "from branch 615 on all modules are open"),
    ("l4", {"modules": "proprietary"}, "proprietary modules are declared"),
    ("rtx-4090", {"branch": "535"}, "open modules of branch 535 are not meant for NVIDIA GeForce RTX 4090"),
    ("l4", {"branch": "550", "source": "distro", "system": ("Debian", "13")}, "do not build against its own kernels"),
])  # fmt: skip
def test_the_choice_says_why(catalogue, gpu, declared, words) -> None:
    assert words in choose(card(catalogue.gpus[gpu]), **declared).why
