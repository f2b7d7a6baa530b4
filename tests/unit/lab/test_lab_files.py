"""Where packages come from, the twins' names, and the lists that are shipped as data."""

from __future__ import annotations

import json

import pytest

from rigdeploy.errors import LabError
from rigdeploy.lab import lifecycle, root, twins
from rigdeploy.lab.packages.driver import driver
from rigdeploy.lab.packages.package import control
from rigdeploy.lab.sources import KEYRING, debian_sources
from rigdeploy.lab.twins import Lab, Twin

DEB822 = """\
Types: deb
# a comment
URIs: http://one.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://vendor.test/apt
Suites: bookworm
Components: main
Signed-By: /etc/apt/keyrings/vendor.gpg
"""


def etc(tmp_path, **files: str):
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name.replace("__", "/").replace("_", ".")).write_text(text)
    return tmp_path


def test_only_debians_own_sources_count(tmp_path):
    lines = debian_sources(etc(tmp_path, sources_list_d__debian_sources=DEB822), "bookworm")
    assert lines == [
        f"deb [signed-by={KEYRING}] http://one.test/debian bookworm main",
        f"deb [signed-by={KEYRING}] http://one.test/debian bookworm-updates main",
    ]


def test_one_line_form_and_another_release(tmp_path):
    text = """\
# deb http://no.test/x trixie main
deb http://two.test/debian/ trixie main
deb-src http://two.test/ trixie main
"""
    lines = debian_sources(etc(tmp_path, sources_list=text), "trixie")
    assert lines == [f"deb [signed-by={KEYRING}] http://two.test/debian/ bookworm main"]


@pytest.mark.parametrize("text", ["", "deb [signed-by=/k/vendor.gpg] http://v.test/ bookworm main\n"])
def test_a_host_without_debian_is_told(tmp_path, text):
    with pytest.raises(LabError, match="no Debian source"):
        debian_sources(etc(tmp_path, sources_list=text), "bookworm")


def test_labs_have_their_own_names(tmp_path):
    one, other = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    assert one.id != other.id
    assert len(one.id) == 8
    assert one.netns == f"rd-{one.id}"
    twin = Twin(one, "rig01", 1)
    assert (twin.address, twin.bmc_address, twin.netns) == ("10.90.0.11", "10.90.0.111", f"rd-{one.id}-1")
    addresses = [
        a for n in range(1, twins.MOST_TWINS + 1) for a in (Twin(one, "x", n).address, Twin(one, "x", n).bmc_address)
    ]
    assert len(set(addresses)) == 2 * twins.MOST_TWINS
    assert all(int(address.rpartition(".")[2]) < 255 for address in addresses)


def test_a_rig_without_a_twin_names_the_others(tmp_path):
    lab = Lab(tmp_path)
    (lab.nodes / "rig01").mkdir(parents=True)
    (lab.nodes / "rig01/rig.json").write_text(json.dumps({"number": 1}))
    assert lab.twin("rig01").number == 1
    with pytest.raises(LabError, match=r"rig02 has no twin \(twins: rig01\)") as caught:
        lab.twin("rig02")
    assert caught.value.remedy == "run 'rigdeploy lab up rig02'"


def test_package_lists_are_names(tmp_path):
    for names in (lifecycle.host_packages(), root.mirror_packages()):
        assert len(names) > 5
        assert all(" " not in name and "#" not in name for name in names)
    assert "openipmi" in lifecycle.host_packages()
    assert "chrony" in root.mirror_packages()


def test_missing_tools_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(lifecycle.os, "geteuid", lambda: 0)
    monkeypatch.setattr(lifecycle.shutil, "which", lambda name: None if name == "ipmi_sim" else f"/usr/bin/{name}")
    with pytest.raises(LabError, match="not installed: ipmi_sim") as caught:
        lifecycle.check_host()
    assert caught.value.remedy.startswith("apt-get install --no-install-recommends ")
    assert "openipmi" in caught.value.remedy


def test_not_root_is_told(monkeypatch):
    monkeypatch.setattr(lifecycle.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        lifecycle.check_host()


def test_driver_packages_pull_in_their_own_version(tmp_path):
    built = {package.name: package for package in driver("580.95.05", "usr/lib/x86_64-linux-gnu", tmp_path)}
    assert set(built) == {
        "libnvidia-ml1", "libcuda1", "firmware-nvidia-gsp", "nvidia-modprobe", "nvidia-persistenced",
        "nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-kernel-dkms",
    }  # fmt: skip
    assert (
        "nvidia-kernel-dkms (= 580.95.05-1) | nvidia-kernel-open-dkms (= 580.95.05-1)"
        in built["nvidia-driver-cuda"].depends
    )
    assert built["nvidia-kernel-dkms"].conflicts == "nvidia-kernel-open-dkms"
    assert all("simulated" in control(package, "amd64") for package in built.values())
