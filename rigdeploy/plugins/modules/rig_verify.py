"""Documentation of ``rig_verify``; all of its work is done on the controller, by the action plugin of that name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_verify
short_description: Judge a rig against its declaration
description:
  - Judges an observation by the rules of C(rigdeploy verify). A FAIL fails the host; WARN and UNKNOWN are shown.
  - Runs on the controller, needs no connection to the rig, and changes nothing.
options:
  observation:
    description: What M(rig_probe) returned.
    type: dict
    required: true
  load:
    description: What M(rig_active) returned on the same boot; that of another boot is not looked at.
    type: dict
  strict:
    description: Fail the host for an UNKNOWN too.
    type: bool
    default: false
notes:
  - The host must be declared in the C(fleet.yml) that Ansible was given as inventory.
"""

EXAMPLES = r"""
- name: Observe the node
  rig_probe:
  register: node

- name: Judge it
  rig_verify:
    observation: "{{ node.observation }}"
"""

RETURN = r"""
verdict:
  description: The gravest status of all findings.
  returned: always
  type: str
passed:
  description: How many checks passed.
  returned: always
  type: int
findings:
  description: All that is not PASS, each as C(rigdeploy verify --json) has it.
  returned: always
  type: list
  elements: dict
"""
