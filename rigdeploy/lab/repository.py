"""A signed apt repository in one flat directory, as NVIDIA's own is."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from rigdeploy.errors import LabError
from rigdeploy.lab.processes import run

KEY = "key.asc"
"""The public key's file name, beside the packages."""


def publish(directory: Path, label: str) -> None:
    """Index and sign every package in ``directory``.

    The key is made for this repository and its secret half is thrown away: nobody can sign anything else with it.
    """
    index = _in(directory, "dpkg-scanpackages", "--multiversion", ".")
    (directory / "Packages").write_text(index)
    options = [f"-oAPT::FTPArchive::Release::{name}={label}" for name in ("Origin", "Label", "Suite")]
    (directory / "Release").unlink(missing_ok=True)
    release = _in(directory, "apt-ftparchive", *options, "release", ".")
    (directory / "Release").write_text(release)
    with tempfile.TemporaryDirectory(prefix="rigdeploy-key-") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        try:
            run([*gpg, "--quick-generate-key", f"{label} (rigdeploy lab)", "ed25519", "sign", "never"])
            run([*gpg, "--yes", "--clearsign", "--output", directory / "InRelease", directory / "Release"])
            (directory / KEY).write_text(run([*gpg, "--armor", "--export"]))
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"])


def _in(directory: Path, *argv: str) -> str:
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]} failed on {directory}: {done.stderr.strip()}")
    return done.stdout
