"""Disks against the build, their links, and the room that is left."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding


def disks(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def links(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def space(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()
