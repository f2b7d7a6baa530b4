"""Results for people: a table of every card, then only what is wrong.

In colour on a terminal; as plain aligned text into a file, a pipe, or with NO_COLOR set (no-color.org). Where the table
is wider than the terminal, each card gets three short lines instead. Nothing that a node said is taken for markup.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import IO

from rigdeploy.node.values import display
from rigdeploy.report.groups import Group, wrong
from rigdeploy.report.result import RigResult, Row
from rigdeploy.verify.findings import Finding, Status

_COLUMNS = ("rig", "slot", "model", "declared", "measured", "memory", "verdict")
_BANDWIDTH = "GB/s to/from"
_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.UNKNOWN: "magenta"}
_WIDTH = 100
"""Columns that prose is wrapped at, where the terminal has as many."""
_LEAST = 40

_Cell = tuple[str, str]
"""A text and its style."""
_Line = list[_Cell]


def show(results: Sequence[RigResult], stream: IO[str]) -> None:
    """Write the table, what is wrong, and one line per rig."""
    width = _terminal_width(stream) if stream.isatty() else None
    if width is not None and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        _show_in_colour(results, stream, width)
    else:
        for line in plain(results, width):
            stream.write(line + "\n")


def plain(results: Sequence[RigResult], width: int | None = None) -> Iterator[str]:
    """The lines of the report without colour; ``width`` is the terminal's, None for a file or a pipe."""
    for line in _lines(results, width):
        yield "".join(text for text, _ in line).rstrip()


def summary(result: RigResult) -> str:
    """One rig in one line."""
    if result.error is not None:
        return f"NOT VERIFIED: {display(result.why_not)}"
    passed = sum(finding.status is Status.PASS for finding in result.findings)
    return f"{result.status.value} ({passed} of {len(result.findings)} checks passed)"


def headline(finding: Finding, subject: str = "") -> str:
    """A finding's first line, after its status; ``subject`` stands in for its own."""
    said = [("declared", finding.declared), ("measured", finding.observed)]
    values = ", ".join(f"{word} {value}" for word, value in said if value)
    return f"{subject or finding.subject}: {finding.check}" + (f": {values}" if values else "")


def _lines(results: Sequence[RigResult], width: int | None) -> Iterator[_Line]:
    rows = [(result.rig, row) for result in results for row in result.rows]
    if rows:
        yield from _fitting(rows, width)
        yield []
    prose = max(_LEAST, min(_WIDTH, width or _WIDTH))
    others = [_others(result) for result in results if result.others()]
    yield from (line for item in others for line in _wrapped(item, prose))
    if others:
        yield []
    for result in results:
        yield from _wrong(result, prose)
    for result in results:
        style = "bold red" if result.error else _COLOURS[result.status]
        yield [(result.rig, "bold"), (": ", ""), (summary(result), style)]


def _fitting(rows: Sequence[tuple[str, Row]], width: int | None) -> Iterator[_Line]:
    table = list(_table(rows))
    if width is None or max(sum(len(text) for text, _ in line) for line in table) <= width:
        yield from table
    else:
        yield from _short(rows, width)


def _table(rows: Sequence[tuple[str, Row]]) -> Iterator[_Line]:
    """The table's head and rows, every cell but the last padded to its column."""
    loaded = any(row.bandwidth for _, row in rows)
    head = [*_COLUMNS[:-1], *([_BANDWIDTH] if loaded else []), _COLUMNS[-1]]
    cells = [[rig, *_cells(row), *([_bandwidth(row)] if loaded else []), row.verdict.value] for rig, row in rows]
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head) - 1)]

    def padded(line: Sequence[str], style: str, last: str) -> _Line:
        first = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        return [(f"{first}  ", style), (line[-1], last)]

    yield padded(head, "bold", "bold")
    for line, (_, row) in zip(cells, rows, strict=True):
        yield padded(line, "", _COLOURS[row.verdict])


def _short(rows: Sequence[tuple[str, Row]], width: int) -> Iterator[_Line]:
    """Three lines per card for a narrow terminal: the slot, its link, and what is in it."""
    several = len({rig for rig, _ in rows}) > 1
    for rig, row in rows:
        place = f"{rig} {row.slot}" if several else row.slot
        yield [(f"{row.verdict.value:8}", _COLOURS[row.verdict]), (_cut(place, width - 8), "bold")]
        _, model, declared, measured, memory = _cells(row)
        link = measured if measured == declared else f"{row.measured or 'no card'} (declared {declared})"
        speed = [f"{_bandwidth(row)} GB/s"] if row.bandwidth else []
        for text in (", ".join([link, *speed]), model if row.memory_mib is None else f"{memory}, {model}"):
            yield [(" " * 8 + _cut(text, width - 8), "")]


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    memory = f"{row.memory_mib} MiB" if row.memory_mib is not None else "-"
    return row.slot, row.model, row.declared or "-", row.measured or "-", memory


def _bandwidth(row: Row) -> str:
    return f"{row.bandwidth.to_card:.1f} / {row.bandwidth.from_card:.1f}" if row.bandwidth else "-"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"


def _others(result: RigResult) -> _Line:
    """What else was judged beside the cards, each in a word."""
    line: _Line = [(f"{result.rig} beside its cards: ", "")]
    for index, (subject, status) in enumerate(result.others().items()):
        line += [(", " if index else "", ""), (f"{subject} ", ""), (status.value, _COLOURS[status])]
    return line


def _wrapped(line: _Line, width: int) -> Iterator[_Line]:
    """A line broken between its cells where it would be wider; what follows is indented."""
    current: _Line = []
    used = 0
    for text, style in line:
        if used and used + len(text) > width and text.strip(", "):
            yield current
            current, used = [("  ", "")], 2
        current.append((text, style))
        used += len(text)
    yield current


def _wrong(result: RigResult, width: int) -> Iterator[_Line]:
    """What is wrong with one rig, the gravest first, and a blank line after it."""
    for group in wrong(result.findings):
        status = group.finding.status
        head = f"{result.rig} {headline(group.finding, group.subject)}"
        first, *more = textwrap.wrap(
            head, width, initial_indent=" " * (len(status.value) + 1), subsequent_indent="  ", break_on_hyphens=False
        )
        yield [(status.value, _COLOURS[status]), (f" {first.lstrip()}", "")]
        yield from ([(text, "")] for text in [*more, *_details(group, width), ""])
    if result.error is not None and result.error.remedy:
        yield [(f"{result.rig}: {display(result.why_not)}", "")]
        for text in textwrap.wrap(result.error.remedy, width, initial_indent="  ", subsequent_indent="  "):
            yield [(text, "")]
        yield []


def _details(group: Group, width: int) -> Iterator[str]:
    for word, text in (("cause", group.finding.cause), ("remedy", group.finding.remedy)):
        if text:
            head = f"  {word + ':':8}"
            yield from textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))


def _terminal_width(stream: IO[str]) -> int:
    """The terminal's columns; COLUMNS comes first, as everywhere, and 80 is what a stream without a number gets."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _show_in_colour(results: Sequence[RigResult], stream: IO[str], width: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=True)
    for line in _lines(results, width):
        console.print(Text.assemble(*line, end=""))
