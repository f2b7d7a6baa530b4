"""What a Redfish service says about its rig, out of its JSON. Pure.

All of it is data from outside: values of the wrong type are left out, texts are made fit to show, lists are capped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rigdeploy.node.values import display, table_of, tables_of
from rigdeploy.power.base import EventRecord, Health, Sensor

MOST_MEMBERS = 2048
"""Members of a collection that are looked at; event logs hold some 1 000 to 4 000 lines, the oldest first."""

_HEALTH = {"OK": Health.OK, "Warning": Health.WARNING, "Critical": Health.CRITICAL}
_KINDS = {
    "Temperature": ("temperature", "C"),
    "Rotational": ("fan", "RPM"),
    "Voltage": ("voltage", "V"),
    "Power": ("power", "W"),
    "Current": ("current", "A"),
}
"""Sensor.ReadingType, and the unit that our sensors of that kind have."""
_LOGS = ("sel", "eventlog", "event", "log")
"""Names of event logs, the likeliest first."""
_CLOCK_SET = datetime(2010, 1, 1, tzinfo=UTC).timestamp()
"""A BMC whose clock was never set counts from 1970, or from the day its firmware was made."""
_INVENTORY = {
    "board_manufacturer": "Manufacturer",
    "board_product": "Model",
    "board_serial": "SerialNumber",
    "board_part": "PartNumber",
    "uuid": "UUID",
    "bios": "BiosVersion",
}


def path(resource: Any) -> str | None:
    """The address of a resource, or of what a link leads to."""
    found = table_of(resource).get("@odata.id")
    return found if isinstance(found, str) and found else None


def paths(links: Any) -> list[str]:
    """The addresses in a list of links."""
    return [found for link in tables_of(links) if (found := path(link)) is not None]


def action(resource: Mapping[str, Any], name: str) -> str | None:
    """Where an action is posted to."""
    target = table_of(table_of(resource.get("Actions")).get(name)).get("target")
    return target if isinstance(target, str) and target else None


def inserted(device: Mapping[str, Any]) -> str | None:
    """The image in a virtual device."""
    if device.get("Inserted") is False:
        return None
    image = device.get("Image") or device.get("ImageName")
    return display(image) if isinstance(image, str) else None


def bios(document: Mapping[str, Any]) -> dict[str, str]:
    """The firmware's settings as text."""
    attributes = table_of(document.get("Attributes"))
    return {display(name): display(str(value)) for name, value in attributes.items() if value is not None}


def inventory(system: Mapping[str, Any], manager: Mapping[str, Any]) -> dict[str, str]:
    """System and manager by the names that every driver uses."""
    said = {name: system.get(key) for name, key in _INVENTORY.items()}
    said |= {"bmc": manager.get("Model"), "firmware": manager.get("FirmwareVersion")}
    return {name: display(value) for name, value in said.items() if isinstance(value, str) and value.strip()}


def thermal(document: Mapping[str, Any]) -> list[Sensor]:
    """Chassis.Thermal: temperatures and fans."""
    found = [_sensor(item, "temperature", "ReadingCelsius", "C") for item in _present(document, "Temperatures")]
    for item in _present(document, "Fans"):
        unit = "%" if item.get("ReadingUnits") == "Percent" else "RPM"
        found.append(_sensor(item, "fan", "Reading", unit))
    return found


def power(document: Mapping[str, Any]) -> list[Sensor]:
    """Chassis.Power: voltages, the supplies' output and the whole draw."""
    found = [_sensor(item, "voltage", "ReadingVolts", "V") for item in _present(document, "Voltages")]
    for item in _present(document, "PowerSupplies"):
        key = "PowerOutputWatts" if "PowerOutputWatts" in item else "LastPowerOutputWatts"
        found.append(_sensor(item, "power", key, "W"))
    found += [_sensor(item, "power", "PowerConsumedWatts", "W") for item in _present(document, "PowerControl")]
    return found


def readings(members: Iterable[Mapping[str, Any]]) -> list[Sensor]:
    """Chassis.Sensors: those of a kind that we know."""
    found = []
    for item in members:
        kind = item.get("ReadingType")
        if isinstance(kind, str) and kind in _KINDS and _state(item) != "Absent":
            name, unit = _KINDS[kind]
            found.append(_sensor(item, name, "Reading", "%" if item.get("ReadingUnits") == "%" else unit))
    return found


def event_log(logs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The system event log among a BMC's logs, or what comes nearest to it."""
    for log in logs:
        if log.get("LogEntryType") == "SEL":
            return log
    by_name = {str(log.get("Id", "")).lower(): log for log in logs if "Entries" in log}
    named = next((by_name[name] for name in _LOGS if name in by_name), None)
    return named or next(iter(by_name.values()), None)


def events(entries: Iterable[Mapping[str, Any]]) -> list[EventRecord]:
    """The lines of an event log, oldest first."""
    found = [_event(position, entry) for position, entry in enumerate(entries, 1)]
    return sorted(found, key=lambda event: event.number)


def _event(position: int, entry: Mapping[str, Any]) -> EventRecord:
    number = str(entry.get("Id", ""))
    message = entry.get("Message") or entry.get("Name")
    source = entry.get("SensorType") or entry.get("EntryType")
    return EventRecord(
        number=int(number) if number.isascii() and number.isdigit() and len(number) < len("1" * 10) else position,
        time=_time(entry.get("Created") or entry.get("EventTimestamp")),
        source=display(source) if isinstance(source, str) else "",
        text=display(message) if isinstance(message, str) else "",
        health=_HEALTH.get(str(entry.get("Severity")), Health.UNKNOWN),
    )


def _time(text: Any) -> float | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    stamp = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return stamp if stamp >= _CLOCK_SET else None


def _present(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return [item for item in tables_of(document.get(name)) if _state(item) != "Absent"]


def _state(item: Mapping[str, Any]) -> Any:
    return table_of(item.get("Status")).get("State")


def _sensor(item: Mapping[str, Any], kind: str, key: str, unit: str) -> Sensor:
    name = next((item[k] for k in ("Name", "FanName", "MemberId", "Id") if isinstance(item.get(k), str)), kind)
    value, state = item.get(key), _state(item)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return Sensor(
        name=display(name),
        kind=kind,
        value=float(value) if good and value is not None else None,
        unit=unit,
        health=_HEALTH.get(str(table_of(item.get("Status")).get("Health")), Health.UNKNOWN),
        states=(display(state),) if isinstance(state, str) else (),
    )
