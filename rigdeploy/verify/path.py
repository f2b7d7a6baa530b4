"""The whole path from a card to the CPU, beyond the link of its own: behind a narrow link, a wide one is narrow too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rigdeploy.fleet.link import Link
from rigdeploy.node.observation import PciDevice
from rigdeploy.verify import rates
from rigdeploy.verify.cards import Card
from rigdeploy.verify.case import LOOK_ON_THE_HOST, Case
from rigdeploy.verify.findings import Finding, Status

_AMD, _INTEL = "1022", "8086"
_INTEL_CHIPSET_ROOT = re.compile(r"0000:(00|80):1[a-d]\.[0-7]")
"""Root ports of Intel's chipsets (PCH): devices 1b to 1d of bus 0 (Intel's datasheets of the 100 to 700 series), with
the largest 1a too, and bus 80 with Core Ultra 200S (both recalled). The CPU's have lower numbers. The chipset's own
uplink (DMI) shows nowhere."""
_AMD_CHIPSET_SWITCH = re.compile("43[0-9a-f]{2}|57a[34d]")
"""Switch ports of AMD's chipsets: 43b0 to 43e9 the 300 to 500 series, 57a3, 57a4 and 57ad the X570, TRX40 and WRX80
(pci.ids, vendor 1022); 43f4 and 43f5 the 600 series (recalled)."""


@dataclass(frozen=True)
class _Uplink:
    """A link above the card's own, by the port at its lower or upper end; ``gen`` is what both ends can do."""

    port: str
    width: int
    gen: int

    @property
    def gbps(self) -> float:
        """GB/s in one direction."""
        return rates.GB_PER_LANE[self.gen] * self.width

    def __str__(self) -> str:
        return f"{self.gen}.0 x{self.width} at {self.port}"


def path(case: Case) -> Iterator[Finding]:
    """Every link between a card's own and the CPU carries as much as was declared, and no chipset lies between.

    Links slow down at rest, and so do those of switches: they are judged by the lanes that they have now and the
    generation that both ends can do.
    """
    for card, slot in case.occupied():
        yield _judge(case, card, slot.link)


def is_behind_chipset(card: Card) -> bool:
    """Whether the card hangs on a chipset, whose link to the CPU all its devices share."""
    return any(_is_of_chipset(port) for port in card.ports)


def _is_of_chipset(port: PciDevice) -> bool:
    if port.vendor == _INTEL:
        return port.parent is None and _INTEL_CHIPSET_ROOT.fullmatch(port.address) is not None
    return port.vendor == _AMD and _AMD_CHIPSET_SWITCH.fullmatch(port.device or "") is not None


def _judge(case: Case, card: Card, declared: Link) -> Finding:
    wanted, place = rates.bandwidth_gbps(declared), case.place(card)
    links = [_uplink(card.ports, index) for index in range(1, len(card.ports))]
    uplinks = [link for link in links if link is not None]
    narrowest = min(uplinks, key=lambda link: link.gbps, default=None)
    status, cause, remedy = Status.PASS, "", ""
    if case.is_virtual:
        status, cause, remedy = Status.UNKNOWN, "unknown", LOOK_ON_THE_HOST
    elif narrowest is not None and narrowest.gbps < wanted:
        status, cause = Status.FAIL, "path-limited"
        remedy = (
            f"between {place} and the CPU there is a link of {narrowest}, which carries {narrowest.gbps:.1f} of the "
            f"{wanted:.1f} GB/s declared: use a slot of the CPU's, or declare what the path carries.{case.note(card)}"
        )
    elif is_behind_chipset(card) and _is_at_cpu(case, card):
        status, cause = Status.WARN, "chipset-attached"
        remedy = (
            f"{place} should hang on the CPU, but this card hangs on the chipset, whose link to the CPU all its "
            f"devices share: is it in another slot?{case.note(card)}"
        )
    elif not any(port.link is not None and port.link.width is not None for port in card.ports) or None in links:
        status, cause = Status.UNKNOWN, "unreadable"
        remedy = f"not every link between {place} and the CPU could be read: look at the probe's 'unread' list"
    observed = str(narrowest) if narrowest else ""
    evidence = _evidence(card, uplinks, wanted)
    return Finding("link.path", card.slot, status, str(declared), observed, cause, remedy, evidence)


def _uplink(ports: tuple[PciDevice, ...], index: int) -> _Uplink | None:
    """The link that one of the ports above a card belongs to; None where it could not be read.

    Above a card ports alternate: the one it hangs on, the one that leads up from there, the one that this hangs on. So
    the other end of a port with an odd index is the next one up, and that of one with an even index the last one.
    """
    near = ports[index].link
    other = index + 1 if index % 2 else index - 1
    far = ports[other].link if other < len(ports) else None
    gens = [link.gen_max for link in (near, far) if link is not None and link.gen_max is not None]
    if near is None or near.width is None or not gens:
        return None
    return _Uplink(ports[index].address, near.width, min(gens))


def _is_at_cpu(case: Case, card: Card) -> bool:
    slot = case.board.slots.get(card.slot) if case.board else None
    return slot is not None and slot.attached == "cpu"


def _evidence(card: Card, uplinks: list[_Uplink], wanted: float) -> dict[str, Any]:
    known = bool(card.ports) and card.ports[-1].vendor in (_AMD, _INTEL)
    return {
        "address": card.address,
        "ports": [port.address for port in card.ports],
        "attached": "chipset" if is_behind_chipset(card) else "cpu" if known else None,
        "declared_gbps": round(wanted, 3),
        "uplinks": [
            {"port": link.port, "width": link.width, "gen": link.gen, "gbps": round(link.gbps, 3)} for link in uplinks
        ],
    }
