"""Data against a model: pydantic's errors in the words of the file, each with its place, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rigdeploy.errors import Problem
from rigdeploy.fleet.document import Document, Place
from rigdeploy.fleet.secrets import VaultText

M = TypeVar("M", bound=BaseModel)

Locate = Callable[[Place], tuple[Document, Place]]
"""Where a place of the data stands: merged data comes from more than one document."""

_SHOWN = 60
_SECRET_KEYS = frozenset({"password"})

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "dataclass_type": "a link such as '4.0 x16'",
    "dataclass_exact_type": "a link such as '4.0 x16'",
}
_COMPARISONS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def validate(model: type[M], data: Any, locate: Locate, base: str = "") -> tuple[M | None, list[Problem]]:
    """The model made of the data, or None and every problem; ``base`` is where relative paths start."""
    try:
        return model.model_validate(data, context={"base": base}), []
    except ValidationError as error:
        schema = model.model_json_schema()
        described = [_describe(item, data, schema) for item in error.errors(include_url=False)]
    guessed = {(place[:-1], guess) for place, _, _, guess in described if guess}
    problems = []
    for place, message, remedy, guess in described:
        if not guess and message.endswith("is missing") and (place[:-1], str(place[-1])) in guessed:
            continue  # the mistyped key and the missing one are one mistake
        document, where = locate(place)
        problems.append(document.problem(where, message, remedy))
    return None, problems


def suggest(found: str, known: Iterable[str]) -> str:
    """The known word nearest to what was found, or an empty string."""
    return next(iter(difflib.get_close_matches(found, sorted(known), n=1, cutoff=0.6)), "")


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing when nothing is near."""
    guess = suggest(found, known)
    return f"; did you mean '{guess}'?" if guess else ""


def shown(value: Any) -> str:
    """A value as the file has it, short enough for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, VaultText):
        return "a !vault value"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value)
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return repr(text) if isinstance(value, str) else text


def _describe(error: Any, data: Any, schema: dict[str, Any]) -> tuple[Place, str, str, str]:
    """Place, message, remedy and, for an unknown key, the key that was probably meant."""
    kind, context = error["type"], error.get("ctx") or {}
    place = _place(error["loc"], data)
    found = "what is there" if _SECRET_KEYS & set(place) else shown(error["input"])
    if kind == "extra_forbidden":
        key, allowed = str(place[-1]), sorted(_node(schema, place[:-1], data).get("properties", {}))
        guess = suggest(key, allowed)
        hint = f"; did you mean '{guess}'?" if guess else ""
        return place, f"unknown key '{key}'{hint}", f"allowed here: {', '.join(allowed)}", guess
    if kind == "missing":
        return place, f"'{place[-1]}' is missing", "", ""
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        key = str(context["discriminator"]).strip("'")
        if kind == "union_tag_not_found":
            return (*place, key), f"'{key}' is missing", "", ""
        tag, allowed = str(context["tag"]), [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return (*place, key), f"found '{tag}'{did_you_mean(tag, allowed)}", f"allowed: {', '.join(allowed)}", ""
    if kind == "literal_error":
        expected = str(context["expected"])
        return place, f"found {found}; allowed: {expected}", "", ""
    return place, *_describe_value(error, found, _node(schema, place, data)), ""


def _describe_value(error: Any, found: str, node: dict[str, Any]) -> tuple[str, str]:
    """Message and remedy for a value of the wrong type, form or size."""
    kind, context, value = error["type"], error.get("ctx") or {}, error["input"]
    if kind in _COMPARISONS:
        words, key = _COMPARISONS[kind]
        return f"found {found}; {words} {context[key]} is wanted", ""
    if kind == "string_pattern_mismatch":
        return f"found {found}; wanted: {node.get('description', 'text like ' + str(context['pattern']))}", ""
    if kind == "value_error":
        return str(context["error"]), ""
    if kind in _WANTED:
        message = f"found {found}; {_WANTED[kind]} is wanted"
        if kind == "string_type" and isinstance(value, (bool, int, float)):
            return message, "put it in quotes: YAML reads it as a number, or as true or false"
        return message, ""
    return str(error["msg"]), ""


def _place(location: tuple[str | int, ...], data: Any) -> Place:
    """Pydantic's location without the parts that name a member of a union."""
    place: list[str | int] = []
    for position, part in enumerate(location):
        if _has(data, part):
            data = data[part]
        elif position < len(location) - 1 or not isinstance(data, dict):
            continue
        place.append(part)
    return tuple(place)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def _node(schema: dict[str, Any], place: Place, data: Any) -> dict[str, Any]:
    """The JSON Schema of a place; the data chooses among a union's members by their ``driver``."""
    node = _resolve(schema, schema, data)
    for part in place:
        data = data.get(part) if isinstance(data, dict) and isinstance(part, str) else None
        inner = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items") or {}
        node = _resolve(schema, inner if isinstance(inner, dict) else {}, data)
    return node


def _resolve(schema: dict[str, Any], node: dict[str, Any], data: Any) -> dict[str, Any]:
    mapping = node.get("discriminator", {}).get("mapping", {})
    if isinstance(data, dict) and (driver := str(data.get("driver"))) in mapping:
        node = {"$ref": mapping[driver]}
    for option in node.get("anyOf", []):
        if option.get("type") != "null":
            return _resolve(schema, option, data)
    if "$ref" in node:
        found = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return _resolve(schema, found, data)
    return node
