"""A YAML file as plain data that remembers on which line everything stands.

Reading follows YAML 1.1 as Ansible does, with its number traps taken out (``0623`` and ``22:11`` stay
strings). Whatever the file holds, the answer is a document, a list of problems, or both; never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rigdeploy.errors import Problem
from rigdeploy.fleet.secrets import VaultText

Place = tuple[str | int, ...]
"""Where something is in a document: keys and list positions from the top."""

MAX_BYTES = 4 << 20
MAX_DEPTH = 40
MAX_VALUES = 200_000
"""Far above fifty rigs written out in full; a file beyond these is a mistake or an attack (alias bombs)."""

MAX_DIGITS = 18
"""Python limits the digits of an integer; so long a number is none that anyone means here."""

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?")
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_TAG = "tag:yaml.org,2002:"
_VAULT_TAGS = ("!vault", "!vault-encrypted")


@dataclass
class Document:
    """``data`` is made of dict, list, str, VaultText, int, float, bool and None."""

    file: str
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, place: Place) -> int | None:
        """The line of a place, or of the nearest thing around it that is in the file."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None

    def problem(self, place: Place, message: str, remedy: str = "", severity: str = "error") -> Problem:
        """A problem with what stands at a place of this document."""
        return Problem(self.file, self.line(place), dotted(place), message, remedy, severity)

    def locate(self, place: Place) -> tuple[Document, Place]:
        """Where a place of this document's data stands: here."""
        return self, place

    def holds(self, place: Place) -> bool:
        """Whether the document itself has something at a place."""
        return place in self.lines


def dotted(place: Iterable[str | int]) -> str:
    """``rigs.rig01.base.packages.0``."""
    return ".".join(str(part) for part in place)


def short(path: Path) -> str:
    """A path as a person here would write it: relative to the working directory when it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def read(path: Path) -> Document:
    """Read a YAML file."""
    shown = short(path)
    document = Document(shown)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode()
        _check_size(text)
        node = yaml.compose(text, Loader=_LOADER)
    except OSError as error:
        document.problems.append(Problem(shown, None, "", f"the file cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem(shown, line, "", "this is no UTF-8 text, so it cannot be YAML"))
    except _UnreadableError as error:
        document.problems.append(Problem(shown, error.line, "", str(error)))
    except yaml.YAMLError as error:
        document.problems.append(_syntax_problem(shown, error, text))
    else:
        if node is None:
            document.problems.append(Problem(shown, None, "", "the file is empty"))
        else:
            _Builder(document).build(node)
    return document


class _UnreadableError(ValueError):
    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def _check_size(text: str) -> None:
    """Refuse what is no declaration: a huge file, or nesting that a recursive reader could not survive."""
    if len(text) > MAX_BYTES:
        raise _UnreadableError(f"the file is larger than {MAX_BYTES >> 20} MiB")
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _UnreadableError(f"nested more than {MAX_DEPTH} levels deep", _line(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _line(event: yaml.Event) -> int | None:
    return event.start_mark.line + 1 if event.start_mark else None


_HINTS = (
    ("mapping values are not allowed", "a second ':' in one line, or a line indented too far; quote a value with ': '"),
    ("could not find expected ':'", "a key without ':'"),
    ("cannot start any token", "a tab, or a character that YAML keeps for itself: indent with spaces, quote the value"),
    ("found undefined alias", "a value that begins with '*' must be quoted"),
    ("but found another document", "'---' may stand only once, at the top"),
    ("did not find expected key", "a line that is not indented like the ones before it, or a stray quote"),
    ("did not find expected '-' indicator", "a line that is not indented like the list before it"),
    ("while scanning a quoted scalar", "a quote that is never closed"),
    ("did not find expected ',' or", "a bracket that is never closed, or a missing comma"),
)


def _syntax_problem(shown: str, error: yaml.YAMLError, text: str) -> Problem:
    """One problem for whatever the YAML reader stopped at; never repeats text of the file (it may be a secret)."""
    if not isinstance(error, yaml.MarkedYAMLError):
        # ReaderError: a character that no YAML file may hold.
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        return Problem(shown, line, "", "not valid YAML: a control character", "is this a binary file?")
    said = " ".join(part for part in (error.context, error.problem) if part)
    hint = next((hint for words, hint in _HINTS if words in said), "the YAML reader could not go on here")
    mark = error.problem_mark or error.context_mark
    return Problem(shown, mark.line + 1 if mark else None, "", f"not valid YAML: {hint}")


class _Builder:
    """Turns YAML nodes into data, noting lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def build(self, node: yaml.Node) -> None:
        try:
            self.document.data = self._value(node, ())
        except (_UnreadableError, RecursionError) as error:
            line = getattr(error, "line", None)
            message = str(error) if isinstance(error, _UnreadableError) else "a value contains itself"
            self.document.problems.append(Problem(self.document.file, line, "", message))
            self.document.data = None

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _UnreadableError(f"more than {MAX_VALUES} values (aliases included)", node.start_mark.line + 1)
        if len(place) > MAX_DEPTH:
            raise _UnreadableError("a value contains itself", node.start_mark.line + 1)
        self.document.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged.append(value_node)
                continue
            key = self._key(key_node, place)
            if key is None:
                continue
            inner = (*place, key)
            if key in mapping:
                self._duplicate(key_node, inner)
                continue
            self.document.lines[inner] = key_node.start_mark.line + 1
            mapping[key] = self._value(value_node, inner)
        for value_node in merged:
            self._merge(mapping, value_node, place)
        return mapping

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        if isinstance(node, yaml.ScalarNode) and isinstance(value := self._scalar(node, place), str):
            return value
        wrong = f"the key {node.value} is no string" if isinstance(node, yaml.ScalarNode) else "a key is no string"
        self._complain(node, place, wrong, f'write "{node.value}":' if isinstance(node, yaml.ScalarNode) else "")
        return None

    def _duplicate(self, node: yaml.Node, inner: Place) -> None:
        first = self.document.lines[inner]
        what = "two cards in one slot: " if len(inner) > 1 and inner[-2] == "slots" else ""
        self._complain(
            node, inner, f"{what}'{inner[-1]}' is here a second time, after line {first}", "remove one of them"
        )

    def _merge(self, mapping: dict[str, Any], node: yaml.Node, place: Place) -> None:
        """Fill in from ``<<``: what the mapping says itself wins (YAML's merge key, as Ansible reads it)."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                self._complain(source, place, "'<<' takes a mapping")
                continue
            lines = dict(self.document.lines)
            for key, value in self._mapping(source, place).items():
                mapping.setdefault(key, value)
            self.document.lines |= lines

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        text, tag = str(node.value), str(node.tag)
        if tag in _VAULT_TAGS:
            return VaultText(text)
        if tag.startswith(_TAG):
            return _plain(text, tag.removeprefix(_TAG))
        self._complain(node, place, "a tag that is not known here; only !vault is")
        return text

    def _complain(self, node: yaml.Node, place: Place, message: str, remedy: str = "") -> None:
        line = node.start_mark.line + 1
        self.document.problems.append(Problem(self.document.file, line, dotted(place), message, remedy))


def _plain(text: str, kind: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return _BOOLEANS.get(text.lower(), text)
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else text
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text)
    return text
