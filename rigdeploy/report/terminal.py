"""Results for people: a table of every card, then only what is wrong.

In colour on a terminal; as plain aligned text into a file, a pipe, or with NO_COLOR set (no-color.org). Nothing that a
node said is taken for markup.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import IO

from rigdeploy.node.values import display
from rigdeploy.report.result import RigResult, Row
from rigdeploy.verify.findings import Finding, Status

_COLUMNS = ("rig", "slot", "model", "declared", "measured", "memory", "verdict")
_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.UNKNOWN: "magenta"}
_WIDTH = 100


def show(results: Sequence[RigResult], stream: IO[str]) -> None:
    """Write the table, what is wrong, and one line per rig."""
    if stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        _show_in_colour(results, stream)
    else:
        for line in plain(results):
            stream.write(line + "\n")


def plain(results: Sequence[RigResult]) -> Iterator[str]:
    """The lines of the report without colour."""
    rows = _table(results)
    if rows:
        table = [_COLUMNS, *([*cells, row.verdict.value] for cells, row in rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS))]
        for line in table:
            yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        yield ""
    for result in results:
        yield from _wrong(result)
    for result in results:
        yield f"{result.rig}: {summary(result)}"


def summary(result: RigResult) -> str:
    """One rig in one line."""
    if result.error is not None:
        return f"NOT VERIFIED: {display(result.error.message)}"
    passed = sum(finding.status is Status.PASS for finding in result.findings)
    return f"{result.status.value} ({passed} of {len(result.findings)} checks passed)"


def _table(results: Sequence[RigResult]) -> list[tuple[list[str], Row]]:
    return [(_cells(result.rig, row), row) for result in results for row in result.rows]


def _cells(rig: str, row: Row) -> list[str]:
    memory = f"{row.memory_mib} MiB" if row.memory_mib is not None else "-"
    return [rig, row.slot, row.model, row.declared or "-", row.measured or "-", memory]


def headline(finding: Finding) -> str:
    """A finding's first line, after its status."""
    said = [("declared", finding.declared), ("measured", finding.observed)]
    values = ", ".join(f"{word} {value}" for word, value in said if value)
    return f"{finding.subject}: {finding.check}" + (f": {values}" if values else "")


def _details(finding: Finding) -> Iterator[str]:
    for word, text in (("cause", finding.cause), ("remedy", finding.remedy)):
        if text:
            head = f"  {word + ':':8}"
            yield from textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def _wrong(result: RigResult) -> Iterator[str]:
    """What is wrong with one rig, the gravest first, and a blank line after it."""
    for status in (Status.FAIL, Status.WARN, Status.UNKNOWN):
        for finding in result.findings:
            if finding.status is status:
                yield f"{status.value} {result.rig} {headline(finding)}"
                yield from _details(finding)
                yield ""
    if result.error is not None and result.error.remedy:
        yield f"{result.rig} {display(result.error.message)}"
        yield from textwrap.wrap(result.error.remedy, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        yield ""


def _show_in_colour(results: Sequence[RigResult], stream: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=True)
    rows = _table(results)
    if rows:
        table = Table(box=None, pad_edge=False)
        for column in _COLUMNS:
            table.add_column(column, overflow="fold")
        for cells, row in rows:
            table.add_row(*(Text(cell) for cell in cells), Text(row.verdict.value, style=_COLOURS[row.verdict]))
        console.print(table, soft_wrap=False)
        console.print()
    for result in results:
        for line in _wrong(result):
            text = Text(line)
            for status, colour in _COLOURS.items():
                if line.startswith(f"{status.value} "):
                    text.stylize(colour, 0, len(status.value))
            console.print(text)
    for result in results:
        style = "bold red" if result.error else _COLOURS[result.status]
        console.print(Text.assemble((result.rig, "bold"), ": ", (summary(result), style)))
