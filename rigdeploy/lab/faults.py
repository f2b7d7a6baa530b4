"""What can be wrong with a twin: the faults as data, kept in ``faults.json``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class SlotFault:
    """What is wrong with the card in one slot; ``None`` and ``False`` mean sound.

    ``width`` and ``gen`` replace the measured link; ``at`` says whether only the measured link is down (``card``: a bad
    riser) or the port cannot do more (``port``: the slot or the firmware limits it). ``stuck_gen`` is the generation
    that the link does not leave under load, however it was trained. ``memory_mib`` and ``bar1_mib`` are sizes in MiB,
    ``bandwidth`` is the share in percent of what the link could carry, ``power_limit`` in watts what is enforced.
    ``aer_per_minute`` correctable errors are counted from ``aer_since`` (Unix time) on, the first minute's at once;
    ``replays`` is the driver's count of replays. ``busy``: a program computes on the card.
    """

    width: int | None = None
    gen: int | None = None
    at: Literal["card", "port"] = "card"
    stuck_gen: int | None = None
    missing: bool = False
    memory_mib: int | None = None
    modded: bool = False
    ecc: bool = False
    xid: int | None = None
    aer_per_minute: int = 0
    aer_since: float = 0.0
    replays: int = 0
    bar1_mib: int | None = None
    bandwidth: int = 100
    bad_memory: bool = False
    busy: bool = False
    power_limit: int | None = None
    hw_slowdown: bool = False

    def aer_count(self, now: float) -> int:
        """Correctable errors up to ``now`` (Unix time)."""
        if not self.aer_per_minute:
            return 0
        return int(self.aer_per_minute * (1 + max(0.0, now - self.aer_since) / 60))


@dataclass(frozen=True)
class Faults:
    """What is wrong with one twin: its cards by slot, its system, its BMC.

    ``nic_speed`` is what the first network port negotiates, in Mbit/s; ``dimm_missing`` and ``disk_missing`` take away
    the last memory module and the last disk.
    ``swallow_power_on`` is how many more times the BMC forgets a power-on; ``bmc_lag`` the seconds until it acts;
    ``lose_datagrams`` the share of its datagrams that get lost, in percent. ``host_key`` is the order for new host
    keys: each new value is carried out once. ``mismatch`` is the version that the loaded module really has,
    while it claims another; a boot cures that. ``dkms_fails``: kernel modules do not compile. No fault, but a rig of
    another kind: ``secure_boot`` is on, an ``nvswitch`` is on the bus.
    """

    slots: dict[str, SlotFault] = field(default_factory=dict)
    nouveau: bool = False
    dkms_fails: bool = False
    secure_boot: bool = False
    nvswitch: bool = False
    mismatch: str = ""
    no_persistence: bool = False
    dimm_missing: bool = False
    disk_missing: bool = False
    nic_speed: int | None = None
    disk_full: bool = False
    host_key: str = ""
    swallow_power_on: int = 0
    bmc_lag: float = 0.0
    lose_datagrams: int = 0

    def slot(self, name: str) -> SlotFault:
        """The faults of one slot."""
        return self.slots.get(name, SlotFault())

    def growing(self) -> bool:
        """Whether any counter has to be brought up to date as time passes."""
        return any(fault.aer_per_minute for fault in self.slots.values())

    def with_slot(self, name: str, **changes: Any) -> Faults:
        """These faults with one slot's changed."""
        slots = {**self.slots, name: dataclasses.replace(self.slot(name), **changes)}
        return dataclasses.replace(self, slots=slots)

    def without_slot(self, name: str) -> Faults:
        """These faults with one slot sound again."""
        return dataclasses.replace(self, slots={key: value for key, value in self.slots.items() if key != name})

    def describe(self) -> list[str]:
        """One line for each fault, for people."""
        lines = []
        for name, fault in self.slots.items():
            changed = _changed(fault, SlotFault())
            lines += [f"{name}: {text}" for text in changed if not text.startswith(("aer since", "at="))]
            if fault.at == "port" and (fault.width or fault.gen):
                lines[-1] += " (at the port)"
        return lines + [text for text in _changed(self, Faults()) if not text.startswith("slots")]

    def to_json(self) -> str:
        """As ``faults.json`` holds it."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Faults:
        """Read what ``to_json`` wrote."""
        data = json.loads(text)
        slots = {name: SlotFault(**values) for name, values in data.pop("slots", {}).items()}
        return cls(slots=slots, **data)


def _changed(item: SlotFault | Faults, sound: SlotFault | Faults) -> list[str]:
    lines = []
    for fld in dataclasses.fields(item):
        value = getattr(item, fld.name)
        if value != getattr(sound, fld.name):
            lines.append(fld.name.replace("_", " ") if value is True else f"{fld.name.replace('_', ' ')}={value}")
    return lines
