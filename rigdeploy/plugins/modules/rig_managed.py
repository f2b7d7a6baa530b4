"""Records on the node what a role owns there, so that the probe can tell drift.

Runs on the node: the standard library and Ansible's module_utils, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rig_managed
short_description: Record what a role owns on a node
description:
  - Writes C(/var/lib/rigdeploy/managed.d/ROLE.json) with the checksum and mode of each file, the version of each
    package, the state of each service, the checksum of each setting, and the hash of the role's inputs. The probe
    compares them with the node.
  - A file, package, service or setting that is not there fails the task, for a role must not record what it did not
    do. In check mode it counts as a change still to come.
options:
  role:
    description: Name of the role, which is the name of the record.
    type: str
    required: true
  inputs:
    description: Hash of the role's inputs (C(ROLE_inputs_hash) of the inventory), or an empty string.
    type: str
    required: true
  files:
    description: Absolute paths of the files that the role owns as a whole.
    type: list
    elements: path
    default: []
  packages:
    description: Names of the packages that the role installed.
    type: list
    elements: str
    default: []
  services:
    description: Names of the systemd units that the role configured; recorded as they are now.
    type: list
    elements: str
    default: []
  settings:
    description:
      - What the role set in JSON files that others write to as well, as rig_json_merge returns it. Each is a C(path),
        the C(key), a list of names, that leads to the value, and its C(sha256).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Record what this role owns
  rig_managed:
    role: base
    inputs: "{{ base_inputs_hash }}"
    files: [/etc/hostname]
    packages: [chrony]
    services: [chrony]
"""

RETURN = r"""
record:
  description: What was written, or would be in check mode.
  returned: always
  type: dict
"""

SCHEMA = 1
DIRECTORY = Path("/var/lib/rigdeploy/managed.d")

# The states that the probe takes for enabled and active.
ENABLED = frozenset({"enabled", "enabled-runtime"})
ACTIVE = frozenset({"active", "reloading"})


def describe_file(path: str) -> dict[str, str] | None:
    """Checksum and mode of a regular file (a link is followed), None where there is none."""
    try:
        content = Path(path).read_bytes()
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return None
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "mode": f"{mode:04o}"}


def parse_packages(output: str) -> dict[str, str]:
    """Versions by name of the installed packages, from lines ``name TAB status TAB version``."""
    rows = (line.split("\t") for line in output.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}  # noqa: PLR2004 - the format


def parse_services(names: list[str], output: str) -> dict[str, dict[str, Any]]:
    """State by name from ``systemctl show``: a block of ``key=value`` for each unit asked for, in order."""
    states = {}
    for name, block in zip(names, output.strip().split("\n\n")):  # noqa: B905 - "strict" came with Python 3.10
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") == "loaded":
            states[name] = {
                "name": name,
                "enabled": values.get("UnitFileState") in ENABLED,
                "active": values.get("ActiveState") in ACTIVE,
            }
    return states


def read_packages(module: AnsibleModule, names: list[str]) -> dict[str, str]:
    """Versions of those of the named packages that are installed."""
    if not names:
        return {}
    form = "${Package}\t${db:Status-Status}\t${Version}\n"
    # It answers 1 when any of them is unknown, and still prints the others.
    _, output, _ = module.run_command(["dpkg-query", "--show", f"--showformat={form}", *names])
    return parse_packages(output)


def read_services(module: AnsibleModule, names: list[str]) -> dict[str, dict[str, Any]]:
    """States of those of the named units that exist."""
    if not names:
        return {}
    command = ["systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", *names]
    _, output, _ = module.run_command(command, check_rc=True)
    return parse_services(names, output)


def has_setting(item: dict[str, Any]) -> bool:
    """Whether the file still holds the setting's value."""
    try:
        value = json.loads(Path(item["path"]).read_text(encoding="utf-8-sig"))
        for name in item["key"]:
            value = value[name]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return bool(hashlib.sha256(text.encode()).hexdigest() == item["sha256"])


def take_record(module: AnsibleModule) -> tuple[dict[str, Any], list[str]]:
    """The record without its time, and what of it is missing on the node."""
    wanted = module.params
    files = {path: describe_file(path) for path in sorted(set(wanted["files"]))}
    packages = read_packages(module, sorted(set(wanted["packages"])))
    services = read_services(module, sorted(set(wanted["services"])))
    missing = [f"file {path}" for path, found in files.items() if found is None]
    missing += [f"package {name}" for name in sorted(set(wanted["packages"]) - set(packages))]
    missing += [f"service {name}" for name in sorted(set(wanted["services"]) - set(services))]
    missing += [f"{item['path']}: {'.'.join(item['key'])}" for item in wanted["settings"] if not has_setting(item)]
    record = {
        "schema": SCHEMA,
        "role": wanted["role"],
        "inputs": wanted["inputs"],
        "files": [found for found in files.values() if found],
        "packages": [{"name": name, "version": version} for name, version in packages.items()],
        "services": list(services.values()),
    }
    if wanted["settings"]:
        record["settings"] = wanted["settings"]
    return record, missing


def read_previous(path: Path) -> dict[str, Any]:
    """The record as it stands; an unreadable one counts as none, and is replaced."""
    try:
        previous = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return previous if isinstance(previous, dict) else {}


def write(path: Path, record: dict[str, Any]) -> None:
    """Replace the record in one step that also survives a power cut: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(record, stream, indent=2, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    Path(temporary).replace(path)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "inputs": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "services": {"type": "list", "elements": "str", "default": []},
            "settings": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "key": {"type": "list", "elements": "str", "required": True},
                    "sha256": {"type": "str", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    role = module.params["role"]
    if not role.isidentifier():
        module.fail_json(msg=f"{role!r} is not the name of a role")
    record, missing = take_record(module)
    if missing and not module.check_mode:
        module.fail_json(msg=f"role {role} wants to record what is not on this node: {', '.join(missing)}")
    path = DIRECTORY / f"{role}.json"
    previous = read_previous(path)
    changed = bool(missing) or {**previous, "recorded": None} != {**record, "recorded": None}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record["recorded"] = now if changed else previous["recorded"]
    if changed and not module.check_mode:
        write(path, record)
    module.exit_json(changed=changed, record=record)


if __name__ == "__main__":
    main()
