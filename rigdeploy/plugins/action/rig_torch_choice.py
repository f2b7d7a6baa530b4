"""Chooses PyTorch's build for the driver and cards that were observed, with the same code as ``rigdeploy check``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.torch_choice import TorchChoice, choose_torch, judge_lock, requirement
from rigdeploy.node.observation import Observation
from rigdeploy.plugins.action.rig_driver_choice import catalogue_of, nvidia_cards
from rigdeploy.plugins.controller import ControllerAction

ARGUMENTS = {
    "observation": {"type": "dict", "required": True},
    "pytorch": {"type": "str", "required": True},
    "branch": {"type": "str", "default": ""},
    "own_index": {"type": "bool", "default": False},
    "lock": {"type": "str"},
}


class ActionModule(ControllerAction):
    """``rig_torch_choice``: without ``lock`` what to ask for, with it also whether what was resolved runs here."""

    ARGUMENTS = ARGUMENTS

    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Choose; fails with what is impossible, and what to do instead."""
        choice = chosen(arguments, variables)
        return {"changed": False, "choice": asdict(choice), "msg": choice.why}


def chosen(arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> TorchChoice:
    """The choice; with an index of one's own, which has what it has, only the requirement."""
    observation = Observation.parse(arguments["observation"])
    cards = nvidia_cards(observation, catalogue_of(variables))
    branch = branch_of(observation, arguments["branch"])
    choice = TorchChoice(requirement(arguments["pytorch"]), "", "", "the declared index has what it has")
    if not arguments["own_index"]:
        choice = choose_torch(cards, pytorch=arguments["pytorch"], branch=branch)
    if arguments["lock"] is not None:
        judge_lock(arguments["lock"], cards, branch=branch)
    return choice


def branch_of(observation: Observation, declared: str) -> int:
    """The branch of the driver that is loaded, else of the one that is declared and will be."""
    version = observation.driver.version if observation.driver.loaded else None
    number = (version or declared).partition(".")[0]
    if not number.isdecimal():
        raise RigdeployError("this rig has no NVIDIA driver", "install one first: the role nvidia_driver does")
    return int(number)
