"""``rigdeploy schema``."""

from __future__ import annotations

import click

from rigdeploy.cli.common import echo_json


@click.command()
@click.argument("what", type=click.Choice(["fleet", "build", "board", "gpu", "findings"]))
def command(what: str) -> None:
    """Print the JSON Schema of a file: fleet.yml, one in builds/, boards/ or gpus/, or the findings of 'verify --json'.

    An editor with the YAML language server then completes and checks as you type.

    \b
    Example:
      rigdeploy schema fleet > fleet.schema.json
      # first line of inventory/fleet.yml:
      # yaml-language-server: $schema=../fleet.schema.json
    """
    if what == "findings":
        from rigdeploy.report.schema import findings_schema

        echo_json(findings_schema())
        return
    from rigdeploy.fleet.schema import schema

    echo_json(schema(what))
