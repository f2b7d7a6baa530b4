"""What ``check`` says of a declared GPU stack: the same words as the role, and what only the declaration can show."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.driver_choice import DriverChoiceError, PciCard, System, choose_driver
from rigdeploy.fleet.lint_stack import module_flavour, stack_remarks
from rigdeploy.fleet.models import GpuStack, Rig


def rig_with(gpu: str, stack: dict, serve: str = "", image: str = "") -> Rig:
    said = {
        "name": "rig01",
        "address": "192.0.2.11",
        "power": {"driver": "manual"},
        "build": {"name": "b", "board": "x", "slots": {"S1": {"gpu": gpu, "link": "3.0 x16"}}, "vram_gib": 24},
        "gpu_stack": {"driver": "580"} | stack,
    }
    if serve:
        said["serve"] = {"engine": serve, "model": "m"}
    if image:
        said["os"] = {"image": image}
    return Rig.model_validate(said)


def said_of(catalogue: Catalogue, *args: object, **more: object) -> list[tuple[str, str, str]]:
    """Severity, place below the rig, and message, but for what is only not acted on yet."""
    found = stack_remarks(rig_with(*args, **more), catalogue)
    return [
        (one.severity, ".".join(map(str, one.place[2:])), one.message)
        for one in found
        if "this version does nothing" not in one.message
    ]


# Card, what gpu_stack says, and the one remark that follows: severity, place below gpu_stack, words.
REMARKS = [
    ("rtx-4090", {"cuda": "13.0"}, None),
    ("rtx-4090", {"cuda": ["13.0", "12.9"]}, None),
    ("rtx-4090", {"cuda": "13.0", "cudnn": True, "nccl": True}, None),
    ("rtx-4090", {"driver": "575", "cuda": "13.0"}, ("error", "cuda", "needs driver branch 580 or later, not 575")),
    ("rtx-4090", {"driver": "470", "cuda": "12.0"}, ("error", "cuda", "needs driver branch 525")),
    ("rtx-4090", {"cuda": "13.1"}, ("warning", "cuda", "made for driver branch 590: on 580 its programs run")),
    ("rtx-4090", {"driver": "470", "cuda": "11.8"}, ("warning", "cuda", "made for driver branch 520")),
    ("rtx-4090", {"driver": "615", "cuda": "13.4"}, None),
    ("rtx-4090", {"driver": "610", "cuda": "13.4"}, ("warning", "cuda", "and not from PTX")),
    ("p40", {"cuda": "13.0"}, ("error", "cuda", "CUDA 13.0 cannot target Tesla P40")),
    ("p40", {"cuda": "12.9"}, None),
    ("rtx-5090", {"cuda": "12.6"}, ("warning", "cuda", "CUDA 12.6 cannot compile for NVIDIA GeForce RTX 5090")),
    ("rtx-5090", {"cuda": "12.8"}, None),
    ("rtx-4090", {"source": "distro", "cuda": "13.0"}, ("error", "cuda", "no CUDA toolkit of a version that")),
    ("rtx-4090", {"cudnn": True}, ("error", "cudnn", "none is declared")),
    ("rtx-4090", {"nccl": True}, ("error", "nccl", "none is declared")),
    ("rtx-4090", {"frameworks": {"pytorch": "2.9"}}, None),
    ("p40", {"frameworks": {"pytorch": "2.15"}}, ("error", "frameworks.pytorch", "no build of PyTorch 2.15 has code")),
    ("rtx-4090", {"frameworks": {"pytorch": "3.1"}}, ("error", "frameworks.pytorch", "not known here")),
    ("rtx-4090", {"frameworks": {"pytorch": "3.1", "index": "https://pypi.example.com/simple"}}, None),
    ("p40", {"driver": "590"}, ("error", "driver", "last driven by branch 580")),
    ("t4", {"driver": "470", "modules": "open"}, ("error", "modules", "branch 470 has no open modules")),
]  # fmt: skip


@pytest.mark.parametrize(("gpu", "stack", "expected"), REMARKS)
def test_remarks(catalogue: Catalogue, gpu: str, stack: dict, expected: tuple[str, str, str] | None) -> None:
    found = said_of(catalogue, gpu, stack)
    assert len(found) == (expected is not None)
    for severity, place, message in found:
        assert (severity, place) == (expected[0], f"gpu_stack.{expected[1]}")
        assert expected[2] in message


@pytest.mark.parametrize(
    ("gpu", "driver", "engine", "words"),
    [
        ("rtx-4090", "580", "vllm", None),
        ("rtx-4090", "570", "vllm", "vLLM needs driver branch 580 or later, not 570"),
        ("rtx-4090", "570", "ollama", None),
        ("p40", "580", "vllm", "vLLM does not run on Tesla P40"),
        ("p40", "580", "ollama", None),
        ("t4", "580", "vllm", None),
    ],
)
def test_vllm(catalogue: Catalogue, gpu: str, driver: str, engine: str, words: str | None) -> None:
    found = said_of(catalogue, gpu, {"driver": driver}, serve=engine)
    assert [(severity, place) for severity, place, _ in found] == ([("error", "serve.engine")] if words else [])
    assert all(words in message for *_, message in found)


# Where an image names the system, what that system cannot is said before anything is installed.
@pytest.mark.parametrize(
    ("image", "stack", "words"),
    [
        ("debian-12", {"source": "distro", "driver": "580"}, "Debian 12 itself has branch 535, not 580"),
        ("debian-13", {"source": "distro", "driver": "550", "modules": "open"}, "do not build against its own kernels"),
        ("debian-13", {"source": "distro", "driver": "550"}, None),
        ("debian-11", {}, "this is Debian 11"),
        ("ubuntu-24.04", {"source": "distro"}, None),
        ("something-else", {"source": "distro"}, None),
        ("", {"source": "distro"}, None),
    ],
)
def test_an_image_tells_the_system(catalogue: Catalogue, image: str, stack: dict, words: str | None) -> None:
    found = said_of(catalogue, "rtx-4090", stack, image=image)
    assert len(found) == (words is not None)
    assert all(words in message for *_, message in found)


@pytest.mark.parametrize(
    ("gpu", "stack"),
    [
        ("p40", {"driver": "595"}),
        ("p40", {"modules": "open"}),
        ("rtx-5090", {"driver": "550"}),
        ("rtx-5090", {"modules": "proprietary"}),
        ("rtx-4090", {"driver": "615", "modules": "proprietary"}),
    ],
)
def test_check_and_the_role_refuse_in_the_same_words(catalogue: Catalogue, gpu: str, stack: dict) -> None:
    declared = GpuStack.model_validate({"driver": "580"} | stack)
    known = catalogue.gpus[gpu]
    found = [PciCard("0000:01:00.0", known.pci_ids[0], "030000", known.name, known.architecture)]
    with pytest.raises(DriverChoiceError) as caught:
        choose_driver(
            found,
            System("Debian", "12", "6.1.0-41-amd64"),
            branch=declared.driver,
            modules=declared.modules,
            source=declared.package_source,
        )
    [remark] = stack_remarks(rig_with(gpu, stack), catalogue)
    assert (remark.message, remark.remedy) == (caught.value.message, caught.value.remedy)


@pytest.mark.parametrize(
    ("gpu", "stack", "system", "flavour"),
    [
        ("rtx-4090", {}, "debian", "open"),
        ("p40", {}, "debian", "proprietary"),
        ("rtx-4090", {"driver": "550"}, "ubuntu", "proprietary"),
        ("l4", {"driver": "550"}, "ubuntu", "open"),
        ("l4", {"driver": "550", "source": "distro"}, "ubuntu", "open"),
        ("l4", {"driver": "550", "source": "distro"}, "debian", "proprietary"),
        ("l4", {"modules": "proprietary"}, "", "proprietary"),
    ],
)
def test_the_flavour_that_verify_looks_for(catalogue, gpu: str, stack: dict, system: str, flavour: str) -> None:
    declared = GpuStack.model_validate({"driver": "580"} | stack)
    assert module_flavour(declared, [catalogue.gpus[gpu]], system) == flavour
