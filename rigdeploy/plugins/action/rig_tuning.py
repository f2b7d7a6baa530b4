"""Works out what holds each card to its power limit and clock, and checks that it is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail

from rigdeploy.fleet.host import host_rig
from rigdeploy.node.observation import Observation
from rigdeploy.plugins.controller import ControllerAction
from rigdeploy.verify.cards import match
from rigdeploy.verify.tuning import Limits, TunedCard, checked, commands, for_slots, missed, releases

_LIMITS = {"power_limit_watts": {"type": "int"}, "clock_limit_mhz": {"type": "int"}}
ARGUMENTS = {
    "observation": {"type": "dict", "required": True},
    "limits": {"type": "dict", "default": {}},
    "cards": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"uuid": {"type": "str", "required": True}, **_LIMITS},
    },
    "clocks": {"type": "str", "default": ""},
    "script": {"type": "str", "default": ""},
    "in_force": {"type": "bool", "default": False},
}


class ActionModule(ControllerAction):
    """``rig_tuning``: the commands for ``nvidia-smi``; with ``in_force`` it fails where they have had no effect."""

    ARGUMENTS = ARGUMENTS

    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Plan or check; fails with what cannot be set, and what to declare instead."""
        observation = Observation.parse(arguments["observation"])
        cards, absent = tuned(arguments, observation, variables)
        if arguments["in_force"] and (reasons := list(missed(cards, observation))):
            raise AnsibleActionFail("; ".join(reasons))
        result: dict[str, Any] = {
            "changed": False,
            "commands": [list(words) for words in commands(cards)],
            "missed": list(missed(cards, observation)),
            "releases": [list(words) for words in releases(arguments["script"], cards, observation)],
        }
        if absent:
            result["warnings"] = [f"no card was found in {', '.join(absent)}: its limits are not set"]
        return result


def tuned(
    arguments: Mapping[str, Any], observation: Observation, variables: Mapping[str, Any]
) -> tuple[list[TunedCard], list[str]]:
    """The cards with their limits, and the slots without a card; what is declared by UUID goes before the slot's."""
    cards: list[TunedCard] = []
    absent: list[str] = []
    if arguments["limits"]:
        fleet, rig = host_rig(variables)
        by_slot = {slot: Limits(**declared) for slot, declared in arguments["limits"].items()}
        cards, absent = for_slots(by_slot, match(rig.build, fleet.catalogue, observation))
    by_uuid = {card.uuid: card for card in cards}
    for given in arguments["cards"]:
        limits = Limits(given["power_limit_watts"], given["clock_limit_mhz"])
        by_uuid[given["uuid"]] = TunedCard(given["uuid"], "", limits)
    return list(checked(by_uuid.values(), observation, read_clocks(arguments["clocks"]))), absent


def read_clocks(text: str) -> dict[str, int]:
    """The highest graphics clock by UUID, in MHz, from ``--query-gpu=uuid,clocks.max.graphics``; no ``[N/A]``."""
    rows = (line.split(", ") for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}  # noqa: PLR2004 - the two fields
