"""An entry as the text of its file: YAML with comments.

Whatever a node says becomes a quoted value or the words of a comment: nothing in it can be taken for YAML, or end the
line that it stands in.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rigdeploy.capture.model import AnyEntry, Kind, Note
from rigdeploy.fleet.document import Place
from rigdeploy.node.values import display

_WIDTH = 118
_STEP = 2
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|[1-6]\.0 x[0-9]+")
"""Words and links, which need no quotes; everything else gets them."""
_SPECIAL = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that YAML 1.1 takes for something else."""


def text(entry: AnyEntry) -> str:
    """The file of an entry; the name follows from the file's and is left out."""
    data = entry.model.model_dump(exclude_defaults=True, exclude={"name" if entry.path.parts[0] == "builds" else "id"})
    order = [*type(entry.model).model_fields]
    lines = [*_comments(entry.notes, (), 0), *_mapping(data, entry.notes, (), 0, order)]
    return "\n".join(lines) + "\n"


def _mapping(
    data: Mapping[str, Any], notes: tuple[Note, ...], place: Place, indent: int, order: Iterable[str] = ()
) -> Iterator[str]:
    """The lines of a mapping; ``order`` also names keys that are absent and may have a note."""
    for key in [*order, *(key for key in data if key not in order)]:
        inner = (*place, key)
        yield from _comments(notes, inner, indent)
        if key in data:
            yield from _value(data[key], notes, inner, indent)


def _value(value: Any, notes: tuple[Note, ...], place: Place, indent: int) -> Iterator[str]:
    pad, key = " " * indent, scalar(str(place[-1]))
    suggestions = [note.text for note in notes if note.place == place and note.kind is Kind.SUGGESTION]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"{pad}{key}:"
        for index, item in enumerate(value):
            yield from _comments(notes, (*place, index), indent + _STEP)
            yield f"{pad}  - {_flow(item)}"
    elif isinstance(value, dict) and (suggestions or not _is_short(value, notes, place, indent)):
        yield f"{pad}{key}:"
        yield from _mapping(value, notes, place, indent + _STEP)
        yield from (f"{pad}  # {line}" for line in suggestions)
    else:
        yield f"{pad}{key}: {_flow(value)}"


def _is_short(value: Mapping[str, Any], notes: tuple[Note, ...], place: Place, indent: int) -> bool:
    """Whether a mapping can stand in one line: it is no collection of others, and has no notes inside."""
    if any(note.place[: len(place)] == place and len(note.place) > len(place) for note in notes):
        return False
    nested = any(isinstance(item, dict) for item in value.values()) and len(place) == 1 and place[0] == "slots"
    return not nested and indent + len(str(place[-1])) + len(_flow(value)) <= _WIDTH - _STEP


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A value as YAML that can be nothing else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value}"
    if isinstance(value, int):
        return str(value)
    clean = display(str(value))
    if _PLAIN.fullmatch(clean) and clean.lower() not in _SPECIAL:
        return clean
    return json.dumps(clean, ensure_ascii=False)


def _comments(notes: tuple[Note, ...], place: Place, indent: int) -> Iterator[str]:
    for note in notes:
        if note.place != place or note.kind is Kind.SUGGESTION:
            continue
        head = f"{' ' * indent}# "
        words = f"WARNING: {note.text}" if note.kind is Kind.WARNING else note.text
        clean = "".join(c if c.isprintable() else " " for c in words)
        yield from textwrap.wrap(clean, _WIDTH, initial_indent=head, subsequent_indent=head, break_on_hyphens=False)
