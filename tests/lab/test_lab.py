"""The lab itself: its twins start, break and disappear as told."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rigdeploy.lab import node

pytestmark = pytest.mark.lab

GPU = "/sys/bus/pci/devices/0000:41:00.0"
"""A card of rig01; which slot it is in is read from the node."""


def traces(fleet) -> list[str]:
    """Everything on this machine that belongs to a fleet's lab."""
    lab, found = fleet.lab, []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = (process / "cgroup").read_text()
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (process / "mountinfo").read_text()
        except OSError:
            continue  # ended while we looked
        ours = f"rigdeploy-{lab.id}" in group or str(lab.directory) in line
        found += [f"process {process.name}: {line}"] if ours else []
        found += [f"mount seen by {process.name}"] if str(lab.directory) in mounts or lab.netns in mounts else []
    found += [f"namespace {path.name}" for path in Path("/run/netns").glob(f"{lab.netns}*")]
    found += [f"control group {path}" for path in Path("/sys/fs/cgroup").glob(f"**/rigdeploy-{lab.id}")]
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        found += [f"loop device {backing}"] if str(lab.directory) in backing.read_text() else []
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    found += [line for line in links.splitlines() if "host0" in line or "node1@" in line]
    return found + ([f"directory {lab.directory}"] if lab.directory.exists() else [])


def read(fleet, path: str) -> str:
    return fleet.node("rig01", f"cat {path}").strip()


@pytest.fixture(scope="module")
def booted(lab_fleet):
    """rig01 blank and switched on through its BMC."""
    lab_fleet.renew("rig01")
    assert lab_fleet.ipmi("rig01", "power", "on").returncode == 0
    lab_fleet.booted("rig01")
    return lab_fleet


@pytest.fixture
def healed(booted):
    """The booted fleet; rig01 is sound and on again afterwards, whatever the test did or failed to do."""
    yield booted
    assert booted.run_lab("fault", "rig01", "--clear").returncode == 0
    node.power_on(booted.twin("rig01"))
    booted.booted("rig01")


@pytest.fixture(scope="module")
def slot(booted) -> str:
    """The slot that GPU sits in, as the firmware's tables name it."""
    booted.node("rig01", "dpkg -s dmidecode >/dev/null 2>&1 || (apt-get -q update && apt-get -qy install dmidecode)")
    tables = booted.node("rig01", "dmidecode -t 9")
    structure = next(text for text in tables.split("\n\n") if "Bus Address: 0000:41:00.0" in text)
    return structure.partition("Designation: ")[2].partition("\n")[0]


def test_twins_file_is_the_contract(lab_fleet):
    document = json.loads(lab_fleet.lab.file.read_text())
    lab = lab_fleet.lab
    assert (document["schema"], document["id"], document["netns"]) == (1, lab.id, f"rd-{lab.id}")
    assert document["rigs"]["rig02"]["bmc"] is None
    bmc = document["rigs"]["rig01"]["bmc"]
    assert (bmc["address"], bmc["port"], bmc["username"]) == ("10.90.0.111", 623, "admin")
    assert Path(bmc["password_file"]).stat().st_mode & 0o777 == 0o600
    assert len(Path(bmc["password_file"]).read_text()) == 16
    assert document["rigs"]["rig01"]["address"] == "10.90.0.11"
    assert document["mirror"]["url"] == "http://10.90.0.1:8080/nvidia"
    assert "BEGIN PGP PUBLIC KEY" in Path(document["mirror"]["key"]).read_text()


def test_bmc_power_really_switches_the_node(booted):
    first = booted.booted("rig01")
    assert "is on" in booted.ipmi("rig01", "power", "status").stdout
    assert booted.ipmi("rig01", "power", "off").returncode == 0
    assert "is off" in booted.ipmi("rig01", "power", "status").stdout
    assert booted.ssh("rig01", "true").returncode != 0
    assert booted.ipmi("rig01", "power", "on").returncode == 0
    second = booted.booted("rig01")
    assert booted.ipmi("rig01", "power", "cycle").returncode == 0
    third = booted.booted("rig01", other_than=second)
    assert booted.ipmi("rig01", "power", "reset").returncode == 0
    assert len({first, second, third, booted.booted("rig01", other_than=third)}) == 4


def test_soft_off_shuts_the_system_down(booted):
    booted.node("rig01", "touch /root/before; sync")
    assert booted.ipmi("rig01", "power", "soft").returncode == 0
    booted.wait_for(lambda: booted.status("rig01")["power"] == "off", 30, "the node stays on")
    booted.ipmi("rig01", "power", "on")
    booted.booted("rig01")
    booted.node("rig01", "test -e /root/before")


def test_reboot_from_inside_is_a_new_boot(booted):
    before = booted.booted("rig01")
    booted.ssh("rig01", "systemctl reboot")
    assert booted.booted("rig01", other_than=before) != before
    assert booted.node("rig01", "systemctl is-system-running --wait").strip() == "running"


def test_power_cut_keeps_the_disk(booted):
    booted.node("rig01", "echo kept >/root/kept; sync")
    assert booted.run_lab("fault", "rig01", "--power-cut").returncode == 0
    assert booted.status("rig01")["power"] == "off"
    booted.ipmi("rig01", "power", "on")
    booted.booted("rig01")
    assert booted.node("rig01", "cat /root/kept") == "kept\n"
    started = time.monotonic()
    assert booted.run_lab("fault", "rig01", "--power-cut-after", "1").returncode == 0
    assert booted.status("rig01")["power"] == "on"
    booted.wait_for(lambda: booted.status("rig01")["power"] == "off", 10, "the power did not fail")
    assert time.monotonic() - started > 1
    booted.ipmi("rig01", "power", "on")
    booted.booted("rig01")


def test_node_looks_like_the_declared_rig(booted, slot):
    assert slot == "PCIE3"
    assert "EPYC 7252" in read(booted, "/proc/cpuinfo")
    assert "hypervisor" not in read(booted, "/proc/cpuinfo")
    path = booted.node("rig01", f"realpath {GPU}").strip()
    assert path == "/sys/devices/pci0000:40/0000:40:01.1/0000:41:00.0"
    assert read(booted, f"{GPU}/vendor") == "0x10de"
    assert read(booted, f"{GPU}/current_link_speed") == "16.0 GT/s PCIe"
    shown = booted.node("rig01", "ls /sys/class/net").split()
    assert shown == ["enp48s0f0", "enp48s0f1", "host0", "lo"], "the real devices are still there"
    assert read(booted, "/sys/class/net/enp48s0f0/speed") == "10000"
    assert 31 << 20 < int(read(booted, "/proc/meminfo").split()[1]) < 32 << 20
    assert read(booted, "/sys/block/nvme0n1/device/address") == "0000:20:00.0"
    assert read(booted, "/sys/class/dmi/id/board_name") == "ROMED8-2T"
    assert "simulated" in read(booted, "/etc/rigdeploy-twin")


def test_firmware_tables_are_what_dmidecode_expects(booted, slot):
    tables = booted.node("rig01", "dmidecode 2>&1")
    for text in (
        "SMBIOS 3.3.0 present", "Version: AMD EPYC 7252", "Core Count: 8", "Error Correction Type: Multi-bit ECC",
        "Number Of Devices: 8", "Bank Locator: P0 CHANNEL H", "Type Detail: Synchronous Registered (Buffered)",
        "Type: x16 PCI Express 4 x16",
    ):  # fmt: skip
        assert text in tables
    assert tables.count("Size: 4 GB") == 8
    assert not [line for line in tables.splitlines() if "TRUNCATED" in line or "BAD" in line or "OUT OF SPEC" in line]


def test_the_clock_of_a_boot_starts_with_it(booted):
    assert float(read(booted, "/proc/uptime").split()[0]) < float(Path("/proc/uptime").read_text().split()[0])
    first = booted.booted("rig01")
    booted.ssh("rig01", "systemctl reboot")
    booted.booted("rig01", other_than=first)
    assert float(read(booted, "/proc/uptime").split()[0]) < 60


def test_no_way_out_of_the_lab(booted):
    routes = booted.inside("ip", "route").stdout
    assert "default" not in routes
    assert "default" not in booted.node("rig01", "ip route")


def test_link_faults_show_at_once_in_the_nodes_sysfs(healed, slot):
    port = f"$(dirname $(realpath {GPU}))"
    assert healed.run_lab("fault", "rig01", slot, "--width", "8", "--gen", "3").returncode == 0
    assert read(healed, f"{GPU}/current_link_width") == "8"
    assert read(healed, f"{GPU}/current_link_speed") == "8.0 GT/s PCIe"
    assert read(healed, f"{port}/current_link_width") == "8"
    assert read(healed, f"{port}/max_link_width") == "16"
    assert healed.run_lab("fault", "rig01", slot, "--clear", "--width", "8", "--at", "port").returncode == 0
    assert read(healed, f"{port}/max_link_width") == "8"
    assert read(healed, f"{GPU}/max_link_width") == "16"
    assert healed.status("rig01")["faults"] == [f"{slot}: width=8 (at the port)"]
    assert healed.run_lab("fault", "rig01", slot, "--clear").returncode == 0
    assert read(healed, f"{GPU}/current_link_width") == "16"


def test_missing_card_and_growing_errors(healed, slot):
    assert healed.run_lab("fault", "rig01", slot, "--aer", "600").returncode == 0
    first = int(healed.node("rig01", f"awk '/TOTAL/ {{print $2}}' {GPU}/aer_dev_correctable"))
    assert first >= 600
    healed.wait_for(
        lambda: int(healed.node("rig01", f"awk '/TOTAL/ {{print $2}}' {GPU}/aer_dev_correctable")) > first,
        10,
        "no growth",
    )
    assert healed.run_lab("fault", "rig01", slot, "--missing").returncode == 0
    assert healed.ssh("rig01", f"test -e {GPU}").returncode != 0
    assert healed.run_lab("fault", "rig01", slot, "--clear").returncode == 0
    healed.node("rig01", f"test -e {GPU}")


def test_full_disk_and_new_host_keys_and_back(healed):
    key = read(healed, "/etc/ssh/ssh_host_ed25519_key.pub")
    assert healed.run_lab("fault", "rig01", "--disk-full", "--host-key").returncode == 0
    done = healed.ssh("rig01", "head -c 1000000 /dev/zero >/root/big")
    assert "No space left on device" in done.stderr
    scan = healed.inside("ssh-keyscan", "-t", "ed25519", healed.twin("rig01").address).stdout
    assert scan
    assert key.split()[1] not in scan
    assert healed.run_lab("fault", "rig01", "--clear").returncode == 0
    healed.node("rig01", "head -c 1000000 /dev/zero >/root/big")
    assert key.split()[1] in healed.inside("ssh-keyscan", "-t", "ed25519", healed.twin("rig01").address).stdout


def test_bmc_faults(healed):
    healed.ipmi("rig01", "power", "off")
    assert healed.run_lab("fault", "rig01", "--swallow-power-on", "1").returncode == 0
    healed.ipmi("rig01", "power", "on")
    assert "is off" in healed.ipmi("rig01", "power", "status").stdout
    assert healed.run_lab("fault", "rig01", "--bmc-lag", "2").returncode == 0
    started = time.monotonic()
    healed.ipmi("rig01", "power", "on")
    assert "is off" in healed.ipmi("rig01", "power", "status").stdout
    healed.wait_for(lambda: "is on" in healed.ipmi("rig01", "power", "status").stdout, 20, "the node stays off")
    assert time.monotonic() - started > 2
    assert healed.run_lab("fault", "rig01", "--lose-datagrams", "100").returncode == 0
    login = ["-H", "10.90.0.111", "-U", "x", "-P", "x"]
    deaf = healed.inside("ipmitool", "-I", "lanplus", "-N", "1", "-R", "1", *login, "mc", "info")
    assert deaf.returncode != 0
    assert healed.run_lab("fault", "rig01", "--clear").returncode == 0
    assert "is on" in healed.ipmi("rig01", "power", "status").stdout
    healed.booted("rig01")


def test_driver_comes_from_the_mirror_with_the_vendors_names(healed, slot):
    key = Path(json.loads(healed.lab.file.read_text())["mirror"]["key"]).read_text()
    healed.node(
        "rig01",
        f"""set -e
        cat >/etc/apt/keyrings/nvidia.asc <<'END'\n{key}\nEND
        cd /etc/apt/sources.list.d
        echo 'deb [signed-by=/etc/apt/keyrings/nvidia.asc] http://10.90.0.1:8080/nvidia ./' >nvidia.list
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q update
        apt-get -qy install nvidia-driver-pinning-570 pciutils
        apt-get -qy install nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced
        modprobe nvidia
        rm nvidia.list""",
    )
    assert read(healed, "/sys/module/nvidia/version") == "570.195.03"
    assert "Open Kernel Module" in read(healed, "/proc/driver/nvidia/version")
    assert healed.node("rig01", "nvidia-smi -L").count("RTX 3090") == 4
    assert healed.node("rig01", "lspci -n -d 10de:").count("10de:2204") == 4
    assert "Access Control Services" in healed.node("rig01", "lspci -vv -s 40:01.1")
    assert "LnkSta:\tSpeed 2.5GT/s (downgraded), Width x16" in healed.node("rig01", "lspci -vv -s 41:00.0")
    assert "libcuda.so.1" in healed.node("rig01", "ldconfig -p")
    assert healed.run_lab("fault", "rig01", slot, "--memory", "12288").returncode == 0
    memory = healed.node("rig01", "nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits").split()
    assert sorted(memory) == ["12288", "24576", "24576", "24576"]
    assert healed.run_lab("fault", "rig01", "--mismatch").returncode == 0
    done = healed.ssh("rig01", "nvidia-smi")
    assert (done.returncode, "version mismatch" in done.stdout) == (18, True)
    assert healed.run_lab("fault", "rig01", slot, "--xid", "79").returncode == 0
    assert "Xid (PCI:0000:41:00): 79" in healed.node("rig01", "dmesg")


def test_foolish_faults_are_refused(booted):
    for words, said in (
        (["rig01", "PCIE9", "--busy"], "PCIE1"),
        (["rig01", "--width", "8"], "slot"),
        (["rig01", "PCIE1", "--width", "7"], "x7"),
        (["rig01", "PCIE1", "--ecc"], "no ECC"),
        (["rig01", "PCIE1", "--disk-full"], "PCIE1"),
        (["rig02", "--bmc-lag", "3"], "no BMC"),
        (["rig01"], "no fault named"),
    ):
        done = booted.run_lab("fault", *words)
        assert done.returncode == 4, words
        assert said in done.stderr
    assert booted.run_lab("fault", "rig09", "--power-cut").returncode == 5


def test_two_labs_side_by_side_and_down_leaves_nothing(lab_fleet, make_fleet):
    other = make_fleet()
    assert not traces(other)
    assert other.run_lab("up", "rig01").returncode == 0
    assert other.ipmi("rig01", "power", "on").returncode == 0
    other.booted("rig01")
    assert "is on" in other.ipmi("rig01", "power", "status").stdout
    assert other.lab.netns != lab_fleet.lab.netns
    assert any(line.startswith("process") for line in traces(other))
    assert any(line.startswith("loop device") for line in traces(other))
    done = other.run_lab("down")
    assert done.returncode == 0, done.stderr
    other.wait_for(lambda: not traces(other), 10, "\n".join(traces(other)))
    assert lab_fleet.status("rig01")["bmc_running"] is True


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9])
def test_killed_while_building_and_built_again(make_fleet, seconds):
    fleet = make_fleet()
    building = subprocess.Popen(
        fleet.command("lab", "up", lab=False), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    building.send_signal(signal.SIGKILL)
    building.wait()
    done = fleet.run_lab("up")
    assert done.returncode == 0, done.stderr
    assert fleet.ipmi("rig01", "power", "on").returncode == 0
    fleet.booted("rig01")
    assert fleet.run_lab("down").returncode == 0
    fleet.wait_for(lambda: not traces(fleet), 10, "\n".join(traces(fleet)))
    assert fleet.run_lab("down").returncode == 0, "down twice is fine"
