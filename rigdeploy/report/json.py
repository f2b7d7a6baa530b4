"""Results for programs; ``schema`` describes what this makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rigdeploy.report.result import RigResult, Row
from rigdeploy.verify.findings import SCHEMA


def as_data(results: Iterable[RigResult]) -> dict[str, Any]:
    """The results as JSON-ready data: ``{"schema": 1, "rigs": {NAME: {"status", "cards", "findings", ...}}}``.

    A card is ``{slot, model, address, declared, measured, memory_mib, verdict, link, bandwidth_gbps}``. A rig that
    could not be looked at has the status null and an error ``{message, remedy}``, which is null elsewhere.
    """
    return {"schema": SCHEMA, "rigs": {result.rig: _rig(result) for result in results}}


def _rig(result: RigResult) -> dict[str, Any]:
    error = result.error
    return {
        "status": None if error else result.status.value,
        "board": result.board,
        "host": asdict(result.host),
        "loaded_at": result.loaded_at,
        "cards": [_card(row) for row in result.rows],
        "findings": [finding.as_dict() for finding in result.findings],
        "error": {"message": error.message, "remedy": error.remedy} if error else None,
    }


def _card(row: Row) -> dict[str, Any]:
    return {
        "slot": row.slot,
        "model": row.model,
        "address": row.address,
        "declared": row.declared,
        "measured": row.measured,
        "memory_mib": row.memory_mib,
        "verdict": row.verdict.value,
        "link": asdict(row.link),
        "bandwidth_gbps": asdict(row.bandwidth) if row.bandwidth else None,
    }
