"""Documentation of ``rig_power``; all of its work is done on the controller, by the action plugin of that name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_power
short_description: Switch a rig on or off, and see that it is
description:
  - Brings a rig of the fleet to a power state by what its declaration names, a BMC or a person at the button.
  - The state is read first, a change is read back, and nothing is sent to a rig that is right already.
  - Runs on the controller and needs no connection to the rig. In check mode nothing is switched.
options:
  state:
    description: The wanted state. C(cycled) is off, seen off, and on again; a rig that is off is switched on.
    type: str
    choices: ["on", "off", "cycled"]
    default: "on"
  soft:
    description: Ask the system to shut down before its power is cut.
    type: bool
    default: false
notes:
  - The host must be declared in the C(fleet.yml) that Ansible was given as inventory.
"""

EXAMPLES = r"""
- name: Switch the rigs on
  rig_power:
    state: "on"
"""

RETURN = r"""
before:
  description: C(on), C(off), or C(unknown) where off cannot be told from unreachable.
  returned: success
  type: str
after:
  description: The power as read at the end.
  returned: success, not in check mode
  type: str
"""
