"""Runs the probe on the node and returns its observation.

The probe's source comes from the action plugin of the same name; there is no second copy of it.
"""

from __future__ import annotations

import json
import sys

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rig_probe
short_description: Observe a node, read-only
description:
  - Runs rigdeploy's probe on the node and returns its one JSON document. It takes no options and changes nothing.
  - This is what plain Ansible uses, and what serves any kind of connection; C(rigdeploy verify) sends the same file
    over OpenSSH by itself.
options:
  source:
    description: The probe's source; the action plugin fills it in.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Observe the node
  rig_probe:
  register: node
"""

RETURN = r"""
observation:
  description: The probe's document, in the schema that it names.
  returned: success
  type: dict
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"source": {"type": "str", "required": True}}, supports_check_mode=True)
    code, output, errors = module.run_command([sys.executable, "-"], data=module.params["source"])
    if code != 0:
        module.fail_json(msg=f"the probe ended with {code}: {errors.strip()}")
    try:
        observation = json.loads(output)
    except ValueError as error:
        module.fail_json(msg=f"the probe printed no JSON document: {error}", stderr=errors)
    module.exit_json(changed=False, observation=observation)


if __name__ == "__main__":
    main()
