"""The wheel carries everything: installed in a clean environment, away from the checkout, it does the demo's work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin directory of an environment that has the wheel and its dependencies, and nothing of the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", directory, CHECKOUT], check=True, capture_output=True
    )
    (wheel,) = directory.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if "molecule" in name]
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    pip = [directory / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, wheel], check=True)
    return directory / "venv/bin"


@pytest.fixture(scope="module")
def run(installed):
    """Run the installed ``rigdeploy``, away from the checkout and with nothing of its environment."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        argv = [installed / "rigdeploy", *arguments]
        return subprocess.run(argv, cwd="/", env=clean, capture_output=True, text=True, check=False)

    return call


def test_check_and_plan_from_anywhere(run, lab_fleet, tmp_path):
    fleet = tmp_path / "inventory"
    shutil.copytree(CHECKOUT / "inventory", fleet)
    done = run("check", "-i", str(fleet))
    assert done.returncode == 0, done.stdout + done.stderr
    state = str(lab_fleet.workspace.base_state)
    done = run("plan", "--lab", "-i", str(lab_fleet.workspace.inventory), "--state", state)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rig01" in done.stdout
    assert "rig02" in done.stdout


def test_a_recorded_node_makes_a_page(run, installed, tmp_path):
    """The programs for the node, the shipped builds and the page's templates are all in it."""
    (home,) = installed.parent.glob("lib/python*/site-packages/rigdeploy/node")
    assert (home / "active.py").is_file()
    node, page = tmp_path / "node.json", tmp_path / "page.html"
    seen = subprocess.run([sys.executable, home / "probe.py"], capture_output=True, check=True)
    node.write_bytes(seen.stdout)
    done = run("verify", "--observation", str(node), "--build", "pro-4x3090", "--html", str(page))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "<svg" in page.read_text()
    assert "PCIE3" in page.read_text()


def test_init_makes_a_fleet_that_ansible_reads(installed, tmp_path):
    subprocess.run([installed / "rigdeploy", "init"], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(
        [installed / "ansible-inventory", "-i", "inventory", "--graph"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "@rigs" in done.stdout
