"""The rig around the cards: processor, memory and network against the build."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding


def cpu(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def memory(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def ecc(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def channels(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def memory_errors(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def network(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()
