"""A thousand random rigs with random faults: every verdict and cause against one computed from the physical truth."""

from __future__ import annotations

import physical_faults
import physical_readings
import physical_verdicts
import pytest

from rigdeploy.node.load import Load
from rigdeploy.node.observation import Observation
from rigdeploy.verify.rules import judge

RIGS = 1000
BATCH = 100


def verdicts(made):
    """What the rules say, for the checks that the physical truth decides."""
    document = physical_readings.load(made)
    found = judge(
        made.rig,
        made.catalogue,
        Observation.parse(physical_readings.observation(made)),
        Load.parse(document) if document else None,
    )
    subjects = {(f.check, f.subject): (f.status.value, f.cause) for f in found}
    assert len(subjects) == len(found), "two findings about one thing"
    return subjects


@pytest.mark.parametrize("batch", range(RIGS // BATCH))
def test_every_verdict_and_cause(catalogue, batch):
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        made = physical_faults.machine(seed, catalogue)
        expected = physical_verdicts.expected(made)
        judged = verdicts(made)
        wrong = {key: (judged.get(key), verdict) for key, verdict in expected.items() if judged.get(key) != verdict}
        checks = {check for check, _ in expected}
        surplus = {key: verdict for key, verdict in judged.items() if key[0] in checks and key not in expected}
        assert not wrong, f"seed {seed}: (judged, expected) {wrong}"
        assert not surplus, f"seed {seed}: nobody expects {surplus}"


def test_the_thousand_hold_every_verdict(catalogue):
    """A generator that never makes a fault proves nothing."""
    seen = {
        (check, *verdict)
        for seed in range(RIGS)
        for (check, _), verdict in physical_verdicts.expected(physical_faults.machine(seed, catalogue)).items()
    }
    causes = {cause for _, _, cause in seen}
    assert causes >= {
        "", "slot-limited", "card-limited", "link-degraded", "spec-mismatch", "unknown", "idle", "path-limited",
        "chipset-attached", "card-missing", "card-extra", "other-model", "memory-missing", "other-memory",
        "link-errors", "nonfatal-errors", "fatal-errors", "link-replays", "xid-fatal", "xid-noted", "bandwidth-low",
        "memory-errors",
    }  # fmt: skip
    assert len(seen) >= 40
