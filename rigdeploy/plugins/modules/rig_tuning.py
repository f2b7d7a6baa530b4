"""Documentation of ``rig_tuning``; all of its work is done on the controller, by the action plugin of that name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_tuning
short_description: Work out what holds each card to its power limit and clock
description:
  - Finds the card of each slot that has limits, as C(rigdeploy verify) does, and says with which arguments
    C(nvidia-smi) sets them by UUID. It fails where a limit is out of the card's range, and where it cannot be told
    which card sits in which slot and their limits differ.
  - Runs on the controller, needs no connection to the rig, and changes nothing.
options:
  observation:
    description: What M(rig_probe) returned, with the driver loaded.
    type: dict
    required: true
  limits:
    description: >-
      C(power_limit_watts) and C(clock_limit_mhz) by slot. The host must be declared in the C(fleet.yml) that Ansible
      was given as inventory.
    type: dict
    default: {}
  cards:
    description: Limits of cards by UUID, which go before those of slots.
    type: list
    elements: dict
    default: []
    suboptions:
      uuid:
        description: The card, as C(nvidia-smi -L) shows it.
        type: str
        required: true
      power_limit_watts:
        description: The power limit, in watts.
        type: int
      clock_limit_mhz:
        description: The highest graphics clock, in MHz.
        type: int
  clocks:
    description: What C(nvidia-smi --query-gpu=uuid,clocks.max.graphics --format=csv,noheader,nounits) printed.
    type: str
    default: ""
  script:
    description: The script of an earlier run; what it set and is no longer declared is undone.
    type: str
    default: ""
  in_force:
    description: Fail where the driver shows another power limit.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Observe the node
  rig_probe:
  register: node

- name: Work out the limits
  rig_tuning:
    observation: "{{ node.observation }}"
    limits:
      PCIE1: {power_limit_watts: 280}
  register: tuning
"""

RETURN = r"""
commands:
  description: The arguments of each C(nvidia-smi) that sets a limit.
  returned: success
  type: list
  elements: list
releases:
  description: The arguments of each C(nvidia-smi) that undoes what is no longer declared.
  returned: success
  type: list
  elements: list
missed:
  description: A sentence for each power limit that is not in force.
  returned: success
  type: list
  elements: str
"""
