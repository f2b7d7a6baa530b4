"""What is known about a BMC: as declared, as learned, or as the catalogue has it of its board; the first that says so.

What was learned is kept beside the fleet, so that the next session need not learn it again. A cache and nothing more:
a file that is missing or spoilt costs one more attempt at the next session.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigdeploy.errors import PowerBusyError
from rigdeploy.power.lock import exclusive

if TYPE_CHECKING:
    from rigdeploy.fleet.models import BmcQuirks

_SCHEMA = 1
_LOCK_SECONDS = 10.0


class QuirkCache:
    """``bmc.json`` in the state directory: ``{"schema": 1, "bmcs": {"ADDRESS:PORT": {"cipher": 3}}}``.

    ``declared`` and ``board`` are what the rig's declaration and the catalogue say of the one BMC that is asked for.
    """

    def __init__(self, state: Path, declared: BmcQuirks | None = None, board: BmcQuirks | None = None) -> None:
        self._path = state / "bmc.json"
        self._lock = state / "bmc.json.lock"
        self._declared = declared
        self._board = board

    def get(self, bmc: str, name: str) -> Any:
        """What is known about ``bmc`` under ``name``; None when nothing is."""
        said = (getattr(self._declared, name, None), self._read().get(bmc, {}).get(name))
        return next((value for value in said if value is not None), getattr(self._board, name, None))

    def all(self, name: str) -> dict[str, Any]:
        """What is known under ``name`` about each BMC of which it is known."""
        return {bmc: known[name] for bmc, known in self._read().items() if name in known}

    def put(self, bmc: str, name: str, value: Any) -> None:
        """Remember ``value``; writes only what is new, and nothing where that cannot be done."""
        if self._read().get(bmc, {}).get(name) != value:
            self._write(bmc, lambda known: known | {name: value})

    def saw_firmware(self, bmc: str, version: str) -> None:
        """Forget what was learned of this BMC under another firmware; an empty version says nothing."""
        if not version:
            return
        if self._read().get(bmc, {}).get("firmware", version) != version:
            self._write(bmc, lambda _: {})
        self.put(bmc, "firmware", version)

    def _write(self, bmc: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        with suppress(OSError, PowerBusyError), exclusive(self._lock, _LOCK_SECONDS, str(self._path)):
            bmcs = self._read()
            bmcs[bmc] = change(bmcs.get(bmc, {}))
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
