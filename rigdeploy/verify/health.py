"""What the driver says of each card beside link and memory."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding


def bar1(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def power(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def health(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()


def persistence(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - written next
    """To be written."""
    yield from ()
