"""Every state a rig can be in: which phases it needs, and why."""

from __future__ import annotations

import json

import pytest

from rigdeploy.errors import (
    HostKeyChangedError,
    NodeError,
    PowerAuthenticationError,
    PowerUnreachableError,
    UnreachableError,
)
from rigdeploy.fleet.models import Build, Rig
from rigdeploy.fleet.secrets import Secret
from rigdeploy.node.bmc_reading import BmcSettings
from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.plan.plan import NodePlan, NodeView, make_plan
from rigdeploy.plan.render import render_plan
from rigdeploy.power.base import Door, PowerState, RestorePolicy

EXPECTED = {"base": "b" * 64, "nvidia_driver": "d" * 64}
BUILD = Build.model_validate(
    {
        "name": "small",
        "board": "some-board",
        "slots": {"PCIE1": {"gpu": "rtx-3090", "link": "4.0 x16"}},
        "vram_gib": 24,
    }
)
IPMI = {"driver": "ipmi", "address": "192.0.2.111", "username": "admin", "password": {"env": "PASSWORD"}}


def rig(**settings):
    data = {"name": "rig01", "address": "192.0.2.11", "build": BUILD, "power": IPMI, "gpu_stack": {"driver": "580"}}
    return Rig.model_validate(data | settings)


def record(role, *, inputs=None, drift=()):
    return {"inputs": inputs or EXPECTED[role], "recorded": "2026-01-01T00:00:00Z", "drift": list(drift)}


def seen(
    *,
    base=True,
    driver=True,
    loaded=True,
    version="580.95.05",
    nouveau=False,
    managed=None,
    unread=(),
    answers=None,
    boot="0f",
):
    records = {}
    if base:
        records["base"] = record("base")
    if driver:
        records["nvidia_driver"] = record("nvidia_driver")
    return Observation.parse(
        {
            "schema": 1,
            "host": {"boot_id": boot},
            "driver": {
                "loaded": loaded,
                "version": version if loaded else None,
                "nouveau": nouveau,
                "answers": answers,
            },
            "managed": records | (managed or {}),
            "unread": list(unread),
        }
    )


def plan_of(view, **options) -> NodePlan:
    return make_plan([view], **options).nodes[0]


def needed(node: NodePlan):
    """Whether each phase is needed; of the two that this fleet declares nothing for, only when they are."""
    undeclared = ("containers", "serve")
    return {step.phase: step.needed for step in node.steps if step.needed or step.phase not in undeclared}


def view(observation=None, *, declared=None, **fields):
    return NodeView(declared or rig(), observation=observation, expected=EXPECTED, **fields)


def test_a_rig_that_is_right_needs_only_its_verdict():
    node = plan_of(view(seen()))
    assert needed(node) == {
        "power": False,
        "connect": False,
        "bmc": False,
        "base": False,
        "driver": False,
        "verify": True,
    }
    assert node.changes_nothing
    assert not node.reboots
    assert render_plan(make_plan([view(seen())])) == ["rig01: nothing has to change"]


def test_a_rig_seen_for_the_first_time_gets_every_role():
    node = plan_of(view(seen(base=False, driver=False, loaded=False)))
    assert needed(node) == {
        "power": False,
        "connect": False,
        "bmc": False,
        "base": True,
        "driver": True,
        "verify": True,
    }
    assert node.step("base").why == "never applied"
    assert node.step("driver").why == "never applied; the driver is not loaded"
    assert not node.reboots


def test_a_changed_declaration_runs_only_its_own_role():
    observation = seen(managed={"base": record("base", inputs="0" * 64)})
    node = plan_of(view(observation))
    assert needed(node) == {
        "power": False,
        "connect": False,
        "bmc": False,
        "base": True,
        "driver": False,
        "verify": True,
    }
    assert node.step("base").why == "what is declared changed since it was applied (2026-01-01T00:00:00Z)"


def test_drift_names_the_first_items_and_counts_the_rest():
    drift = [{"kind": "package", "name": f"package{number}", "expected": "1", "found": "absent"} for number in range(5)]
    why = plan_of(view(seen(managed={"base": record("base", drift=drift)}))).step("base").why
    assert why.startswith("drifted: package package0 (absent, applied was 1), package package1")
    assert why.endswith("2 more")
    assert "package3" not in why


def test_a_record_that_cannot_be_read_is_not_taken_for_none():
    observation = seen(base=False, unread=[{"what": "managed", "why": "permission denied"}])
    step = plan_of(view(observation)).step("base")
    assert step.needed
    assert step.why == "whether it was applied cannot be read: permission denied"


@pytest.mark.parametrize(
    ("state", "why", "reboots"),
    [
        ({"loaded": False}, "the driver is not loaded", False),
        ({"loaded": False, "nouveau": True}, "the driver is not loaded, nouveau is", True),
        ({"nouveau": True}, "nouveau is loaded beside the driver", True),
        ({"version": "570.10.01"}, "driver 570.10.01 is loaded, 580 is declared", True),
    ],
)
def test_a_driver_that_is_not_the_declared_one_runs_the_role_although_its_record_is_right(state, why, reboots):
    step = plan_of(view(seen(**state))).step("driver")
    assert step.needed
    assert step.why == why
    assert step.reboots is reboots


def test_another_version_or_flavour_under_a_loaded_driver_may_reboot():
    updated = {"kind": "package", "name": "nvidia-driver-cuda", "expected": "580.95.05-1", "found": "580.99.01-1"}
    for role in (record("nvidia_driver", drift=[updated]), record("nvidia_driver", inputs="0" * 64)):
        assert plan_of(view(seen(managed={"nvidia_driver": role}))).step("driver").reboots


def test_a_driver_whose_state_is_unread_is_no_reason_by_itself():
    assert plan_of(view(seen(loaded=None))).step("driver").needed is False


def test_what_is_not_declared_has_no_phase():
    lone = NodeView(rig(gpu_stack=None), observation=seen(driver=False), expected={"base": EXPECTED["base"]})
    for phase in ("driver", "containers", "serve"):
        step = plan_of(lone).step(phase)
        assert (step.needed, step.why, step.roles) == (False, "nothing is declared for it", ())


SEVERAL = EXPECTED | {"cuda_toolkit": "c" * 64, "gpu_tuning": "t" * 64, "docker": "e" * 64}


def test_of_a_phase_only_the_roles_that_are_due_run_and_in_their_order():
    right = {role: {"inputs": SEVERAL[role], "recorded": "2026-01-01T00:00:00Z", "drift": []} for role in SEVERAL}
    stale = right["gpu_tuning"] | {"inputs": "0" * 64}
    cases = [
        (right, ()),
        ({name: record for name, record in right.items() if name != "cuda_toolkit"}, ("cuda_toolkit",)),
        (right | {"gpu_tuning": stale}, ("gpu_tuning",)),
        ({"base": right["base"], "gpu_tuning": stale}, ("nvidia_driver", "cuda_toolkit", "gpu_tuning")),
    ]
    for managed, due in cases:
        view = NodeView(rig(), observation=seen(base=False, driver=False, managed=managed), expected=SEVERAL)
        step = plan_of(view).step("driver")
        assert step.roles == due
        assert step.needed is bool(due)
        assert step.reboots is ("nvidia_driver" in due)
        assert all(step.why.count(f"{role}: ") == 1 for role in due)


UNREACHABLE = UnreachableError("rig01: no route to host")


def test_a_rig_that_is_off_is_switched_on_and_the_rest_is_decided_later():
    node = plan_of(view(error=UNREACHABLE, power=PowerState.OFF))
    assert needed(node) == {"power": True, "connect": True, "bmc": False, "base": None, "driver": None, "verify": True}
    assert node.blocked is None
    assert not node.changes_nothing


def test_a_rig_that_is_on_and_silent_is_waited_for():
    node = plan_of(view(error=UNREACHABLE, power=PowerState.ON))
    assert needed(node)["power"] is False
    assert needed(node)["connect"] is True


def test_a_rig_without_a_bmc_asks_for_a_hand():
    node = plan_of(view(declared=rig(power={"driver": "manual"}), error=UNREACHABLE, power=PowerState.UNKNOWN))
    assert node.step("power").changes == ("ask a person to switch it on",)


@pytest.mark.parametrize(
    "error",
    [
        HostKeyChangedError("another key"),
        PowerAuthenticationError("wrong password"),
        NodeError("no python3 on the node"),
    ],
)
def test_what_no_phase_cures_blocks_the_rig(error):
    plan = make_plan([view(error=error)])
    assert plan.nodes[0].blocked is error
    assert plan.blocked
    assert error.message in render_plan(plan)[0]
    assert json.loads(json.dumps(plan.as_dict()))["rigs"]["rig01"]["blocked"]["message"] == error.message


def test_a_refused_key_is_cured_by_a_declared_password_and_by_nothing_else():
    refused = NodeError("refused")
    assert plan_of(view(error=refused, refused=True)).blocked is refused
    declared = rig(ssh={"password": Secret("env", "PASSWORD")})
    node = plan_of(view(declared=declared, error=refused, refused=True))
    assert node.blocked is None
    assert needed(node)["power"] is False
    assert node.step("connect").changes == ("log in once with the declared password, and install the key",)


def test_only_turns_the_other_phases_off():
    observation = seen(base=False, driver=False, loaded=False)
    node = plan_of(view(observation), only="base")
    assert needed(node) == {
        "power": False,
        "connect": False,
        "bmc": False,
        "base": True,
        "driver": False,
        "verify": False,
    }


def test_only_a_role_on_a_rig_that_does_not_answer_is_an_error():
    assert plan_of(view(error=UNREACHABLE, power=PowerState.OFF), only="base").blocked is UNREACHABLE
    assert plan_of(view(error=UNREACHABLE, power=PowerState.OFF), only="power").blocked is None


def test_what_is_declared_and_not_done_is_said():
    declared = rig(serve={"engine": "vllm", "model": "some/model"})
    node = plan_of(view(seen(), declared=declared))
    assert node.not_done == ("a model to serve",)
    assert "not done by this version: a model to serve" in render_plan(make_plan([view(seen(), declared=declared)]))[1]


def test_the_last_time_is_shown_for_what_will_be_done():
    lines = render_plan(make_plan([view(seen(base=False), last_seconds={"base": 41.4, "verify": 1.0})]))
    [base] = [line for line in lines if line.lstrip().startswith("base")]
    assert base.endswith("took 41 s last time")


def load_of(boot, *cards):
    return Load.parse({"schema": 1, "boot_id": boot, "ended": "done", "cards": list(cards)})


CARD = {"address": "0000:01:00.0", "skipped": "in use"}


LOAD = "put the cards under load, at most 120 s"


@pytest.mark.parametrize(
    ("fields", "declared", "planned"),
    [
        ({"observation": seen(answers=True)}, {}, (LOAD,)),
        ({"observation": seen(answers=True), "load": load_of("0e", CARD)}, {}, (LOAD,)),
        ({"observation": seen(answers=True), "load": load_of("0f", CARD)}, {}, ()),
        ({"observation": seen(answers=True), "load": load_of("0f")}, {}, (LOAD,)),
        ({"observation": seen(answers=True, base=False), "load": load_of("0f", CARD)}, {}, (LOAD,)),
        ({"observation": seen(answers=False)}, {}, ()),
        ({"observation": seen(driver=False, loaded=False)}, {}, (LOAD,)),
        ({"error": UNREACHABLE, "power": PowerState.OFF}, {}, (f"{LOAD}, if the driver answers",)),
        ({"observation": seen(answers=True)}, {"verify": {"active": False}}, ()),
        ({"observation": seen(answers=True)}, {"verify": {"seconds": 30}}, ("put the cards under load, at most 30 s",)),
        ({"observation": seen(answers=True, boot=None), "load": load_of(None, CARD)}, {}, ()),
    ],
)
def test_whether_the_cards_are_put_under_load(fields, declared, planned):
    node = plan_of(view(**fields, declared=rig(**declared)))
    assert node.step("verify").changes == planned


def test_the_load_is_said_and_is_no_change():
    plan = make_plan([view(seen(answers=True))])
    assert render_plan(plan) == [f"rig01: nothing has to change; verify will {LOAD}"]
    assert not plan.changes_something
    assert plan_of(view(seen(answers=True)), only="base").step("verify").changes == ()
    assert (
        plan_of(view(seen(answers=True, base=False), load=load_of("0f", CARD)), only="verify").step("verify").changes
        == ()
    )


ALWAYS_ON = {"bmc": {"power_restore": "always-on"}}


@pytest.mark.parametrize(
    ("declared", "found", "needed", "why"),
    [
        ({}, None, False, "nothing is declared about its settings"),
        (ALWAYS_ON, BmcSettings(RestorePolicy.ON), False, "as declared"),
        (ALWAYS_ON, BmcSettings(RestorePolicy.OFF), True, "power_restore is always-off, always-on is declared"),
        (ALWAYS_ON, None, True, "how it is set was not read"),
        (ALWAYS_ON, PowerUnreachableError("rig01: away"), True, "how it is set cannot be read: away"),
        (
            ALWAYS_ON,
            BmcSettings(unknown={"power_restore": "cannot"}),
            False,
            "power_restore is left as it is: cannot",
        ),
        (
            ALWAYS_ON | {"power": {"driver": "manual"}},
            None,
            False,
            "power_restore is declared, and power.driver manual is no BMC",
        ),
    ],
)
def test_how_the_bmc_is_set(declared, found, needed, why):
    node = plan_of(view(seen(), declared=rig(**declared), bmc=found))
    step = node.step("bmc")
    assert (step.needed, step.why) == (needed, why)
    assert step.changes == (("set power_restore to always-on",) if needed else ())
    assert node.changes_nothing is not needed


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (BmcSettings(open=dict.fromkeys(Door, False)), ()),
        (BmcSettings(open={Door.CIPHER_0: True, Door.NULL_USER: False}), ("close cipher_0",)),
        (BmcSettings(open={Door.CIPHER_0: False}, unknown={"null_user": "does not say"}), ()),
        (None, ("close cipher_0", "close null_user")),
    ],
)
def test_what_is_open_on_a_bmc_is_closed(found, changes):
    declared = rig(bmc={"close": ["cipher_0", "null_user"]})
    step = plan_of(view(seen(), declared=declared, bmc=found)).step("bmc")
    assert (step.needed, step.changes) == (bool(changes), changes)


def test_a_bmc_is_set_while_its_rig_is_off():
    bmc = BmcSettings(RestorePolicy.OFF)
    off = view(error=UNREACHABLE, power=PowerState.OFF, declared=rig(**ALWAYS_ON), bmc=bmc)
    assert needed(plan_of(off))["bmc"] is True
    alone = plan_of(off, only="bmc")
    assert alone.blocked is None
    assert [phase for phase, is_needed in needed(alone).items() if is_needed] == ["bmc"]
