"""Where the playbooks and roles are: inside the installed package, or around it in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

import rigdeploy
from rigdeploy.errors import UsageError

PLUGINS = Path(rigdeploy.__file__).parent / "plugins"
"""Ansible's entry points: inventory, action and modules."""


def content_dir() -> Path:
    """The directory that holds ``playbooks`` and ``roles``; UsageError when the installation has lost them.

    A wheel carries them in ``_content``; an editable install finds them beside the package. Tests name
    another place with RIGDEPLOY_CONTENT.
    """
    package = Path(rigdeploy.__file__).parent
    named = os.environ.get("RIGDEPLOY_CONTENT")
    candidates = [Path(named)] if named else [package / "_content", package.parent]
    for candidate in candidates:
        if (candidate / "playbooks").is_dir():
            return candidate
    raise UsageError(f"the playbooks are missing from {candidates[0]}", "install rigdeploy again")
