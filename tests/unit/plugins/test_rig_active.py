import json

import pytest
from ansible.module_utils import basic

from rigdeploy.node.load import Load
from tests.unit.plugins.conftest import PLUGINS, load

rig_active = load("modules", "rig_active")
SETTINGS = {"memory_share": 0.1, "seconds": 5}
SHOWS_ITS_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.mark.parametrize("force", [False, True])
def test_runs_the_source_with_the_arguments(run, force):
    result = run(rig_active, source=SHOWS_ITS_ARGUMENTS, force=force, **SETTINGS)
    assert result["load"] == ["--memory-share", "0.1", "--seconds", "5", *(["--force"] if force else [])]
    assert result["changed"] is False


def test_the_real_check_comes_back_readable(run):
    source = PLUGINS.parent.joinpath("node/active.py").read_text()
    assert Load.parse(run(rig_active, source=source, **SETTINGS)["load"]).boot_id


@pytest.mark.parametrize(
    ("output", "said"),
    [((3, "", "no such thing"), "ended with 3: no such thing"), ((0, "hello", ""), "no JSON document")],
)
def test_a_check_that_fails_fails_the_task(run, monkeypatch, output, said):
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, cmd, **_: output)
    result = run(rig_active, source="", **SETTINGS)
    assert result["failed"] is True
    assert said in result["msg"]


def test_check_mode_loads_nothing(run, monkeypatch):
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda *_, **__: pytest.fail("it ran"))
    assert run(rig_active, source=SHOWS_ITS_ARGUMENTS, _ansible_check_mode=True, **SETTINGS)["skipped"]


def test_braces_from_a_node_stay_text(run):
    document = {"schema": 1, "unread": [{"what": "{{ 7 * 7 }}", "why": ""}]}
    assert run(rig_active, source=f"print({json.dumps(json.dumps(document))})", **SETTINGS)["load"] == document
