"""What was learned about each BMC, kept beside the fleet so that the next session need not learn it again.

A cache and nothing more: a file that is missing or spoilt costs one more attempt at the next session.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from rigdeploy.errors import PowerBusyError
from rigdeploy.power.lock import exclusive

_SCHEMA = 1
_LOCK_SECONDS = 10.0


class QuirkCache:
    """``bmc.json`` in the state directory: ``{"schema": 1, "bmcs": {"ADDRESS:PORT": {"cipher": 3}}}``."""

    def __init__(self, state: Path) -> None:
        self._path = state / "bmc.json"
        self._lock = state / "bmc.json.lock"

    def get(self, bmc: str, name: str) -> Any:
        """What is known about ``bmc`` under ``name``; None when nothing is."""
        return self._read().get(bmc, {}).get(name)

    def all(self, name: str) -> dict[str, Any]:
        """What is known under ``name`` about each BMC of which it is known."""
        return {bmc: known[name] for bmc, known in self._read().items() if name in known}

    def put(self, bmc: str, name: str, value: Any) -> None:
        """Remember ``value``; writes only what is new, and nothing where that cannot be done."""
        if self.get(bmc, name) == value:
            return
        with suppress(OSError, PowerBusyError), exclusive(self._lock, _LOCK_SECONDS, str(self._path)):
            bmcs = self._read()
            bmcs.setdefault(bmc, {})[name] = value
            fresh = self._path.with_suffix(".json.new")
            fresh.write_text(json.dumps({"schema": _SCHEMA, "bmcs": bmcs}, indent=2, sort_keys=True) + "\n")
            fresh.replace(self._path)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            document = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        known = isinstance(document, dict) and document.get("schema") == _SCHEMA
        bmcs = document.get("bmcs") if known else None
        return {k: v for k, v in bmcs.items() if isinstance(v, dict)} if isinstance(bmcs, dict) else {}
