"""Documentation of ``rig_driver_choice``; all of its work is done on the controller, by the action plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_driver_choice
short_description: Choose the NVIDIA driver packages for the cards that were observed
description:
  - Says which packages drive the cards on a node's PCI bus, from the branch and the source that are declared, by the
    rules of C(rigdeploy check). No card is asked, so that a node without a driver will do.
  - Fails where nothing drives the cards, and says what to declare instead.
  - Runs on the controller, needs no connection to the rig, and changes nothing.
options:
  observation:
    description: What M(rig_probe) returned.
    type: dict
    required: true
  branch:
    description: The driver branch, such as C(580).
    type: str
    required: true
  modules:
    description: The flavour of the kernel modules; C(auto) follows the cards.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  source:
    description: Where packages come from; C(mirror) is a repository with NVIDIA's names.
    type: str
    choices: [nvidia, distro, mirror]
    default: nvidia
  distribution:
    description: C(ansible_facts.distribution).
    type: str
    required: true
  distribution_version:
    description: C(ansible_facts.distribution_version).
    type: str
    required: true
  kernel:
    description: C(ansible_facts.kernel), which headers or prebuilt modules have to fit.
    type: str
    required: true
  container:
    description: Whether the node runs its host's kernel, and can have no headers of its own.
    type: bool
    default: false
  secure_boot:
    description: >-
      Whether unsigned modules are refused. Absent, as observed; C(false) for a node whose own key (dkms') is enrolled.
    type: bool
"""

EXAMPLES = r"""
- name: Observe the node
  rig_probe:
  register: node

- name: Choose the driver's packages
  rig_driver_choice:
    observation: "{{ node.observation }}"
    branch: "580"
    distribution: "{{ ansible_facts.distribution }}"
    distribution_version: "{{ ansible_facts.distribution_version }}"
    kernel: "{{ ansible_facts.kernel }}"
  register: driver
"""

RETURN = r"""
choice:
  description: What to install.
  returned: always
  type: dict
  contains:
    flavour: {description: C(open) or C(proprietary)., type: str}
    packages: {description: Names of packages., type: list, elements: str}
    version: {description: What their versions must match (C(580.*)); empty where names say it all., type: str}
    pin_package: {description: The package that holds the branch; empty where there is none., type: str}
    dkms: {description: Whether modules are built on the node., type: bool}
    headers: {description: The kernel's headers that building needs., type: list, elements: str}
    rivals: {description: Patterns of packages that must not be installed., type: list, elements: str}
    fabric_manager: {description: Packages for NVSwitches; empty without any., type: list, elements: str}
    preferences: {description: An apt preferences file that keeps the driver to one source; first by name., type: str}
    module: {description: The name that modinfo knows the module by., type: str}
    why: {description: What decided., type: str}
"""
