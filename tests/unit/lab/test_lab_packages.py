"""The simulated vendor's repository, as apt resolves it: pins, metas, and what a toolkit must not drag in."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from rigdeploy.lab import packages
from rigdeploy.lab.packages.package import control

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg")), reason="not tested: no apt on this machine"
)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    return packages.every("usr/lib/x86_64-linux-gnu", tmp_path_factory.mktemp("built"))


@pytest.fixture
def apt(tmp_path, every):
    """Ask apt what it would install, given these pinning packages: {name: version}, or its refusal as text."""
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    repository = tmp_path / "repository"
    repository.mkdir()
    entries = [control(package, architecture.stdout.strip()) + "Filename: x\nSize: 1\n" for package in every]
    (repository / "Packages").write_text("\n".join(entries))
    for name in ("preferences.d", "lists/partial", "cache/archives/partial", "trusted.gpg.d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "status").write_text("")
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    options = [
        f"-oDir::State={tmp_path}", f"-oDir::State::lists={tmp_path}/lists", f"-oDir::State::status={tmp_path}/status",
        f"-oDir::Cache={tmp_path}/cache", f"-oDir::Etc={tmp_path}", "-oDir::Etc::Parts=-", "-oAPT::Sandbox::User=root",
        "-oDir::Etc::sourceparts=-", "-oDebug::NoLocking=1",
    ]  # fmt: skip

    def resolve(*wanted: str, pins: tuple[str, ...] = ()) -> dict[str, str] | str:
        for package in every:
            if package.name in [f"nvidia-driver-pinning-{pin}" for pin in pins]:
                ((path, text),) = package.files.items()
                (tmp_path / "preferences.d" / path.rpartition("/")[2]).write_text(str(text))
        run = ["apt-get", *options]
        subprocess.run([*run, "update", "-qq"], check=True, capture_output=True)
        argv = [*run, "install", "-s", "--no-install-recommends", *wanted]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        words = [line.split() for line in done.stdout.splitlines() if line.startswith("Inst ")]
        return {line[1]: line[2].strip("(") for line in words} if done.returncode == 0 else done.stdout + done.stderr

    return resolve


COMPUTE = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms")


@pytest.mark.parametrize(
    ("pins", "version"),
    [((), "595.71.05-1"), (("570",), "570.195.03-1"), (("580",), "580.95.05-1"), (("590",), "590.48.01-1"),
     (("580.65.06",), "580.65.06-1")],
)  # fmt: skip
def test_a_pin_holds_the_whole_driver(apt, pins, version):
    found = apt(*COMPUTE, pins=pins)
    assert {found[name] for name in (*COMPUTE, "libcuda1", "libnvidia-ml1", "nvidia-persistenced")} == {version}
    assert "xserver-xorg-video-nvidia" not in found


def test_flavours_exclude_each_other(apt):
    assert "conflict" in apt("nvidia-kernel-dkms", "nvidia-kernel-open-dkms").lower()


@pytest.mark.parametrize(
    "meta", ["cuda", "cuda-13-0", "cuda-runtime-12-9", "cuda-drivers", "cuda-drivers-580", "nvidia-open"]
)
def test_the_metas_drag_a_driver_in(apt, meta):
    assert {"nvidia-driver", "xserver-xorg-video-nvidia"} <= set(apt(meta))


def test_toolkits_stand_side_by_side_without_a_driver(apt):
    found = apt("cuda-toolkit-12-9", "cuda-toolkit-13-0", "cudnn9-cuda-13", "libnccl-dev=2.28.9-1+cuda13.0",
                "libnccl2=2.28.9-1+cuda13.0")  # fmt: skip
    assert {found["cuda-toolkit-12-9"], found["cuda-toolkit-13-0"]} == {"12.9.1-1", "13.0.2-1"}
    assert not [name for name in found if name.startswith(("nvidia-", "libcuda1", "cuda-drivers"))]


def test_a_toolkit_newer_than_the_locked_driver_cannot_bring_its_own(apt):
    assert "cuda-runtime-13-1" in apt("cuda-13-1", pins=("580",))
    assert apt("cuda-toolkit-13-1", pins=("580",))["cuda-toolkit-13-1"] == "13.1.1-1"


def test_the_four_of_the_container_toolkit_go_together(apt):
    four = [f"{name}=1.17.8-1" for name in ("nvidia-container-toolkit", "nvidia-container-toolkit-base",
            "libnvidia-container-tools", "libnvidia-container1")]  # fmt: skip
    assert set(apt(*four).values()) == {"1.17.8-1"}
    assert set(apt("nvidia-container-toolkit").values()) == {"1.18.1-1"}
    assert list(apt("nvidia-container-toolkit-base")) == ["nvidia-container-toolkit-base"]


def test_each_says_that_it_is_simulated(every):
    assert all("(simulated)" in control(package, "amd64") for package in every)
