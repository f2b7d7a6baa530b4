"""Typed values out of a document that a node sent.

Everything a node says is data, and may be anything: a value of the wrong type or out of range becomes ``None`` and a
line in ``unread``, texts lose control characters and are cut, lists are capped. Only a document that is none of ours at
all is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rigdeploy.errors import NodeError

DOCUMENT_LIMIT = 16 * 1024 * 1024
"""Bytes of JSON that are looked at; a node with 500 PCI functions sends some 300 KB."""
TEXT_LIMIT = 200
LIST_LIMIT = 4096

WIDTHS = frozenset({1, 2, 4, 8, 12, 16, 32})
GENERATIONS = range(1, 7)
COUNTS = range(1 << 53)

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


class ObservationError(NodeError):
    """The node answered, but not with a document that this version can read."""


@dataclass(frozen=True)
class Unread:
    """Something that could not be read, and why."""

    what: str
    why: str


def document_from(text: str | bytes, schema: int, program: str) -> dict[str, Any]:
    """The JSON object that a node's ``program`` printed; ObservationError when it is none of that schema."""
    if len(text) > DOCUMENT_LIMIT:
        raise _refused("it is larger than any of them", program)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused("it is not valid JSON", program) from error
    return checked(document, schema, program)


def checked(document: Any, schema: int, program: str) -> dict[str, Any]:
    """A document that is a JSON object of the schema; ObservationError otherwise."""
    if not isinstance(document, dict):
        raise _refused("it is no JSON object", program)
    if document.get("schema") != schema or isinstance(document.get("schema"), bool):
        raise _refused(f"its schema is not {schema}", program)
    return document


def _refused(reason: str, program: str) -> ObservationError:
    return ObservationError(
        f"what the node answered cannot be read: {reason}",
        f"run rigdeploy/node/{program} on the node by hand and look at what it prints",
    )


def display(text: str) -> str:
    """A node's text made fit to show: one line, no control or formatting characters, at most 200 long."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * TEXT_LIMIT])
    clean = " ".join(clean.split())
    return clean if len(clean) <= TEXT_LIMIT else clean[: TEXT_LIMIT - 1] + "…"


def table_of(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def tables_of(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list, as many as are looked at."""
    return [item for item in value[:LIST_LIMIT] if isinstance(item, dict)] if isinstance(value, list) else []


def unread_of(document: dict[str, Any]) -> tuple[Unread, ...]:
    """What the document itself says that could not be read."""
    return tuple(
        Unread(display(str(item.get("what", ""))[:TEXT_LIMIT]), display(str(item.get("why", ""))[:TEXT_LIMIT]))
        for item in tables_of(document.get("unread"))
    )


class Values:
    """Reads values by their wanted type; what is not of it is None, and noted under ``what.key``."""

    def __init__(self) -> None:
        self.unread: list[Unread] = []

    def wrong(self, what: str, value: Any) -> None:
        """Note a value that cannot be used; an absent one is no fault."""
        if value is not None and len(self.unread) < LIST_LIMIT:
            self.unread.append(Unread(what, f"not a usable value: {type(value).__name__}"))

    def text(self, table: dict[str, Any], key: str, what: str) -> str | None:
        """A text, fit to show; an empty one is None."""
        value = table.get(key)
        if isinstance(value, str):
            return display(value) or None
        self.wrong(f"{what}.{key}", value)
        return None

    def flag(self, table: dict[str, Any], key: str, what: str) -> bool | None:
        """True or false, and nothing that only looks like it."""
        value = table.get(key)
        if isinstance(value, bool):
            return value
        self.wrong(f"{what}.{key}", value)
        return None

    def integer(
        self, table: dict[str, Any], key: str, what: str, allowed: frozenset[int] | range = COUNTS
    ) -> int | None:
        """A whole number that is allowed."""
        value = table.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
            return value
        self.wrong(f"{what}.{key}", value)
        return None

    def number(self, table: dict[str, Any], key: str, what: str) -> float | None:
        """A number that a float can hold: integers of any size are JSON, and so is NaN to Python."""
        value = table.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < COUNTS.stop:
            return float(value)
        self.wrong(f"{what}.{key}", value)
        return None

    def address(self, table: dict[str, Any], key: str, what: str) -> str | None:
        """A PCI address, ``dddd:bb:dd.f`` in lower case."""
        value = table.get(key)
        if isinstance(value, str) and _ADDRESS.fullmatch(value):
            return value
        self.wrong(f"{what}.{key}", value)
        return None

    def digits(self, table: dict[str, Any], key: str, what: str) -> str | None:
        """Four to six hexadecimal digits."""
        value = table.get(key)
        if isinstance(value, str) and re.fullmatch("[0-9a-f]{4,6}", value):
            return value
        self.wrong(f"{what}.{key}", value)
        return None

    def texts(self, table: dict[str, Any], key: str, what: str) -> tuple[str, ...] | None:
        """A list of texts; what is none is left out."""
        value = table.get(key)
        if isinstance(value, list):
            return tuple(display(item) for item in value[:TEXT_LIMIT] if isinstance(item, str))
        self.wrong(f"{what}.{key}", value)
        return None

    def integers(self, table: dict[str, Any], key: str, what: str, allowed: range) -> tuple[int, ...]:
        """A list of whole numbers; what is not allowed is left out."""
        value = table.get(key)
        if isinstance(value, list):
            whole = (item for item in value[:TEXT_LIMIT] if isinstance(item, int) and not isinstance(item, bool))
            return tuple(item for item in whole if item in allowed)
        self.wrong(f"{what}.{key}", value)
        return ()

    def counters(self, table: dict[str, Any], key: str, what: str) -> Mapping[str, int]:
        """Whole numbers by name."""
        inner = table_of(table.get(key))
        counts = {name: self.integer(inner, name, f"{what}.{key}") for name in list(inner)[:TEXT_LIMIT]}
        return {display(name): count for name, count in counts.items() if count is not None}

    def numbers(self, table: dict[str, Any], key: str, what: str) -> Mapping[str, float]:
        """Numbers by name."""
        inner = table_of(table.get(key))
        found = {name: self.number(inner, name, f"{what}.{key}") for name in list(inner)[:TEXT_LIMIT]}
        return {display(name): value for name, value in found.items() if value is not None}
