"""Looks for a secret in whatever form it may have been left behind."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus


def forms(secret: str) -> set[bytes]:
    """The secret as text, and as JSON, a URL, hexadecimal digits and Base64, at any place in what was encoded."""
    raw = secret.encode()
    texts = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    texts |= {raw.hex(), raw.hex(" "), " ".join(f"0x{byte:02x}" for byte in raw)}
    return {text.encode() for text in texts} | set(_base64(raw))


def _base64(raw: bytes) -> Iterator[bytes]:
    """What is the same whatever stands before and behind: three octets are four characters."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        yield encoded[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]


def shown(secret: str, *texts: str | bytes) -> list[bytes]:
    """The forms of the secret that the texts show."""
    whole = b"\n".join(text.encode() if isinstance(text, str) else text for text in texts)
    return [form for form in forms(secret) if form in whole]


def files_with(secret: str, directory: Path) -> set[Path]:
    """The files below the directory that hold the secret, or have it in their name."""
    known = forms(secret)
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path for path in files if any(form in path.read_bytes() + str(path).encode() for form in known)}


class ProcessWatch(threading.Thread):
    """Reads the argument list and the environment of every process over and over; ``seen`` keeps them all."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self.seen: set[bytes] = set()

    def __enter__(self) -> ProcessWatch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.1):
            for directory in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        self.seen.add((directory / name).read_bytes())
                    except OSError:
                        continue
