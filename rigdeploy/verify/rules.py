"""The verdict: every rule over one rig. Pure; a new rule is one more function in ``RULES``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rigdeploy.node.observation import Observation
from rigdeploy.verify import bmc, driver, errors, health, host, link, load, managed, memory, path, presence, storage
from rigdeploy.verify.case import Case
from rigdeploy.verify.findings import Finding

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.fleet.models import Rig
    from rigdeploy.node.bmc_reading import BmcReading
    from rigdeploy.node.load import Load

RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    presence.count,
    presence.model,
    link.width,
    link.generation,
    path.path,
    errors.links,
    errors.replays,
    errors.xids,
    memory.per_card,
    memory.total,
    health.bar1,
    health.power,
    health.health,
    load.ended,
    load.bandwidth,
    load.errors,
    load.memory,
    load.peers,
    load.nvlink,
    driver.driver,
    health.persistence,
    host.cpu,
    host.memory,
    host.ecc,
    host.channels,
    host.memory_errors,
    host.network,
    storage.disks,
    storage.links,
    storage.space,
    bmc.sensors,
    bmc.events,
    bmc.audit,
    managed.drift,
)


def judge(
    rig: Rig,
    catalogue: Catalogue,
    observation: Observation,
    under_load: Load | None = None,
    bmc_said: BmcReading | None = None,
) -> list[Finding]:
    """Every finding about one rig, by subject matter and within it in declared order of the slots.

    Before a driver is there the PCI tree alone is judged: then memory and driver are UNKNOWN and FAIL where the
    declaration wants a driver, and not mentioned where it does not. ``under_load`` is an active check
    of the same boot; of another boot it is not looked at. ``bmc_said`` is what the rig's BMC said, if it was asked.
    """
    case = Case.of(rig, catalogue, observation, under_load, bmc_said)
    return [finding for rule in RULES for finding in rule(case)]
