"""The driver: loaded, of the declared branch and kind, and answering. Judged only where one is declared."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.node.observation import Driver
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding, Status


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
    if stack.modules != "auto":
        yield _flavour(case, stack.modules, seen)


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
    ok = None if seen.nouveau is None else not seen.nouveau
    remedy = "nouveau holds the cards: blacklist it and reboot ('rigdeploy up' does both)"
    observed = "loaded" if seen.nouveau else "not loaded"
    return _finding(case, "driver.nouveau", ok, "not loaded", observed, "nouveau", remedy)


def _loaded(case: Case, seen: Driver) -> Finding:
    observed = "loaded" if seen.loaded else "not loaded"
    remedy = f"bring it up: rigdeploy up {case.rig.name} --only driver"
    return _finding(case, "driver.loaded", seen.loaded, "loaded", observed, "not-loaded", remedy)


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
