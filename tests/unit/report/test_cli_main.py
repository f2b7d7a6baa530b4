"""How the command line ends: whatever happens, with an exit code that means it, and without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rigdeploy.cli import main

ENTRY = [sys.executable, "-c", "from rigdeploy.cli.main import main; main()"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PermissionError(13, "Permission denied", "/x/ledger"), 5, "/x/ledger: Permission denied"),
        (KeyError("rig09"), 5, "rigdeploy itself failed: KeyError: 'rig09'"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_no_error_ends_in_a_traceback(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main.commands, "main", fail)
    assert main.run() == code
    assert words in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_warning() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*ENTRY, "schema", "fleet"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_behind_the_output_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*ENTRY, "schema", "fleet"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.splitlines() == ["error: [Errno 28] No space left on device"]
