"""The lab's network: a hub namespace with a bridge and no way out, and one namespace per node."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from pathlib import Path

from rigdeploy.errors import LabError
from rigdeploy.lab.processes import CLONE_NEWNET, run, system_call
from rigdeploy.lab.twins import BMC_PORT, HUB_ADDRESS, Lab, Twin
from rigdeploy.workspace import Workspace

NAMESPACES = Path("/run/netns")
_LOSS_TABLE = "rigdeploy_loss"


def enter(workspace: Workspace) -> None:
    """Move this process into the lab's hub, from where only twins can be reached.

    Does nothing when it is there already. LabError when the lab is not up, or we are not root.
    """
    path = NAMESPACES / Lab.of(workspace).netns
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LabError("the lab is not up", "run 'rigdeploy lab up' first") from None
    try:
        if os.path.samestat(os.fstat(handle), Path("/proc/self/ns/net").stat()):
            return
        system_call("setns", handle, CLONE_NEWNET)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise LabError("entering the lab's network needs root", "run this command as root") from None
        # A plain file where the namespace was: the machine restarted since 'lab up'.
        raise LabError("the lab is not up", "run 'rigdeploy lab up' first") from None
    finally:
        os.close(handle)


def is_up(netns: str) -> bool:
    """Whether a namespace exists and is alive (after a restart of the machine its file is gone, or empty)."""
    path = NAMESPACES / netns
    return path.exists() and path.stat().st_dev != NAMESPACES.stat().st_dev


def create_hub(lab: Lab) -> None:
    """Make the hub: loopback, bridge, address; what is there stays."""
    _create(lab.netns)
    if "br0" not in _links(lab.netns):
        _ip(lab.netns, "link add br0 type bridge")
    _ip(lab.netns, "link set lo up")
    _ip(lab.netns, "link set br0 up")
    _ip(lab.netns, f"address replace {HUB_ADDRESS}/24 dev br0")


def create_bmc_address(twin: Twin) -> None:
    """Give the hub the address of a twin's BMC."""
    _ip(twin.lab.netns, f"address replace {twin.bmc_address}/32 dev br0")


def create_node(twin: Twin) -> None:
    """Make a node's namespace and the cable to the hub; what is there stays."""
    _create(twin.netns)
    cable = f"node{twin.number}"
    if "host0" not in _links(twin.netns):
        if cable in _links(twin.lab.netns):
            _ip(twin.lab.netns, f"link delete {cable}")
        _ip(twin.lab.netns, f"link add {cable} type veth peer name host0 netns {twin.netns}")
    _ip(twin.lab.netns, f"link set {cable} master br0 up")
    _ip(twin.netns, "link set lo up")
    _ip(twin.netns, f"address replace {twin.address}/24 dev host0")
    _ip(twin.netns, "link set host0 up")


def remove(lab: Lab) -> None:
    """Remove the lab's namespaces, and with them its bridge and cables.

    What is still inside (connections that ssh keeps open, a command with --lab) ends: a namespace lives on, without a
    name, as long as a process is in it.
    """
    for name in [path.name for path in NAMESPACES.glob(f"{lab.netns}*")]:
        if name == lab.netns or name.startswith(f"{lab.netns}-"):
            _end_visitors(name)
            _delete(name)
    _release_directory()


def _end_visitors(name: str) -> None:
    if not is_up(name):
        return
    inside = set(map(int, run(["ip", "netns", "pids", name]).split()))
    for pid in inside - _callers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _callers() -> set[int]:
    """Our process and those it was started by: they end by themselves, and want to see the result."""
    found, pid = set(), os.getpid()
    while pid > 0:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def lose_datagrams(twin: Twin, percent: int) -> None:
    """Drop this share of the datagrams to and from a twin's BMC; 0 ends it."""
    table = f"{_LOSS_TABLE}_{twin.number}"
    rules = f"table ip {table} {{}}\ndelete table ip {table}\n"
    if percent:
        chance = f"numgen random mod 100 <= {percent - 1} drop"
        rules += (
            f"table ip {table} {{ chain input {{ type filter hook input priority 0;\n"
            f"ip daddr {twin.bmc_address} udp dport {BMC_PORT} {chance}\n"
            f"ip saddr {twin.bmc_address} udp sport {BMC_PORT} {chance}\n}}\n}}\n"
        )
    run(["nsenter", f"--net={NAMESPACES / twin.lab.netns}", "nft", "-f", "-"], text=rules)


def _create(netns: str) -> None:
    if is_up(netns):
        return
    _delete(netns)
    run(["ip", "netns", "add", netns])


def _delete(netns: str) -> None:
    path = NAMESPACES / netns
    if is_up(netns):
        run(["ip", "netns", "delete", netns])
    path.unlink(missing_ok=True)


def _release_directory() -> None:
    """Undo what ``ip netns add`` did to its directory (a mount of itself), once no namespace is left."""
    if NAMESPACES.is_dir() and not any(NAMESPACES.iterdir()):
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for _ in range(mounted.count(str(NAMESPACES))):
            run(["umount", NAMESPACES])


def _ip(netns: str, words: str) -> str:
    # Not "ip -n", which remounts /, and / is no mount point in a chroot (where a build machine may run us).
    return run(["nsenter", f"--net={NAMESPACES / netns}", "ip", *words.split()])


def _links(netns: str) -> set[str]:
    lines = _ip(netns, "-o link show").splitlines()
    return {line.split()[1].rstrip(":").partition("@")[0] for line in lines}
