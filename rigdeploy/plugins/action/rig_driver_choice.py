"""Chooses the driver packages for the cards that were observed, with the same code as ``rigdeploy check``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rigdeploy.errors import RigdeployError
from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.driver_choice import PciCard, System, choose_driver
from rigdeploy.fleet.host import host_rig
from rigdeploy.node.observation import Observation
from rigdeploy.plugins.controller import ControllerAction

ARGUMENTS = {
    "observation": {"type": "dict", "required": True},
    "branch": {"type": "str", "required": True},
    "modules": {"type": "str", "choices": ["auto", "open", "proprietary"], "default": "auto"},
    "source": {"type": "str", "choices": ["nvidia", "distro", "mirror"], "default": "nvidia"},
    "distribution": {"type": "str", "required": True},
    "distribution_version": {"type": "str", "required": True},
    "kernel": {"type": "str", "required": True},
    "container": {"type": "bool", "default": False},
    "secure_boot": {"type": "bool"},
}


class ActionModule(ControllerAction):
    """``rig_driver_choice``: which packages, from which branch and flavour, and why."""

    ARGUMENTS = ARGUMENTS

    def work(self, arguments: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Choose; fails with what is impossible, and what to do instead."""
        return chosen(arguments, catalogue_of(variables))


def chosen(arguments: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """The task's result."""
    observation = Observation.parse(arguments["observation"])
    given = arguments["secure_boot"]
    system = System(
        distribution=arguments["distribution"],
        version=arguments["distribution_version"],
        kernel=arguments["kernel"],
        secure_boot=observation.host.secure_boot if given is None else given,
        container=arguments["container"],
    )
    choice = choose_driver(
        nvidia_cards(observation, catalogue),
        system,
        branch=arguments["branch"],
        modules=arguments["modules"],
        source=arguments["source"],
    )
    return {"changed": False, "choice": asdict(choice), "msg": choice.why}


def nvidia_cards(observation: Observation, catalogue: Catalogue) -> list[PciCard]:
    """NVIDIA's devices on the PCI bus, with what the catalogue knows of them."""
    cards = []
    for device in observation.pci.values():
        if device.vendor == "10de":
            gpu = catalogue.gpu_by_pci_id(device.pci_id or "")
            known = (gpu.name, gpu.architecture) if gpu else ("", "")
            cards.append(PciCard(device.address, device.pci_id or "an unread id", device.class_code or "", *known))
    return cards


def catalogue_of(variables: Mapping[str, Any]) -> Catalogue:
    """The catalogue of the host's fleet; the shipped one where no ``fleet.yml`` declares the host."""
    try:
        fleet, _ = host_rig(variables)
    except RigdeployError:
        return Catalogue.load()
    return fleet.catalogue
