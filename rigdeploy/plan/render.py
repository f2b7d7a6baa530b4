"""The plan as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rigdeploy.plan.plan import NodePlan, Plan, Step

_DO = {True: "do", False: "-", None: "?"}


def render_plan(plan: Plan, *, details: bool = False) -> list[str]:
    """Lines per rig: what is done and why. A rig that is right takes one line unless ``details`` are wanted."""
    return [line for node in plan.nodes for line in _node(node, details=details)]


def _node(node: NodePlan, *, details: bool) -> Iterator[str]:
    if node.blocked is not None:
        message = node.blocked.message.removeprefix(f"{node.rig}: ")
        yield f"{node.rig}: cannot be worked on: {message}"
        if node.blocked.remedy:
            yield f"  {node.blocked.remedy}"
        return
    if node.changes_nothing and not details:
        load = "".join(f"; verify will {change}" for change in node.step("verify").changes)
        yield f"{node.rig}: nothing has to change{load}"
    else:
        yield f"{node.rig}:" + (" may reboot" if node.reboots else "")
        width = max(len(_text(step)) for step in node.steps)
        for step in node.steps:
            yield f"  {step.phase:<10} {_DO[step.needed]:<3} {_text(step):<{width}}  {_notes(step)}".rstrip()
    if node.not_done:
        yield f"  declared, and not done by this version: {', '.join(node.not_done)}"


def _text(step: Step) -> str:
    return f"{', '.join(step.changes)} ({step.why})" if step.changes else step.why


def _notes(step: Step) -> str:
    notes = ["may reboot"] if step.reboots else []
    if step.needed is not False and step.last_seconds is not None:
        notes.append(f"took {step.last_seconds:.0f} s last time")
    return ", ".join(notes)
