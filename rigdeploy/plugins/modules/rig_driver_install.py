"""Documentation of ``rig_driver_install``; all of its work is done on the controller, by the action plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_driver_install
short_description: Work out what apt is to do for the NVIDIA driver, and refuse what it must not do
description:
  - Without C(simulation) it compares what is installed with what was chosen, and says what C(apt-get install) has to
    be asked for.
  - With C(simulation), the result of C(apt-get --simulate) of that very request, it fails where packages that are held,
    the kernel, or packages that are none of the driver's would change, where the driver would come from several
    sources, or where a kernel would be without a module. Every reason is given with its packages.
  - Runs on the controller, needs no connection to the rig, and changes nothing.
options:
  choice:
    description: What M(rig_driver_choice) returned as C(choice).
    type: dict
    required: true
  installed:
    description: >-
      What C(dpkg-query --show) printed with the format C(${Package}\t${db:Status-Abbrev}\t${Version}\n).
    type: str
    required: true
  kernels:
    description: The kernels for which there has to be a module afterwards; empty where the node has none of its own.
    type: list
    elements: str
    default: []
  simulation:
    description: The registered result of C(apt-get --simulate install); its C(rc) may be any.
    type: dict
"""

EXAMPLES = r"""
- name: Work out what is missing
  rig_driver_install:
    choice: "{{ driver.choice }}"
    installed: "{{ packages.stdout }}"
  register: missing

- name: Look what apt would do
  ansible.builtin.command:
    argv: "{{ ['apt-get', '--simulate', 'install'] + missing.plan.words }}"
  register: simulated
  changed_when: false
  failed_when: false

- name: Refuse what it must not do
  rig_driver_install:
    choice: "{{ driver.choice }}"
    installed: "{{ packages.stdout }}"
    kernels: [6.1.0-37-amd64]
    simulation: "{{ simulated }}"
"""

RETURN = r"""
plan:
  description: What is missing.
  returned: without C(simulation)
  type: dict
  contains:
    pins: {description: Packages that lock other branches., type: list, elements: str}
    words: {description: What to ask C(apt-get install) for; empty where nothing is missing., type: list, elements: str}
    why: {description: What is missing, one sentence each., type: list, elements: str}
steps:
  description: The packages that apt would change.
  returned: with C(simulation)
  type: list
  elements: str
"""
