"""``rigdeploy bmc probe``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rigdeploy.cli.batch import Results, confirm, over, present, refuse_unnamed, select_bmcs, yes_option
from rigdeploy.cli.common import json_option, report_option, rig_arguments, workspace_options
from rigdeploy.errors import RigdeployError
from rigdeploy.power.audit import Facts, Questions, judge
from rigdeploy.power.base import Driver
from rigdeploy.power.policy import Clock, Say
from rigdeploy.verify.findings import Finding, Status, exit_code, worst
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig

_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "red", Status.UNKNOWN: "magenta"}

Audit = tuple[Facts, list[Finding]]


@click.command()
@workspace_options
@rig_arguments
@click.option("--write-test", is_flag=True, help="Set boot flags, see what the BMC keeps of them, and set them back.")
@click.option(
    "--default-passwords",
    is_flag=True,
    help="Try to log in as the maker ships it, twice at most; a BMC may lock that user out.",
)
@report_option("report", "all that was learned, to attach to a bug report,")
@click.option("--strict", is_flag=True, help="Count UNKNOWN as FAIL.")
@yes_option
@json_option
def probe(
    workspace: Workspace,
    rigs: tuple[str, ...],
    *,
    write_test: bool,
    default_passwords: bool,
    report: Path | None,
    strict: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Look for what is wrong with BMCs: open doors, weak passwords, firmware with known holes.

    Changes nothing unless --write-test is given. Looks at the log-in, cipher suites (0 lets anybody in), IPMI 1.5,
    users without a name, the password's strength, https, the firmware's version, and what a boot override keeps.
    What is learned about a BMC serves later commands. Ends with 0 all PASS, 1 WARN, 2 FAIL, 3 UNKNOWN only, or 5 when
    a BMC could not be reached.

    The report holds no password, no hash of one, and no user's name.

    \b
    Example:
      rigdeploy bmc probe
      rigdeploy bmc probe rig01 --write-test --report rig01-bmc.json
      rigdeploy bmc probe '*' --default-passwords
    """
    from rigdeploy.report.bmc import as_data, document

    if write_test or default_passwords:
        refuse_unnamed(rigs)
    chosen = select_bmcs(workspace, rigs)
    if write_test:
        confirm("set boot flags, and set them back, on", chosen, yes=yes)
    seen: dict[str, Audit | RigdeployError] = {}
    action = partial(_audit, workspace, Questions(write_test, default_passwords))
    results = _kept(over(workspace, chosen, action, changes=write_test), seen)

    def row(audit: Audit) -> dict[str, Any]:
        return as_data(*audit)

    code = present(chosen, results, row, _show, as_json=as_json, fields=("status", "facts", "findings"))
    if report is not None:
        from rigdeploy.files import write_atomically

        made = document({rig.name: seen[rig.name] for rig in chosen})
        write_atomically(report, (json.dumps(made, indent=2) + "\n").encode())
    findings = [finding for one in seen.values() if isinstance(one, tuple) for finding in one[1]]
    return code or exit_code(findings, strict=strict)


def _audit(workspace: Workspace, questions: Questions, driver: Driver, rig: Rig, say: Say, clock: Clock) -> Audit:
    from rigdeploy.power.facts import gather

    facts = gather(driver, rig, workspace, questions, say, clock)
    return facts, judge(facts)


def _kept(results: Results[Audit], seen: dict[str, Audit | RigdeployError]) -> Iterator[tuple[Rig, Any]]:
    for rig, result in results:
        seen[rig.name] = result
        yield rig, result


def _show(rig: Rig, audit: Audit, _width: int) -> None:
    from rigdeploy.report.bmc import lines

    facts, findings = audit
    status = worst(findings)
    passed = sum(finding.status is Status.PASS for finding in findings)
    board = f"{facts.board}, " if facts.board else ""
    click.echo(
        f"{click.style(rig.name, bold=True)}  {click.style(status.value, fg=_COLOURS[status])}  "
        f"{board}{passed} of {len(findings)} checks passed"
    )
    for verdict, line in lines(findings):
        word, rest = line[:10], line[10:]
        click.echo(click.style(word, fg=_COLOURS[verdict]) + rest if word.strip() else line)
