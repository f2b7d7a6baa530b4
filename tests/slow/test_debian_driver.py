"""Debian's own driver, really installed and built by DKMS on a twin that has a kernel of its own on its disk.

Nothing can load it: what is tested is everything up to the next boot.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rigdeploy.lab import debian_driver, mirror, root
from rigdeploy.lab.twins import HUB_ADDRESS, MIRROR_PORT
from tests.lab.conftest import CHECKOUT

pytestmark = [pytest.mark.lab, pytest.mark.slow]

RIG = "rig01"
DRIVER = {
    "nvidia_driver_branch": "535",
    "nvidia_driver_source": "distro",
    "nvidia_driver_load": False,
    # A run takes minutes: that somebody edits a role meanwhile is no change on the twin.
    "nvidia_driver_inputs_hash": "the same",
}
SOURCE = f"""\
Types: deb
URIs: http://{HUB_ADDRESS}:{MIRROR_PORT}/debian-driver
Suites: ./
Signed-By: /etc/apt/keyrings/debian-driver.asc
"""

# The twin's simulated kmod goes: it knows no module that was really built. The initramfs of a kernel that never boots
# would only take time.
OWN_KERNEL = """\
set -e
for tool in /sbin/modprobe /sbin/rmmod /bin/lsmod /sbin/lsmod /sbin/modinfo; do
  rm $tool
  dpkg-divert --quiet --rename --remove $tool
done
mkdir -p /etc/initramfs-tools
printf 'update_initramfs=no\\n' >/etc/initramfs-tools/update-initramfs.conf
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends -o Dpkg::Options::=--force-confold \\
  -o Dpkg::Options::=--force-unsafe-io \\
  linux-image-amd64 linux-headers-amd64
"""


@pytest.fixture(scope="module")
def fleet(make_fleet):
    """One twin that runs, with a kernel on its disk and a mirror that has Debian's contrib and non-free."""
    fleet = make_fleet()
    done = fleet.run_lab("up", RIG)
    assert done.returncode == 0, done.stdout + done.stderr
    drivers = debian_driver.ensure(print)
    directories = {"debian": root.ensure_root(print) / "debian", "nvidia": root.ensure_nvidia(print)}
    mirror.start(fleet.lab, directories | {"debian-driver": drivers})
    assert fleet.run("power", "on", RIG).returncode == 0
    fleet.booted(RIG)
    key = (drivers / "key.asc").read_text()
    fleet.node(RIG, f"cat >/etc/apt/keyrings/debian-driver.asc <<'KEY'\n{key}KEY")
    fleet.node(RIG, f"cat >/etc/apt/sources.list.d/debian-driver.sources <<'SOURCE'\n{SOURCE}SOURCE")
    done = fleet.ssh(RIG, OWN_KERNEL, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return fleet


def test_a_module_that_does_not_build_is_named_with_its_kernel_and_its_first_error(fleet):
    header = fleet.node(RIG, "ls /usr/src/linux-headers-*-common/include/linux/pci.h").strip()
    fleet.node(RIG, f"cp {header} /root/sound.h && echo '#error broken by the test' >>{header}")
    done = role(fleet)
    fleet.node(RIG, f"mv /root/sound.h {header}")
    assert done.returncode != 0
    said = done.stdout
    assert f"has not built the driver's module for kernel {kernel(fleet)}" in said, said
    assert re.search(r"first error: \S*/linux/pci\.h:\d+:\d+: error: #error broken by the test", said), said
    # Whatever apt installs next, it finds no package that fails again.
    assert fleet.node(RIG, "dpkg --audit") == ""
    assert "broken by the test" in fleet.node(RIG, "cat /var/log/rigdeploy-nvidia-make.log")


def test_open_modules_of_debian_13_are_refused_with_the_reason(fleet):
    fleet.node(RIG, "sed -i.12 's/12/13/; s/bookworm/trixie/' /usr/lib/os-release; echo 13.1 >/etc/debian_version")
    done = role(fleet, nvidia_driver_branch="550", nvidia_driver_modules="open")
    fleet.node(RIG, "mv /usr/lib/os-release.12 /usr/lib/os-release; echo 12.11 >/etc/debian_version")
    assert done.returncode != 0
    assert "its open modules do not build against its own kernels" in done.stdout, done.stdout


def test_the_driver_is_built_for_the_kernel_that_boots_next(fleet):
    done = role(fleet)
    assert done.returncode == 0, done.stdout + done.stderr
    boots = kernel(fleet)
    built = fleet.node(RIG, "dkms status")
    assert re.search(rf"^nvidia-current/535\.\S+, {boots}, x86_64: installed", built, re.MULTILINE), built
    assert fleet.node(RIG, f"modinfo -k {boots} -F version nvidia-current").startswith("535.")
    assert fleet.node(RIG, "systemctl is-enabled nvidia-persistenced") == "enabled\n"
    assert "Pin: version 535.*" in fleet.node(RIG, "cat /etc/apt/preferences.d/00-rigdeploy-nvidia")

    again = role(fleet)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "changed=0" in again.stdout, again.stdout


def kernel(fleet) -> str:
    """The kernel on the twin's disk."""
    return fleet.node(RIG, "ls /boot/vmlinuz-*").strip().removeprefix("/boot/vmlinuz-")


def role(fleet, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the role by plain Ansible."""
    lab = {"RIGDEPLOY_LAB": "1", "RIGDEPLOY_STATE": str(fleet.workspace.base_state), "NO_COLOR": "1"}
    command: list[str | Path] = [Path(sys.executable).with_name("ansible-playbook"), "playbooks/driver.yml"]
    command += ["--inventory", fleet.workspace.inventory, "--limit", RIG, "--tags", "nvidia_driver"]
    command += ["--extra-vars", json.dumps(DRIVER | variables)]
    return subprocess.run(
        command, cwd=CHECKOUT, env=os.environ | lab, capture_output=True, text=True, check=False, timeout=900
    )
