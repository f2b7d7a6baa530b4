"""Runs the active check on the node and returns what it measured.

The check's source comes from the action plugin of the same name; there is no second copy of it.
"""

from __future__ import annotations

import json
import sys

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rig_active
short_description: Put a node's cards under load and measure what they do
description:
  - Copies to, from and between the NVIDIA cards of a node, writes and reads back a part of their memory, and returns
    one JSON document. It installs nothing and leaves nothing. Skipped in check mode.
  - A card that another process computes on is left alone.
options:
  memory_share:
    description: The part of each card's memory that is written and read back, 0 to 0.95; by default as declared.
    type: float
  seconds:
    description: The check ends after so long, with what is known by then; by default as declared.
    type: int
  force:
    description: Take cards, too, that another process computes on.
    type: bool
    default: false
  source:
    description: The check's source; the action plugin fills it in.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Put the cards under load
  rig_active:
    seconds: 60
  register: under_load
"""

RETURN = r"""
load:
  description: The check's document, in the schema that it names.
  returned: success
  type: dict
"""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "memory_share": {"type": "float", "required": True},
            "seconds": {"type": "int", "required": True},
            "force": {"type": "bool", "default": False},
            "source": {"type": "str", "required": True},
        }
    )
    given = module.params
    words = ["--memory-share", str(given["memory_share"]), "--seconds", str(given["seconds"])]
    words += ["--force"] if given["force"] else []
    code, output, errors = module.run_command([sys.executable, "-I", "-", *words], data=given["source"])
    if code != 0:
        module.fail_json(msg=f"the active check ended with {code}: {errors.strip()}")
    try:
        load = json.loads(output)
    except ValueError as error:
        module.fail_json(msg=f"the active check printed no JSON document: {error}", stderr=errors)
    module.exit_json(changed=False, load=load)


if __name__ == "__main__":
    main()
