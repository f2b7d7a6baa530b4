"""Documentation of ``rig_bmc``; all of its work is done on the controller, by the action plugin of that name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rig_bmc
short_description: Set a rig's BMC as it is declared
description:
  - Reads how the BMC of a rig of the fleet is set, changes what differs, and reads it back.
  - Logging in with the declared user shows that this user is there, with that password and privilege.
  - A rig without a BMC, and a BMC that cannot do what is asked, is skipped with the reason.
  - Runs on the controller and needs no connection to the rig. In check mode nothing is changed.
options:
  power_restore:
    description: What the rig does when mains power comes back; by default as declared (C(bmc.power_restore)).
    type: str
    choices: [always-on, always-off, previous]
notes:
  - The host must be declared in the C(fleet.yml) that Ansible was given as inventory.
"""

EXAMPLES = r"""
- name: Come back by yourself after a power cut
  rig_bmc:
    power_restore: always-on
"""

RETURN = r"""
before:
  description: How the BMC was set, by the names of the options.
  returned: where anything is asked for
  type: dict
after:
  description: How it is set, as read at the end.
  returned: where anything is asked for, not in check mode
  type: dict
"""
