"""Names for files and slots out of what a node says; never what it says itself, unless that can be nothing else."""

from __future__ import annotations

import re
from collections.abc import Container

_ID_LENGTH = 63
_SLOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()/#:+-]{0,59}")
_NUMBER = re.compile(r"[0-9]+(-[0-9]+)?")


def slug(text: str) -> str:
    """Lower-case letters, digits and single dashes, as a file's name here must be; ``rig`` when nothing is left."""
    parts = re.findall("[a-z0-9]+", text.lower())
    return "-".join(parts)[:_ID_LENGTH].strip("-") or "rig"


def plain(text: str) -> str:
    """Letters and digits alone, in lower case: two spellings of one name are then equal."""
    return "".join(re.findall("[a-z0-9]+", text.lower()))


def unused(name: str, taken: Container[str]) -> str:
    """The name, or the first of ``name-2``, ``name-3`` … that is not taken."""
    number = 2
    found = name
    while found in taken:
        found = f"{name[: _ID_LENGTH - 4]}-{number}"
        number += 1
    return found


def is_slot_name(text: str) -> bool:
    """Whether a node's name for a slot can stand in a build: words as a board prints them, and no mere number.

    /sys/bus/pci/slots numbers the slots that the firmware's tables do not name; another BIOS may number them anew.
    """
    return _SLOT.fullmatch(text) is not None and _NUMBER.fullmatch(text) is None
