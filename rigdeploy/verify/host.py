"""The rig around the cards: processor, memory and network against the build.

In a virtual machine processor, memory and network are judged as the guest sees them. What its emulated firmware says of
modules, channels and ECC proves nothing about the hardware, and is UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigdeploy.node.observation import Memory, Nic
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import LIMIT, Finding, Status, named

_KERNEL_SHARE = 0.90
"""The least part of the modules' memory that the kernel counts: firmware, its own image and a graphics unit on the
processor keep the rest."""

_EMULATED = "the node is a virtual machine, whose firmware tables are made up: look at its host"
_AS_ROOT = "a login as root, or with sudo without a password, can read the firmware's tables"


def cpu(case: Case) -> Iterator[Finding]:
    """The declared processor: all words of its name stand in the one that the node shows, and as many cores."""
    wanted = case.rig.build.cpu
    if wanted is None:
        return
    seen = case.observation.cpu
    declared = f"{wanted.model}, {wanted.cores} cores"
    observed = ", ".join(filter(None, (seen.model, f"{seen.cores} cores" if seen.cores else "")))
    evidence = {"model": seen.model, "sockets": seen.sockets, "cores": seen.cores, "threads": seen.threads}
    other_model = seen.model is not None and not _words(wanted.model) <= _words(seen.model)
    if other_model or seen.cores not in (None, wanted.cores):
        if case.is_virtual:
            remedy = "the virtual machine is given other processors than declared: look at its host, or declare these"
        elif other_model:
            remedy = "another processor than declared sits on the board: swap it, or correct the declaration"
        else:
            remedy = "look in the BIOS for cores or sockets that are switched off, or correct the declaration"
        yield Finding("host.cpu", "rig", Status.FAIL, declared, observed, "other-cpu", remedy, evidence)
    elif seen.model is None or seen.cores is None:
        remedy = _why(case, "cpu", "the node does not say what processor it has")
        yield Finding("host.cpu", "rig", Status.UNKNOWN, declared, observed, "unreadable", remedy, evidence)
    else:
        yield Finding("host.cpu", "rig", Status.PASS, declared, observed, evidence=evidence)


def _words(model: str) -> set[str]:
    """A processor's name as its words: ``Intel(R) Celeron(R) G5905 CPU @ 3.50GHz`` names the ``Celeron G5905`` too."""
    return set(re.findall(r"[a-z0-9.+-]+", re.sub(r"\((r|tm|c)\)", " ", model.lower())))


def memory(case: Case) -> Iterator[Finding]:
    """The declared size: exact where the modules can be read, else what the kernel has, which is a little less."""
    wanted = case.rig.build.memory
    if wanted is None:
        return
    seen, size = case.observation.memory, wanted.size_gib * 1024
    observed = seen.total_mib if seen.installed_mib is None else seen.installed_mib
    least = size * _KERNEL_SHARE
    status, cause, remedy = Status.PASS, "", ""
    if observed is None:
        status, cause, remedy = Status.UNKNOWN, "unreadable", _why(case, "memory", "the node does not say")
    elif observed > size:
        status, cause, remedy = Status.WARN, "memory-extra", "there is more memory than declared: correct the build"
    elif observed < (least if seen.installed_mib is None else size):
        status, cause, remedy = Status.FAIL, "memory-missing", _missing(case, seen)
    elif seen.total_mib is not None and seen.total_mib < least:
        status, cause, observed = Status.FAIL, "memory-missing", seen.total_mib
        remedy = "all modules are there, but the system can use only a part of them: " + (
            "look for memory that the BIOS reserves or has switched off, and for mem= among the kernel's arguments"
        )
    evidence = {"installed_mib": seen.installed_mib, "total_mib": seen.total_mib, "modules": _modules(seen)}
    text = "" if observed is None else f"{observed} MiB"
    yield Finding("host.memory", "rig", status, f"{size} MiB", text, cause, remedy, evidence)


def _missing(case: Case, seen: Memory) -> str:
    if case.is_virtual:
        return "the virtual machine is given less memory than declared: look at its host"
    there = f"; the board sees {named(_modules(seen))}" if seen.modules else ""
    return f"power off, reseat the memory modules and compare with the board's manual{there}"


def _modules(seen: Memory) -> list[str]:
    """Each module as ``DIMM_A1 (16384 MiB)``."""
    return [f"{item.locator or 'a module'} ({item.size_mib or '?'} MiB)" for item in seen.modules[:LIMIT]]


def ecc(case: Case) -> Iterator[Finding]:
    """Whether errors of the memory are corrected; judged only where that is declared."""
    wanted = case.rig.build.memory
    if wanted is None or not wanted.ecc:
        return
    seen = case.observation.memory.ecc
    if case.is_virtual:
        yield Finding("host.ecc", "rig", Status.UNKNOWN, "on", "", "unknown", _EMULATED)
    elif seen is None:
        remedy = _why(case, "memory", _AS_ROOT)
        yield Finding("host.ecc", "rig", Status.UNKNOWN, "on", "", "unreadable", remedy)
    elif seen:
        yield Finding("host.ecc", "rig", Status.PASS, "on", "on")
    else:
        remedy = "look for ECC in the BIOS's memory settings; are all modules ECC ones, and can the processor do it?"
        yield Finding("host.ecc", "rig", Status.FAIL, "on", "off", "no-ecc", remedy)


def channels(case: Case) -> Iterator[Finding]:
    """Whether as many memory channels hold a module as declared: each that is lost takes its share of the bandwidth."""
    wanted = case.rig.build.memory
    if wanted is None or wanted.channels is None:
        return
    seen, declared = case.observation.memory, str(wanted.channels)
    evidence = {"modules": _modules(seen)}
    # More channels than modules there cannot be, whatever the firmware calls them; of no module nothing is known.
    counted = seen.channels if seen.channels is not None else len(seen.modules) or None
    if case.is_virtual:
        yield Finding("host.channels", "rig", Status.UNKNOWN, declared, "", "unknown", _EMULATED)
    elif counted is not None and counted < wanted.channels:
        remedy = (
            "power off and put a module into each channel, in the order of the board's manual; a module that is there "
            f"and not seen wants reseating. The board sees {named(_modules(seen)) or 'none'}"
        )
        text = declared, str(counted)
        yield Finding("host.channels", "rig", Status.FAIL, *text, "channels-missing", remedy, evidence)
    elif seen.channels is None:
        remedy = _why(case, "memory", _AS_ROOT)
        yield Finding("host.channels", "rig", Status.UNKNOWN, declared, "", "unreadable", remedy, evidence)
    else:
        yield Finding("host.channels", "rig", Status.PASS, declared, str(seen.channels), evidence=evidence)


def memory_errors(case: Case) -> Iterator[Finding]:
    """Errors that the memory controller (EDAC) counted since boot; nothing is said where it has no counters."""
    seen = case.observation.memory
    correctable, uncorrectable = seen.correctable, seen.uncorrectable
    if correctable is None and uncorrectable is None:
        return
    evidence = {"correctable": correctable, "uncorrectable": uncorrectable}
    status, cause, remedy = Status.PASS, "", ""
    if uncorrectable:
        status, cause = Status.FAIL, "memory-errors"
        remedy = "the memory lost data: find the module under /sys/devices/system/edac/mc, and replace it"
    elif correctable:
        status, cause = Status.WARN, "memory-errors"
        remedy = (
            "ECC corrected errors of the memory: find the module under /sys/devices/system/edac/mc and reseat it; "
            "replace it if the count grows"
        )
    observed = f"{correctable or 0} corrected, {uncorrectable or 0} not"
    yield Finding("host.memory_errors", "rig", status, "none", observed, cause, remedy, evidence)


def network(case: Case) -> Iterator[Finding]:
    """The declared ports, each met by a port of its own that is at least as fast."""
    wanted = sorted((1000 * nic.speed_gbps for nic in case.rig.build.nics for _ in range(nic.count)), reverse=True)
    if not wanted:
        return
    ports = sorted(case.observation.nics, key=lambda port: port.speed_mbps or 0, reverse=True)
    unmet, spare = _unmet(wanted, ports)
    status, cause, remedy = Status.PASS, "", ""
    if not ports:
        status, cause, remedy = Status.UNKNOWN, "unreadable", _why(case, "nics", "the node shows no network port")
    elif len(ports) < len(wanted):
        status, cause, remedy = Status.FAIL, "nic-missing", _no_port(case)
    elif unmet:
        status, cause, remedy = _slow(case, unmet, spare)
    declared = ", ".join(f"{nic.count} of {nic.speed_gbps:g} Gb/s" for nic in case.rig.build.nics)
    observed = named([f"{port.name} {_speed(port)}" for port in ports])
    evidence = {
        "nics": [{"name": port.name, "mbps": port.speed_mbps, "carrier": port.carrier} for port in ports[:LIMIT]]
    }
    yield Finding("host.network", "rig", status, declared, observed, cause, remedy, evidence)


def _unmet(wanted: list[float], ports: list[Nic]) -> tuple[list[float], list[Nic]]:
    """The speeds (Mb/s) that no port is left for, and the ports that met none; both lists come fastest first.

    The fastest port goes to the greatest wish that it can meet, so that as many as possible are met.
    """
    unmet, used = [], 0
    for speed in wanted:
        if used < len(ports) and (ports[used].speed_mbps or 0) >= speed:
            used += 1
        else:
            unmet.append(speed)
    return unmet, ports[used:]


def _slow(case: Case, unmet: list[float], spare: list[Nic]) -> tuple[Status, str, str]:
    """Status, cause and remedy where there are ports enough, but too few that fast."""
    speed = f"{unmet[0] / 1000:g} Gb/s"
    slow = [f"{port.name} ({_speed(port)})" for port in spare if port.carrier and port.speed_mbps is not None]
    dark = [port.name for port in spare if port.carrier is False]
    unplugged = f"; no cable is in {named(dark)}" if dark else ""
    if slow:
        remedy = f"no more port runs at {speed}: check cable, plug and switch port of {named(slow)}{unplugged}"
        return Status.WARN, "nic-slow", remedy
    if all(port.carrier is False for port in spare):
        remedy = f"how fast {named(dark)} can be shows only with a cable: plug one in, and verify again"
        return Status.UNKNOWN, "no-cable", remedy
    return Status.UNKNOWN, "unreadable", _why(case, "nics", f"the node does not say whether {speed} ports are in use")


def _no_port(case: Case) -> str:
    if case.is_virtual:
        return "the virtual machine is given fewer network ports than declared: look at its host"
    return "a network port is not seen: reseat the network card, and look in the BIOS for ports that are switched off"


def _speed(port: Nic) -> str:
    if port.speed_mbps is not None:
        return f"{port.speed_mbps / 1000:g} Gb/s"
    return "without a cable" if port.carrier is False else "of unknown speed"


def _why(case: Case, part: str, otherwise: str) -> str:
    """Why a part of the observation is not there."""
    return case.observation.why_unread(part) or otherwise
