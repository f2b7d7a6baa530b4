"""What all tests share: the catalogue, and a temporary directory, so that nothing is left in the machine's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from rigdeploy.fleet.catalogue import Catalogue


def pytest_configure(config) -> None:
    """Give the whole session one temporary directory; its name is short because sockets live below it."""
    config.stash_directory = Path(tempfile.mkdtemp(prefix="rd"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(config.stash_directory)


def pytest_unconfigure(config) -> None:
    """Remove it."""
    shutil.rmtree(config.stash_directory, ignore_errors=True)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The boards, cards and builds that are shipped."""
    return Catalogue.load()
