"""Errors that links and cards counted since boot, as rates, and the driver's own error messages."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding


def links(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def replays(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def xids(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()
