"""A simulated package as data, and how it becomes a file."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rigdeploy.lab.processes import run

_LONG = "Made by rigdeploy's lab for its virtual rigs. It holds nothing of NVIDIA's."


@dataclass(frozen=True)
class Package:
    """One package: control fields, files by path (text or a path to copy), links, maintainer scripts by name."""

    name: str
    version: str
    summary: str
    depends: str = ""
    conflicts: str = ""
    breaks: str = ""
    replaces: str = ""
    files: dict[str, str | Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    executables: tuple[str, ...] = ()
    scripts: dict[str, str] = field(default_factory=dict)


def control(package: Package, architecture: str) -> str:
    """The package's control file."""
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": architecture,
        "Maintainer": "rigdeploy lab <root@localhost>",
        "Depends": package.depends,
        "Conflicts": package.conflicts,
        "Breaks": package.breaks,
        "Replaces": package.replaces,
        "Section": "contrib/kernel",
        "Priority": "optional",
        "Description": f"{package.summary} (simulated)\n {_LONG}",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def build(package: Package, architecture: str, directory: Path) -> None:
    """Write the package's file into ``directory``; LabError when dpkg-deb refuses it."""
    with tempfile.TemporaryDirectory(prefix="rigdeploy-deb-") as name:
        tree = Path(name)
        tree.chmod(0o755)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(control(package, architecture))
        configuration = [f"/{path}\n" for path in package.files if path.startswith("etc/")]
        if configuration:
            (tree / "DEBIAN/conffiles").write_text("".join(configuration))
        for script, text in package.scripts.items():
            path = tree / "DEBIAN" / script
            path.write_text(text)
            path.chmod(0o755)
        for relative, content in package.files.items():
            path = tree / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_text(content)
            path.chmod(0o755 if relative in package.executables else 0o644)
        for relative, target in package.links.items():
            (tree / relative).parent.mkdir(parents=True, exist_ok=True)
            (tree / relative).symlink_to(target)
        archive = directory / f"{package.name}_{package.version}_{architecture}.deb"
        # Uncompressed: they are small, there are many, and they are read over a loop of wire.
        run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, archive])
