"""CUDA toolkits on one node: what apt is asked for, and what it must not do."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.cuda_install import CudaInstallError, CudaPlan, Declared, best_nccl, plan_cuda, refusals
from rigdeploy.fleet.driver_install import Package, Step

OFFERS = "\n".join(
    f"  libnccl2 | {version} | http://mirror.example.net ./ Packages"
    for version in ("2.29.2-1+cuda13.1", "2.28.9-1+cuda13.0", "2.28.9-1+cuda12.9", "2.27.3-1+cuda12.9")
)
SHARED = ("cuda-toolkit-config-common", "cuda-toolkit-12-config-common", "cuda-toolkit-13-config-common")
OF_12_9 = ("cuda-nvcc-12-9", "libcublas-12-9", "cuda-toolkit-12-9-config-common")
OF_13_0 = ("cuda-nvcc-13-0", "libcublas-13-0", "cuda-toolkit-13-0-config-common")


def installed(*names: str, **versions: str) -> dict[str, Package]:
    given = {name.replace("_", "-"): version for name, version in versions.items()}
    return {name: Package(name, version) for name, version in (dict.fromkeys(names, "1.0-1") | given).items()}


BOTH = installed(
    "cuda-toolkit-12-9", "cuda-toolkit-13-0", *SHARED, *OF_12_9, *OF_13_0, "libcublas12", "cuda-nvcc-12-90"
)


@pytest.mark.parametrize(
    ("declared", "there", "recorded", "words"),
    [
        (Declared(("13.0", "12.9")), {}, [], ["cuda-toolkit-13-0", "cuda-toolkit-12-9"]),
        (Declared(("13.0", "12.9")), BOTH, [], []),
        # What nobody recorded stays.
        (Declared(("13.0",)), BOTH, ["cuda-toolkit-13-0"], []),
        (Declared(("13.0",)), BOTH, ["cuda-toolkit-13-0", "cuda-toolkit-12-9"],
         ["cuda-nvcc-12-9-", "cuda-toolkit-12-9-", "cuda-toolkit-12-9-config-common-", "cuda-toolkit-12-config-common-",
          "libcublas-12-9-"]),
        (Declared(()), installed("cuda-toolkit-12-9", *SHARED[:2], *OF_12_9), ["cuda-toolkit-12-9"],
         ["cuda-nvcc-12-9-", "cuda-toolkit-12-9-", "cuda-toolkit-12-9-config-common-", "cuda-toolkit-12-config-common-",
          "cuda-toolkit-config-common-", "libcublas-12-9-"]),
        # cuDNN and NCCL follow the first toolkit.
        (Declared(("12.9",), cudnn=True), installed("cuda-toolkit-12-9", "cudnn9-cuda-13", "libcudnn9-cuda-13"),
         ["cuda-toolkit-12-9", "cudnn9-cuda-13"], ["cudnn9-cuda-12", "cudnn9-cuda-13-", "libcudnn9-cuda-13-"]),
        (Declared(("13.0",), nccl=True), installed("cuda-toolkit-13-0", libnccl2="2.29.2-1+cuda13.1"), [],
         ["libnccl2=2.28.9-1+cuda13.0", "libnccl-dev=2.28.9-1+cuda13.0"]),
        (Declared(("13.0",)), installed("cuda-toolkit-13-0", "libnccl2", "libnccl-dev"), ["libnccl2", "libnccl-dev"],
         ["libnccl-dev-", "libnccl2-"]),
    ],
)  # fmt: skip
def test_apt_is_asked_for_what_is_missing_and_what_leaves(declared, there, recorded, words):
    assert list(plan_cuda(declared, there, recorded, OFFERS).words) == words


@pytest.mark.parametrize(
    ("cuda", "version"),
    [("13.0", "2.28.9-1+cuda13.0"), ("13.1", "2.29.2-1+cuda13.1"), ("13.4", "2.29.2-1+cuda13.1"),
     ("12.9", "2.28.9-1+cuda12.9")],
)  # fmt: skip
def test_nccl_is_the_newest_that_the_toolkit_can_run(cuda, version):
    assert best_nccl(cuda, OFFERS) == version


@pytest.mark.parametrize("cuda", ["12.8", "11.8"])
def test_without_a_fitting_nccl_it_says_what_there_is(cuda):
    with pytest.raises(CudaInstallError, match=rf"no NCCL that runs on CUDA {cuda} \(it has 2\.29\.2"):
        best_nccl(cuda, OFFERS)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step("cuda-nvcc-13-0", "", "13.0.88-1"), None),
        (Step("libnvjitlink-13-0", "", "13.0.88-1"), None),
        (Step("nvidia-gds-13-0", "", "13.0.2-1"), None),
        (Step("cuda-toolkit-12-9", "12.9.1-1", ""), None),
        (Step("cuda-toolkit-config-common", "13.1.80-1", ""), None),
        (Step("cuda-drivers", "", "580.95.05-1"), "driver or the kernel"),
        (Step("libcuda1", "", "580.95.05-1"), "driver or the kernel"),
        (Step("nvidia-dkms-580-open", "", "580.95.05-0ubuntu1"), "driver or the kernel"),
        (Step("nvidia-kernel-open-dkms", "580.95.05-1", ""), "driver or the kernel"),
        (Step("cuda-runtime-13-0", "", "13.0.2-1"), "driver or the kernel"),
        (Step("linux-image-amd64", "6.1.170-1", "6.1.176-1"), "driver or the kernel"),
        (Step("gcc", "12.2.0-3", ""), "not installed: gcc"),
        (Step("held", "1", "2"), "held"),
    ],
)
def test_what_apt_must_not_do(step, reason):
    there = installed("gcc", "cuda-toolkit-12-9") | {"held": Package("held", "1", held=True)}
    plan = CudaPlan(("cuda-toolkit-13-0",), ("cuda-toolkit-13-0", "cuda-toolkit-12-9-"), ("cuda-toolkit-12-9",))
    reasons = list(refusals(plan, there, [step]))
    assert (
        (reasons == []) if reason is None else (len(reasons) == 1 and reason in reasons[0] and step.name in reasons[0])
    )
