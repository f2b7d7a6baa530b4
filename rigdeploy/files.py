"""Files that another process may read at any moment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file so that it is seen whole or not at all; ``mode`` None leaves the permissions to the umask.

    A symbolic link stays one: what it points to is replaced. Raises OSError, and then leaves nothing behind.
    """
    target = path.resolve()
    # A leading dot and a suffix of ours: no collector that reads a directory of reports takes it for one.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o666 & ~_umask() if mode is None else mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process' umask, which can only be read by setting it (umask(2))."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
