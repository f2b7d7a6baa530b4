"""The software a rig declares against its cards: which driver branch and modules can drive them.

The rules of flavour and branch are NVIDIA's (open modules need a GSP, so Turing and later; Blackwell has no
proprietary ones and starts at 570; 580 is the last branch for Pascal and Volta; from 615 on all modules are open).
"""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.document import Place
from rigdeploy.fleet.models import Gpu, GpuStack, Rig
from rigdeploy.fleet.remark import Remark

OLD = frozenset({"pascal", "volta"})
"""Architectures without a GSP: proprietary modules only."""

NEW = frozenset({"blackwell"})
"""Architectures without proprietary modules."""

LAST_BRANCH_FOR_OLD = 580
FIRST_BRANCH_FOR_NEW = 570
FIRST_BRANCH_ALL_OPEN = 615

CUDA_FLOORS = {11: 450, 12: 525, 13: 580}
"""The oldest branch that runs applications of a CUDA major version (minor-version compatibility)."""


def module_flavour(stack: GpuStack, gpus: list[Gpu]) -> str:
    """``open`` or ``proprietary``: what is declared, or what the cards need."""
    if stack.modules != "auto":
        return stack.modules
    return "proprietary" if any(gpu.architecture in OLD for gpu in gpus) else "open"


def stack_remarks(rig: Rig, catalogue: Catalogue) -> Iterator[Remark]:
    """What cannot be, or is not acted on, about a rig's software."""
    at: Place = ("rigs", rig.name)
    if rig.os is not None:
        yield Remark.not_yet((*at, "os"), "an image to install")
    if rig.serve is not None:
        yield Remark.not_yet((*at, "serve"), "a model to serve")
    stack = rig.gpu_stack
    if stack is None:
        return
    inner = (*at, "gpu_stack")
    if stack.source == "mirror" and stack.mirror is None:
        yield Remark((*inner, "source"), "a mirror is the source, and none is named", "mirror: {url: …, key: …}")
    gpus = [catalogue.gpus[slot.gpu] for slot in rig.build.slots.values() if slot.gpu in catalogue.gpus]
    yield from _driver_remarks(inner, stack, gpus)
    yield from _cuda_remarks(inner, stack, gpus)


def _driver_remarks(at: Place, stack: GpuStack, gpus: list[Gpu]) -> Iterator[Remark]:
    branch, flavour = int(stack.driver), module_flavour(stack, gpus)
    old = next((gpu for gpu in gpus if gpu.architecture in OLD), None)
    new = next((gpu for gpu in gpus if gpu.architecture in NEW), None)
    if old and new:
        yield Remark(at, f"no driver drives both {old.name} (proprietary modules) and {new.name} (open modules)")
        return
    if old and branch > LAST_BRANCH_FOR_OLD:
        yield Remark((*at, "driver"), f"{old.name} is last driven by branch {LAST_BRANCH_FOR_OLD}, not {branch}")
    if old and flavour == "open":
        yield Remark((*at, "modules"), f"{old.name} needs proprietary modules", "write auto or proprietary")
    if new and branch < FIRST_BRANCH_FOR_NEW:
        yield Remark((*at, "driver"), f"{new.name} needs branch {FIRST_BRANCH_FOR_NEW} or later, not {branch}")
    if new and flavour == "proprietary":
        yield Remark((*at, "modules"), f"{new.name} needs open modules", "write auto or open")
    if not old and not new and flavour == "proprietary" and branch >= FIRST_BRANCH_ALL_OPEN:
        message = f"branch {branch} has no proprietary modules (none has from {FIRST_BRANCH_ALL_OPEN} on)"
        yield Remark((*at, "modules"), message, "write auto or open")


def _cuda_remarks(at: Place, stack: GpuStack, gpus: list[Gpu]) -> Iterator[Remark]:
    branch = int(stack.driver)
    old = next((gpu for gpu in gpus if gpu.architecture in OLD), None)
    for version in stack.cuda:
        major = int(version.split(".")[0])
        if branch < (floor := CUDA_FLOORS.get(major, 0)):
            yield Remark((*at, "cuda"), f"CUDA {version} needs driver branch {floor} or later, not {branch}")
        if old and major >= max(CUDA_FLOORS):
            yield Remark((*at, "cuda"), f"CUDA {version} cannot target {old.name}", "12.9 is the last that can")
