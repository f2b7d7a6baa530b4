"""Where this host gets Debian's packages from: the lab takes its own from there, and knows no host of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rigdeploy.errors import LabError
from rigdeploy.lab.processes import run

RELEASE = "bookworm"
"""The twins run Debian 12."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_ARCHIVE_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_CARRIED = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::Retries")


@dataclass(frozen=True)
class Source:
    """One line of a sources.list: packages of ``suite`` at ``uri``, signed by ``signed_by`` (empty: apt's own keys)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def debian_sources(etc: Path = Path("/etc/apt"), codename: str | None = None, *, components: str = "main") -> list[str]:
    """The host's Debian sources as lines for the twins' release, with ``components``, which any mirror of main has.

    Only what Debian's own key signs counts; ``codename`` (default: this host's) is exchanged for the twins' release,
    so that another Debian release serves as well. LabError when the host has no such source.
    """
    codename = codename or _codename()
    lines = []
    for source in _read(etc):
        debian = not source.signed_by or Path(source.signed_by).name in _ARCHIVE_KEYRINGS
        if debian and "main" in source.components and source.suite.partition("-")[0] == codename:
            suite = RELEASE + source.suite.removeprefix(codename)
            lines.append(f"deb [signed-by={KEYRING}] {source.uri} {suite} {components}")
    if not any(line.split()[3] == RELEASE for line in lines):
        raise LabError(
            f"no Debian source found under {etc} (suite {codename}, component main, signed by Debian's archive key)",
            "the lab installs its twins from the host's own apt sources: give the host one for Debian",
        )
    return lines


def apt_settings() -> str:
    """The host's settings for getting packages (proxies, clocks), as lines of apt.conf."""
    lines = run(["apt-config", "dump"]).splitlines()
    return "\n".join(line for line in lines if line.startswith(_CARRIED)) + "\n"


def _codename() -> str:
    match = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    return match[1] if match else RELEASE


def _read(etc: Path) -> list[Source]:
    found: list[Source] = []
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if path.is_file():
            found += [source for line in path.read_text().splitlines() if (source := _one_line(line))]
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            found += _deb822(paragraph)
    return found


def _one_line(line: str) -> Source | None:
    match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>.+)", line.strip())
    if match is None:
        return None
    signed = re.search(r"signed-by=(\S+)", match["options"] or "")
    components = tuple(match["rest"].partition("#")[0].split())
    return Source(match["uri"], match["suite"], components, signed[1] if signed else "")


def _deb822(paragraph: str) -> list[Source]:
    fields: dict[str, str] = {}
    for line in paragraph.splitlines():
        if re.match(r"[A-Za-z-]+:", line):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
        return []
    components = tuple(fields.get("components", "").split())
    signed = fields.get("signed-by", "")
    return [Source(u, s, components, signed) for u in fields["uris"].split() for s in fields["suites"].split()]
