"""The JSON Schemas of the declaration's files, for editors: the files' own shapes, before anything is merged."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from rigdeploy.fleet.models import Board, Build, FleetFile, Gpu

DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILES = {"fleet": "fleet.yml", "build": "builds/NAME.yml", "board": "boards/ID.yml", "gpu": "gpus/ID.yml"}
"""What there is a schema of, and the file it describes."""


def schema(what: str) -> dict[str, Any]:
    """The JSON Schema of one of FILES."""
    made = _fleet() if what == "fleet" else _entry(what)
    return {"$schema": DIALECT, **made, "title": f"rigdeploy {FILES[what]}"}


def _fleet() -> dict[str, Any]:
    made = FleetFile.model_json_schema()
    build = Build.model_json_schema()
    definitions = build.pop("$defs")
    partial = {f"Partial{name}": _partial(definition) for name, definition in definitions.items()}
    partial["PartialBuild"] = _partial(build)
    made["$defs"] |= partial
    made["$defs"]["RigEntry"]["properties"]["override"] = {
        "$ref": "#/$defs/PartialBuild",
        "description": "merged over the build, key by key; null removes",
    }
    made["patternProperties"] = {"^x-": {}}
    return made


def _entry(what: str) -> dict[str, Any]:
    """A file of the catalogue; its id or name is the file's name and need not be in it."""
    key = "name" if what == "build" else "id"
    models: dict[str, type[BaseModel]] = {"build": Build, "board": Board, "gpu": Gpu}
    made = models[what].model_json_schema()
    made["required"].remove(key)
    return made


def _partial(node: Any) -> Any:
    """The schema with nothing required and everything removable."""
    if isinstance(node, list):
        return [_partial(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _partial(value) for key, value in node.items() if key != "required"}
    if isinstance(reference := made.get("$ref"), str):
        made["$ref"] = reference.replace("#/$defs/", "#/$defs/Partial")
    for key in ("properties", "additionalProperties"):
        if not isinstance(made.get(key), dict):
            continue
        inner = made[key]
        made[key] = {name: _or_null(value) for name, value in inner.items()} if key == "properties" else _or_null(inner)
    return made


def _or_null(node: Any) -> dict[str, Any]:
    return {"anyOf": [node, {"type": "null"}]}
