"""Rigs to report about."""

from __future__ import annotations

import pytest

from tests.unit.report.sample import Sample


@pytest.fixture
def sample(catalogue):
    def make(*arguments, **changes):
        return Sample(catalogue, *arguments, **changes)

    return make
