"""The whole path from a card to its root port, beyond the link of its own."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding


def path(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()
