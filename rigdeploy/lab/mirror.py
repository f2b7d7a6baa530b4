"""The lab's package mirror: two signed repositories over HTTP in the hub, ``/debian`` and ``/nvidia``.

``python -m rigdeploy.lab.mirror DEBIAN_DIR NVIDIA_DIR`` serves them.
"""

from __future__ import annotations

import sys
import urllib.parse
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rigdeploy.lab import processes
from rigdeploy.lab.twins import HUB_ADDRESS, MIRROR_PORT, Lab


def start(lab: Lab, debian: Path, nvidia: Path) -> None:
    """Start the mirror unless it runs with these very directories."""
    group, served = lab.group / "mirror", lab.directory / "mirror.served"
    wanted = f"{debian}\n{nvidia}\n"
    if processes.alive(group) and served.is_file() and served.read_text() == wanted:
        return
    processes.kill(group)
    argv: list[str | Path] = [sys.executable, "-m", "rigdeploy.lab.mirror", debian, nvidia]
    processes.spawn(argv, group=group, log=lab.directory / "mirror.log", netns=lab.netns)
    served.write_text(wanted)


class Handler(SimpleHTTPRequestHandler):
    """Serves files of the two repositories, and nothing else."""

    protocol_version = "HTTP/1.1"
    directories: dict[str, Path] = {}  # noqa: RUF012 - set once, before the server starts

    def translate_path(self, path: str) -> str:
        """The file of ``/debian/NAME`` or ``/nvidia/NAME``; repositories are flat, so a name has no slash."""
        parts = [part for part in urllib.parse.unquote(path.partition("?")[0]).split("/") if part not in ("", ".")]
        if len(parts) != 2 or parts[0] not in self.directories or parts[1] == "..":  # noqa: PLR2004 - repository and name
            return "/nonexistent"
        return str(self.directories[parts[0]] / parts[1])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's signature
        """Say nothing: the log would only grow."""


def main(debian: str, nvidia: str) -> None:
    """Serve until killed."""
    Handler.directories = {"debian": Path(debian), "nvidia": Path(nvidia)}
    ThreadingHTTPServer((HUB_ADDRESS, MIRROR_PORT), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
