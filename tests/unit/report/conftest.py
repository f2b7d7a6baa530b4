"""The catalogue, and rigs to report about."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.catalogue import Catalogue
from tests.unit.report.sample import Sample


@pytest.fixture(scope="session")
def catalogue():
    return Catalogue.load()


@pytest.fixture
def sample(catalogue):
    def make(*arguments, **changes):
        return Sample(catalogue, *arguments, **changes)

    return make
