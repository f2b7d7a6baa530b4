"""``rigdeploy verify``: judge rigs, or a recorded node, against the declaration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import echo_json, json_option, rig_arguments, workspace_options
from rigdeploy.errors import UsageError
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.fleet import Fleet
    from rigdeploy.fleet.models import Rig
    from rigdeploy.node.observation import Observation
    from rigdeploy.report.result import RigResult


@click.command()
@rig_arguments
@workspace_options
@json_option
@click.option("--strict", is_flag=True, help="Count UNKNOWN as FAIL.")
@click.option(
    "--observation",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Judge what the probe printed into this file ('-': standard input), and touch no rig.",
)
@click.option("--build", metavar="NAME", help="With --observation: the build (or the rig) that it is judged against.")
def command(
    rigs: tuple[str, ...],
    workspace: Workspace,
    as_json: bool,
    strict: bool,
    observation: Path | None,
    build: str | None,
) -> int:
    """Judge rigs against their declaration, slot by slot; changes nothing.

    \b
    Examples:
      rigdeploy verify                      the whole fleet
      rigdeploy verify rig01 --json         one rig, for a program
      rigdeploy verify --observation node.json --build pro-4x3090
    """
    from rigdeploy.fleet.load import load_fleet
    from rigdeploy.report.result import results_exit_code

    if (observation is None) is not (build is None) or (observation is not None and rigs):
        raise UsageError(
            "--observation and --build go together, and without rigs",
            "rigdeploy verify --observation node.json --build pro-4x3090",
        )
    fleet = load_fleet(workspace)
    if observation is not None and build is not None:
        results = [_judge_recorded(fleet, observation, build)]
        _show(results, as_json=as_json)
    else:
        results = _judge_live(fleet, fleet.select(rigs), workspace, as_json=as_json)
    return results_exit_code(results, strict=strict)


def _judge_live(fleet: Fleet, rigs: list[Rig], workspace: Workspace, *, as_json: bool) -> list[RigResult]:
    """Look at the rigs, judge them, show it, and only then keep the verdicts: a full disk must not cost the answer."""
    from rigdeploy.node.observation import Observation
    from rigdeploy.report.result import result
    from rigdeploy.run.ledger import Ledger
    from rigdeploy.run.probe import observe

    workspace.prepare()
    seen = observe(rigs, workspace)
    results = [result(rig, fleet.catalogue, seen[rig.name]) for rig in rigs]
    _show(results, as_json=as_json)
    with Ledger(workspace.ledger, workspace.runs) as ledger:
        for one in results:
            observed = seen[one.rig]
            boot = observed.host.boot_id if isinstance(observed, Observation) else None
            if one.error is None:
                ledger.record_verdict(one.rig, one.findings, boot_id=boot)
    return results


def _judge_recorded(fleet: Fleet, file: Path, name: str) -> RigResult:
    from rigdeploy.node.values import ObservationError
    from rigdeploy.report.result import result

    rig = _declared(fleet, name)
    seen: Observation | ObservationError
    try:
        seen = _read(file)
    except ObservationError as error:
        seen = error
    return result(rig, fleet.catalogue, seen)


def _declared(fleet: Fleet, name: str) -> Rig:
    """The rig of this name, or a nameless rig of the build of this name."""
    from rigdeploy.fleet.models import ManualPower, Rig

    if name in fleet.rigs:
        return fleet.rigs[name]
    build = fleet.catalogue.builds.get(name)
    if build is None:
        known = ", ".join([*fleet.rigs, *fleet.catalogue.builds])
        raise UsageError(f"no build or rig is called '{name}'", f"known: {known}")
    return Rig(name=name, address="localhost", build=build, power=ManualPower(driver="manual"))


def _read(file: Path) -> Observation:
    from rigdeploy.node.observation import Observation
    from rigdeploy.node.values import DOCUMENT_LIMIT

    with click.open_file(str(file), "rb") as stream:
        return Observation.from_json(stream.read(DOCUMENT_LIMIT + 1))


def _show(results: list[RigResult], *, as_json: bool) -> None:
    if as_json:
        from rigdeploy.report.json import as_data

        echo_json(as_data(results))
        return
    from rigdeploy.report.terminal import show

    show(results, sys.stdout)
