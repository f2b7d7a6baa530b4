"""What a rig's BMC said at one time: its sensors, its event log, and how it is set. Bounded, and fit to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from rigdeploy.node.values import LIST_LIMIT, TEXT_LIMIT, Unread, display
from rigdeploy.power.base import Door, EventRecord, Health, RestorePolicy, Sensor

if TYPE_CHECKING:
    from rigdeploy.power.audit import Facts

DAY = 86400.0
"""Seconds back to which an event is new on a rig that has booted since."""


@dataclass(frozen=True)
class BmcSettings:
    """How the BMC is set, as far as anything is declared about it.

    ``power_restore`` is what it does when mains power comes back, ``open`` says of each door whether it is open;
    ``unknown`` has, by the name of a declared setting, why this BMC cannot be asked for it, or told.
    """

    power_restore: RestorePolicy | None = None
    open: Mapping[Door, bool] = field(default_factory=lambda: MappingProxyType({}))
    unknown: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def as_dict(self) -> dict[str, str]:
        """What is known, by the settings' names: a policy, and ``open`` or ``closed``."""
        doors = {door.value: "open" if found else "closed" for door, found in self.open.items()}
        return ({"power_restore": self.power_restore.value} if self.power_restore else {}) | doors

    def changes(self, power_restore: str | None) -> dict[str, str]:
        """What has to be done, with why, for this policy, if one is declared, and for all doors to be closed."""
        found = {}
        known = self.power_restore is not None and "power_restore" not in self.unknown
        if known and power_restore not in (None, self.power_restore):
            why = f"power_restore is {self.power_restore}, {power_restore} is declared"
            found[f"set power_restore to {power_restore}"] = why
        return found | {f"close {door}": f"{door} is open" for door, is_open in self.open.items() if is_open}

    def told(self) -> str:
        """The same in words, and what could not be asked for."""
        known = [f"{name} is {value}" for name, value in self.as_dict().items()]
        return ", ".join([*known, *(f"{name} is left as it is: {why}" for name, why in self.unknown.items())])


@dataclass(frozen=True)
class BmcReading:
    """Sensors and event log (oldest first) at ``read_at``, a Unix time.

    ``audit`` holds what was found open on it on the way, None where nobody was let in. ``unread`` has a line for
    ``sensors`` and for ``events`` where the BMC could not be asked for them.
    """

    read_at: float
    sensors: tuple[Sensor, ...] = ()
    events: tuple[EventRecord, ...] = ()
    unread: tuple[Unread, ...] = ()
    audit: Facts | None = None

    @classmethod
    def of(
        cls,
        read_at: float,
        sensors: Iterable[Sensor],
        events: Iterable[EventRecord],
        unread: Iterable[Unread] = (),
        audit: Facts | None = None,
    ) -> BmcReading:
        """A reading from what a driver gave: texts made fit to show, and of a long log the end."""
        shown = tuple(
            replace(sensor, name=display(sensor.name), states=tuple(map(display, sensor.states[:TEXT_LIMIT])))
            for sensor in list(sensors)[:LIST_LIMIT]
        )
        told = tuple(
            replace(event, source=display(event.source), text=display(event.text))
            for event in list(events)[-LIST_LIMIT:]
        )
        return cls(read_at, shown, told, tuple(Unread(line.what, display(line.why)) for line in unread), audit)

    def why_unread(self, what: str) -> str:
        """Why the BMC could not be asked for it; empty when it could."""
        return next((line.why for line in self.unread if line.what == what), "")

    def new_events(self, uptime: float | None) -> list[EventRecord]:
        """The events since the node booted, ``uptime`` seconds ago, and those of the last day in any case.

        What took a rig down stands in the log before the boot. An event without a time is as old as the one before it.
        """
        since = self.read_at - max(DAY, uptime or 0.0)
        found, new = [], False
        for event in self.events:
            new = event.time >= since if event.time is not None else new
            if new:
                found.append(event)
        return found

    def undated(self) -> list[EventRecord]:
        """The events before the first that has a time, which may be of any age, that are not known to be harmless."""
        first = next((index for index, event in enumerate(self.events) if event.time is not None), len(self.events))
        return [event for event in self.events[:first] if event.health in (Health.WARNING, Health.CRITICAL)]
