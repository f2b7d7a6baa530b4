"""Loads Ansible's entry points by path, as Ansible does: they are no packages."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from importlib.resources import files
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

PLUGINS = files("rigdeploy").joinpath("plugins")


def load(kind: str, name: str) -> ModuleType:
    """A plugin as a Python module."""
    spec = importlib.util.spec_from_file_location(f"{kind}_{name}", str(PLUGINS.joinpath(kind, f"{name}.py")))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Call a module's main() with arguments; returns what it printed, with ``rc``."""

    def call(module: ModuleType, **arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit) as end:
            module.main()
        return json.loads(capsys.readouterr().out) | {"rc": end.value.code}

    return call
