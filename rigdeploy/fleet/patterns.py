"""Which rigs a command line means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from rigdeploy.errors import UsageError


def split(patterns: Sequence[str]) -> list[str]:
    """The patterns (``fnmatch``), those behind commas too; UsageError for an empty one."""
    if any(not pattern.strip(", \t") for pattern in patterns):
        # A script's variable that is not set must not mean the whole fleet.
        raise UsageError("an empty name names no rig", "leave it out to mean the whole fleet")
    return [part.strip() for pattern in patterns for part in pattern.split(",") if part.strip()]


def chosen(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """The names, in their order, that any pattern names; without patterns, all."""
    return [name for name in names if not wanted or any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
