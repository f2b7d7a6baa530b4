#!/usr/bin/python3
"""The tools of NVIDIA's container toolkit for a rigdeploy twin (simulated), one file under each of their names.

``nvidia-ctk`` (cdi generate, cdi list, runtime configure, config), ``nvidia-cdi-hook``, ``nvidia-container-runtime``
(adds the cards to the container's specification, then becomes runc), ``nvidia-container-runtime-hook`` (adds them by
mounts, for ``docker run --gpus``) and ``nvidia-container-cli``. Real are options, files, formats and exit codes; what
comes into a container is what the twin has of a driver: libraries, nvidia-smi, device nodes that are /dev/null under
the driver's names, and the simulated hardware.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Callable, Dict

VERSION = "@VERSION@"
KIND = "nvidia.com/gpu"
CDI_VERSION = "0.5.0"
SPEC_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
DOCKER = "/etc/docker/daemon.json"
RUNTIME_CONFIG = "/etc/nvidia-container-runtime/config.toml"
HOOK = "/usr/bin/nvidia-cdi-hook"
HARDWARE = "/run/rigdeploy-twin"
COMMON_NODES = ("/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl")
PROGRAMS = ("/usr/bin/nvidia-persistenced", "/usr/bin/nvidia-smi")
LIBRARIES = ("libcuda.so", "libnvidia-ml.so")
DEFAULT_CONFIG = """\
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"

[nvidia-container-cli]
load-kmods = true
no-cgroups = false

[nvidia-container-runtime]
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
"""

Json = Dict[str, Any]


class ToolError(Exception):
    """What the tool ends with, in its words."""


def log(level: str, text: str) -> None:
    """A line as the real tools log it when nobody sits at a terminal."""
    if level == "info" and ("--quiet" in sys.argv or os.environ.get("NVIDIA_CTK_QUIET") == "true"):
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(f'time="{stamp}" level={level} msg={json.dumps(text)}\n')


# --- what a container gets ------------------------------------------------------------------


def cards() -> list[tuple[str, str]]:
    """(index, UUID) of every card; ToolError when the driver does not answer."""
    argv = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        raise ToolError("ERROR_LIBRARY_NOT_FOUND") from None
    if done.returncode:
        raise ToolError(
            {9: "ERROR_DRIVER_NOT_LOADED", 18: "ERROR_LIB_RM_VERSION_MISMATCH"}.get(done.returncode, "Unknown Error")
        )
    return [(index, uuid) for index, uuid in (line.split(", ") for line in done.stdout.splitlines())]


def mount(path: str, *options: str) -> Json:
    """A mount of the host's file at its own place."""
    return {"hostPath": path, "containerPath": path, "options": [*options, "nosuid", "nodev", "rbind", "rprivate"]}


def libraries() -> list[str]:
    """The driver's libraries that are installed, by full name."""
    return sorted(path for name in LIBRARIES for path in glob.glob(f"/usr/lib/*/{name}.*.*"))


def common_edits() -> Json:
    """What every container with a card gets."""
    folders = sorted({os.path.dirname(path) for path in libraries()})
    links = [f"{os.path.basename(path).split('.so')[0]}.so.1::{path.split('.so')[0]}.so" for path in libraries()]
    hooks = [
        ["create-symlinks", *(word for link in links for word in ("--link", link))],
        ["update-ldcache", *(word for folder in folders for word in ("--folder", folder))],
    ]
    mounts = [mount(path, "ro") for path in [*libraries(), *(path for path in PROGRAMS if os.path.exists(path))]]
    return {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [{"path": path} for path in COMMON_NODES if os.path.exists(path)],
        "hooks": [
            {"hookName": "createContainer", "path": HOOK, "args": ["nvidia-cdi-hook", *words]} for words in hooks
        ],
        # Not the real tool's: without the simulated hardware the simulated nvidia-smi would see nothing.
        "mounts": [*mounts, mount(HARDWARE, "ro")],
    }


def specification() -> Json:
    """The CDI specification of this node's cards: each by index and by UUID, and all of them."""
    try:
        found = cards()
    except ToolError as error:
        raise ToolError(
            f"failed to generate CDI spec: failed to create device CDI specs: failed to initialize NVML: {error}"
        ) from None
    nodes = {index: {"deviceNodes": [{"path": f"/dev/nvidia{index}"}]} for index, _ in found}
    devices = [{"name": name, "containerEdits": nodes[card[0]]} for card in found for name in card]
    every = [node for edits in nodes.values() for node in edits["deviceNodes"]]
    devices.append({"name": "all", "containerEdits": {"deviceNodes": every}})
    return {"cdiVersion": CDI_VERSION, "kind": KIND, "devices": devices, "containerEdits": common_edits()}


def edits_for(wanted: str) -> Json:
    """All edits together for a list of cards as NVIDIA_VISIBLE_DEVICES has it: indices, UUIDs, ``all``."""
    spec = specification()
    by_name = {device["name"]: device["containerEdits"] for device in spec["devices"]}
    result = dict(spec["containerEdits"])
    for name in wanted.split(","):
        if name not in by_name:
            raise ToolError(f"unresolvable CDI devices {KIND}={name}")
        result["deviceNodes"] = result["deviceNodes"] + by_name[name]["deviceNodes"]
    return result


# --- nvidia-ctk -----------------------------------------------------------------------------


def yaml(value: Any, depth: int = 0) -> list[str]:
    """Lines of YAML, four spaces deep as the real tool writes them; texts in JSON's quotes where plain ones mislead."""
    indent, lines = "    " * depth, []
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        head = f"{indent}{key}:" if key is not None else f"{indent}-"
        if not isinstance(item, (dict, list)):
            lines.append(f"{head} {plain(item)}")
        elif key is not None:
            lines += [head, *yaml(item, depth + 1)]
        else:
            inner = yaml(item, depth + 1)
            # A dictionary in a list begins behind the dash.
            lines += [
                f"{indent}- {inner[0].strip()}",
                *("  " * (depth * 2 + 1) + line[4 * (depth + 1) :] for line in inner[1:]),
            ]
    return lines


def plain(value: str) -> str:
    """A text as YAML: quoted where it would be read as a number or ends a key."""
    return json.dumps(value) if value.isdigit() or not value or value.strip("-.") == "" else value


def generate(options: dict[str, str]) -> int:
    """``cdi generate``."""
    output = options.get("--output", os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", ""))
    spec = specification()
    as_json = options.get("--format") == "json" or output.endswith(".json")
    text = json.dumps(spec) + "\n" if as_json else "\n".join(["---", *yaml(spec)]) + "\n"
    if not output:
        sys.stdout.write(text)
    else:
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
        with open(output + ".part", "w") as stream:
            stream.write(text)
        os.replace(output + ".part", output)
    log("info", f"Generated CDI spec with version {CDI_VERSION}")
    return 0


def list_devices(options: dict[str, str]) -> int:
    """``cdi list``: the names in the specifications that lie where engines look."""
    names = set()
    for directory in options.get("--spec-dir", ",".join(SPEC_DIRECTORIES)).split(","):
        for path in glob.glob(os.path.join(directory, "*.yaml")) + glob.glob(os.path.join(directory, "*.json")):
            names |= {f"{KIND}={name}" for name in names_in(path)}
    log("info", f"Found {len(names)} CDI devices")
    for name in sorted(names):
        print(name)
    return 0


def names_in(path: str) -> list[str]:
    """The devices of a specification, be it YAML in our own form or JSON."""
    with open(path) as stream:
        text = stream.read()
    if path.endswith(".json"):
        return [str(device["name"]) for device in json.loads(text)["devices"]]
    lines = [line.strip() for line in text.splitlines()]
    return [line.partition(": ")[2].strip('"') for line in lines if line.startswith("- name: ")]


def configure(options: dict[str, str]) -> int:
    """``runtime configure --runtime=docker``: rewrites daemon.json, and forgets features other than cdi as it does."""
    engine = options.get("--runtime", "docker")
    if engine != "docker":
        raise ToolError(f"unrecognized runtime '{engine}' (simulated: docker only)")
    path = options.get("--config", DOCKER)
    config: Json = {}
    if os.path.exists(path):
        with open(path) as stream:
            config = json.loads(stream.read() or "{}")
        log("info", f"Loading config from {path}")
    else:
        log("info", "Config file does not exist; using empty config")
    name = options.get("--nvidia-runtime-name", "nvidia")
    runtimes = config.setdefault("runtimes", {})
    runtimes[name] = {"args": [], "path": options.get("--nvidia-runtime-path", "nvidia-container-runtime")}
    if options.get("--set-as-default", options.get("--nvidia-set-as-default", "false")) == "true":
        config["default-runtime"] = name
    if options.get("--cdi.enabled", options.get("--enable-cdi", "false")) == "true":
        config["features"] = {"cdi": True}
    text = json.dumps(config, indent=4, sort_keys=True) + "\n"
    if options.get("--dry-run") == "true":
        sys.stdout.write(text)
        return 0
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as stream:
        stream.write(text)
    log("info", f"Wrote updated config to {path}")
    log("info", "It is recommended that docker daemon be restarted.")
    return 0


def configure_runtime(options: dict[str, str]) -> int:
    """``config``: the runtime's own settings; ``--set section.key=value`` changes one."""
    path = options.get("--config-file", options.get("--config", RUNTIME_CONFIG))
    text = DEFAULT_CONFIG
    if os.path.exists(path):
        with open(path) as stream:
            text = stream.read()
    wanted, _, value = options.get("--set", "").partition("=")
    if wanted:
        section, _, key = wanted.rpartition(".")
        here, lines = "", []
        for line in text.splitlines():
            here = line.strip("[]") if line.startswith("[") else here
            lines.append(f"{key} = {value or 'true'}" if here == section and line.startswith(key + " =") else line)
        text = "\n".join(lines) + "\n"
    if options.get("--in-place") != "true":
        sys.stdout.write(text)
        return 0
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as stream:
        stream.write(text)
    return 0


def ctk(arguments: list[str]) -> int:
    """``nvidia-ctk``."""
    words, options = parse(arguments)
    if "--version" in options or "-v" in options:
        print(f"NVIDIA Container Toolkit CLI version {VERSION}\nsimulated by rigdeploy's lab")
        return 0
    commands: dict[str, Callable[[dict[str, str]], int]] = {
        "cdi generate": generate,
        "cdi list": list_devices,
        "runtime configure": configure,
        "config": configure_runtime,
        "system create-device-nodes": lambda _: 0,
    }
    command = commands.get(" ".join(words[:2]))
    if command is None:
        raise ToolError(f"No help topic for '{' '.join(words)}' (simulated: {', '.join(commands)})")
    return command(options)


VALUES = ("--output", "--format", "--runtime", "--config", "--config-file", "--set", "--spec-dir", "--mode")


def parse(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Words and options: ``--output=F`` and ``--output F`` alike, a switch is ``true``."""
    words, options, rest = [], {}, list(arguments)
    while rest:
        word = rest.pop(0)
        name, given, value = word.partition("=")
        if not word.startswith("-"):
            words.append(word)
        elif given:
            options[name] = value
        else:
            options[name] = rest.pop(0) if name in VALUES and rest else "true"
    return words, options


# --- inside the engines ---------------------------------------------------------------------


def bundle_root(state: dict[str, str]) -> str:
    """The container's root directory, from the state that a hook is given."""
    with open(os.path.join(state["bundle"], "config.json")) as stream:
        return os.path.join(state["bundle"], str(json.load(stream)["root"]["path"]))


def cdi_hook(arguments: list[str]) -> int:
    """``nvidia-cdi-hook``: runs in the container's namespaces before it starts, its root not yet changed."""
    words = [word for word in arguments[1:] if word not in ("--link", "--folder")]
    if arguments[:1] in (["create-symlinks"], ["update-ldcache"]):
        root = bundle_root(json.load(sys.stdin))
        if arguments[0] == "create-symlinks":
            pairs = [tuple(word.split("::")) for word in words]
        else:
            pairs = [pair for folder in words for pair in sonames(root, folder)]
        for target, link in pairs:
            place = root + link
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if not os.path.lexists(place):
                os.symlink(target, place)
    return 0


def sonames(root: str, folder: str) -> list[tuple[str, str]]:
    """The links that ldconfig would make: libcuda.so.1 to libcuda.so.580.95.05."""
    found = [path for name in LIBRARIES for path in glob.glob(f"{root}{folder}/{name}.*.*")]
    return [(os.path.basename(path), f"{folder}/{os.path.basename(path).split('.so')[0]}.so.1") for path in found]


def runtime(arguments: list[str]) -> int:
    """``nvidia-container-runtime``: what NVIDIA_VISIBLE_DEVICES asks for goes into the specification; then runc."""
    low = next((path for path in map(shutil.which, ("runc", "crun")) if path), None)
    if low is None:
        raise ToolError("error constructing low-level runtime: error locating runtime: no runtime binary found")
    if "create" in arguments or "run" in arguments:
        _, options = parse([word for word in arguments if word])
        bundle = next((arguments[at + 1] for at, word in enumerate(arguments) if word in ("--bundle", "-b")), "")
        add_cards(os.path.join(bundle or options.get("--bundle", "."), "config.json"))
    os.execv(low, [low, *arguments])  # noqa: S606 - to become it is the point


def visible(spec: Json) -> str:
    """The cards that a container asks for by its environment; empty: none."""
    given = [word.partition("=") for word in spec["process"].get("env", [])]
    wanted = str({name: value for name, _, value in given}.get("NVIDIA_VISIBLE_DEVICES", ""))
    return "" if wanted in ("void", "none") else wanted


def device_number(path: str) -> Json:
    """Which device a node leads to, as a specification has it."""
    number = os.stat(path).st_rdev
    return {"type": "c", "major": os.major(number), "minor": os.minor(number)}


def add_cards(path: str) -> None:
    """Edit a container's specification."""
    with open(path) as stream:
        spec = json.load(stream)
    wanted = visible(spec)
    if not wanted:
        return
    edits = edits_for(wanted)
    for entry in edits["mounts"]:
        spec.setdefault("mounts", []).append(
            {
                "destination": entry["containerPath"],
                "source": entry["hostPath"],
                "type": "bind",
                "options": entry["options"],
            }
        )
    rules = spec["linux"].setdefault("resources", {}).setdefault("devices", [])
    for node in edits["deviceNodes"]:
        place = device_number(node["path"])
        spec["linux"].setdefault("devices", []).append({"path": node["path"], "fileMode": 0o666, **place})
        rules.append({"allow": True, "access": "rwm", **place})
    hooks = spec.setdefault("hooks", {})
    # docker's own hook for --gpus would do all this again.
    hooks["prestart"] = [
        hook for hook in hooks.get("prestart", []) if "nvidia-container-runtime-hook" not in hook["path"]
    ]
    hooks.setdefault("createContainer", []).extend(
        {"path": hook["path"], "args": hook["args"]} for hook in edits["hooks"]
    )
    with open(path, "w") as stream:
        json.dump(spec, stream)


def legacy_hook(arguments: list[str]) -> int:
    """``nvidia-container-runtime-hook prestart``: puts the cards into a container that another runtime makes."""
    if "prestart" not in arguments:
        return 0
    state = json.load(sys.stdin)
    root = bundle_root(state)
    with open(os.path.join(state["bundle"], "config.json")) as stream:
        wanted = visible(json.load(stream))
    if not wanted:
        return 0
    edits = edits_for(wanted)
    paths = [entry["hostPath"] for entry in edits["mounts"]] + [node["path"] for node in edits["deviceNodes"]]
    enter = ["nsenter", "-t", str(state["pid"]), "-m"]
    for path in paths:
        place = root + path
        make = 'if [ -d "$0" ]; then mkdir -p "$1"; else mkdir -p "${1%/*}" && : >>"$1"; fi && mount --bind "$0" "$1"'
        subprocess.run([*enter, "sh", "-c", make, path, place], check=True)
    for folder in sorted({os.path.dirname(path) for path in libraries()}):
        for target, link in sonames(root, folder):
            subprocess.run([*enter, "ln", "-sf", target, root + link], check=True)
    return 0


def container_cli(arguments: list[str]) -> int:
    """``nvidia-container-cli``: what it says of itself and of the cards."""
    if "--version" in arguments or "-V" in arguments:
        print(f"cli-version: {VERSION}\nlib-version: {VERSION}\nsimulated by rigdeploy's lab")
        return 0
    if "info" in arguments:
        for index, uuid in cards():
            print(f"Device Index:   {index}\nDevice Minor:   {index}\nGPU UUID:       {uuid}\n")
        return 0
    raise ToolError("simulated: only info and --version")


TOOLS: dict[str, Callable[[list[str]], int]] = {
    "nvidia-ctk": ctk,
    "nvidia-cdi-hook": cdi_hook,
    "nvidia-container-runtime": runtime,
    "nvidia-container-runtime-hook": legacy_hook,
    "nvidia-container-cli": container_cli,
}


def main() -> int:
    """Act as the tool by whose name we were called."""
    try:
        return TOOLS[os.path.basename(sys.argv[0])](sys.argv[1:])
    except ToolError as error:
        log("error", str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
