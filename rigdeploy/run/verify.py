"""Looks at rigs, puts them under load where that is asked for, and judges them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import Rig
from rigdeploy.node.bmc_reading import BmcReading
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.report.result import RigResult, result
from rigdeploy.run import loads
from rigdeploy.run.active import (
    Measured,
    failed,
    gone_under_load,
    how_it_ended,
    put_under_load,
    untested,
    what_is_done,
)
from rigdeploy.run.bmc import Readings
from rigdeploy.run.ledger import Ledger
from rigdeploy.run.lock import hold
from rigdeploy.run.probe import observe
from rigdeploy.run.progress import Progress
from rigdeploy.run.signals import StoppedError, stoppable
from rigdeploy.verify.findings import Finding
from rigdeploy.workspace import Workspace


@dataclass(frozen=True)
class Judged:
    """A rig's result, of which boot it is, and the active check that was made for it."""

    result: RigResult
    boot: str | None = None
    measured: Measured | None = None


def verify(
    rigs: Iterable[Rig],
    catalogue: Catalogue,
    workspace: Workspace,
    say: Callable[[str], None],
    *,
    bmc: bool = False,
) -> list[Judged]:
    """Judge rigs by one look at each, and by the active check that is kept of its boot.

    With ``bmc`` their BMCs are asked at the same time; else they are not: most take longer than the look.
    """
    wanted = list(rigs)
    workspace.prepare()
    asked = Readings(wanted if bmc else (), workspace)
    seen = observe(wanted, workspace)
    return [
        _judge(
            rig,
            catalogue,
            seen[rig.name],
            loads.recall(workspace, rig.name, say),
            said=asked.of(rig.name),
        )
        for rig in wanted
    ]


def verify_under_load(
    rigs: Iterable[Rig],
    catalogue: Catalogue,
    workspace: Workspace,
    progress: Progress,
    *,
    command: str,
    force: bool = False,
    bmc: bool = False,
) -> list[Judged]:
    """Judge rigs after their cards were put under load; what keeps that from being done is a finding.

    A rig is looked at before, so that a load is put only where a driver answers, and after, so that the counters are
    current. KeyboardInterrupt when it is called off; then no load is left on any card.
    """
    wanted = list(rigs)
    workspace.prepare()
    seen = observe(wanted, workspace)
    able = [rig for rig in wanted if _answers(seen[rig.name])]
    names = [rig.name for rig in able]
    stop = threading.Event()
    answers: dict[str, Measured | RigdeployError] = {}
    with hold(names, workspace.locks, command=command, run="", say=progress.note) as refused, stoppable(stop), progress:
        free = [rig for rig in able if rig.name not in refused]
        answers |= refused
        answers |= _load(free, workspace, progress, stop, force=force)
        asked = Readings(wanted if bmc else (), workspace)  # now, while the cards are hot
        again = observe(free, workspace)
        seen |= {rig: gone_under_load(rig, one) for rig, one in again.items()}
    if stop.is_set():
        raise KeyboardInterrupt
    return [
        _judge_loaded(rig, catalogue, seen[rig.name], answers.get(rig.name), said=asked.of(rig.name)) for rig in wanted
    ]


def _answers(seen: Observation | RigdeployError) -> bool:
    return isinstance(seen, Observation) and bool(seen.driver.answers)


def _load(
    rigs: Sequence[Rig], workspace: Workspace, progress: Progress, stop: threading.Event, *, force: bool
) -> dict[str, Measured | RigdeployError]:
    for rig in rigs:
        progress.say(rig.name, "verify", what_is_done(rig))

    def heard(rig: str, answer: Measured | RigdeployError) -> None:
        progress.end(rig, "verify", how_it_ended(answer), ok=isinstance(answer, Measured))

    try:
        return put_under_load(rigs, workspace, force=force, stop=stop, heard=heard)
    except StoppedError:
        raise KeyboardInterrupt from None


def _judge_loaded(
    rig: Rig,
    catalogue: Catalogue,
    seen: Observation | RigdeployError,
    answer: Measured | RigdeployError | None,
    *,
    said: BmcReading | None,
) -> Judged:
    if isinstance(answer, Measured):
        return replace(_judge(rig, catalogue, seen, answer.load, said=said), measured=answer)
    if isinstance(answer, RigdeployError):
        return _judge(rig, catalogue, seen, None, failed(answer), said=said)
    why = "a load needs a driver that answers: rigdeploy up"
    return _judge(rig, catalogue, seen, None, untested("no-driver", why), said=said)


def _judge(
    rig: Rig,
    catalogue: Catalogue,
    seen: Observation | RigdeployError,
    load: Load | None,
    *beside: Finding,
    said: BmcReading | None,
) -> Judged:
    judged = result(rig, catalogue, seen, load, said)
    if not isinstance(seen, Observation):
        return Judged(judged)
    return Judged(replace(judged, findings=(*judged.findings, *beside)), seen.host.boot_id)


def keep(judged: Iterable[Judged], workspace: Workspace) -> None:
    """Keep the verdicts in the ledger, and the active checks."""
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        for one in judged:
            if one.result.error is not None:
                continue
            ledger.record_verdict(one.result.rig, one.result.findings, boot_id=one.boot)
            if one.measured is not None:
                loads.keep(workspace, one.result.rig, one.measured)
