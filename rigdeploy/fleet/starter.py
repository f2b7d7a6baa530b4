"""A fleet to start from: the example, and an ansible.cfg that finds our roles and plugins."""

from __future__ import annotations

import shutil
from pathlib import Path

from rigdeploy.errors import UsageError

ANSIBLE_CFG = """\
# For plain ansible-playbook and ansible-inventory here; rigdeploy itself sets what it needs.
[defaults]
inventory = inventory
roles_path = {content}roles
library = {plugins}modules
action_plugins = {plugins}action
inventory_plugins = {plugins}inventory
forks = 50
host_key_checking = True
interpreter_python = auto_silent
retry_files_enabled = False

[inventory]
enable_plugins = rigdeploy, yaml, ini
# What a fleet keeps beside fleet.yml and is no inventory source.
ignore_patterns = ^(builds|boards|gpus|secrets)$, \\.asc$
any_unparsed_is_failed = True

[ssh_connection]
pipelining = True
"""
"""``content`` and ``plugins`` are directories, with the slash at their end."""

IGNORED = ".rigdeploy/"


def start(directory: Path, content: Path, plugins: Path) -> list[Path]:
    """Write a new fleet below ``directory`` and return the files; UsageError, with nothing written, if one is there."""
    example = content / "inventory"
    copies = {
        directory / "inventory" / path.relative_to(example): path
        for path in [example / "fleet.yml", *sorted((example / "builds").glob("*.yml"))]
    }
    config = directory / "ansible.cfg"
    if there := [path for path in [*copies, config] if path.exists()]:
        raise UsageError(f"{there[0]} is there already", "nothing was written; name an empty directory")
    try:
        for target, source in copies.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        config.write_text(ANSIBLE_CFG.format(content=f"{content}/", plugins=f"{plugins}/"))
        ignore = _ignore(directory / ".gitignore")
    except OSError as error:
        raise UsageError(f"{error.filename or directory} cannot be written: {error.strerror}") from None
    return [*copies, config, ignore]


def _ignore(path: Path) -> Path:
    """Keep the state directory out of git."""
    before = path.read_text() if path.exists() else ""
    if IGNORED not in before.splitlines():
        path.write_text(f"{before}{'' if not before or before.endswith(chr(10)) else chr(10)}{IGNORED}\n")
    return path
