"""The last active check of each rig, kept as its node printed it: ``<state>/load/RIG.json``.

It is evidence for as long as the node keeps running: who judges compares its boot id with the observation's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rigdeploy.files import write_atomically
from rigdeploy.node.load import Load
from rigdeploy.node.values import DOCUMENT_LIMIT, ObservationError
from rigdeploy.run.active import Measured
from rigdeploy.workspace import Workspace


def keep(workspace: Workspace, rig: str, measured: Measured) -> None:
    """Keep a check; one that measured nothing does not replace one of the same boot that did.

    A card may be busy today that was measured when the rig was brought up, and nothing about it has changed since.
    """
    if not _has_result(measured.load):
        kept = recall(workspace, rig, lambda _: None)
        if kept is not None and _has_result(kept) and kept.boot_id == measured.load.boot_id:
            return
    workspace.loads.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(workspace.loads / f"{rig}.json", measured.document, mode=0o600)


def recall(workspace: Workspace, rig: str, say: Callable[[str], None]) -> Load | None:
    """The check that is kept of a rig, of whatever boot; None without one. A damaged file is told to ``say``."""
    path = workspace.loads / f"{rig}.json"
    try:
        with path.open("rb") as stream:
            return replace(Load.from_json(stream.read(DOCUMENT_LIMIT + 1)), kept=True)
    except FileNotFoundError:
        return None
    except (OSError, ObservationError) as error:
        reason = error.message if isinstance(error, ObservationError) else error.strerror
        say(f"{rig}: {path} is ignored: {reason}; 'rigdeploy verify --active {rig}' makes a new one")
        return None


def _has_result(load: Load) -> bool:
    return any(card.skipped is None for card in load.cards.values())
