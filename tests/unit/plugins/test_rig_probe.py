import json

import pytest
from ansible.module_utils import basic

from rigdeploy.node.observation import Observation
from tests.unit.plugins.conftest import PLUGINS, load

rig_probe = load("modules", "rig_probe")


def test_runs_the_source_that_it_is_given(run):
    result = run(rig_probe, source='print(\'{"schema": 1, "sum": %d}\' % (40 + 2))')
    assert result["observation"] == {"schema": 1, "sum": 42}
    assert result["changed"] is False


def test_the_real_probe_comes_back_readable(run):
    source = PLUGINS.parent.joinpath("node/probe.py").read_text()
    document = run(rig_probe, source=source)["observation"]
    assert Observation.parse(document).host.boot_id


@pytest.mark.parametrize(
    ("output", "said"),
    [((3, "", "no such thing"), "ended with 3: no such thing"), ((0, "hello", ""), "no JSON document")],
)
def test_a_probe_that_fails_fails_the_task(run, monkeypatch, output, said):
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, cmd, **_: output)
    result = run(rig_probe, source="")
    assert result["failed"] is True
    assert said in result["msg"]


def test_braces_from_a_node_stay_text(run):
    document = {"schema": 1, "host": {"hostname": "{{ 7 * 7 }}"}}
    assert run(rig_probe, source=f"print({json.dumps(json.dumps(document))})")["observation"] == document
