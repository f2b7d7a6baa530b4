"""What stands in for a node's mainboard: one process per powered-on twin.

``python -m rigdeploy.lab.machine LAB_DIR RIG`` puts the disk over the shared root, boots it in a container with its own
network, and boots it again when the system reboots. All that it mounts is in a mount namespace of its own: when its
control group is killed nothing is left, whatever it was doing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rigdeploy.lab import node
from rigdeploy.lab.processes import CLONE_NEWNS, CLONE_NEWTIME, run, system_call, wait_until
from rigdeploy.lab.root import TWIN
from rigdeploy.lab.twins import HUB_ADDRESS, MIRROR_PORT, Lab, Twin

REBOOT = 133
"""systemd-nspawn's exit status when the system inside asked for a reboot and --keep-unit is given."""
DISK_SECONDS = 30
"""How long a disk may stay in use after a power cut: the kernel writes back what the node had not."""
SIMULATED = Path(__file__).parent / "simulated"
_CGROUP = Path("/sys/fs/cgroup")
ENGINES = ("var/lib/containers", "var/lib/docker")
"""Where podman and docker keep images: overlays of their own, which cannot lie on the overlay that a node's root is."""
_CONTAINERS = """\
# A twin's control group has no controllers to limit anything with, and crun raises a limit that some of the lab's hosts
# let nobody raise: podman's containers stay in the control group that they are started in.
[containers]
cgroups = "disabled"
"""
_SOURCES = f"""\
Types: deb
URIs: http://{HUB_ADDRESS}:{MIRROR_PORT}/debian
Suites: ./
Signed-By: /etc/apt/keyrings/rigdeploy-lab.asc
"""


def main(lab_directory: str, name: str) -> int:
    """Run the node until it is powered off from inside; a power cut ends this process too."""
    twin = Lab(Path(lab_directory)).twin(name)
    group = twin.group.name
    _own_mounts(twin)
    root = _mount(twin)
    run(["mount", "-t", "cgroup2", "cgroup2", _CGROUP])
    vm = _CGROUP / twin.lab.group.name / group / "vm"
    while True:
        node.write_hardware(twin, fresh=True)
        vm.mkdir(exist_ok=True)
        status = _boot(twin, root, vm)
        if status != REBOOT:
            return status


def _own_mounts(twin: Twin) -> None:
    """Go where nobody sees our mounts.

    In a chroot / may be no mount point, and systemd-nspawn needs one: there we go into a mount of it.
    """
    system_call("unshare", CLONE_NEWNS)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if "/" not in points:
        host = twin.directory / "mnt/host"
        host.mkdir(parents=True, exist_ok=True)
        run(["mount", "--rbind", "/", host])
        os.chroot(host)
        os.chdir("/")
    run(["mount", "--make-rprivate", "/"])


def _mount(twin: Twin) -> Path:
    """The node's root file system: its disk over the shared root."""
    wait_until(lambda: not node.disk_in_use(twin), DISK_SECONDS, f"{twin.disk} is still in use")
    disk, root = twin.directory / "mnt/disk", twin.directory / "mnt/root"
    for directory in (disk, root):
        directory.mkdir(parents=True, exist_ok=True)
    run(["mount", "-o", "loop,noatime,nodiscard", twin.disk, disk])
    upper, work = disk / "upper", disk / "work"
    for directory in (upper, work, *(disk / place for place in ENGINES)):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    _furnish(twin, upper)
    lower = node.shared_root(twin)
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", root])
    return root


def _furnish(twin: Twin, upper: Path) -> None:
    """What a new disk needs: the lab's key, an identity, the mirror as the only package source, podman's settings."""
    node.authorise(twin, upper)
    etc = upper / "etc"
    key = node.shared_root(twin).parent / "debian/key.asc"
    for path, text in (
        (etc / "apt/keyrings/rigdeploy-lab.asc", key.read_text()),
        (etc / "apt/sources.list.d/rigdeploy-lab.sources", _SOURCES),
        (etc / "containers/containers.conf.d/rigdeploy-twin.conf", _CONTAINERS),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text)


def _boot(twin: Twin, root: Path, vm: Path) -> int:
    """Boot once, keep growing counters growing, and return nspawn's exit status."""
    command = [
        # Started in the node's network as well: /sys shows the network of whoever mounts it.
        "nsenter", f"--net=/run/netns/{twin.netns}",
        "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no", "--console=pipe",
        f"--directory={root}", f"--machine={twin.name}", f"--network-namespace-path=/run/netns/{twin.netns}",
        "--resolv-conf=off", "--timezone=off",
        f"--bind={twin.hardware}:{node.HIDDEN}", f"--bind-ro={SIMULATED}:{TWIN}",
        *(f"--bind={twin.directory / 'mnt/disk' / place}:/{place}" for place in ENGINES),
        # Its network is its own, and container engines build networks in it; runc and crun guard devices by bpf and
        # start each container with a keyring (keyctl).
        "--capability=CAP_NET_ADMIN", "--system-call-filter=bpf keyctl",
    ]  # fmt: skip
    _start_clocks()
    joined = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(vm), *command]
    print(f"--- power on {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}", flush=True)
    with subprocess.Popen(joined, stdin=subprocess.DEVNULL) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                node.count(twin)


def _start_clocks() -> None:
    """Have the next process that we start count its uptime from now; where the kernel cannot, it is the host's."""
    # A process made by vfork shares our memory, and such a one cannot enter the namespace.
    subprocess._USE_VFORK = False  # type: ignore[misc]
    offset = -int(time.clock_gettime(time.CLOCK_BOOTTIME))
    with contextlib.suppress(OSError):
        system_call("unshare", CLONE_NEWTIME)
        Path("/proc/self/timens_offsets").write_text(f"monotonic {offset} 0\nboottime {offset} 0\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
