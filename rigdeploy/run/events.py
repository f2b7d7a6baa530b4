"""ansible-runner's events, cut down to what the ledger and the progress lines need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_MESSAGE = 2000
"""Characters of a failure's message that are kept; what a node says can be long."""


_NOT_SHOWN = "Validating arguments against arg spec"
"""How Ansible begins the name of the task that checks a role's arguments; it says nothing to a reader."""


@dataclass(frozen=True)
class Event:
    """One event: ``kind`` is started (a task, on a host), changed, failed, or tick (nothing happened)."""

    kind: str
    host: str = ""
    task: str = ""
    message: str = ""


def slim(event: Mapping[str, Any]) -> list[Event]:
    """The events that matter in one of ansible-runner's; never raises, whatever the event holds."""
    data = event.get("event_data")
    if not isinstance(data, Mapping):
        return []
    host, task = str(data.get("host", "")), str(data.get("task", ""))
    result = data.get("res")
    result = result if isinstance(result, Mapping) else {}
    kind = event.get("event")
    if kind == "runner_on_start" and not task.startswith(_NOT_SHOWN):
        return [Event("started", host, task)]
    if kind == "runner_on_ok" and result.get("changed") is True:
        return [Event("changed", host, task)]
    if kind == "runner_on_unreachable" or (kind == "runner_on_failed" and not data.get("ignore_errors")):
        return [Event("failed", host, task, failure_message(result))]
    return []


def failure_message(result: Mapping[str, Any]) -> str:
    """What a failed task says: its message, and what its command or its failed items wrote."""
    items = result.get("results")
    if isinstance(items, list):
        failed = [item for item in items if isinstance(item, Mapping) and item.get("failed")]
        if failed:  # the message of the whole then only says that there are some
            return "\n".join(_item(item) for item in failed)[:MAX_MESSAGE]
    parts = [str(result.get("msg", "")).strip()]
    for stream in ("stderr", "module_stderr"):
        if text := str(result.get(stream) or "").strip():
            parts.append(text)
            break
    text = "\n".join(dict.fromkeys(part for part in parts if part))[:MAX_MESSAGE] or "no message"
    # Part of it is a node's, and a terminal obeys control characters.
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _item(result: Mapping[str, Any]) -> str:
    item = result.get("item")
    return f"{item}: {failure_message(result)}" if isinstance(item, str | int) else failure_message(result)
