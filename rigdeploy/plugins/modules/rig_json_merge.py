"""Merges settings into a JSON file that others write to as well.

Runs on the node: the standard library and Ansible's module_utils, nothing else.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rig_json_merge
short_description: Merge settings into a JSON file and leave everything else in it alone
description:
  - Sets what C(values) holds, object by object; any other value, a list too, is replaced as a whole. Keys that are not
    in C(values) stay as they are, so that several roles, an owner and vendor tools can share one file.
  - A key that the role set in an earlier run and no longer asks for is removed, unless somebody else has given it
    another value since. What it set is remembered in C(/var/lib/rigdeploy/settings.d/ROLE.json), before the file is
    changed, so that a run that failed or was killed leaves nothing behind that nobody takes away.
  - A file that already says so is not touched. One that is no JSON object fails the task. Supports check mode and diff.
options:
  role:
    description: Name of the role whose settings these are.
    type: str
    required: true
  path:
    description: The file; it is made when it is absent.
    type: path
    required: true
  values:
    description: The settings.
    type: dict
    required: true
  validate:
    description: Command that judges the new file before it takes the old one's place; C(%s) stands for its name.
    type: str
"""

EXAMPLES = r"""
- name: Add the NVIDIA runtime
  rig_json_merge:
    role: nvidia_container_toolkit
    path: /etc/docker/daemon.json
    values: {runtimes: {nvidia: {path: nvidia-container-runtime}}}
  register: __nvidia_container_toolkit_daemon
"""

RETURN = r"""
settings:
  description: One entry per value, for rig_managed.
  returned: success
  type: list
  elements: dict
"""

DIRECTORY = Path("/var/lib/rigdeploy/settings.d")
INDENT = 4


class MergeError(ValueError):
    """The file is not what settings can be merged into; says why."""


def parse(text: str) -> dict[str, Any]:
    """The settings of a file's text; an empty file has none. Raises MergeError."""
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MergeError(f"is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise MergeError("holds no JSON object")
    return document


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Values by the keys that lead to them; an object is none."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in values.items():
        key = (*above, name)
        found |= leaves(value, key) if isinstance(value, dict) else {key: value}
    return found


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value: a setting can hold a password, which no record should."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def merge(document: dict[str, Any], values: dict[str, Any]) -> None:
    """Set the values in the document, object by object; an empty object only asks for an object."""
    for name, value in values.items():
        present = document.get(name)
        if isinstance(value, dict):
            if not isinstance(present, dict):
                document[name] = present = {}
            merge(present, value)
        else:
            document[name] = copy.deepcopy(value)


def drop(document: dict[str, Any], key: list[str], sha256: str) -> None:
    """Remove a value that is still as its digest says, and the objects that are empty without it."""
    name, below = key[0], key[1:]
    present = document.get(name)
    if not below:
        if name in document and digest(present) == sha256:
            del document[name]
    elif isinstance(present, dict):
        drop(present, below, sha256)
        if not present:
            del document[name]


def read_memory(role: str) -> list[dict[str, Any]]:
    """What the role has set in any file; an unreadable memory counts as none."""
    try:
        items = json.loads((DIRECTORY / f"{role}.json").read_text(encoding="utf-8"))
        return [item for item in items if item["path"] and item["key"] and item["sha256"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def remember(module: AnsibleModule, items: list[dict[str, Any]]) -> None:
    """Write down what the role has set."""
    text = json.dumps(items, indent=2, sort_keys=True) + "\n"
    replace(module, DIRECTORY / f"{module.params['role']}.json", text)


def replace(module: AnsibleModule, path: Path, text: str, validate: str | None = None) -> None:
    """Replace a file in one step, its owner and mode kept, once the check has nothing against it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never more open than it was, not for a moment: it can hold a password.
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    module.add_cleanup_file(temporary)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    if validate:
        status, output, error = module.run_command(validate.replace("%s", temporary))
        if status != 0:
            said = (error or output).strip()[-2000:]
            module.fail_json(msg=f"{path} would not be accepted, and stays as it is: {said}")
    module.atomic_move(temporary, str(path))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "values": {"type": "dict", "required": True},
            "validate": {"type": "str"},
        },
        supports_check_mode=True,
    )
    if not module.params["role"].isidentifier():
        module.fail_json(msg=f"{module.params['role']!r} is not the name of a role")
    # A link stays one: what it leads to is changed.
    path, values = Path(module.params["path"]).resolve(), module.params["values"]
    try:
        before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        document = parse(before)
    except (OSError, ValueError) as error:
        why = error if isinstance(error, MergeError) else f"cannot be read: {error}"
        module.fail_json(msg=f"{path} {why}. Mend it or move it away: nothing is merged into what cannot be read")
    wanted = leaves(values)
    settings = [{"path": str(path), "key": list(key), "sha256": digest(value)} for key, value in wanted.items()]
    memory = read_memory(module.params["role"])
    elsewhere = [item for item in memory if item["path"] != str(path)]
    merged = copy.deepcopy(document)
    for item in memory:
        if item not in elsewhere and tuple(item["key"]) not in wanted:
            drop(merged, item["key"], item["sha256"])
    merge(merged, values)
    changed = merged != document
    after = json.dumps(merged, indent=INDENT, ensure_ascii=False) + "\n" if changed else before
    if not module.check_mode:
        if changed:
            remember(module, memory + [item for item in settings if item not in memory])
            replace(module, path, after, module.params["validate"])
        if memory != elsewhere + settings:
            remember(module, elsewhere + settings)
    diff = {"before_header": str(path), "after_header": str(path), "before": before, "after": after}
    module.exit_json(changed=changed, settings=settings, diff=diff)


if __name__ == "__main__":
    main()
