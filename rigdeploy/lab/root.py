"""The twins' root file system: one Debian, built once per user and shared by every twin."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from rigdeploy.lab import packages, processes, repository
from rigdeploy.lab.processes import run
from rigdeploy.lab.sources import RELEASE, apt_settings, debian_sources

HERE = Path(__file__).parent
INCLUDE = "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,procps,kmod,udev,util-linux,dmsetup"
TWIN = "/usr/lib/rigdeploy-twin"
"""Where a twin sees the simulated tools (``lab/simulated``, read-only)."""

TOOLS = {
    "/sbin/modprobe": "modprobe.py",
    "/sbin/rmmod": "modprobe.py",
    "/bin/lsmod": "modprobe.py",
    "/sbin/lsmod": "modprobe.py",
    "/sbin/modinfo": "modprobe.py",
    "/bin/dmesg": "dmesg.py",
}
"""Real tools that the twin replaces (under the path by which dpkg knows them), and by what."""
_DIVERT = ("dpkg-divert", "--quiet", "--local", "--rename")
_WRAPPER = '#!/bin/sh\nexec /usr/bin/python3 {twin}/{script} {tool} "$@"\n'

UNITS = {
    "etc/systemd/system/rigdeploy-twin.service": f"""\
[Unit]
Description=Simulated hardware of the rigdeploy twin
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service
Before=basic.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/python3 {TWIN}/boot.py
[Install]
WantedBy=basic.target
""",
    # chronyd keeps running as on a rig, and leaves the clock, which is the host's, alone (-x).
    "etc/systemd/system/chrony.service.d/rigdeploy-twin.conf": """\
[Unit]
ConditionCapability=
[Service]
ExecStart=
ExecStart=!/usr/sbin/chronyd $DAEMON_OPTS -x
""",
    "etc/ssh/sshd_config.d/rigdeploy-twin.conf": "UseDNS no\n",
    "etc/rigdeploy-twin": "This machine is a twin made by rigdeploy's lab: its GPUs and its PCI bus are simulated.\n",
}
MASKED = (
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
)


def cache() -> Path:
    """Where roots and packages are kept between labs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rigdeploy" / "lab"


def mirror_packages() -> list[str]:
    """The Debian packages that the mirror offers beside the root's."""
    lines = (HERE / "mirror-packages.txt").read_text().splitlines()
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def ensure_root(say: Callable[[str], None]) -> Path:
    """The cached directory with ``root`` (the file system) and ``debian`` (the mirror); built when absent."""
    recipe = Path(__file__).read_text() + (HERE / "mirror-packages.txt").read_text()
    return ensure("root", recipe, lambda directory: _build_root(directory, say))


def ensure_nvidia(say: Callable[[str], None]) -> Path:
    """The cached repository of simulated NVIDIA packages; built when absent."""

    def build(directory: Path) -> None:
        say("building the simulated NVIDIA packages")
        packages.build_all(directory)
        repository.publish(directory, "NVIDIA simulated")

    return ensure("nvidia", packages.recipe(), build)


def end_abandoned_build() -> None:
    """End what a killed ``lab up`` left building, unless another one is at it."""
    if not cache().is_dir():
        return
    with (cache() / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _clear_away()


def _clear_away() -> None:
    processes.kill(_build_group())
    for leftover in cache().glob("*.part"):
        shutil.rmtree(leftover)


def _build_group() -> Path:
    digest = hashlib.sha256(str(cache()).encode()).hexdigest()[:8]
    return processes.cgroup_root() / f"rigdeploy-build-{digest}"


def ensure(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """A cache entry by the digest of its recipe: built beside its place and moved there whole."""
    cache().mkdir(parents=True, exist_ok=True)
    target = cache() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with (cache() / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        _clear_away()
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", suffix=".part", dir=cache()))
        work.chmod(0o755)
        build(work)
        work.rename(target)
    return target


def _build_root(directory: Path, say: Callable[[str], None]) -> None:
    say("building the twins' Debian root (once; about a minute, most of it downloading)")
    sources, settings = directory / "sources.list", directory / "apt.conf"
    sources.write_text("\n".join(debian_sources()) + "\n")
    settings.write_text(apt_settings())
    root, pool = directory / "root", directory / "debian"
    (pool / "partial").mkdir(parents=True)
    options = "--download-only --no-install-recommends -oAPT::Sandbox::User=root "
    options += f"-oDir::Cache::Archives={shlex.quote(str(pool))}"
    names = " ".join(mirror_packages())
    fetch = f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --quiet {options} install {names}'
    bootstrap: list[str | Path] = [
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={INCLUDE}", f"--aptopt={settings}",
        '--aptopt=Acquire::Languages "none"', "--dpkgopt=path-exclude=/usr/share/man/*",
        f"--customize-hook={fetch}", RELEASE, root, sources,
    ]  # fmt: skip
    processes.run_in_group(bootstrap, _build_group())
    say("preparing the root")
    _prepare(root)
    shutil.rmtree(pool / "partial", ignore_errors=True)
    (pool / "lock").unlink(missing_ok=True)
    repository.publish(pool, "Debian for rigdeploy twins")


def _prepare(root: Path) -> None:
    for path in root.glob("etc/ssh/ssh_host_*"):
        path.unlink()  # each twin makes its own
    for path in [
        *root.glob("etc/apt/sources.list"),
        *root.glob("etc/apt/sources.list.d/*"),
        root / "etc/apt/apt.conf.d/99mmdebstrap",
    ]:
        if path.is_file():
            path.unlink()
    for relative, text in UNITS.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for shipped, script in TOOLS.items():
        run(["chroot", root, *_DIVERT, "--divert", f"{shipped}.real", "--add", shipped])
        tool = root / shipped.lstrip("/")
        tool.write_text(_WRAPPER.format(twin=TWIN, script=script, tool=tool.name))
        tool.chmod(0o755)
    run(["systemctl", f"--root={root}", "--quiet", "mask", *MASKED])
    run(["systemctl", f"--root={root}", "--quiet", "enable", "rigdeploy-twin.service", "ssh.service"])
    (root / "etc/hostname").write_text("debian\n")
    (root / "etc/machine-id").write_text("uninitialized\n")
