"""The reference of checks names every check and every cause that the rules can give."""

from __future__ import annotations

import re
from pathlib import Path

import rigdeploy.verify

REFERENCE = Path(__file__).parents[3] / "docs/reference/checks.md"
SOURCES = sorted(Path(rigdeploy.verify.__file__).parent.glob("*.py"))
CHECK = re.compile(r'"((?:gpu|link|memory|load|driver|host|disk)\.[a-z_0-9]+)"')


def test_every_check_is_described():
    checks = {name for source in SOURCES for name in CHECK.findall(source.read_text())}
    described = set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", REFERENCE.read_text()))
    assert checks, "the rules name their checks otherwise now: mend this test"
    assert checks <= described, checks - described


def test_every_cause_comes_from_a_rule():
    text = "".join(source.read_text() for source in [*SOURCES, *SOURCES[0].parents[1].joinpath("run").glob("*.py")])
    causes = set(re.findall(r"`([a-z]+(?:-[a-z0-9]+)+)`", REFERENCE.read_text()))
    assert len(causes) > 30
    assert not [cause for cause in sorted(causes) if f'"{cause}"' not in text]
