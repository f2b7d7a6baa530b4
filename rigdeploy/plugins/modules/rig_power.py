"""Documentation of ``rig_power``; all of its work is done on the controller, by the action plugin of that name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_power
short_description: Switch a rig on or off, and see that it is
description:
  - Brings a rig of the fleet to a power state by what its declaration names, a BMC, a smart plug or a person.
  - The state is read first, a change is read back, and nothing is sent to a rig that is right already.
  - Runs on the controller and needs no connection to the rig. In check mode nothing is switched.
options:
  state:
    description:
      - The wanted state. C(soft) is off by asking the system, whose power is cut after two minutes.
      - C(cycled) is off, seen off, and on again; a rig that is off is switched on. C(reset) leaves the power on, and
        fails on a rig that is off. Both change something whenever they are asked for.
    type: str
    choices: ["on", "off", "soft", "cycled", "reset"]
    default: "on"
  soft:
    description: Ask the system to shut down before C(off) or C(cycled) cuts its power.
    type: bool
    default: false
  boot:
    description: What the next boot is from; C(none) takes an override away. Absent, nothing is asked for.
    type: str
    choices: [none, pxe, disk, bios, cd]
  boot_efi:
    description: Whether that boot is by UEFI; absent, as the BMC has it.
    type: bool
notes:
  - The host must be declared in the C(fleet.yml) that Ansible was given as inventory.
"""

EXAMPLES = r"""
- name: Switch the rigs on
  rig_power:
    state: "on"

- name: Boot over the network
  rig_power:
    state: cycled
    boot: pxe
    boot_efi: true
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
