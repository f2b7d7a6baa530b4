"""The lab's index of Python packages: uv itself, and simulated PyTorch, DeepSpeed and LLaMA-Factory.

A directory per project with its wheels and the page that installers read (PEP 503). uv is the real one, of the version
that the role ``frameworks`` pins, from wherever this host's pip gets its packages.
"""

from __future__ import annotations

import base64
import hashlib
import html
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rigdeploy.content import content_dir
from rigdeploy.errors import LabError
from rigdeploy.lab import root
from rigdeploy.lab.processes import run

PYTORCH = Path(__file__).parent / "simulated" / "pytorch.py"
_NEVER_CHANGES = (2026, 1, 1, 0, 0, 0)
_COMMAND = """\
def main():
    print("{name} of a rigdeploy twin (simulated)")
"""


@dataclass(frozen=True)
class Wheel:
    """A package of pure Python: ``name`` is also its module's, ``source`` its only file, ``script`` its command."""

    name: str
    version: str
    source: str
    requires: tuple[str, ...] = ()
    script: str = ""

    @property
    def file_name(self) -> str:
        """The wheel's own name (PEP 427)."""
        return f"{self.name}-{self.version}-py3-none-any.whl"

    def files(self) -> Iterator[tuple[str, str]]:
        """What is in it, but for the list of what is in it."""
        info = f"{self.name}-{self.version}.dist-info"
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in self.requires)
        about = f"Name: {self.name}\nVersion: {self.version}\nSummary: Simulated by rigdeploy's lab\n"
        yield f"{self.name}/__init__.py", self.source
        yield f"{info}/METADATA", f"Metadata-Version: 2.1\n{about}Requires-Python: >=3.9\n{needs}"
        yield f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: rigdeploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        if self.script:
            yield f"{info}/entry_points.txt", f"[console_scripts]\n{self.script} = {self.name}:main\n"

    def write(self, directory: Path) -> None:
        """Write the wheel; the same content makes the same file."""
        record = []
        with zipfile.ZipFile(directory / self.file_name, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in self.files():
                data = text.encode()
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                record.append(f"{name},sha256={digest},{len(data)}\n")
                archive.writestr(zipfile.ZipInfo(name, _NEVER_CHANGES), data)
            listed = f"{self.name}-{self.version}.dist-info/RECORD"
            archive.writestr(zipfile.ZipInfo(listed, _NEVER_CHANGES), "".join([*record, f"{listed},,\n"]))


@dataclass(frozen=True)
class Uv:
    """The uv that the role installs: its version, and the SHA-256 sums that its wheels may have."""

    version: str
    sums: tuple[str, ...]

    @classmethod
    def pinned(cls) -> Uv:
        """As the role's defaults say."""
        import yaml  # late: only a lab that has no index yet reads this

        defaults = yaml.safe_load((content_dir() / "roles/frameworks/defaults/main.yml").read_text())
        return cls(defaults["frameworks_uv_version"], tuple(defaults["frameworks_uv_sha256"].values()))

    @property
    def requirement(self) -> str:
        """A line for pip, which checks the sums."""
        return " ".join([f"uv=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.sums)])


def wheels() -> list[Wheel]:
    """Every simulated wheel."""
    source = PYTORCH.read_text()
    builds = ("2.8.0+cu128", "2.9.0+cu128", "2.9.1+cu128", "2.13.0+cpu", "2.14.0+cu126", "2.15.0+cu132")
    torch = [Wheel("torch", build, source) for build in builds]
    deepspeed, factory = "0.19.8", "0.9.5"
    return [
        *torch,
        Wheel("deepspeed", deepspeed, _module("deepspeed", deepspeed), ("torch",), "deepspeed"),
        Wheel("llamafactory", factory, _module("llamafactory", factory), ("torch>=2.4",), "llamafactory-cli"),
    ]


def _module(name: str, version: str) -> str:
    return f'"""{name} (simulated)."""\n__version__ = "{version}"\n\n\n' + _COMMAND.format(name=name)


def ensure_index(say: Callable[[str], None]) -> Path:
    """The cached index; built when absent."""
    uv = Uv.pinned()
    recipe = "\n".join([Path(__file__).read_text(), PYTORCH.read_text(), uv.requirement])

    def build(directory: Path) -> None:
        say("building the index of Python packages")
        for wheel in wheels():
            project = directory / wheel.name
            project.mkdir(exist_ok=True)
            wheel.write(project)
        fetch(uv, directory / "uv")
        publish(directory)

    return root.ensure("pypi", recipe, build)


def fetch(uv: Uv, directory: Path) -> None:
    """Have pip download uv's wheel for this machine; LabError when it has no way to it."""
    directory.mkdir()
    with tempfile.NamedTemporaryFile("w", prefix="rigdeploy-uv-", suffix=".txt") as wanted:
        wanted.write(uv.requirement + "\n")
        wanted.flush()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        try:
            run([*pip, "--only-binary", ":all:", "--require-hashes", "--dest", directory, "--requirement", wanted.name])
        except LabError as error:
            raise LabError(error.message, f"the lab needs uv {uv.version}, and this host's pip to get it") from error


def publish(directory: Path) -> None:
    """Write the page of each project: links to its wheels with their sums."""
    for project in directory.iterdir():
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(project.glob("*.whl"))}
        (project / "index.html").write_text(page(project.name, sums))


def page(project: str, sums: Mapping[str, str]) -> str:
    """A project's page (PEP 503)."""
    links = "".join(
        f'<a href="{urllib.parse.quote(name)}#sha256={digest}">{html.escape(name)}</a><br>\n'
        for name, digest in sums.items()
    )
    return f"<!DOCTYPE html>\n<html><head><title>{html.escape(project)}</title></head><body>\n{links}</body></html>\n"
