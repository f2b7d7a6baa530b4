"""What all tests share: a temporary directory of their own, so that nothing of theirs is left in the machine's."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def pytest_configure(config) -> None:
    """Give the whole session one temporary directory; its name is short because sockets live below it."""
    config.stash_directory = Path(tempfile.mkdtemp(prefix="rd"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(config.stash_directory)


def pytest_unconfigure(config) -> None:
    """Remove it."""
    shutil.rmtree(config.stash_directory, ignore_errors=True)
