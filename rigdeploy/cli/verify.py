"""``rigdeploy verify``: judge rigs, or a recorded node, against the declaration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigdeploy.cli.common import (
    command_line,
    echo_json,
    json_option,
    read_document,
    report_option,
    rig_arguments,
    workspace_options_unless,
)
from rigdeploy.errors import UsageError
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.report.result import RigResult
    from rigdeploy.run.verify import Judged

_DOCUMENT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@rig_arguments
@workspace_options_unless("observation")
@json_option
@click.option("--active", is_flag=True, help="Put the cards under load first: copies over every link, a memory test.")
@click.option("--force", is_flag=True, help="With --active: also cards that another process computes on.")
@click.option("--bmc", is_flag=True, help="Ask the BMCs too: sensors, and what their event logs hold since the boot.")
@report_option("html", "a page for people")
@report_option("junit", "JUnit XML, for a build server,")
@report_option("prometheus", "metrics, for a textfile collector,")
@click.option("--strict", is_flag=True, help="Count UNKNOWN as FAIL.")
@click.option(
    "--observation",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Judge what the probe printed into this file ('-': standard input), and touch no rig.",
)
@click.option("--build", metavar="NAME", help="With --observation: the build (or the rig) that it is judged against.")
@click.option("--load", type=_DOCUMENT, help="With --observation: what the active check printed into this file.")
def command(
    rigs: tuple[str, ...],
    workspace: Workspace,
    *,
    as_json: bool,
    active: bool,
    force: bool,
    bmc: bool,
    html: Path | None,
    junit: Path | None,
    prometheus: Path | None,
    strict: bool,
    observation: Path | None,
    build: str | None,
    load: Path | None,
) -> int:
    """Judge rigs against their declaration, slot by slot; changes nothing.

    --active takes a minute or two per rig (all at the same time), and leaves cards alone that are in use. What it
    measures is kept, and counts until the rig boots again.

    \b
    Examples:
      rigdeploy verify                      the whole fleet
      rigdeploy verify rig01 --active       its links and memory at work
      rigdeploy verify --bmc                sensors and event logs, too
      rigdeploy verify rig01 --json         one rig, for a program
      rigdeploy verify --html fleet.html --junit fleet.xml
      rigdeploy verify --observation node.json --load load.json --build pro-4x3090
    """
    from rigdeploy.report.result import results_exit_code

    _refuse_nonsense(rigs, active=active, force=force, bmc=bmc, observation=observation, build=build, load=load)
    judged: list[Judged] = []
    if observation is not None and build is not None:
        from rigdeploy.run.recorded import judge_recorded

        under_load = None if load is None else read_document(load)
        results = [judge_recorded(workspace, build, read_document(observation), under_load)]
    else:
        judged = _judge_live(workspace, rigs, active=active, force=force, bmc=bmc)
        results = [one.result for one in judged]
    try:
        _show(results, as_json=as_json)
        _write(results, html=html, junit=junit, prometheus=prometheus)
    finally:  # last, for a full disk must not cost the answer; and whatever became of the reports
        if judged:
            from rigdeploy.run.verify import keep

            keep(judged, workspace)
    return results_exit_code(results, strict=strict)


def _refuse_nonsense(
    rigs: tuple[str, ...],
    *,
    active: bool,
    force: bool,
    bmc: bool,
    observation: Path | None,
    build: str | None,
    load: Path | None,
) -> None:
    if force and not active:
        raise UsageError("--force is about --active", "rigdeploy verify --active --force")
    if (observation is None) is not (build is None) or (observation is not None and rigs):
        raise UsageError(
            "--observation and --build go together, and without rigs",
            "rigdeploy verify --observation node.json --build pro-4x3090",
        )
    if observation is None and load is not None:
        raise UsageError("--load goes with --observation", "a rig's own is kept by: rigdeploy verify --active")
    if observation is not None and bmc:
        raise UsageError("--bmc needs a rig, and --observation touches none", "leave one of them out")
    if observation is not None and active:
        raise UsageError("--active needs a rig, and --observation touches none", "give it --load instead")


def _judge_live(
    workspace: Workspace, patterns: tuple[str, ...], *, active: bool, force: bool, bmc: bool
) -> list[Judged]:
    from rigdeploy.fleet.load import load_fleet
    from rigdeploy.run.verify import verify, verify_under_load

    fleet = load_fleet(workspace)
    rigs = fleet.select(patterns)
    if not active:
        return verify(rigs, fleet.catalogue, workspace, lambda text: click.echo(text, err=True), bmc=bmc)
    from rigdeploy.run.progress import open_progress

    command = f"rigdeploy {command_line()}"
    return verify_under_load(rigs, fleet.catalogue, workspace, open_progress(), command=command, force=force, bmc=bmc)


def _show(results: list[RigResult], *, as_json: bool) -> None:
    if as_json:
        from rigdeploy.report.json import as_data

        echo_json(as_data(results))
        return
    from rigdeploy.report.terminal import show

    show(results, sys.stdout)


def _write(results: list[RigResult], *, html: Path | None, junit: Path | None, prometheus: Path | None) -> None:
    from rigdeploy.files import write_atomically

    if html is not None:
        from rigdeploy.report.html import page

        write_atomically(html, page(results).encode())
    if junit is not None:
        from rigdeploy.report.junit import document

        write_atomically(junit, document(results).encode())
    if prometheus is not None:
        from rigdeploy.report.prometheus import text

        write_atomically(prometheus, text(results).encode())
