"""Rigs of the shipped builds, and their nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.models import Rig
from tests.unit.nodes import Bench, rig_of


@pytest.fixture
def rig(catalogue: Catalogue) -> Callable[..., Rig]:
    """A rig of a shipped build; ``slots`` replaces parts of its slots, ``build`` keys its build."""
    return functools.partial(rig_of, catalogue)


@pytest.fixture
def bench(rig: Callable[..., Rig], catalogue: Catalogue) -> Callable[..., Bench]:
    def make(build: str = "pro-4x3090", *, driver: bool = True, **changes: Any) -> Bench:
        return Bench(rig(build, **changes), catalogue, driver=driver)

    return make
