"""The lab's index of Python packages, and the role's smoke test on its simulated PyTorch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest

from rigdeploy.content import content_dir
from rigdeploy.lab import wheels

SMOKE = content_dir() / "roles/frameworks/files/smoke.py"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The pages of the simulated wheels, without uv, which would have to be downloaded."""
    directory = tmp_path_factory.mktemp("pypi")
    for wheel in wheels.wheels():
        (directory / wheel.name).mkdir(exist_ok=True)
        wheel.write(directory / wheel.name)
    wheels.publish(directory)
    return directory


def test_pip_installs_from_the_index_and_checks_its_sums(index, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--isolated", "--no-cache-dir", "--target", tmp_path]
    only = ["--no-deps", "--index-url", index.as_uri()]
    subprocess.run([*pip, *only, "torch==2.9.*", "deepspeed"], check=True)
    ask = "import torch, deepspeed; print(torch.__version__, torch.version.cuda, deepspeed.__version__)"
    path = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ask], env=path, capture_output=True, text=True, check=True)
    assert done.stdout == "2.9.1+cu128 12.8 0.19.8\n"

    page = index / "torch/index.html"
    true = page.read_text()
    page.write_text(re.sub("sha256=..", "sha256=00", true))
    refused = subprocess.run([*pip, *only, "--upgrade", "torch==2.8.0"], capture_output=True, text=True, check=False)
    page.write_text(true)
    assert refused.returncode != 0
    assert "HASH" in refused.stderr.upper()


def test_a_wheel_says_that_it_is_simulated_lists_its_files_and_never_changes(index, tmp_path):
    wheel = next(wheel for wheel in wheels.wheels() if wheel.name == "llamafactory")
    wheel.write(tmp_path)
    written = tmp_path / wheel.file_name
    assert written.read_bytes() == (index / "llamafactory" / wheel.file_name).read_bytes()
    with zipfile.ZipFile(written) as archive:
        info = "llamafactory-0.9.5.dist-info"
        assert "Summary: Simulated by" in archive.read(f"{info}/METADATA").decode()
        listed = [line.partition(",")[0] for line in archive.read(f"{info}/RECORD").decode().splitlines()]
        assert sorted(listed) == sorted(archive.namelist())
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert f"{wheel.file_name}#sha256={digest}" in (index / "llamafactory/index.html").read_text()


def test_uv_is_the_one_that_the_role_installs():
    uv = wheels.Uv.pinned()
    assert re.fullmatch(r"uv==\d+\.\d+\.\d+( --hash=sha256:[0-9a-f]{64}){2}", uv.requirement)


class Torch:
    """As much of PyTorch as the smoke test calls, with the trouble that real rigs have."""

    def __init__(self, cards=2, cuda="12.8", starts="", fails="", wrong=False):
        self.__version__, self.version, self.cuda = "2.9.1", type("V", (), {"cuda": cuda}), self
        self.cards, self.starts, self.fails, self.wrong = cards, starts, fails, wrong
        self.float32 = "float32"

    def init(self):
        raise RuntimeError(self.starts)

    def is_available(self):
        return not self.starts and self.version.cuda is not None

    def device_count(self):
        return self.cards

    def get_device_name(self, index):
        return f"Card {index}"

    def get_device_capability(self, index):
        return (6, 1)

    def get_arch_list(self):
        return ["sm_75", "sm_90"]

    def randint(self, low, high, shape):
        return Matrix(self, 1)

    def equal(self, first, second):
        return first.value == second.value


class Matrix:
    def __init__(self, torch, value):
        self.torch, self.value = torch, value

    def to(self, where):
        if self.torch.fails and where == "cuda:1":
            raise RuntimeError(self.torch.fails)
        return Matrix(self.torch, 2 if self.torch.wrong and where == "cuda:1" else self.value)

    def cpu(self):
        return self

    def __matmul__(self, other):
        return Matrix(self.torch, self.value * other.value)


TROUBLES = [
    ({}, [], ["right", "right"]),
    ({"cards": 1}, ["PyTorch sees 1 cards, nvidia-smi 2"], ["right"]),
    ({"cuda": None}, ["is a build without CUDA: declare an index"], []),
    ({"starts": "The NVIDIA driver on your system is too old (found version 12020)"}, ["driver is too old"], []),
    ({"starts": "Error 803: system has unsupported display driver"}, ["newer than its loaded module.*or reboot"], []),
    ({"starts": "Error 802: system not yet initialized"}, ["fabric manager"], []),
    ({"starts": "CUDA unknown error - this may be due to"}, ["modprobe nvidia_uvm"], []),
    ({"starts": "something else\nsecond line"}, [r"does not start: something else: look at"], []),
    ({"fails": "CUDA error: no kernel image is available"}, ["no code for card 1 .*6.1.*sm_75"], ["right", "failed"]),
    ({"fails": "CUDA out of memory. Tried to allocate"}, [], ["right", "busy"]),
    ({"fails": "CUDA error: unspecified launch failure"}, ["card 1 .* does not compute"], ["right", "failed"]),
    ({"wrong": True}, ["card 1 .Card 1. computes wrongly"], ["right", "wrong"]),
]  # fmt: skip


@pytest.mark.parametrize(("trouble", "causes", "states"), TROUBLES)
def test_the_smoke_test_names_the_cause(monkeypatch, trouble, causes, states):
    spec = importlib.util.spec_from_file_location("smoke", SMOKE)
    smoke = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(smoke)
    monkeypatch.setitem(sys.modules, "torch", Torch(**trouble))
    document = json.loads(json.dumps(smoke.report(2, ["json"])))
    said = [f"{problem['cause']}: {problem['remedy']}" for problem in document["problems"]]
    assert len(said) == len(causes)
    assert all(re.search(cause, text) for cause, text in zip(causes, said, strict=True)), said
    assert [card["state"] for card in document["cards"]] == states


def test_what_cannot_be_imported_is_a_problem(monkeypatch):
    done = subprocess.run(
        [sys.executable, "-I", SMOKE, "1"], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"}
    )
    assert done.returncode == 1
    assert "PyTorch cannot be imported: No module named 'torch'" in done.stdout
