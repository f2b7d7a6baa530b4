"""The software a rig declares, against its cards and against itself.

What drives the cards is ``driver_choice``'s to say, which the role asks again on the node, so that both refuse in the
same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.cuda_versions import CUDA_BRANCHES, CUDA_FLOORS, number
from rigdeploy.fleet.document import Place
from rigdeploy.fleet.driver_choice import (
    NEW,
    OLD,
    DriverChoiceError,
    PciCard,
    System,
    choose_driver,
    flavour_for,
    refusals,
)
from rigdeploy.fleet.models import Frameworks, Gpu, GpuStack, Rig
from rigdeploy.fleet.remark import Remark
from rigdeploy.fleet.torch_choice import TorchChoiceError, choose_torch

LAST_CUDA_FOR_OLD = 12
"""CUDA 13 compiles for Turing and later."""

FIRST_CUDA_FOR_NEW = (12, 8)
"""The first whose compiler knows Blackwell."""

FIRST_BRANCH_FOR_VLLM = 580
"""vLLM's own builds are of CUDA 13."""

_IMAGE = re.compile(r"^(debian|ubuntu)-([0-9]+(?:\.[0-9]+)?)")


def module_flavour(stack: GpuStack, gpus: list[Gpu], distribution: str = "") -> str:
    """``open`` or ``proprietary``: what is declared, or what the cards need.

    ``distribution`` is what the node says it is (``debian``): Debian's own driver is proprietary for any card.
    """
    if stack.modules == "auto" and stack.package_source == "distro" and distribution == "debian":
        return "proprietary"
    return flavour_for(_cards(gpus), branch=stack.driver, modules=stack.modules)[0]


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
    gpus = [catalogue.gpus[slot.gpu] for slot in rig.build.slots.values() if slot.gpu in catalogue.gpus]
    if stack.source == "mirror" and stack.mirror is None:
        yield Remark((*inner, "source"), "a mirror is the source, and none is named", "mirror: {url: …, key: …}")
    yield from _driver_remarks(inner, stack, gpus, rig.os.image if rig.os else "")
    yield from _cuda_remarks(inner, stack, gpus)
    if stack.frameworks is not None:
        yield from _frameworks_remarks((*inner, "frameworks"), stack.frameworks, gpus, int(stack.driver))
    if rig.serve is not None and rig.serve.engine == "vllm":
        yield from _vllm_remarks((*at, "serve", "engine"), stack, gpus)


def _cards(gpus: list[Gpu]) -> list[PciCard]:
    """The declared cards as they will be on the bus; the catalogue knows what their ids would have to tell."""
    return [PciCard("", gpu.pci_ids[0], "0300", gpu.name, gpu.architecture) for gpu in gpus]


def _driver_remarks(at: Place, stack: GpuStack, gpus: list[Gpu], image: str) -> Iterator[Remark]:
    found = list(refusals(_cards(gpus), branch=stack.driver, modules=stack.modules))
    if gpus and not found and (known := _IMAGE.match(image)):
        system = System(known[1].capitalize(), known[2], kernel="")
        try:
            choose_driver(_cards(gpus), system, branch=stack.driver, modules=stack.modules, source=stack.package_source)
        except DriverChoiceError as error:
            found.append(error)
    for refusal in found:
        place = (*at, refusal.subject) if refusal.subject else at
        yield Remark(place, refusal.message, refusal.remedy)


def _cuda_remarks(at: Place, stack: GpuStack, gpus: list[Gpu]) -> Iterator[Remark]:
    if stack.cuda and stack.package_source == "distro":
        message = "the distributions have no CUDA toolkit of a version that can be named"
        yield Remark((*at, "cuda"), message, "declare source: nvidia, or leave cuda out: wheels bring their own")
    for name in ("cudnn", "nccl"):
        if getattr(stack, name) and not stack.cuda:
            yield Remark((*at, name), f"{name} goes with a CUDA toolkit, and none is declared", 'cuda: "13.0"')
    old = next((gpu for gpu in gpus if gpu.architecture in OLD), None)
    new = next((gpu for gpu in gpus if gpu.architecture in NEW), None)
    for version in stack.cuda:
        yield from _cuda_branch(at, version, int(stack.driver))
        if old and number(version)[0] > LAST_CUDA_FOR_OLD:
            yield Remark((*at, "cuda"), f"CUDA {version} cannot target {old.name}", "12.9 is the last that can")
        if new and number(version) < FIRST_CUDA_FOR_NEW:
            message = f"CUDA {version} cannot compile for {new.name}"
            yield Remark.warning((*at, "cuda"), message, "12.8 is the first that can")


def _cuda_branch(at: Place, version: str, branch: int) -> Iterator[Remark]:
    """An error where programs would not start, a warning where they lack something."""
    floor, own = CUDA_FLOORS.get(number(version)[0], 0), CUDA_BRANCHES.get(version, 0)
    if branch < floor:
        message = f"CUDA {version} needs driver branch {floor} or later, not {branch}"
        yield Remark((*at, "cuda"), message, f'declare driver: "{floor}" or a later one')
    elif branch < own:
        yield Remark.warning(
            (*at, "cuda"),
            f"CUDA {version} was made for driver branch {own}: on {branch} its programs run, but not with what is new "
            "in it, and not from PTX",
            f'declare driver: "{own}" or an older toolkit, or compile for the very cards (nvcc -arch=native)',
        )


def _frameworks_remarks(at: Place, frameworks: Frameworks, gpus: list[Gpu], branch: int) -> Iterator[Remark]:
    """What an index of one's own has is only known when the role asks it."""
    if frameworks.index is not None:
        return
    try:
        choose_torch(_cards(gpus), pytorch=frameworks.pytorch, branch=branch)
    except TorchChoiceError as refusal:
        yield Remark((*at, "pytorch"), refusal.message, refusal.remedy)


def _vllm_remarks(at: Place, stack: GpuStack, gpus: list[Gpu]) -> Iterator[Remark]:
    old = next((gpu for gpu in gpus if gpu.architecture in OLD), None)
    if old:
        message = f"vLLM does not run on {old.name}: it needs Turing or later (compute capability 7.5)"
        yield Remark(at, message, "engine: ollama does")
    elif int(stack.driver) < FIRST_BRANCH_FOR_VLLM:
        message = f"vLLM needs driver branch {FIRST_BRANCH_FOR_VLLM} or later, not {stack.driver}"
        yield Remark(at, message, f'declare driver: "{FIRST_BRANCH_FOR_VLLM}" or a later one')
