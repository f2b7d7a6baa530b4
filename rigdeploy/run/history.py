"""What a past run did: the ledger's lines and Ansible's output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rigdeploy.errors import UsageError
from rigdeploy.run.ledger import Ledger, Phase, Run, Verdict
from rigdeploy.run.leftovers import bury
from rigdeploy.workspace import Workspace

_HEADING = re.compile(r"(PLAY|TASK|RUNNING HANDLER)\b")


@dataclass(frozen=True)
class RunLog:
    """One run; ``output`` is what Ansible printed, by play (``1-base``)."""

    run: Run
    phases: list[Phase]
    verdicts: list[Verdict]
    output: dict[str, str]


def read_log(workspace: Workspace, name: str | None = None, rig: str | None = None) -> RunLog:
    """The log of a run (its name or the beginning of it; None: the last), of one rig where one is named.

    UsageError when there is no such run, or several.
    """
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        bury(ledger, workspace.runs)
        run = _find(ledger.runs(), name)
        phases = [phase for phase in ledger.phases(run.id) if rig in (None, phase.rig)]
        verdicts = [verdict for verdict in ledger.verdicts(run.id) if rig in (None, verdict.rig)]
    output = {play.name: _output(play, rig) for play in sorted((workspace.runs / run.id).glob("[0-9]*-*"))}
    return RunLog(run, phases, verdicts, {play: text for play, text in output.items() if text})


def _find(runs: list[Run], name: str | None) -> Run:
    found = [run for run in runs if name is None or run.id.startswith(name)]
    if not found:
        raise UsageError(
            "there are no runs yet" if name is None else f"there is no run '{name}'", "see: rigdeploy runs"
        )
    if name is not None and len(found) > 1:
        raise UsageError(f"'{name}' begins the names of {len(found)} runs", "see: rigdeploy runs")
    return found[0]


def _output(play: Path, rig: str | None) -> str:
    try:
        text = (play / "artifacts" / "play" / "stdout").read_text(errors="replace")
    except OSError:
        return ""  # the run died before Ansible started
    return text if rig is None else only_rig(text, rig)


def only_rig(text: str, rig: str) -> str:
    """The part of Ansible's output that is about one rig, under its headings."""
    kept: list[str] = []
    heading = ""
    about = re.compile(rf"\[{re.escape(rig)}(\]| ->)|^{re.escape(rig)}\s+:")
    for line in text.splitlines():
        if _HEADING.match(line):
            heading = line
        elif about.search(line):
            if heading:
                kept.append(heading)
                heading = ""
            kept.append(line)
    return "\n".join(kept)
