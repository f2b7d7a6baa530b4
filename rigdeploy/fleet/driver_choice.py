"""Which driver packages drive the cards that are on the bus: flavour, branch, names. Pure, and the only such place.

The rules of flavour and branch are NVIDIA's: open modules need the GSP processor, which Turing brought; Blackwell has
only open ones and starts at 570; 580 is the last branch for Maxwell, Pascal and Volta; from 615 on all are open.
(Driver installation guide, "Kernel modules"; the READMEs of branches 580, 595 and 615.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.architectures import KEPLER, NEWER, architecture_of
from rigdeploy.fleet.driver_packages import PackageSet, debian, supported, ubuntu

OLD = frozenset({"maxwell", "pascal", "volta"})
"""Architectures without a GSP: proprietary modules only."""

NEW = frozenset({"blackwell", "rubin", NEWER})
"""Architectures without proprietary modules: Blackwell and, as NVIDIA's guide has it, all that follow."""

FIRST_BRANCH_OPEN = 515
FIRST_BRANCH_OPEN_FOR_ALL = 560
"""Open modules of older branches are meant for datacentre cards: from here on NVIDIA recommends them for all."""
FIRST_BRANCH_FOR_NEW = 570
LAST_BRANCH_FOR_OLD = 580
FIRST_BRANCH_ALL_OPEN = 615

_DISPLAY_CLASSES = ("0300", "0302")
_SWITCH_CLASS = "0680"
_WORKSTATION_NAMES = ("GeForce", "RTX", "Quadro", "TITAN")


class DriverChoiceError(RigdeployError):
    """No driver can be chosen. ``subject`` is the key of ``gpu_stack`` that is at fault, empty where none alone is."""

    def __init__(self, message: str, remedy: str = "", subject: str = "") -> None:
        super().__init__(message, remedy)
        self.subject = subject


@dataclass(frozen=True)
class PciCard:
    """One of NVIDIA's PCI functions: ``device`` is ``10de:2204``; ``class_code`` begins with ``0300`` or the like.

    ``name`` and ``architecture`` are the catalogue's, where it knows the device.
    """

    address: str
    device: str
    class_code: str
    name: str = ""
    architecture: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether this computes: a VGA or 3D controller."""
        return self.class_code[:4] in _DISPLAY_CLASSES

    @property
    def is_switch(self) -> bool:
        """Whether this is an NVSwitch: a bridge of no other kind."""
        return self.class_code[:4] == _SWITCH_CLASS

    @property
    def kind(self) -> str | None:
        """The card's architecture; ``None`` where nothing tells it."""
        return self.architecture or architecture_of(self.device)

    @property
    def is_workstation(self) -> bool:
        """Whether it was sold for desks rather than datacentres: by its name, else by having display outputs."""
        if self.name:
            return any(word in self.name for word in _WORKSTATION_NAMES)
        return self.class_code[:4] == "0300"

    def __str__(self) -> str:
        return self.name or f"the card at {self.address} ({self.device})"


@dataclass(frozen=True)
class System:
    """The node's system: ``distribution`` and ``version`` as Ansible says them (``Debian``, ``12``), ``uname -r``.

    ``secure_boot``: ``None`` where it could not be read. In a ``container`` the kernel is the host's.
    """

    distribution: str
    version: str
    kernel: str
    secure_boot: bool | None = None
    container: bool = False


@dataclass(frozen=True, kw_only=True)
class DriverChoice(PackageSet):
    """What to install on this node. ``why`` says in a sentence what decided the ``flavour``, open or proprietary."""

    flavour: str
    why: str


def choose_driver(cards: Sequence[PciCard], system: System, *, branch: str, modules: str, source: str) -> DriverChoice:
    """What drives these cards on this system; raises DriverChoiceError where nothing does.

    ``modules`` is auto, open or proprietary; ``source`` is nvidia, mirror (NVIDIA's names) or distro.
    """
    gpus = [card for card in cards if card.is_gpu]
    if not gpus:
        raise DriverChoiceError(
            "there is no NVIDIA card on the PCI bus", "check that the cards are seated and have power"
        )
    for refusal in refusals(gpus, branch=branch, modules=modules):
        raise refusal
    flavour, why = flavour_for(gpus, branch=branch, modules=modules)
    release = supported(system.distribution, system.version)
    if release is None:
        raise DriverChoiceError(
            f"the driver is installed on Debian 12 and 13 and Ubuntu 22.04, 24.04 and 26.04; "
            f"this is {system.distribution} {system.version}"
        )
    if source == "distro" and release.name == "Debian":
        flavour, why = _debian_archive(release.version, release.branch, branch, modules, flavour, why)
    make = ubuntu if release.name == "Ubuntu" else debian
    chosen = make(release, system.kernel, branch, flavour, from_distro=source == "distro")
    if chosen.dkms and system.secure_boot:
        raise _unsigned(release.name)
    switches = any(card.is_switch for card in cards)
    return _choice(chosen, flavour, why, switches=switches, container=system.container)


def _choice(chosen: PackageSet, flavour: str, why: str, *, switches: bool, container: bool) -> DriverChoice:
    node = replace(
        chosen,
        headers=() if container or not chosen.dkms else chosen.headers,
        fabric_manager=chosen.fabric_manager if switches else (),
    )
    return DriverChoice(**vars(node), flavour=flavour, why=why)


def flavour_for(gpus: Sequence[PciCard], *, branch: str, modules: str) -> tuple[str, str]:
    """``open`` or ``proprietary``, and why; what cannot be is ``refusals``' to say."""
    if modules != "auto":
        return modules, f"{modules} modules are declared"
    for gpu in gpus:
        if gpu.kind in NEW:
            return "open", f"{gpu} ({gpu.kind}) has open modules only"
    for gpu in gpus:
        if gpu.kind in OLD:
            return "proprietary", f"{gpu} ({gpu.kind}) has no GSP, which open modules need"
    if int(branch) >= FIRST_BRANCH_ALL_OPEN:
        return "open", f"from branch {FIRST_BRANCH_ALL_OPEN} on all modules are open"
    desk = next((gpu for gpu in gpus if gpu.is_workstation), None)
    if int(branch) < FIRST_BRANCH_OPEN or (desk and int(branch) < FIRST_BRANCH_OPEN_FOR_ALL):
        return "proprietary", f"open modules of branch {branch} are not meant for {desk or 'any card'}"
    return "open", "all cards have a GSP, so they run on open modules"


def refusals(gpus: Sequence[PciCard], *, branch: str, modules: str) -> Iterator[DriverChoiceError]:
    """Every reason for which no system could drive these cards so, gravest first."""
    number = int(branch)
    ancient = next((gpu for gpu in gpus if gpu.kind == KEPLER), None)
    old = next((gpu for gpu in gpus if gpu.kind in OLD), None)
    new = next((gpu for gpu in gpus if gpu.kind in NEW), None)
    if ancient:
        yield DriverChoiceError(f"{ancient} is older than Maxwell, and no branch drives it any more", "take it out")
        return
    if old and new:
        message = f"no driver drives both {old} (proprietary modules) and {new} (open modules)"
        yield DriverChoiceError(message, "take one of them out")
        return
    yield from _branch_refusals(old, new, number)
    yield from _module_refusals(gpus, old, new, number, modules)


def _branch_refusals(old: PciCard | None, new: PciCard | None, branch: int) -> Iterator[DriverChoiceError]:
    if old and branch > LAST_BRANCH_FOR_OLD:
        message = f"{old} is last driven by branch {LAST_BRANCH_FOR_OLD}, not {branch}"
        yield DriverChoiceError(message, f'declare driver: "{LAST_BRANCH_FOR_OLD}"', "driver")
    if new and branch < FIRST_BRANCH_FOR_NEW:
        message = f"{new} needs branch {FIRST_BRANCH_FOR_NEW} or later, not {branch}"
        yield DriverChoiceError(message, 'declare driver: "580" or a later one', "driver")


def _module_refusals(
    gpus: Sequence[PciCard], old: PciCard | None, new: PciCard | None, branch: int, modules: str
) -> Iterator[DriverChoiceError]:
    if old and modules == "open":
        yield DriverChoiceError(f"{old} needs proprietary modules", "write auto or proprietary", "modules")
    if new and modules == "proprietary":
        yield DriverChoiceError(f"{new} needs open modules", "write auto or open", "modules")
    if not old and not new and modules == "proprietary" and branch >= FIRST_BRANCH_ALL_OPEN:
        message = f"branch {branch} has no proprietary modules (none has from {FIRST_BRANCH_ALL_OPEN} on)"
        yield DriverChoiceError(message, "write auto or open", "modules")
    if not old and modules == "open" and branch < FIRST_BRANCH_OPEN:
        message = f"branch {branch} has no open modules (the first that has is {FIRST_BRANCH_OPEN})"
        yield DriverChoiceError(message, "write auto or proprietary", "modules")
    unknown = next((gpu for gpu in gpus if gpu.kind is None), None)
    if unknown and modules == "auto" and branch < FIRST_BRANCH_ALL_OPEN:
        message = f"which modules {unknown} needs cannot be told: its architecture is not known"
        yield DriverChoiceError(message, "declare modules: open (Turing and later) or proprietary (older)", "modules")


def _debian_archive(version: str, has: str, branch: str, modules: str, flavour: str, why: str) -> tuple[str, str]:
    """Flavour and reason with Debian's own packages: one branch per release, and open modules of no use in either."""
    if branch != has:
        message = f"Debian {version} itself has branch {has}, not {branch}"
        remedy = f'declare driver: "{has}", or source: nvidia'
        raise DriverChoiceError(message, remedy, "driver")
    reason = {
        "12": "its open modules (535.261.03) are older than its libraries, and apt installs no two versions together",
        "13": "its open modules do not build against its own kernels (6.12.107 and later)",
    }[version]
    if modules == "open":
        raise DriverChoiceError(
            f"Debian {version} has no open modules to use: {reason}", "source: nvidia has", "modules"
        )
    if flavour == "open":
        return "proprietary", f"Debian {version}'s own packages: {reason}"
    return flavour, why


def _unsigned(distribution: str) -> DriverChoiceError:
    message = "Secure Boot is on, and the kernel would refuse modules that are built on the node: nobody signs them"
    other = "enrol the key that dkms signs with (mokutil --import /var/lib/dkms/mok.pub, reboot, 'Enroll MOK')"
    if distribution == "Ubuntu":
        other = "declare source: distro, for Ubuntu's own modules are signed"
    return DriverChoiceError(message, f"{other}, or switch Secure Boot off in the BIOS", "source")
