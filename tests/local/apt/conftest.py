"""apt, for real, in a root of its own: it reads the vendors' archives as the roles' sources name them, and decides.

Nothing is installed: what apt says it would do is written into its record of what is there, and the next question
starts from that.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from rigdeploy.content import content_dir
from tests.local.apt import archives
from tests.local.apt.archives import Package

ROLE = content_dir() / "roles/package_source"
Publish = Callable[[str, str, list[Package]], Path]

_DONE = re.compile(r"^(Inst|Remv) (\S+)(?: \[(\S+)\])?(?: \((\S+) )?")


class RefusedError(Exception):
    """What apt says when it cannot."""


@dataclass
class Apt:
    """A node's apt. ``offered`` is every package of its archives; ``installed`` is version by name."""

    root: Path
    key: Path
    offered: dict[tuple[str, str], Package] = field(default_factory=dict)
    installed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for directory in ("etc/apt/preferences.d", "etc/apt/sources.list.d", "var/lib/apt/lists/partial"):
            (self.root / directory).mkdir(parents=True)
        (self.root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (self.root / "var/lib/dpkg").mkdir()
        (self.root / "etc/apt/apt.conf.d").mkdir()
        settings = {
            "Dir": self.root,
            "Dir::State::status": self.root / "var/lib/dpkg/status",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
            "quiet": "2",
        }
        lines = [f'{name} "{value}";\n' for name, value in settings.items()]
        (self.root / "apt.conf").write_text("".join(lines) + 'APT::Architectures { "amd64"; };\n')
        self._write_status()

    def add_source(self, name: str, url: str, packages: Iterable[Package]) -> None:
        """Add a source with the file that role ``package_source`` writes."""
        variables = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
        variables |= {"package_source_url": url, "_package_source_keyring": self.key}
        template = Environment(trim_blocks=True, autoescape=False).from_string(  # apt's format is no HTML
            (ROLE / "templates/source.sources.j2").read_text()
        )
        (self.root / f"etc/apt/sources.list.d/rigdeploy-{name}.sources").write_text(template.render(variables))
        self.offered |= {(one.name, one.version): one for one in packages}

    def update(self) -> None:
        """Read the lists, which are signed."""
        self._run("update")

    def start_over(self, installed: dict[str, str]) -> None:
        """Forget what was installed and preferred."""
        for path in (self.root / "etc/apt/preferences.d").iterdir():
            path.unlink()
        self.installed = dict(installed)
        self._write_status()

    def prefer(self, name: str, text: str) -> None:
        """Write a preferences file."""
        (self.root / "etc/apt/preferences.d" / name).write_text(text)

    def ask(self, *words: str) -> str:
        """What apt says it would do for a request, as the roles make it: without recommended packages."""
        return self._run("install", "--simulate", "--allow-downgrades", *words)

    def install(self, *words: str) -> None:
        """Do it."""
        self.apply(self.ask(*words))

    def remove(self, names: Iterable[str]) -> None:
        """Remove packages, and what depends on them."""
        self.apply(self._run("remove", "--simulate", *names))

    def upgrade(self) -> None:
        """What unattended upgrades and people do."""
        self.apply(self._run("dist-upgrade", "--simulate"))

    def apply(self, said: str) -> None:
        """Take it that what apt says was done."""
        for verb, name, _, version in (match.groups() for match in map(_DONE.match, said.splitlines()) if match):
            self.installed.pop(name, None)
            if verb == "Inst":
                self.installed[name] = version
        self._write_status()
        self._write_pins()

    def _write_status(self) -> None:
        system = Package("system", "1").stanza(installed=True)
        stanzas = (self.offered[one].stanza(installed=True) for one in self.installed.items())
        (self.root / "var/lib/dpkg/status").write_text(system + "".join(stanzas))

    def _write_pins(self) -> None:
        """What the pinning package brings is there as long as the package is."""
        pins = [name.removeprefix("nvidia-driver-pinning-") for name in self.installed if "-pinning-" in name]
        path = self.root / "etc/apt/preferences.d/nvidia-driver-pinning"
        path.unlink(missing_ok=True)
        if pins:
            path.write_text("\n".join(archives.PIN.format(branch=pin) for pin in pins))

    def _run(self, *argv: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        done = subprocess.run(["apt-get", *argv], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RefusedError(done.stdout + done.stderr)
        return done.stdout


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Publish]]:
    """A key, and a function that publishes packages in a repository signed with it (once per name)."""
    base = tmp_path_factory.mktemp("archives")
    home = base / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "archives of a test", "ed25519", "sign", "never"], check=True)
    key = base / "key.asc"
    subprocess.run([*gpg, "--armor", "--output", str(key), "--export"], check=True)

    def publish(name: str, origin: str, packages: list[Package]) -> Path:
        directory = base / name
        if not directory.exists():
            archives.publish(directory, origin, packages)
            files = ["--output", str(directory / "InRelease"), str(directory / "Release")]
            subprocess.run([*gpg, "--clearsign", *files], check=True)
        return directory

    yield key, publish
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
