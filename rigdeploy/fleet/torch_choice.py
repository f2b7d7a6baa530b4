"""Which of PyTorch's builds runs on a rig's driver and cards, and whether what an index offers does. Pure.

A release of PyTorch is built for several versions of CUDA, each with code for a range of architectures. One of them is
PyPI's; the others are on PyTorch's own index, and say which they are in their local version (``2.9.1+cu126``).
Sources: PyTorch's release compatibility matrix and CUDA support matrix (RELEASE.md, up to 2.14), its notice that 2.15
has no CUDA 12 any more, and for PyPI's builds the requirements of those wheels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.cuda_versions import CUDA_BRANCHES, CUDA_FLOORS, number
from rigdeploy.fleet.driver_choice import PciCard

RELEASES: dict[str, tuple[str, ...]] = {
    "2.6": ("cu124", "cu126"),
    "2.7": ("cu126", "cu128"),
    "2.8": ("cu128", "cu126", "cu129"),
    "2.9": ("cu128", "cu126", "cu130"),
    "2.10": ("cu128", "cu126", "cu130"),
    "2.11": ("cu130", "cu126", "cu128"),
    "2.12": ("cu130", "cu126", "cu132"),
    "2.13": ("cu130", "cu126", "cu132"),
    "2.14": ("cu130", "cu126", "cu132"),
    "2.15": ("cu132", "cu130"),
}
"""The builds of each release, PyPI's first. Those for CUDA 11, which 2.7 had last, are left out."""

WITH_VOLTA = frozenset({("2.8", "cu128"), ("2.8", "cu129"), ("2.9", "cu128"), ("2.10", "cu128")})
"""Builds for 12.8 and later that have code for Volta; the others begin at Turing."""

_GENERATIONS = ("maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell")
_LATER = ("rubin", "newer")
_LOCAL = re.compile(r"cu(\d\d)(\d)$")
_PINNED = re.compile(r"^torch==(?P<release>\d+\.\d+)(?P<patch>[^+\s]*)(?:\+(?P<local>[\w.]+))?", re.MULTILINE)
_RUNTIME = re.compile(r"^(?:nvidia-cuda-runtime(?:-cu\d+)?|cuda-toolkit(?:\[[^\]]*\])?)==(\d+)\.(\d+)", re.MULTILINE)


class TorchChoiceError(RigdeployError):
    """No build of PyTorch does."""


@dataclass(frozen=True)
class TorchChoice:
    """``requirement`` is what to ask an index for; ``backend`` names the build (``cu126``) where it is not PyPI's."""

    requirement: str
    cuda: str
    backend: str
    why: str


def choose_torch(cards: Sequence[PciCard], *, pytorch: str, branch: int) -> TorchChoice:
    """The build of the release ``pytorch`` (``2.9`` or ``2.9.1``) for these cards and this branch of the driver.

    PyPI's own where the driver has all that it uses, then the newest such; else one that runs by the compatibility of
    CUDA's minor versions, PyPI's first. TorchChoiceError when there is none.
    """
    release = release_of(pytorch)
    if release not in RELEASES:
        first, *_, last = RELEASES
        raise TorchChoiceError(
            f"which builds PyTorch {pytorch} has is not known here ({first} to {last} are)",
            "declare one of these, or with index a package index whose build suits the rig",
        )
    usable = _usable(release, cards, branch)
    if not usable:
        raise _nothing_fits(release, cards, branch)
    whole = [cuda for cuda in usable if CUDA_BRANCHES[version_of(cuda)] <= branch]
    candidates, pypi = whole or usable, RELEASES[release][0]
    cuda = pypi if pypi in candidates else max(candidates, key=lambda name: number(version_of(name)))
    how = "" if whole else ", without what is new in it"
    why = f"PyTorch {pytorch} for CUDA {version_of(cuda)} runs on these cards and driver branch {branch}{how}"
    return TorchChoice(requirement(pytorch), cuda, "" if cuda == pypi else cuda, why)


def requirement(pytorch: str) -> str:
    """What is declared, as a requirement: the newest patch where only the release is named."""
    return f"torch=={pytorch}" if pytorch.count(".") > 1 else f"torch=={pytorch}.*"


def release_of(version: str) -> str:
    """``2.9`` of ``2.9.1``."""
    return ".".join(version.split(".")[:2])


def version_of(cuda: str) -> str:
    """``12.8`` of ``cu128``; empty where it is no such name."""
    found = _LOCAL.match(cuda)
    return f"{int(found[1])}.{found[2]}" if found else ""


def judge_lock(lock: str, cards: Sequence[PciCard], *, branch: int) -> str:
    """The version of CUDA that a resolved set of requirements brings; ``""`` where it does not tell.

    TorchChoiceError when it is known not to run on this driver or these cards.
    """
    torch = _PINNED.search(lock)
    if torch is None:
        raise TorchChoiceError("what was resolved has no PyTorch", "look at the index that is declared")
    release, local, runtime = torch["release"], torch["local"] or "", _RUNTIME.search(lock)
    if local and not version_of(local):
        raise TorchChoiceError(
            f"the index has PyTorch {release}{torch['patch']}+{local}, which is no build for CUDA",
            "declare an index that has builds for CUDA, or none: then PyTorch's own are used",
        )
    cuda = local or (f"cu{runtime[1]}{runtime[2]}" if runtime else "")
    if not cuda:
        return ""
    found = f"the index has PyTorch {release} for CUDA {version_of(cuda)}, which"
    if lacking := _without_code(release, cuda, cards):
        message = f"{found} has no code for {lacking[0]}"
        raise TorchChoiceError(message, _instead(cards, branch) or "declare another index")
    if branch < _floor(cuda):
        message = f"{found} needs driver branch {_floor(cuda)} or later, not {branch}"
        raise TorchChoiceError(message, f'declare driver: "{_floor(cuda)}" or a later one')
    return version_of(cuda)


def _usable(release: str, cards: Sequence[PciCard], branch: int) -> list[str]:
    """The builds of a release that run here."""
    builds = (cuda for cuda in RELEASES[release] if _floor(cuda) <= branch)
    return [cuda for cuda in builds if not _without_code(release, cuda, cards)]


def _without_code(release: str, cuda: str, cards: Sequence[PciCard]) -> list[PciCard]:
    """The cards that a build has no code for; one of an architecture that nobody knows is given the chance."""
    version = number(version_of(cuda))
    has: tuple[str, ...] = _GENERATIONS[:-1]
    if version >= (12, 8):
        has = _GENERATIONS[_GENERATIONS.index("volta" if (release, cuda) in WITH_VOLTA else "turing") :]
    if version >= (13, 0):
        has += _LATER  # from PTX, which these builds carry as well
    return [card for card in cards if card.is_gpu and card.kind is not None and card.kind not in has]


def _floor(cuda: str) -> int:
    """The oldest branch of the driver that a build runs on."""
    return CUDA_FLOORS.get(number(version_of(cuda))[0], 0)


def _nothing_fits(release: str, cards: Sequence[PciCard], branch: int) -> TorchChoiceError:
    later = _usable(release, cards, max(CUDA_FLOORS.values()))
    if later:
        floor = min(_floor(cuda) for cuda in later)
        instead = _instead(cards, branch)
        remedy = f'declare driver: "{floor}" or a later one' + (f", or {instead}" if instead else "")
        return TorchChoiceError(f"PyTorch {release} needs driver branch {floor} or later here, not {branch}", remedy)
    without = [_without_code(release, cuda, cards) for cuda in RELEASES[release]]
    in_none = [card for card in without[0] if all(card in others for others in without)]
    apart = list(dict.fromkeys(str(cards[0]) for cards in without))
    of = f"for {in_none[0]}" if in_none else f"for both {' and '.join(apart[:2])}"
    remedy = _instead(cards, branch) or _instead(cards, max(CUDA_FLOORS.values())) or "take one of the cards out"
    return TorchChoiceError(f"no build of PyTorch {release} has code {of}", remedy)


def _instead(cards: Sequence[PciCard], branch: int) -> str:
    """What else to declare; empty where no release runs here."""
    fitting = [release for release in RELEASES if _usable(release, cards, branch)]
    if not fitting:
        return ""
    return f'declare pytorch: "{fitting[-1]}"' + (f", or an older one from {fitting[0]} on" if fitting[1:] else "")
