"""The driver: loaded, of the declared branch and kind, and answering. Judged only where one is declared."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.fleet.lint_stack import module_flavour
from rigdeploy.node.observation import Driver
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status, named


def driver(case: Case) -> Iterator[Finding]:
    """The driver's findings, in the order in which one looks for the cause; the first that fails ends them."""
    stack = case.rig.gpu_stack
    if stack is None:
        return
    seen = case.observation.driver
    for finding in (_nouveau(case, seen), _loaded(case, seen), _answers(case, seen)):
        yield finding
        if finding.status is Status.FAIL:
            return
    yield _branch(case, stack.driver, seen)
    gpus = case.catalogue.gpus
    declared = [gpus[slot.gpu] for slot in case.rig.build.slots.values() if slot.gpu in gpus]
    yield _flavour(case, module_flavour(stack, declared, case.observation.host.os_id or ""), seen)
    yield from _installed(case, seen)


def _finding(
    case: Case, check: str, ok: bool | None, declared: str, observed: str | None, cause: str, remedy: str
) -> Finding:
    """``cause`` and ``remedy`` are those of a FAIL; what could not be read has its own."""
    if ok is None:
        lines = case.observation.unread
        why = next((line.why for line in lines if line.what in ("driver", "gpus", check)), "the node does not say")
        remedy = f"{why}: run rigdeploy/node/probe.py on the node as root and look at what it prints"
        return Finding(check, "driver", Status.UNKNOWN, declared, "", "unreadable", remedy)
    if ok:
        return Finding(check, "driver", Status.PASS, declared, observed or "")
    return Finding(check, "driver", Status.FAIL, declared, observed or "", cause, remedy)


def _nouveau(case: Case, seen: Driver) -> Finding:
    held = [card.slot for card in case.cards if card.device and card.device.driver == "nouveau"]
    ok = False if held else None if seen.nouveau is None else not seen.nouveau
    remedy = "nouveau holds the cards: blacklist it and reboot ('rigdeploy up' does both)"
    observed = "not loaded" if ok else f"holds {named(held)}" if held else "loaded"
    return _finding(case, "driver.nouveau", ok, "not loaded", observed, "nouveau", remedy)


def _loaded(case: Case, seen: Driver) -> Finding:
    observed = "loaded" if seen.loaded else "not loaded"
    cause, remedy = "not-loaded", f"bring it up: rigdeploy up {case.rig.name} --only driver"
    if case.observation.host.secure_boot:
        cause = "secure-boot"
        remedy += (
            "; Secure Boot is on, so the kernel refuses a module that no key of this machine has signed: switch it off "
            "in the BIOS, or enrol the key (mokutil --import /var/lib/dkms/mok.pub, reboot, 'Enroll MOK' on the screen)"
        )
    return _finding(case, "driver.loaded", seen.loaded, "loaded", observed, cause, remedy)


def _answers(case: Case, seen: Driver) -> Finding:
    why = next((line.why for line in case.observation.unread if line.what == "gpus"), "")
    # A module and a library of two versions are what an upgrade leaves until the next reboot.
    mismatch = "mismatch" in why.lower()
    remedy = "reboot: module and library have different versions"
    if not mismatch:
        remedy = f"nvidia-smi fails ({why}): look for NVRM and Xid in the node's dmesg, then power the rig off and on"
    cause = "version-mismatch" if mismatch else "no-answer"
    return _finding(case, "driver.answers", seen.answers, "nvidia-smi works", why, cause, remedy)


def _branch(case: Case, declared: str, seen: Driver) -> Finding:
    ok = None if seen.version is None else seen.version.partition(".")[0] == declared
    remedy = f"the loaded driver is of another branch than {declared}: run 'rigdeploy up', which may reboot"
    return _finding(case, "driver.version", ok, declared, seen.version, "other-version", remedy)


def _flavour(case: Case, declared: str, seen: Driver) -> Finding:
    ok = None if seen.flavour is None else seen.flavour == declared
    remedy = f"the {declared} kernel modules are declared: run 'rigdeploy up', which reboots"
    return _finding(case, "driver.modules", ok, declared, seen.flavour, "other-modules", remedy)


def _installed(case: Case, seen: Driver) -> Iterator[Finding]:
    """Whether the next boot loads what runs now; nothing where the module on disk is not known."""
    if seen.installed is None or seen.version is None:
        return
    loaded, installed = _module(seen.version, seen.flavour), _module(seen.installed, seen.installed_flavour)
    same_kind = None in (seen.flavour, seen.installed_flavour) or seen.flavour == seen.installed_flavour
    if seen.installed == seen.version and same_kind:
        yield Finding("driver.installed", "driver", Status.PASS, loaded, installed)
        return
    remedy = (
        f"{installed} is installed and {loaded} runs: reboot, or 'rigdeploy up {case.rig.name} --only driver'; until "
        "then programs that start may find a library of the other version"
    )
    yield Finding("driver.installed", "driver", Status.WARN, loaded, installed, "reboot-pending", remedy)


def _module(version: str, flavour: str | None) -> str:
    return f"{version} ({flavour})" if flavour else version
