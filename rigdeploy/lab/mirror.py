"""The lab's package mirror: directories over HTTP in the hub, each under its name (``/debian``, ``/nvidia``, …).

``python -m rigdeploy.lab.mirror NAME=DIRECTORY...`` serves them.
"""

from __future__ import annotations

import sys
import urllib.parse
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rigdeploy.lab import processes
from rigdeploy.lab.twins import HUB_ADDRESS, MIRROR_PORT, Lab


def start(lab: Lab, directories: Mapping[str, Path]) -> None:
    """Start the mirror with these directories by name, unless it runs with these very ones."""
    group, served = lab.group / "mirror", lab.directory / "mirror.served"
    arguments = [f"{name}={directory}" for name, directory in directories.items()]
    wanted = "".join(f"{argument}\n" for argument in arguments)
    if processes.alive(group) and served.is_file() and served.read_text() == wanted:
        return
    processes.kill(group)
    argv: list[str | Path] = [sys.executable, "-m", "rigdeploy.lab.mirror", *arguments]
    processes.spawn(argv, group=group, log=lab.directory / "mirror.log", netns=lab.netns)
    served.write_text(wanted)


class Handler(SimpleHTTPRequestHandler):
    """Serves what lies in the directories, and nothing else."""

    protocol_version = "HTTP/1.1"
    directories: dict[str, Path] = {}  # noqa: RUF012 - set once, before the server starts

    def translate_path(self, path: str) -> str:
        """The file of ``/NAME/...`` below the directory of that name."""
        plain = urllib.parse.unquote(path.partition("?")[0].partition("#")[0])
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if not parts or parts[0] not in self.directories or ".." in parts:
            return "/nonexistent"
        found = str(self.directories[parts[0]].joinpath(*parts[1:]))
        return f"{found}/" if plain.endswith("/") else found

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's signature
        """Say nothing: the log would only grow."""


def main(*arguments: str) -> None:
    """Serve until killed."""
    Handler.directories = {name: Path(directory) for name, _, directory in (text.partition("=") for text in arguments)}
    ThreadingHTTPServer((HUB_ADDRESS, MIRROR_PORT), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
