"""What a rig's BMC said at one time: its sensors, its event log, and how it is set. Bounded, and fit to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rigdeploy.node.values import LIST_LIMIT, TEXT_LIMIT, Unread, display
from rigdeploy.power.base import EventRecord, Health, RestorePolicy, Sensor

DAY = 86400.0
"""Seconds back to which an event is new on a rig that has booted since."""


@dataclass(frozen=True)
class BmcSettings:
    """How the BMC is set: what it does when mains power comes back."""

    power_restore: RestorePolicy


@dataclass(frozen=True)
class BmcReading:
    """Sensors and event log (oldest first) at ``read_at``, a Unix time.

    ``unread`` has a line for ``sensors`` and for ``events`` where the BMC could not be asked for them.
    """

    read_at: float
    sensors: tuple[Sensor, ...] = ()
    events: tuple[EventRecord, ...] = ()
    unread: tuple[Unread, ...] = ()

    @classmethod
    def of(
        cls, read_at: float, sensors: Iterable[Sensor], events: Iterable[EventRecord], unread: Iterable[Unread] = ()
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
        return cls(read_at, shown, told, tuple(Unread(line.what, display(line.why)) for line in unread))

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
