"""The simulated container toolkit: the specification of the cards, and what it makes of other people's files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from rigdeploy.lab import simulated

CARDS = [("0", "GPU-aaaa"), ("1", "GPU-bbbb")]


@pytest.fixture
def toolkit(monkeypatch):
    place = Path(simulated.__file__).with_name("nvidia_container_toolkit.py")
    spec = importlib.util.spec_from_file_location("nvidia_container_toolkit", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "cards", lambda: CARDS)
    monkeypatch.setattr(module, "libraries", lambda: ["/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"])
    return module


@pytest.mark.parametrize("name", ["nvidia.yaml", "nvidia.json"])
def test_every_card_is_there_by_index_and_uuid_and_all_together(toolkit, tmp_path, name, capsys):
    output = tmp_path / "cdi" / name
    assert toolkit.ctk(["cdi", "generate", f"--output={output}"]) == 0
    spec = yaml.safe_load(output.read_text())
    nodes = {
        device["name"]: [node["path"] for node in device["containerEdits"]["deviceNodes"]] for device in spec["devices"]
    }
    assert (spec["kind"], spec["cdiVersion"]) == ("nvidia.com/gpu", "0.5.0")
    assert nodes == {
        "0": ["/dev/nvidia0"], "GPU-aaaa": ["/dev/nvidia0"], "1": ["/dev/nvidia1"], "GPU-bbbb": ["/dev/nvidia1"],
        "all": ["/dev/nvidia0", "/dev/nvidia1"],
    }  # fmt: skip
    edits = spec["containerEdits"]
    assert "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05" in [mount["hostPath"] for mount in edits["mounts"]]
    assert [hook["args"][1] for hook in edits["hooks"]] == ["create-symlinks", "update-ldcache"]
    toolkit.ctk(["cdi", "list", f"--spec-dir={output.parent}"])
    assert capsys.readouterr().out.split() == sorted(f"nvidia.com/gpu={device}" for device in nodes)


def test_without_a_driver_there_is_no_specification(toolkit, monkeypatch, capsys):
    def no_driver():
        raise toolkit.ToolError("ERROR_DRIVER_NOT_LOADED")

    monkeypatch.setattr(toolkit, "cards", no_driver)
    monkeypatch.setattr(toolkit.sys, "argv", ["nvidia-ctk", "cdi", "generate"])
    assert toolkit.main() == 1
    assert "failed to initialize NVML: ERROR_DRIVER_NOT_LOADED" in capsys.readouterr().err


def test_daemon_json_is_rewritten_and_loses_other_features(toolkit, tmp_path):
    config = tmp_path / "daemon.json"
    config.write_text('{"log-level": "warn", "features": {"buildkit": true}, "runtimes": {"kata": {"path": "kata"}}}')
    toolkit.ctk(["runtime", "configure", "--runtime=docker", f"--config={config}", "--cdi.enabled"])
    assert json.loads(config.read_text()) == {
        "log-level": "warn",
        "features": {"cdi": True},
        "runtimes": {"kata": {"path": "kata"}, "nvidia": {"args": [], "path": "nvidia-container-runtime"}},
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("void", []), ("", []), ("1", ["/dev/nvidia1"]), ("GPU-aaaa", ["/dev/nvidia0"]),
     ("all", ["/dev/nvidia0", "/dev/nvidia1"])],
)  # fmt: skip
def test_a_container_gets_the_cards_that_it_asks_for(toolkit, tmp_path, monkeypatch, wanted, expected):
    config = tmp_path / "config.json"
    spec = {"process": {"env": [f"NVIDIA_VISIBLE_DEVICES={wanted}"]}, "linux": {}}
    config.write_text(json.dumps(spec))
    monkeypatch.setattr(toolkit, "device_number", lambda path: {"type": "c", "major": 1, "minor": 3})
    toolkit.add_cards(str(config))
    assert [node["path"] for node in json.loads(config.read_text())["linux"].get("devices", [])] == expected
