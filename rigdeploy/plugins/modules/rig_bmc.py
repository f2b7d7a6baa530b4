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
  close:
    description:
      - What is closed where it is open; by default as declared (C(bmc.close)). C(cipher_0) lets anybody in without a
        password, C(null_user) without a name, C(ipmi_1_5) sends everything in clear.
      - Before it is called closed, a new log-in is tried; when that fails, everything is taken back.
    type: list
    elements: str
    choices: [cipher_0, null_user, ipmi_1_5]
  audit:
    description:
      - Look, too, for what is open on the BMC (cipher suite 0, a user without a name, IPMI 1.5, a weak password), and
        warn of it. That takes several log-ins, and changes nothing.
    type: bool
    default: false
notes:
  - The host must be declared in the C(fleet.yml) that Ansible was given as inventory.
"""

EXAMPLES = r"""
- name: Come back by yourself after a power cut
  rig_bmc:
    power_restore: always-on

- name: Leave no way past the password
  rig_bmc:
    close: [cipher_0, null_user, ipmi_1_5]
"""

RETURN = r"""
changes:
  description: What had to be set, or in check mode would have to be.
  returned: where anything is asked for
  type: list
  elements: str
before:
  description: How the BMC was set, by the names of the options; of what can be closed, C(open) or C(closed).
  returned: where anything is asked for
  type: dict
findings:
  description: What the audit says, in the shape of C(rigdeploy bmc probe --json).
  returned: with audit, where there is a BMC
  type: list
  elements: dict
after:
  description: How it is set, as read at the end.
  returned: where anything is asked for, not in check mode
  type: dict
"""
