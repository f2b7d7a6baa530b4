"""What the actions for CUDA and for limits make of a node's answers."""

from __future__ import annotations

import pytest

from tests.unit.plugins.conftest import load


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"packages": [{"name": "cuda-toolkit-13-0", "version": "13.0.2-1"}]}', ["cuda-toolkit-13-0"]),
        ("", []),
        ("[]", []),
        ('{"packages": null}', []),
        ('{"packages": ["x"]}', []),
        ("{", []),
    ],
)
def test_a_record_names_packages_or_nothing(text, names):
    assert load("action", "rig_cuda_install").recorded_packages(text) == names


@pytest.mark.parametrize(
    ("text", "clocks"),
    [("GPU-a, 2100\nGPU-b, [N/A]\n", {"GPU-a": 2100}), ("No devices were found\n", {}), ("", {})],
)
def test_clocks_are_read_where_the_card_has_them(text, clocks):
    assert load("action", "rig_tuning").read_clocks(text) == clocks
