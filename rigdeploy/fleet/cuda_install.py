"""What installing CUDA toolkits means on one node: what is missing, what leaves, and what apt must not do. Pure.

Names are NVIDIA's: everything of a toolkit ends in its number (``cuda-nvcc-13-0``, ``libcublas-13-0``), three packages
``cuda-toolkit[-13[-0]]-config-common`` are shared, cuDNN goes by the generation of CUDA, and NCCL's version says in its
suffix which CUDA it was built for (CUDA installation guide, "Meta packages"; cuDNN and NCCL installation guides).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.driver_install import DRIVER_NAME, DRIVER_VERSION, Package, Step

_META = re.compile(r"cuda-toolkit-(\d+)-(\d+)$")
_OF_A_TOOLKIT = re.compile(r"(?:cuda-|lib|gds-tools)\S*-(\d+)-(\d+)(?:-config-common)?$")
_SHARED = re.compile(r"cuda-toolkit(?:-(\d+))?-config-common$")
_DRIVER_META = re.compile(r"cuda-(?:drivers|runtime-|compat-)|linux-(?:image|headers|modules)|xserver-")
_MADISON = re.compile(r"libnccl2\s*\|\s*(\S+\+cuda(\d+)\.(\d+))\s*\|")


class CudaInstallError(RigdeployError):
    """What is declared cannot be installed."""


@dataclass(frozen=True)
class Declared:
    """The toolkits that are to be there, the first of them the one for cuDNN and NCCL."""

    versions: tuple[str, ...]
    cudnn: bool = False
    nccl: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """What is asked for by name; the rest comes along."""
        metas = [f"cuda-toolkit-{version.replace('.', '-')}" for version in self.versions]
        if self.versions and self.cudnn:
            metas.append(f"cudnn9-cuda-{self.versions[0].partition('.')[0]}")
        return (*metas, *(("libnccl2", "libnccl-dev") if self.versions and self.nccl else ()))


@dataclass(frozen=True)
class CudaPlan:
    """``words`` is what ``apt-get install`` is asked for (``NAME-``: remove it); empty where nothing is to be done."""

    packages: tuple[str, ...]
    words: tuple[str, ...]
    leaving: tuple[str, ...]


def plan_cuda(
    declared: Declared, installed: Mapping[str, Package], recorded: Sequence[str], nccl_offers: str = ""
) -> CudaPlan:
    """What to ask apt for.

    ``recorded`` are the packages that the role has installed before: only what belongs to them leaves.
    ``nccl_offers`` is what ``apt-cache madison libnccl2`` printed. CudaInstallError when no NCCL fits.
    """
    wanted = declared.packages
    nccl = best_nccl(declared.versions[0], nccl_offers) if "libnccl2" in wanted else ""
    words = []
    for name in wanted:
        if name.startswith("libnccl"):
            if name not in installed or installed[name].version != nccl:
                words.append(f"{name}={nccl}")
        elif name not in installed:
            words.append(name)
    leaving = sorted(_leaving(set(recorded) - set(wanted), wanted, installed))
    return CudaPlan(wanted, (*words, *(f"{name}-" for name in leaving)), tuple(leaving))


def best_nccl(cuda: str, offers: str) -> str:
    """The newest NCCL built for the highest CUDA that is not above this one, in the same generation.

    CUDA's minor versions are compatible upwards, and NCCL is not built for every one of them.
    """
    major, minor = (int(part) for part in cuda.split("."))
    found = [(int(hit[3]), -at, hit[1]) for at, hit in enumerate(_MADISON.finditer(offers)) if int(hit[2]) == major]
    fitting = [offer for offer in found if offer[0] <= minor]
    if not fitting:
        others = ", ".join(hit[1] for hit in _MADISON.finditer(offers)) or "none at all"
        raise CudaInstallError(
            f"the package source has no NCCL that runs on CUDA {cuda} (it has {others})",
            "leave out nccl: PyTorch and vLLM bring their own; or declare another toolkit first",
        )
    return max(fitting)[2]


def refusals(plan: CudaPlan, installed: Mapping[str, Package], steps: Sequence[Step]) -> Iterator[str]:
    """Why these steps must not be taken: one sentence each, with the packages that are at fault."""
    driver = [step.name for step in steps if _is_driver(step)]
    if driver:
        yield f"it would change the driver or the kernel, which are not this role's: {', '.join(driver)}"
    held = [step.name for step in steps if step.name in installed and installed[step.name].held]
    if held:
        yield f"it would change packages that are held: {', '.join(held)} (apt-mark unhold lets them go)"
    gone = [step.name for step in steps if not step.new]
    foreign = [name for name in gone if name not in plan.leaving and not _SHARED.match(name) and name not in driver]
    if foreign:
        yield f"it would remove what this role has not installed: {', '.join(foreign)} (do it yourself if they may go)"


def _is_driver(step: Step) -> bool:
    version = step.new or step.old
    return bool(_DRIVER_META.match(step.name) or (DRIVER_NAME.search(step.name) and DRIVER_VERSION.match(version)))


def _leaving(obsolete: set[str], wanted: Sequence[str], installed: Mapping[str, Package]) -> Iterator[str]:
    """The installed packages that came for what is obsolete."""
    gone = {hit.groups() for name in obsolete if (hit := _META.match(name))}
    kept = {hit.groups() for name in installed if (hit := _META.match(name))} - gone
    kept |= {hit.groups() for name in wanted if (hit := _META.match(name))}
    majors = {major for major, _ in gone} - {major for major, _ in kept}
    cudnn = tuple(name.removeprefix("cudnn9") for name in obsolete if name.startswith("cudnn9-"))
    for name in installed:
        of, shared = _OF_A_TOOLKIT.match(name), _SHARED.match(name)
        if shared:
            is_gone = shared[1] in majors or (bool(gone) and not kept)
        else:
            is_gone = name in obsolete or (of is not None and of.groups() in gone)
        if is_gone or (name.startswith("libcudnn9-") and name.endswith(cudnn)):
            yield name
