"""Documentation of ``rig_cuda_install``; all of its work is done on the controller, by the action plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_cuda_install
short_description: Work out what apt is to do for CUDA toolkits, and refuse what it must not do
description:
  - Without C(simulation) it compares what is installed and recorded with what is declared, and says what
    C(apt-get install) has to be asked for; a word that ends in a dash is a package that leaves.
  - With C(simulation), the result of C(apt-get --simulate) of that very request, it fails where the driver, the kernel
    or packages that are held would change, and where packages would leave that the role has not installed.
  - Runs on the controller, needs no connection to the rig, and changes nothing.
options:
  versions:
    description: The toolkits, such as C(13.0); none where all are to leave.
    type: list
    elements: str
    default: []
  cudnn:
    description: Whether cuDNN is declared.
    type: bool
    default: false
  nccl:
    description: Whether NCCL is declared.
    type: bool
    default: false
  installed:
    description: >-
      What C(dpkg-query --show) printed with the format C(${Package}\t${db:Status-Abbrev}\t${Version}\n).
    type: str
    required: true
  record:
    description: The role's record on the node (M(rig_managed)), as text; what is in it and no longer declared leaves.
    type: str
    default: ""
  nccl_offers:
    description: What C(apt-cache madison libnccl2) printed.
    type: str
    default: ""
  simulation:
    description: The registered result of C(apt-get --simulate install); its C(rc) may be any.
    type: dict
"""

EXAMPLES = r"""
- name: Work out what is missing
  rig_cuda_install:
    versions: ["13.0", "12.9"]
    installed: "{{ packages.stdout }}"
  register: missing
"""

RETURN = r"""
plan:
  description: What to do.
  returned: success
  type: dict
  contains:
    packages: {description: The packages that the role owns afterwards., type: list, elements: str}
    words: {description: What C(apt-get install) is asked for; empty where nothing is to be done., type: list}
    leaving: {description: The packages that leave., type: list, elements: str}
steps:
  description: The names of the packages that apt would change.
  returned: success
  type: list
  elements: str
"""
