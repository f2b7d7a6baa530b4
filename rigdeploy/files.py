"""Files that another process may read at any moment."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int | None = None, durable: bool = False) -> None:
    """Write a file so that it is seen whole or not at all; ``mode`` None leaves the permissions to the umask.

    A symbolic link stays one: what it points to is replaced. What is ``durable`` outlives a power cut from here on.
    Raises OSError, and then leaves nothing behind.
    """
    target = path.resolve()
    # A leading dot and a suffix of ours: no collector that reads a directory of reports takes it for one.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o666 & ~_umask() if mode is None else mode)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _keep_name(target.parent)


def _keep_name(directory: Path) -> None:
    """Write the directory's entries out, so that the new file is found under its name; some file systems cannot."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process' umask, which can only be read by setting it (umask(2))."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
