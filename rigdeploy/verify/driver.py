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
    for finding in (_nouveau(seen), _loaded(case, seen), _answers(case, seen)):
        yield finding
        if finding.status is Status.FAIL:
            return
    yield _branch(stack.driver, seen)
    if stack.modules != "auto":
        yield _flavour(stack.modules, seen)


def _finding(
    check: str, ok: bool | None, declared: str, observed: str | None, cause: str = "", remedy: str = ""
) -> Finding:
    status = Status.UNKNOWN if ok is None else Status.PASS if ok else Status.FAIL
    if ok:
        cause = remedy = ""
    return Finding(check, "driver", status, declared, observed or "", "unreadable" if ok is None else cause, remedy)


def _nouveau(seen: Driver) -> Finding:
    ok = None if seen.nouveau is None else not seen.nouveau
    remedy = "nouveau holds the cards: blacklist it and reboot ('rigdeploy up' does both)"
    return _finding("driver.nouveau", ok, "not loaded", "loaded" if seen.nouveau else "not loaded", "nouveau", remedy)


def _loaded(case: Case, seen: Driver) -> Finding:
    observed = {True: "loaded", False: "not loaded", None: ""}[seen.loaded]
    remedy = f"bring it up: rigdeploy up {case.rig.name} --only driver"
    return _finding("driver.loaded", seen.loaded, "loaded", observed, "not-loaded", remedy)


def _answers(case: Case, seen: Driver) -> Finding:
    why = next((line.why for line in case.observation.unread if line.what == "gpus"), "")
    # A module and a library of two versions are what an upgrade leaves until the next reboot.
    mismatch = "mismatch" in why.lower()
    remedy = "reboot: module and library have different versions" if mismatch else f"nvidia-smi fails ({why})"
    cause = "version-mismatch" if mismatch else "no-answer"
    return _finding("driver.answers", seen.answers, "nvidia-smi works", why, cause, remedy)


def _branch(declared: str, seen: Driver) -> Finding:
    ok = None if seen.version is None else seen.version.partition(".")[0] == declared
    remedy = f"the loaded driver is of another branch than {declared}: run 'rigdeploy up', which may reboot"
    return _finding("driver.version", ok, declared, seen.version, "other-version", remedy)


def _flavour(declared: str, seen: Driver) -> Finding:
    ok = None if seen.flavour is None else seen.flavour == declared
    remedy = f"the {declared} kernel modules are declared: run 'rigdeploy up', which reboots"
    return _finding("driver.modules", ok, declared, seen.flavour, "other-modules", remedy)
