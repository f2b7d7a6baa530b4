"""The probe as it is run on a node: as one file, by old and new Pythons, fast, and read back without loss."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.lab import hardware, sysfs
from rigdeploy.lab.faults import Faults
from rigdeploy.node import probe
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError, display

PROBE = Path(probe.__file__)


def oldest_python():
    """A Python 3.9 if this machine has one, also one that only pyenv knows (whose shims may lead nowhere)."""
    own = sorted(Path("~/.pyenv/versions").expanduser().glob("3.9.*/bin/python3.9"))
    for path in filter(None, [*own, shutil.which("python3.9")]):
        if subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0:
            return str(path)
    return None


@pytest.fixture
def rig(tree):
    """The twin of the reference build: seven slots, four cards."""
    catalogue = Catalogue.load()
    build = catalogue.builds["pro-4x3090"]
    files = hardware.tree(build, catalogue.boards[build.board], catalogue.gpus, Faults())
    for name, content in files.items():
        if isinstance(content, sysfs.Symlink):
            path = tree.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(content.target)
        else:
            tree.file(name, content)
    return tree


def run(python, root, **options):
    command = [python, "-I", "-", "--root", str(root)]
    done = subprocess.run(command, input=PROBE.read_bytes(), capture_output=True, check=True, **options)
    assert not done.stderr
    return json.loads(done.stdout)


def timeless(document):
    """What does not change from one look to the next, whoever looks."""
    return {key: value for key, value in document.items() if key not in ("taken", "users_root")}


def test_over_standard_input(rig):
    document = run(sys.executable, rig.root)
    assert timeless(document) == timeless(rig.observe())
    assert set(document) == {field.name for field in fields(Observation)}


def test_with_the_oldest_python(rig):
    python = oldest_python()
    if python is None:
        pytest.skip("not tested: the probe on Python 3.9; this machine has none")
    assert timeless(run(python, rig.root)) == timeless(run(sys.executable, rig.root))


def test_uses_the_standard_library_alone():
    lines = PROBE.read_text().splitlines()
    modules = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert modules <= set(sys.stdlib_module_names)


def test_a_function_costs_few_files(tree, monkeypatch):
    """A server shows hundreds of functions; what is read of each but the cards decides how long a look takes."""
    for number in range(256):
        link = {"current_link_width": "4", "max_link_width": "4"}
        tree.pci(f"0000:{number:02x}:00.0", vendor="0x8086", device="0x1", **{"class": "0x088000"}, **link)
    opened = []
    real = probe.os.open
    monkeypatch.setattr(probe.os, "open", lambda path, *rest: opened.append(path) or real(path, *rest))
    tree.observe()
    assert len([path for path in opened if probe.PCI_DEVICES in path]) <= 8 * 256


def test_programs_are_waited_for_together(tree):
    """Each of the two ends only once the other has begun."""

    def meeting(own, other, says):
        begun, seen = tree.root / own, tree.root / other
        return f"sh -c 'touch {begun}; while [ ! -e {seen} ]; do sleep 0.01; done; {says}'"

    tree.root.mkdir()
    smi = meeting("smi", "log", 'echo "<nvidia_smi_log><driver_version>580.95.05</driver_version></nvidia_smi_log>"')
    log = meeting("log", "smi", 'echo "NVRM: Xid (PCI:0000:41:00): 79"')
    document = tree.observe(smi, log)
    assert document["driver"]["library"] == "580.95.05"
    assert [line["code"] for line in document["kernel_log"]] == [79]


def test_a_recorded_node_replays_from_the_command_line(rig):
    smi = rig.file("tmp/smi", '<nvidia_smi_log><gpu id="00000000:41:00.0"></gpu></nvidia_smi_log>')
    log = rig.file("tmp/log", "NVRM: Xid (PCI:0000:41:00): 79, x")
    command = [sys.executable, "-I", str(PROBE), "--root", str(rig.root), "--nvidia-smi", f"cat {smi} --"]
    # cat takes "-q -x" after "--" for files that are not there, and fails; what it printed counts.
    done = subprocess.run([*command, "--kernel-log", f"cat {log}"], capture_output=True, check=True)
    document = json.loads(done.stdout)
    assert [gpu["address"] for gpu in document["gpus"]] == ["0000:41:00.0"]
    assert [line["code"] for line in document["kernel_log"]] == [79]


def test_changes_nothing(rig):
    before = {path: path.lstat().st_mtime_ns for path in rig.root.rglob("*")}
    run(sys.executable, rig.root)
    assert {path: path.lstat().st_mtime_ns for path in rig.root.rglob("*")} == before


def test_reads_back_whole(rig):
    document = rig.observe()
    seen = Observation.parse(document)
    assert len(seen.pci) == len(document["pci"])
    assert {device.slot for device in seen.pci.values() if device.is_gpu} == {"PCIE1", "PCIE3", "PCIE5", "PCIE7"}
    assert seen.host.virtualisation == "none"
    for device in document["pci"]:
        read = seen.pci[device["address"]]
        assert (read.vendor, read.device, read.class_code) == (device["vendor"], device["device"], device["class"])
        assert (read.parent, read.slot) == (device["parent"], device["slot"])
        assert (read.link.width, read.link.gen_max) == (device["link"]["width"], device["link"]["gen_max"])
        assert read.aer == device["aer"]
        assert (read.driver, read.numa_node, read.iommu_group) == tuple(
            device[key] for key in ("driver", "numa_node", "iommu_group")
        )
        assert list(read.bars_mib) == device["bars_mib"]
        assert read.acs == (None if device["acs"] is None else tuple(device["acs"]))
    assert asdict(seen.cpu) == document["cpu"]
    assert asdict(seen.memory) == document["memory"] | {"modules": tuple(document["memory"]["modules"])}
    for part in ("disks", "filesystems", "nics", "slots"):
        assert [asdict(item) for item in getattr(seen, part)] == document[part]
    assert asdict(seen.host) == document["host"]
    assert asdict(seen.driver) == document["driver"]
    assert len(seen.unread) == len(document["unread"])


CARD = """<vbios_version>94</vbios_version><processes></processes><temperature><gpu_temp>39 C</gpu_temp></temperature>
<clocks_event_reasons><clocks_event_reason_gpu_idle>Active</clocks_event_reason_gpu_idle></clocks_event_reasons>
<remapped_rows><remapped_row_unc>1</remapped_row_unc></remapped_rows><gpu_recovery_action>None</gpu_recovery_action>"""


def test_a_card_and_the_log_read_back_whole(tree):
    smi = tree.file("tmp/smi", f'<nvidia_smi_log><gpu id="00000000:41:00.0">{CARD}</gpu></nvidia_smi_log>')
    log = tree.file("tmp/log", "NVRM: Xid (PCI:0000:41:00): 79, x")
    document = tree.observe(f"sh -c 'cat {smi}'", f"cat {log}")
    seen = Observation.parse(document)
    (gpu,) = document["gpus"]
    read = asdict(seen.gpus["0000:41:00.0"])
    assert read | {"clock_reasons": list(read["clock_reasons"]), "power": gpu["power"]} == gpu
    assert [asdict(line) for line in seen.kernel_log] == document["kernel_log"]


def test_this_machine_can_be_looked_at():
    seen = Observation.parse(probe.observe(probe.Node("", None)))
    assert seen.host.boot_id
    assert seen.host.kernel
    assert seen.host.uptime_seconds > 0


def test_a_part_that_fails_takes_no_other_with_it(rig, why, monkeypatch):
    monkeypatch.setattr(probe, "virtualisation", lambda node: 1 / 0)
    document = rig.observe()
    assert document["host"] == {}
    assert "ZeroDivisionError" in why(document, "host")[0]
    assert document["pci"]


@pytest.mark.parametrize(
    ("cpuinfo", "vendor", "expected"),
    [
        ("flags\t\t: fpu sse2 hypervisor avx\n", "QEMU", "QEMU"),
        ("flags\t\t: fpu sse2 hypervisor\n", None, "unknown hypervisor"),
        ("flags\t\t: fpu sse2\n", "QEMU", "none"),
        ("flags\t\t: fpu sse2\n", "ASRockRack", "none"),
        ("Features\t: fp asimd\n", "QEMU", "QEMU"),
        ("Features\t: fp asimd\n", "GIGABYTE", "none"),
        (None, "QEMU", None),
    ],
)
def test_virtual_machines(tree, cpuinfo, vendor, expected):
    tree.root.mkdir()
    if cpuinfo:
        tree.file("proc/cpuinfo", "processor\t: 0\n" + cpuinfo)
    if vendor:
        tree.file("sys/class/dmi/id/sys_vendor", vendor + "\n")
    assert tree.observe()["host"]["virtualisation"] == expected


def test_the_host(tree):
    tree.file("proc/sys/kernel/hostname", "rig01\n")
    tree.file("proc/sys/kernel/random/boot_id", "5c1e2a3b-0000-4000-8000-000000000000\n")
    tree.file("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n")
    tree.file("proc/uptime", "123.45 456.78\n")
    tree.file("usr/lib/os-release", 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n# x=y\n')
    host = tree.observe()["host"]
    assert host["hostname"] == "rig01"
    assert host["boot_id"] == "5c1e2a3b-0000-4000-8000-000000000000"
    assert host["kernel"] == "6.1.0-28-amd64"
    assert (host["os_id"], host["os_version"]) == ("ubuntu", "24.04")
    assert host["uptime_seconds"] == 123.45


@pytest.mark.parametrize("document", [None, [], "x", 1, {}, {"schema": 2}, {"schema": "1"}, {"schema": True}])
def test_what_is_no_observation(document):
    with pytest.raises(ObservationError):
        Observation.parse(document)


def test_an_observation_may_be_empty():
    seen = Observation.parse({"schema": 1})
    assert seen.driver.loaded is None
    assert not seen.pci


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 3),
        ("width", 0),
        ("width", 64),
        ("width", True),
        ("width", "16"),
        ("gen", 7),
        ("gen", 2.5),
        ("gen", -1),
    ],
)
def test_an_impossible_link_is_unread(key, value):
    card = {"address": "0000:01:00.0", "vendor": "10de", "link": {key: value}}
    seen = Observation.parse({"schema": 1, "pci": [card]})
    assert getattr(seen.pci["0000:01:00.0"].link, key) is None
    assert seen.why_unread(f"pci[0000:01:00.0].link.{key}")


def test_texts_are_made_fit_to_show():
    assert display("a\x1b[31mb\r\nc\td") == "a [31mb c d"
    assert len(display("x" * 1_000_000)) == 200
