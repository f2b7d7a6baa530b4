"""Documentation of ``rig_torch_choice``; all of its work is done on the controller, by the action plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_torch_choice
short_description: Choose PyTorch's build for the driver and the cards that were observed
description:
  - Says which of a release's builds runs on the loaded driver and has code for the cards, by the rules of
    C(rigdeploy check), and fails where none does.
  - With C(lock), a compiled set of requirements, it fails where the build in it is known not to run here.
  - Runs on the controller, needs no connection to the rig, and changes nothing.
options:
  observation:
    description: What M(rig_probe) returned.
    type: dict
    required: true
  pytorch:
    description: The release, such as C(2.9), or the version, such as C(2.9.1).
    type: str
    required: true
  branch:
    description: The driver branch that will be there, for a node that has no driver yet.
    type: str
    default: ""
  own_index:
    description: Whether the packages come from an index that is declared, which has what it has.
    type: bool
    default: false
  lock:
    description: What C(uv pip compile) wrote.
    type: str
"""

EXAMPLES = r"""
- name: Observe the node
  rig_probe:
  register: node

- name: Choose PyTorch's build
  rig_torch_choice:
    observation: "{{ node.observation }}"
    pytorch: "2.9"
  register: torch
"""

RETURN = r"""
choice:
  description: What to install.
  returned: always
  type: dict
  contains:
    requirement: {description: The requirement for the package torch., type: str}
    cuda: {description: The build, such as C(cu128); empty where an own index decides., type: str}
    backend: {description: The build where it is not PyPI's own, as uv's C(--torch-backend) takes it., type: str}
    why: {description: What decided., type: str}
"""
