"""``rigdeploy power --help`` says of each verb what the verb says of itself, and loads none of them."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from rigdeploy.cli.power import command
from rigdeploy.cli.power.group import _SUBCOMMANDS


@pytest.mark.parametrize("name", _SUBCOMMANDS)
def test_the_table_has_the_verbs_own_words(name: str) -> None:
    found = command.get_command(click.Context(command), name)
    assert found is not None
    assert found.name == name
    assert _SUBCOMMANDS[name][1] == found.get_short_help_str(limit=1000)


def test_an_unknown_verb_is_none() -> None:
    assert command.get_command(click.Context(command), "change") is None


def test_help_loads_no_verb() -> None:
    program = (
        "import sys; from rigdeploy.cli import main; main.run(); "
        "sys.exit('rigdeploy.cli.power.status' in sys.modules or 'rigdeploy.power' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "power", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in _SUBCOMMANDS)
