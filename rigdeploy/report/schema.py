"""The JSON Schema of what ``verify --json`` prints."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rigdeploy.fleet.models import NAME_PATTERN
from rigdeploy.fleet.schema import DIALECT
from rigdeploy.report.result import Bandwidth, HostFacts, LinkFigures
from rigdeploy.verify.findings import SCHEMA, Status

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_STATUS = {"enum": [status.value for status in Status]}


def findings_schema() -> dict[str, Any]:
    """The whole document's schema (draft 2020-12).

    Objects stay open where a later version may add to them without changing what a field means, which is what the
    document's own ``schema`` number promises.
    """
    return {
        "$schema": DIALECT,
        "title": "rigdeploy verify --json",
        **_object(
            schema={"const": SCHEMA, "description": "raised when a field changes its meaning or goes"},
            rigs={
                "type": "object",
                "propertyNames": {"pattern": NAME_PATTERN},
                "additionalProperties": {"$ref": "#/$defs/rig"},
            },
        ),
        "$defs": {"rig": _rig(), "card": _card(), "finding": _finding()},
    }


def _rig() -> dict[str, Any]:
    made = _object(
        status={"enum": [*_STATUS["enum"], None], "description": "the gravest of all findings; null beside an error"},
        board=_TEXT | {"description": "the declared board's name; empty where the rig could not be looked at"},
        host=_object(**{field.name: _TEXT_OR_NULL for field in fields(HostFacts)}),
        loaded_at={
            "type": ["number", "null"],
            "description": "when the active check was made that this rests on (Unix time)",
        },
        cards={"type": "array", "items": {"$ref": "#/$defs/card"}},
        findings={"type": "array", "items": {"$ref": "#/$defs/finding"}},
        error={
            "anyOf": [{"type": "null"}, _object(message=_TEXT, remedy=_TEXT)],
            "description": "why the rig could not be looked at",
        },
    )
    nothing: dict[str, Any] = {"cards": {"maxItems": 0}, "findings": {"maxItems": 0}}
    made["if"] = {"properties": {"error": {"type": "null"}}}
    made["then"] = {"properties": {"status": _STATUS}}
    made["else"] = {"properties": {"status": {"type": "null"}} | nothing}
    return made


def _card() -> dict[str, Any]:
    link = {field.name: _COUNT_OR_NULL for field in fields(LinkFigures)}
    bandwidth = {field.name: {"type": "number"} for field in fields(Bandwidth)}
    return _object(
        slot=_TEXT | {"description": "the declared slot; of an undeclared card, the node's name for it or its address"},
        model=_TEXT | {"description": "what is there, or what should be"},
        address=_TEXT_OR_NULL | {"description": "PCI address; null where the card is missing"},
        declared=_TEXT | {"description": "the declared link (4.0 x16); empty for a card that was not declared"},
        measured=_TEXT_OR_NULL | {"description": "the link as measured, ? for a part that could not be read"},
        memory_mib=_COUNT_OR_NULL,
        verdict=_STATUS,
        link=_object(**link) | {"description": "widths in lanes, generations 1 to 6: now, and at most"},
        bandwidth_gbps={"anyOf": [{"type": "null"}, _object(**bandwidth)], "description": "10^9 bytes per second"},
    )


def _finding() -> dict[str, Any]:
    return _object(
        check=_TEXT | {"description": "the rule", "examples": ["link.width"]},
        subject=_TEXT | {"description": "what was judged: a slot, rig, driver, a disk"},
        status=_STATUS,
        declared=_TEXT,
        observed=_TEXT,
        cause=_TEXT | {"description": "empty on a PASS", "examples": ["link-degraded"]},
        remedy=_TEXT,
        evidence={"type": "object", "description": "the readings behind it"},
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
