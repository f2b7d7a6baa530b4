"""The reference of checks names every check and every cause that the rules can give."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import rigdeploy.verify

REFERENCE = Path(__file__).parents[3] / "docs/reference/checks.md"
SOURCES = sorted(Path(rigdeploy.verify.__file__).parent.glob("*.py"))
BESIDE = [SOURCES[0].parents[1] / "run/active.py", SOURCES[0].parents[1] / "power/audit.py"]
"""What is said of a load that could not be made, and of a BMC in itself, are findings too."""
CHECK = re.compile(r'"((?:gpu|link|memory|load|driver|host|disk|bmc)\.[a-z_0-9]+)"')


def test_every_check_is_described():
    checks = {name for source in [*SOURCES, *BESIDE] for name in CHECK.findall(source.read_text())}
    described = set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", REFERENCE.read_text()))
    assert checks, "the rules name their checks otherwise now: mend this test"
    assert checks <= described, checks - described


def test_the_causes_described_are_those_that_the_rules_give():
    """A cause of several words is known by its hyphens."""
    cause = re.compile("[a-z]+(-[a-z0-9]+)+")
    trees = [ast.parse(source.read_text()) for source in [*SOURCES, *BESIDE]]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    given = {text for text in texts if isinstance(text, str) and cause.fullmatch(text)}
    described = {text for text in re.findall("`([^`]+)`", REFERENCE.read_text()) if cause.fullmatch(text)}
    assert len(given) > 30
    assert given == described
