"""What installing the driver means on one node: what is missing, what apt is asked for, and what it must not do. Pure.

``apt-get --simulate`` of the very same request tells what would happen; ``refusals`` judges that before it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from rigdeploy.errors import RigdeployError

DRIVER_VERSION = re.compile(r"(?:\d+:)?\d{3}\.\d{2,3}(?:\.\d{1,3})?[-~+]")
"""The form of a driver's version (``580.95.05-1``), which nothing else of NVIDIA's has: 1.18.0-1, 13.0.2-1."""

DRIVER_NAME = re.compile(r"nvidia|libcuda|cuda-drivers|libnv|libxnv")
PINS = "nvidia-driver-pinning-*"

_INSTALL = re.compile(r"Inst (?P<name>\S+)(?: \[(?P<old>\S+)\])? \((?P<new>\S+) ?(?P<origin>.*?) ?\[\S+\]\)")
_REMOVE = re.compile(r"(?:Remv|Purg) (?P<name>\S+)(?: \[(?P<old>\S+)\])?")
_HEADERS_GONE = re.compile(r"Unable to locate package linux-headers-(?P<kernel>\d\S*)")
_UNKNOWN = re.compile(
    r"Unable to locate package (?P<name>\S+)|Package '?(?P<virtual>[^\s']+)'? has no installation candidate"
    r"|Version '(?P<version>\S+)' for '(?P<of>\S+)' was not found"
)


@dataclass(frozen=True)
class Package:
    """One installed package; ``held``: somebody wants it left as it is (``apt-mark hold``)."""

    name: str
    version: str
    held: bool = False


@dataclass(frozen=True)
class Wanted:
    """What is to be installed, as ``DriverChoice`` says it; ``packages`` with the fabric manager's."""

    packages: tuple[str, ...]
    version: str
    dkms: bool
    headers: tuple[str, ...]
    rivals: tuple[str, ...]

    @classmethod
    def of(cls, choice: Mapping[str, object]) -> Wanted:
        """From the result of ``rig_driver_choice``."""

        def names(key: str) -> tuple[str, ...]:
            value = choice[key]
            return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()

        packages = (*names("packages"), *names("fabric_manager"))
        return cls(packages, str(choice["version"]), bool(choice["dkms"]), names("headers"), names("rivals"))

    def is_rival(self, name: str) -> bool:
        """Whether a package must not stay."""
        return name not in self.packages and any(fnmatch(name, pattern) for pattern in self.rivals)


@dataclass(frozen=True)
class InstallPlan:
    """What is missing.

    ``pins`` lock other branches and have to go first; ``words`` is what ``apt-get install`` is asked for, empty where
    nothing is missing; ``why`` names what is missing.
    """

    pins: tuple[str, ...]
    words: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One thing that apt would do: install ``name`` (``old`` to ``new``, empty where there is none) or remove it."""

    name: str
    old: str
    new: str
    origins: frozenset[str] = frozenset()


def read_packages(text: str) -> dict[str, Package]:
    """What is installed, by name, from lines ``name TAB db:Status-Abbrev TAB version`` of dpkg-query."""
    found = (row for row in _rows(text) if row[1][1:2] == "i")
    return {name: Package(name, version, status.startswith("h")) for name, status, version in found}


def read_leftovers(text: str) -> list[str]:
    """The packages of the same lines of which only their configuration is left."""
    return [row[0] for row in _rows(text) if row[1][1:2] == "c"]


def _rows(text: str) -> list[list[str]]:
    rows = (line.split("\t") for line in text.splitlines())
    return [row for row in rows if len(row) == 3]  # noqa: PLR2004 - the three fields


def plan_install(wanted: Wanted, installed: Mapping[str, Package], leftovers: Sequence[str] = ()) -> InstallPlan:
    """What to ask apt for. One that fits is left at its version: a newer one of the branch alone changes nothing.

    ``leftovers`` were removed, but not their configuration, which is all that a lock consists of.
    """
    rivals = [name for name in sorted(installed) if wanted.is_rival(name)]
    pins = [name for name in (*rivals, *leftovers) if fnmatch(name, PINS) and wanted.is_rival(name)]
    others = [name for name in rivals if name not in pins]
    why = [f"{name} is missing" for name in (*wanted.packages, *wanted.headers) if name not in installed]
    for name in wanted.packages:
        if name in installed and not _fits(installed[name], wanted):
            why.append(f"{name} is {installed[name].version}, not {wanted.version}")
    why += [f"{name} must go" for name in others]
    if not why:
        return InstallPlan(tuple(pins), (), ())
    # Plain names: a version that is asked for goes past all preferences, to whichever source has the newest of it.
    words = [*wanted.headers, *wanted.packages, *(f"{name}-" for name in others)]
    return InstallPlan(tuple(pins), tuple(words), tuple(why))


def simulated(simulation: Mapping[str, Any], installed: Mapping[str, Package]) -> list[Step]:
    """The steps of a simulation as Ansible returns it (rc, stdout, stderr); RigdeployError where apt finds no way."""
    if simulation["rc"] != 0:
        message, remedy = why_not(simulation["stderr"] + "\n" + simulation["stdout"], installed)
        raise RigdeployError(f"nothing was installed: {message}", remedy)
    return read_simulation(simulation["stdout"])


def read_simulation(text: str) -> list[Step]:
    """The steps in what ``apt-get --simulate`` printed."""
    steps = []
    for line in text.splitlines():
        if install := _INSTALL.match(line):
            origins = frozenset(
                name.strip().partition(":")[0].removesuffix("-Security") for name in install["origin"].split(",")
            )
            steps.append(Step(install["name"], install["old"] or "", install["new"], origins))
        elif removal := _REMOVE.match(line):
            steps.append(Step(removal["name"], removal["old"] or "", ""))
    return steps


def refusals(
    wanted: Wanted, installed: Mapping[str, Package], steps: Sequence[Step], kernels: Sequence[str]
) -> Iterator[str]:
    """Why these steps must not be taken: one sentence each, with the packages that are at fault.

    ``kernels`` are those that the modules have to be there for: the running one, and the one that boots next.
    """
    gone = [step for step in steps if not step.new]
    new = [step for step in steps if step.new]
    held = [step.name for step in steps if step.name in installed and installed[step.name].held]
    if held:
        yield f"it would change packages that are held: {', '.join(held)} (apt-mark unhold lets them go)"
    kernel = [step.name for step in steps if step.name.startswith("linux-image")]
    if kernel:
        yield (
            f"it would change the kernel: {', '.join(kernel)}. Upgrade the kernel first (apt-get update && apt-get "
            f"dist-upgrade), reboot, and run this again"
        )
    foreign = [step.name for step in gone if not wanted.is_rival(step.name) and not _is_driver(step.name, step.old)]
    if foreign:
        yield f"it would remove packages that are none of the driver's: {', '.join(foreign)}"
    yield from _other_version(wanted, installed, steps)
    yield from _mixture([step for step in new if _is_driver(step.name, step.new)])
    yield from _fabric_manager(wanted, {step.name: step.new for step in new})
    yield from _without_module(wanted, {*installed, *(step.name for step in new)} - {s.name for s in gone}, kernels)


def why_not(error: str, installed: Mapping[str, Package]) -> tuple[str, str]:
    """Message and remedy for a simulation that failed, from what apt said."""
    if gone := _HEADERS_GONE.search(error):
        message = f"the package source has no headers for the running kernel {gone['kernel']} any more"
        return message, "upgrade the kernel and reboot first (apt-get update && apt-get dist-upgrade && reboot)"
    unknown = [hit["name"] or hit["virtual"] or f"{hit['of']} {hit['version']}" for hit in _UNKNOWN.finditer(error)]
    if unknown:
        return f"the package source has no {', '.join(dict.fromkeys(unknown))}", ""
    held = sorted(name for name, package in installed.items() if package.held)
    lines = [line.strip() for line in error.splitlines() if line.startswith(("E:", " "))]
    message = "apt finds no way to install the driver: " + "; ".join(lines[:12])
    return message, f"held packages may be the reason: {', '.join(held)}" if held else ""


def _fits(package: Package, wanted: Wanted) -> bool:
    if not wanted.version or package.name.startswith("linux-"):
        return True
    return fnmatch(package.version.rpartition(":")[2], wanted.version)


def _other_version(wanted: Wanted, installed: Mapping[str, Package], steps: Sequence[Step]) -> Iterator[str]:
    """One sentence when packages would be of another branch: apt takes what there is where it has not that one."""
    after = {**installed, **{step.name: Package(step.name, step.new) for step in steps if step.new}}
    wrong = [after[name] for name in wanted.packages if name in after and not _fits(after[name], wanted)]
    if wrong:
        listed = ", ".join(f"{one.name} {one.version}" for one in wrong)
        yield f"the package source has no {wanted.version} of what would be there instead: {listed}"


def _is_driver(name: str, version: str) -> bool:
    return bool(DRIVER_NAME.search(name) and (name.startswith("linux-modules-") or DRIVER_VERSION.match(version)))


def _mixture(steps: Sequence[Step]) -> Iterator[str]:
    """One sentence when the driver's packages would not all come from one place."""
    if not steps or frozenset.intersection(*(step.origins for step in steps)):
        return
    by_origin: dict[str, list[str]] = {}
    for step in steps:
        by_origin.setdefault(" and ".join(sorted(step.origins)), []).append(f"{step.name} {step.new}")
    parts = [f"{', '.join(names)} from {origin or 'nowhere in particular'}" for origin, names in by_origin.items()]
    yield f"it would mix package sources: {'; '.join(parts)}"


def _fabric_manager(wanted: Wanted, new: Mapping[str, str]) -> Iterator[str]:
    """One sentence when the fabric manager would be of another version than the driver: it would not start."""
    for name in (name for name in wanted.packages if "fabricmanager" in name and name in new):
        for other in (other for other in wanted.packages if other in new and "fabricmanager" not in other):
            if not other.startswith("linux-") and _upstream(new[other]) != _upstream(new[name]):
                yield f"{name} {new[name]} does not fit {other} {new[other]}: their versions have to be the same"


def _upstream(version: str) -> str:
    return version.rpartition(":")[2].partition("-")[0]


def _without_module(wanted: Wanted, after: set[str], kernels: Sequence[str]) -> Iterator[str]:
    """One sentence for each kernel that would boot without the driver's module."""
    for kernel in kernels:
        if wanted.dkms and f"linux-headers-{kernel}" not in after:
            yield (
                f"kernel {kernel} would have no module: its headers (linux-headers-{kernel}) would not be there to "
                f"build it with"
            )
        elif not wanted.dkms and not any(fnmatch(name, f"linux-modules-nvidia-*-{kernel}") for name in after):
            yield f"kernel {kernel} would have no module: no linux-modules-nvidia package for it would be there"
