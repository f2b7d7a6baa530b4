"""Real PyTorch from the public index, with the uv that the role pins: resolved, judged, installed, smoke-tested.

Several GB are downloaded. Where there is no GPU, the smoke test has to say just that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from rigdeploy.content import content_dir
from rigdeploy.fleet.driver_choice import PciCard
from rigdeploy.fleet.torch_choice import RELEASES, choose_torch, judge_lock
from rigdeploy.lab.wheels import Uv

pytestmark = pytest.mark.slow

CARDS = [PciCard("0000:01:00.0", "10de:2684", "0300", architecture="ada")]
OPTIONS = ["deepspeed>=0.17", "llamafactory>=0.9.4"]


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    """uv by its checksum, as the role installs it."""
    directory = tmp_path_factory.mktemp("uv")
    (directory / "uv.txt").write_text(Uv.pinned().requirement + "\n")
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    pip = [directory / "venv/bin/pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    subprocess.run([*pip, "--requirement", directory / "uv.txt"], check=True)
    return directory / "venv/bin/uv"


def compiled(uv, directory, *wanted):
    """The lock of these requirements, as the role makes it."""
    (directory / "requirements.in").write_text("\n".join(wanted) + "\n")
    lock = directory / "lock.txt"
    options = ["--quiet", "--no-header", "--no-annotate", "--generate-hashes", f"--python={sys.executable}"]
    subprocess.run([uv, "pip", "compile", *options, f"--output-file={lock}", directory / "requirements.in"], check=True)
    return lock


@pytest.mark.parametrize("release", RELEASES)
def test_what_pypi_has_of_each_release_is_the_build_that_the_table_says(uv, tmp_path, release):
    lock = compiled(uv, tmp_path, f"torch=={release}.*")
    assert f"cu{judge_lock(lock.read_text(), CARDS, branch=595).replace('.', '')}" == RELEASES[release][0]


def test_the_options_resolve_with_the_newest_release(uv, tmp_path):
    lock = compiled(uv, tmp_path, f"torch=={list(RELEASES)[-1]}.*", *OPTIONS).read_text()
    assert all(f"\n{name}==" in f"\n{lock}" for name in ("torch", "deepspeed", "llamafactory"))
    assert judge_lock(lock, CARDS, branch=595)


def test_pytorch_is_installed_and_the_smoke_test_tells_what_it_finds(uv, tmp_path):
    choice = choose_torch(CARDS, pytorch="2.9", branch=580)
    assert choice.backend == ""
    lock, python = compiled(uv, tmp_path, choice.requirement), tmp_path / "venv/bin/python"
    subprocess.run([uv, "venv", "--quiet", f"--python={sys.executable}", tmp_path / "venv"], check=True)
    sync = [uv, "pip", "sync", "--quiet", "--no-cache", "--require-hashes", f"--python={python}", lock]
    subprocess.run(sync, check=True)
    cards = 0
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
        cards = listed.count("GPU ")
    smoke = content_dir() / "roles/frameworks/files/smoke.py"
    done = subprocess.run([python, "-I", smoke, str(cards)], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["torch"].startswith("2.9.")
    assert found["cuda"] == "12.8"
    if cards:
        assert [card["state"] for card in found["cards"]] == ["right"] * cards
    else:
        [problem] = found["problems"]
        assert "CUDA does not start" in problem["cause"]
        assert "no NVIDIA driver" in problem["cause"]
