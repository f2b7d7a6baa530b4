"""The simulated modprobe and its relatives."""

from __future__ import annotations

import json

from rigdeploy.lab.faults import Faults


def gpu_driver(root) -> str | None:
    link = root.directory / "sys/bus/pci/devices/0000:41:00.0/driver"
    return link.resolve().name if link.is_symlink() else None


def test_without_the_module_it_fails_as_the_real_one(make_root):
    root = make_root()
    done = root.modprobe("nvidia")
    assert done.returncode == 1
    assert "FATAL: Module nvidia not found in directory /lib/modules/" in done.stderr
    assert root.modprobe("-q", "nvidia").stderr == ""
    assert gpu_driver(root) is None


def test_load_and_unload_with_dependencies(make_root):
    root = make_root()
    root.install_driver()
    assert root.modprobe("nvidia_uvm").returncode == 0
    assert {path.name for path in (root.directory / "sys/module").iterdir()} == {"nvidia", "nvidia_uvm"}
    assert gpu_driver(root) == "nvidia"
    assert "Open Kernel Module for x86_64  580.95.05" in (root.directory / "proc/driver/nvidia/version").read_text()
    busy = root.modprobe("-r", "nvidia")
    assert (busy.returncode, "in use by: nvidia_uvm" in busy.stderr) == (1, True)
    assert root.modprobe("-r", "nvidia_uvm", "nvidia").returncode == 0
    assert gpu_driver(root) is None
    assert not (root.directory / "proc/driver/nvidia").exists()


def test_proprietary_flavour(make_root):
    root = make_root()
    root.install_driver(licence="NVIDIA")
    root.modprobe("nvidia")
    banner = (root.directory / "proc/driver/nvidia/version").read_text()
    assert "NVIDIA UNIX x86_64 Kernel Module  580.95.05" in banner
    assert root.run("modprobe.py", "modinfo", "-F", "license", "nvidia").stdout == "NVIDIA\n"
    assert "nvidia" in root.run("modprobe.py", "lsmod").stdout


def test_nouveau_keeps_the_cards(make_root):
    root = make_root()
    root.install_driver()
    assert root.modprobe("-b", "nouveau").returncode == 0
    done = root.modprobe("nvidia")
    assert (done.returncode, "could not insert 'nvidia': No such device" in done.stderr) == (1, True)
    assert root.modprobe("-r", "nouveau").returncode == 0
    assert root.modprobe("nvidia").returncode == 0


def test_blacklist_keeps_nouveau_out(make_root):
    root = make_root()
    root.write("etc/modprobe.d/x.conf", "blacklist nouveau\n")
    assert root.modprobe("-b", "nouveau").returncode == 0
    assert gpu_driver(root) is None


def test_autoload_finds_the_driver_by_pci_id(make_root):
    root = make_root()
    root.modprobe("--autoload")
    assert gpu_driver(root) is None
    root.install_driver()
    root.modprobe("--autoload")
    assert gpu_driver(root) == "nvidia"


def test_a_held_module_stays(make_root):
    root = make_root()
    root.install_driver()
    root.modprobe("nvidia")
    root.write("sys/module/nvidia/refcnt", "1\n")
    assert root.modprobe("-r", "nvidia").returncode == 1


def test_what_was_set_is_forgotten_when_the_driver_goes(make_root):
    root = make_root()
    root.install_driver()
    root.modprobe("nvidia")
    root.smi("-pl", "250")
    assert root.smi("--query-gpu=power.limit", "--format=csv,noheader").stdout.startswith("250.00 W")
    root.modprobe("-r", "nvidia")
    root.modprobe("nvidia")
    assert json.loads((root.directory / "run/rigdeploy-twin/state.json").read_text()) == {}
    assert root.smi("--query-gpu=power.limit", "--format=csv,noheader").stdout.startswith("350.00 W")


def test_secure_boot_refuses_what_nobody_signed(make_root):
    root = make_root(faults=Faults(secure_boot=True))
    root.install_driver()
    done = root.modprobe("nvidia")
    assert (done.returncode, "Key was rejected by service" in done.stderr) == (1, True)
    assert gpu_driver(root) is None


def test_dkms_tells_what_became_of_the_modules(make_root):
    root = make_root()
    tree = "var/lib/dkms/nvidia/580.95.05"
    root.write(f"{tree}/build/make.log", "error: no\n")
    assert root.run("nvidia_dkms.py", "status").stdout == "nvidia/580.95.05: added\n"
    root.write(f"{tree}/6.1.0-28-amd64/x86_64/module/.keep", "")
    assert root.run("nvidia_dkms.py", "status").stdout == "nvidia/580.95.05, 6.1.0-28-amd64, x86_64: built\n"
    root.write("lib/modules/6.1.0-28-amd64/updates/dkms/nvidia.ko", "")
    assert root.run("nvidia_dkms.py", "status").stdout == "nvidia/580.95.05, 6.1.0-28-amd64, x86_64: installed\n"
