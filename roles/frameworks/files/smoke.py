"""See that PyTorch computes on every card of this rig, and that other packages can be imported.

    python smoke.py CARDS [PACKAGE...]

CARDS is how many cards nvidia-smi shows. Prints one JSON document: ``torch``, ``cuda``, ``cards`` (``name``,
``capability``, ``state``: right, wrong, busy or failed), ``packages`` with their versions, and ``problems``, each with
``cause`` and ``remedy``. Exit status 1 when there is a problem. CUDA's errors are known by
the words in which PyTorch reports them.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import Any

SIZE = 64
LARGEST = 8  # products of so small integers are exact in every format that a card may use for float32

# What CUDA says when it does not start, and what that comes from.
STARTS = (
    (
        "too old",
        "the driver is too old for this build of PyTorch",
        "install a later branch, or declare an older pytorch",
    ),
    ("803", "the driver's libraries are newer than its loaded module", "run the role nvidia_driver, or reboot"),
    ("mismatch", "the driver's libraries are newer than its loaded module", "run the role nvidia_driver, or reboot"),
    ("802", "the cards hang on an NVSwitch, and its fabric manager does not run", "start nvidia-fabricmanager"),
    ("no cuda-capable device", "CUDA finds no card", "look at nvidia-smi and at the kernel's log"),
    ("unknown error", "CUDA cannot open the cards", "load nvidia_uvm (modprobe nvidia_uvm), and look at /dev/nvidia*"),
)


def problem(cause: str, remedy: str) -> dict[str, str]:
    """One entry of ``problems``."""
    return {"cause": cause, "remedy": remedy}


def why_not_available(torch: Any) -> dict[str, str]:
    """Why CUDA does not start."""
    if torch.version.cuda is None:
        return problem(
            f"PyTorch {torch.__version__} is a build without CUDA",
            "declare an index that has builds for CUDA, or none",
        )
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            torch.cuda.init()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            heard_text = f"{error} " + " ".join(str(warning.message) for warning in heard)
        else:
            heard_text = " ".join(str(warning.message) for warning in heard)
    for word, cause, remedy in STARTS:
        if word in heard_text.lower():
            return problem(f"{cause} ({first_line(heard_text)})", remedy)
    return problem(f"CUDA does not start: {first_line(heard_text)}", "look at nvidia-smi and at the kernel's log")


def first_line(text: str) -> str:
    """The beginning of what PyTorch said."""
    return (text.strip().splitlines() or ["no reason given"])[0][:300]


def compute(torch: Any, index: int) -> bool:
    """Whether a card multiplies two matrices as the processor does."""
    first, second = (
        torch.randint(-LARGEST, LARGEST + 1, (SIZE, SIZE)).to(torch.float32) for _ in range(2)
    )  # fmt: skip
    card = f"cuda:{index}"
    return bool(torch.equal((first.to(card) @ second.to(card)).cpu(), first @ second))


def try_card(torch: Any, index: int) -> tuple[dict[str, str], dict[str, str] | None]:
    """One card's record, and its problem."""
    record = {"name": "", "capability": "", "state": "failed"}
    try:
        record["name"] = torch.cuda.get_device_name(index)
        record["capability"] = "{}.{}".format(*torch.cuda.get_device_capability(index))
        right = compute(torch, index)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return why_it_failed(torch, index, record, str(error))
    record["state"] = "right" if right else "wrong"
    if right:
        return record, None
    cause = f"card {index} ({record['name']}) computes wrongly"
    return record, problem(cause, "run rigdeploy verify with the active check, and suspect the card or its riser")


def why_it_failed(
    torch: Any, index: int, record: dict[str, str], text: str
) -> tuple[dict[str, str], dict[str, str] | None]:
    """Tell a card that another program has filled from one that cannot compute."""
    card = f"card {index} ({record['name']}, compute capability {record['capability']})"
    if "out of memory" in text.lower():
        record["state"] = "busy"
        return record, None
    if "no kernel image" in text:
        built = ", ".join(torch.cuda.get_arch_list())
        cause = f"PyTorch {torch.__version__} has no code for {card}: it was built for {built}"
        return record, problem(cause, "declare another pytorch, or an index with another build")
    return record, problem(
        f"{card} does not compute: {first_line(text)}", "look at the kernel's log (Xid), then reboot"
    )


def versions(names: list[str]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The versions of packages that can be imported, and what is wrong with the others."""
    found, problems = {}, []
    for name in names:
        try:
            found[name] = str(getattr(importlib.import_module(name), "__version__", "?"))
        except Exception as error:  # noqa: BLE001 - an import may end in anything
            problems.append(problem(f"{name} cannot be imported: {first_line(str(error))}", "run the role again"))
    return found, problems


def report(expected: int, names: list[str]) -> dict[str, Any]:
    """The document."""
    document: dict[str, Any] = {"torch": "", "cuda": None, "cards": [], "packages": {}, "problems": []}
    problems = document["problems"]
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # noqa: BLE001 - an import may end in anything
        cause = f"PyTorch cannot be imported: {first_line(str(error))}"
        problems.append(problem(cause, "look whether the disk is full, and run the role again"))
        return document
    document.update(torch=torch.__version__, cuda=torch.version.cuda)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        available = torch.cuda.is_available()
    if not available:
        problems.append(why_not_available(torch))
        return document
    count = torch.cuda.device_count()
    if count != expected:
        problems.append(
            problem(
                f"PyTorch sees {count} cards, nvidia-smi {expected}",
                "a card may have fallen off the bus, or be cut up by MIG: look at nvidia-smi -L and the kernel's log",
            )
        )
    for index in range(count):
        record, trouble = try_card(torch, index)
        document["cards"].append(record)
        problems += [trouble] if trouble else []
    document["packages"], trouble_with_packages = versions(names)
    problems += trouble_with_packages
    return document


def main() -> int:
    """Entry point."""
    document = report(int(sys.argv[1]), sys.argv[2:])
    print(json.dumps(document))
    return 1 if document["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
