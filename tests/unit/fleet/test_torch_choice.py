"""Which build of PyTorch runs on which driver and cards."""

from __future__ import annotations

import re

import pytest

from rigdeploy.fleet.cuda_versions import CUDA_BRANCHES, CUDA_FLOORS
from rigdeploy.fleet.driver_choice import PciCard
from rigdeploy.fleet.torch_choice import (
    RELEASES,
    WITH_VOLTA,
    TorchChoiceError,
    choose_torch,
    judge_lock,
    version_of,
)


def cards(text: str) -> list[PciCard]:
    return [PciCard("0000:01:00.0", "10de:0001", "0300", name.title(), name) for name in text.split()]


CHOICES = [
    # PyPI's build where the driver has all of it ...
    ("ampere", "2.9", 580, "cu128", ""),
    ("ada hopper", "2.6", 550, "cu124", ""),
    ("ampere", "2.15", 595, "cu132", ""),
    ("blackwell", "2.9.1", 570, "cu128", ""),
    # ... else another one that it has all of ...
    ("ampere", "2.15", 580, "cu130", "cu130"),
    ("ampere", "2.9", 560, "cu126", "cu126"),
    ("turing", "2.13", 570, "cu126", "cu126"),
    # ... else one that runs all the same.
    ("ampere", "2.9", 535, "cu128", ""),
    ("ampere", "2.14", 525, "cu126", "cu126"),
    # Old cards have but one build, while there is one.
    ("pascal", "2.9", 580, "cu126", "cu126"),
    ("maxwell hopper", "2.14", 580, "cu126", "cu126"),
    ("volta", "2.10", 580, "cu128", ""),
    ("volta", "2.11", 580, "cu126", "cu126"),
    ("volta blackwell", "2.8", 570, "cu128", ""),
    # From PTX; and cards that nobody knows are given the chance.
    ("rubin", "2.15", 620, "cu132", ""),
    ("newer", "2.11", 620, "cu130", ""),
    ("", "2.9", 580, "cu128", ""),
]


@pytest.mark.parametrize(("on", "pytorch", "branch", "cuda", "backend"), CHOICES)
def test_the_build_suits_driver_and_cards(on, pytorch, branch, cuda, backend):
    choice = choose_torch(cards(on), pytorch=pytorch, branch=branch)
    assert (choice.cuda, choice.backend) == (cuda, backend)
    assert choice.requirement == ("torch==2.9.1" if pytorch == "2.9.1" else f"torch=={pytorch}.*")


REFUSALS = [
    ("ampere", "2.15", 570, "needs driver branch 580 or later here, not 570", 'driver: "580".*pytorch: "2.14"'),
    ("ampere", "2.15.1", 570, "PyTorch 2.15 needs", 'pytorch: "2.14"'),
    ("blackwell", "2.14", 570, "needs driver branch 580", 'pytorch: "2.11"'),
    ("ampere", "2.9", 520, "needs driver branch 525", 'driver: "525" or a later one$'),
    ("pascal", "2.15", 580, "no build of PyTorch 2.15 has code for Pascal", 'pytorch: "2.14"'),
    ("blackwell", "2.6", 580, "no build of PyTorch 2.6 has code for Blackwell", 'pytorch: "2.15".* from 2.7 on'),
    ("pascal blackwell", "2.9", 580, "code for both Pascal and Blackwell", "take one of the cards out"),
    ("ampere", "2.16", 580, "which builds PyTorch 2.16 has is not known here", "2.6 to 2.15|with index"),
    ("ampere", "1.13", 580, "is not known here", "with index"),
]


@pytest.mark.parametrize(("on", "pytorch", "branch", "message", "remedy"), REFUSALS)
def test_what_cannot_run_is_refused_with_what_can(on, pytorch, branch, message, remedy):
    with pytest.raises(TorchChoiceError, match=message) as caught:
        choose_torch(cards(on), pytorch=pytorch, branch=branch)
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("generation", ["maxwell", "volta", "turing", "ada", "blackwell"])
@pytest.mark.parametrize("branch", [525, 550, 580, 595])
def test_what_a_refusal_recommends_is_not_refused(release, generation, branch):
    try:
        choose_torch(cards(generation), pytorch=release, branch=branch)
    except TorchChoiceError as error:
        found = re.search(r'pytorch: "([\d.]+)"', error.remedy)
        newer = re.search(r'driver: "(\d+)"', error.remedy)
        assert found or newer
        if newer:
            choose_torch(cards(generation), pytorch=release, branch=int(newer[1]))
        if found:
            choose_torch(cards(generation), pytorch=found[1], branch=max(branch, 580 if not newer else branch))


def test_the_tables_agree():
    builds = {cuda for release in RELEASES.values() for cuda in release}
    assert {version_of(cuda) for cuda in builds} <= CUDA_BRANCHES.keys()
    assert all(CUDA_BRANCHES[version] >= CUDA_FLOORS[int(version.partition(".")[0])] for version in CUDA_BRANCHES)
    assert all(cuda in RELEASES[release] for release, cuda in WITH_VOLTA)


LOCKS = [
    ("torch==2.9.1+cu128 \\\n    --hash=sha256:00\n", "ampere", 580, "12.8"),
    ("nvidia-cuda-runtime-cu12==12.8.90 \\\n    --hash=sha256:0\ntorch==2.9.1 \\\n", "ampere", 535, "12.8"),
    ("cuda-toolkit[cublas]==13.0.2\nnvidia-cuda-runtime==13.0.96\ntorch==2.11.0\n", "ampere", 580, "13.0"),
    # A build of one's own says nothing; a release that nobody knows says what it needs.
    ("torch==2.9.1\n", "pascal", 470, ""),
    ("torch==2.17.0+cu134\n", "ampere", 580, "13.4"),
]


@pytest.mark.parametrize(("lock", "on", "branch", "cuda"), LOCKS)
def test_an_index_may_have_what_runs(lock, on, branch, cuda):
    assert judge_lock(lock, cards(on), branch=branch) == cuda


BAD_LOCKS = [
    ("torch==2.13.0+cpu\n", "ampere", 580, "which is no build for CUDA"),
    ("torch==2.9.1+rocm6.4\n", "ampere", 580, "which is no build for CUDA"),
    ("torch==2.15.0+cu132\n", "ampere", 570, "needs driver branch 580 or later, not 570"),
    ("torch==2.15.0+cu132\n", "ampere volta", 580, "has no code for Volta"),
    ("nvidia-cuda-runtime-cu12==12.6.77\ntorch==2.9.1\n", "blackwell", 580, "for CUDA 12.6, which has no code"),
    ("torchvision==0.24.1\n", "ampere", 580, "has no PyTorch"),
]


@pytest.mark.parametrize(("lock", "on", "branch", "message"), BAD_LOCKS)
def test_an_index_that_has_what_cannot_run_is_refused(lock, on, branch, message):
    with pytest.raises(TorchChoiceError, match=message) as caught:
        judge_lock(lock, cards(on), branch=branch)
    assert caught.value.remedy
