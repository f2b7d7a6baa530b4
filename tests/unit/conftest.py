"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rigdeploy.cli.main import run


@pytest.fixture
def rigdeploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run ``rigdeploy`` in an empty directory; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for name in ("RIGDEPLOY_INVENTORY", "RIGDEPLOY_STATE", "RIGDEPLOY_LAB"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["rigdeploy", *words])
        code = run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
