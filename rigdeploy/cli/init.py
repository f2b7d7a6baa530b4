"""``rigdeploy init``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
def command(directory: Path) -> None:
    """Start a fleet: an example declaration to make your own, in DIRECTORY (default: here).

    Nothing that is there already is overwritten.

    \b
    Example:
      rigdeploy init my-rigs && cd my-rigs
      $EDITOR inventory/fleet.yml
      rigdeploy check
    """
    from rigdeploy.content import PLUGINS, content_dir
    from rigdeploy.fleet.starter import start

    content = content_dir()
    for path in start(directory, content, PLUGINS):
        click.echo(f"wrote {path}")
    click.echo("next: put your rigs into inventory/fleet.yml, then run 'rigdeploy check'")
    click.echo(f"plain Ansible works too: ansible-playbook {content / 'playbooks' / 'site.yml'}")
