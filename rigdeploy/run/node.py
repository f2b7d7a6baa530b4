"""A rig in the course of a run, what was asked of the run, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from rigdeploy.errors import EXIT_NODE, EXIT_PASS, EXIT_USAGE, RigdeployError
from rigdeploy.fleet.models import Rig
from rigdeploy.plan.plan import NodePlan, NodeView
from rigdeploy.verify.findings import Finding, exit_code

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line; ``command`` is that line, for locks and the ledger."""

    command: str
    only: str | None = None
    check: bool = False
    strict: bool = False
    forks: int = 50


@dataclass
class Node:
    """One rig in the course of a run. ``error`` ends the rig's part; ``phase`` is what it is or was at."""

    view: NodeView
    plan: NodePlan
    error: RigdeployError | None = None
    phase: str = "connect"
    changed: bool = False
    findings: list[Finding] = field(default_factory=list)
    judged: bool = False
    check_changes: tuple[str, ...] = ()

    @property
    def rig(self) -> Rig:
        """The rig's declaration."""
        return self.view.rig

    @property
    def name(self) -> str:
        """The rig's name."""
        return self.view.rig.name

    @property
    def boot(self) -> str | None:
        """The boot id as last seen."""
        return None if self.view.observation is None else self.view.observation.host.boot_id

    @property
    def outcome(self) -> str:
        """How the rig's part ended, in one word."""
        if self.error is not None:
            return "failed"
        return "verified" if self.judged else "done"


@dataclass(frozen=True)
class Report:
    """How a run ended. ``outcome``: done, failed, interrupted or declined."""

    run: str
    outcome: str
    nodes: tuple[Node, ...]
    strict: bool = False

    @property
    def exit_code(self) -> int:
        """5 when a rig failed, 4 when the plan was declined, else what the findings say."""
        if self.outcome == "interrupted":
            return EXIT_INTERRUPTED
        if any(node.error is not None for node in self.nodes):
            return EXIT_NODE
        if self.outcome == "declined":
            return EXIT_USAGE
        findings = [finding for node in self.nodes for finding in node.findings]
        judged = any(node.judged for node in self.nodes)
        return exit_code(findings, strict=self.strict) if judged else EXIT_PASS

    @property
    def changed(self) -> bool:
        """Whether anything was done to any rig."""
        return any(node.changed for node in self.nodes)


def own_words(node: Node, error: RigdeployError) -> str:
    """An error's message for a line that names the rig already."""
    return error.message.removeprefix(f"{node.name}: ")
