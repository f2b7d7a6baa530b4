"""What the active check measured, as typed values; what is not of its type is ``None``, and stands in ``unread``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rigdeploy.node.values import (
    GENERATIONS,
    WIDTHS,
    Unread,
    Values,
    checked,
    document_from,
    table_of,
    tables_of,
    unread_of,
)

SCHEMA = 1
_PROGRAM = "active.py"


@dataclass(frozen=True)
class LoadedLink:
    """A card's link as sampled during the copies: lanes and generations, ``samples`` readings."""

    samples: int | None = None
    width_min: int | None = None
    width_max: int | None = None
    gen_max: int | None = None


@dataclass(frozen=True)
class MemoryTest:
    """Memory that was written and read back: MiB, and how many 32-bit words came back wrong."""

    tested_mib: int | None = None
    wanted_mib: int | None = None
    errors: int | None = None


@dataclass(frozen=True)
class CardLoad:
    """One card under load.

    Bandwidths in GB/s (10^9 bytes): ``h2d`` to the card, ``d2h`` from it, alone and together with all other cards.
    ``skipped`` says why nothing was done, and is ``None`` where something was.
    ``aer`` holds by severity how many errors both ends of the link counted during the load of ``seconds``; ``replays``
    likewise. Each is ``None`` where there is no counter.
    """

    address: str
    skipped: str | None = None
    h2d_gbps: float | None = None
    d2h_gbps: float | None = None
    h2d_together_gbps: float | None = None
    d2h_together_gbps: float | None = None
    link: LoadedLink = LoadedLink()
    seconds: float | None = None
    aer: Mapping[str, int] | None = None
    replays: int | None = None
    memory: MemoryTest | None = None


@dataclass(frozen=True)
class PairLoad:
    """A copy from one card to another: whether the driver allows it directly, and how fast it was in GB/s.

    ``intact`` is whether what was copied arrived as it was sent.
    """

    source: str
    target: str
    can_access: bool | None = None
    gbps: float | None = None
    intact: bool | None = None


@dataclass(frozen=True)
class NvLinks:
    """One card's NVLinks: how many there are, how many are up, and the addresses at their other ends."""

    address: str
    total: int | None = None
    active: int | None = None
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Load:
    """One active check. ``ended`` is ``done``, ``cancelled`` or ``timeout``; ``taken`` is a Unix time.

    It is valid for as long as the node keeps running: compare ``boot_id`` with the observation's. ``kept`` marks one
    that was not made for this verdict but for an earlier one.
    """

    boot_id: str | None
    taken: float | None
    seconds: float | None
    ended: str | None
    cards: Mapping[str, CardLoad]
    pairs: tuple[PairLoad, ...]
    nvlinks: Mapping[str, NvLinks]
    unread: tuple[Unread, ...]
    kept: bool = False

    @classmethod
    def from_json(cls, text: str | bytes) -> Load:
        """Read what the active check printed; raises ObservationError when it is none."""
        return cls._read(document_from(text, SCHEMA, _PROGRAM))

    @classmethod
    def parse(cls, document: Any) -> Load:
        """Read a document; raises ObservationError when it is no JSON object or has another schema."""
        return cls._read(checked(document, SCHEMA, _PROGRAM))

    @classmethod
    def _read(cls, document: dict[str, Any]) -> Load:
        reader = _Reader()
        return cls(
            boot_id=reader.text(document, "boot_id", "load"),
            taken=reader.number(document, "taken", "load"),
            seconds=reader.number(document, "seconds", "load"),
            ended=reader.text(document, "ended", "load"),
            cards={card.address: card for card in reader.cards(document)},
            pairs=tuple(reader.pairs(document)),
            nvlinks={links.address: links for links in reader.nvlinks(document)},
            unread=(*unread_of(document), *reader.unread),
        )

    def why_unread(self, prefix: str) -> str:
        """Why something under this name could not be measured; empty when nothing says so."""
        return next((line.why for line in self.unread if line.what.startswith(prefix)), "")


class _Reader(Values):
    """Reads the parts of an active check."""

    def cards(self, document: dict[str, Any]) -> Iterator[CardLoad]:
        for table in tables_of(document.get("cards")):
            address = self.address(table, "address", "cards[]")
            if address is None:
                continue
            what = f"cards[{address}]"
            link, memory = table_of(table.get("link")), table.get("memory")
            yield CardLoad(
                address=address,
                skipped=self.text(table, "skipped", what),
                h2d_gbps=self.number(table, "h2d_gbps", what),
                d2h_gbps=self.number(table, "d2h_gbps", what),
                h2d_together_gbps=self.number(table, "h2d_together_gbps", what),
                d2h_together_gbps=self.number(table, "d2h_together_gbps", what),
                link=LoadedLink(
                    samples=self.integer(link, "samples", f"{what}.link"),
                    width_min=self.integer(link, "width_min", f"{what}.link", WIDTHS),
                    width_max=self.integer(link, "width_max", f"{what}.link", WIDTHS),
                    gen_max=self.integer(link, "gen_max", f"{what}.link", GENERATIONS),
                ),
                seconds=self.number(table, "seconds", what),
                aer=self.counters(table, "aer", what) if isinstance(table.get("aer"), dict) else None,
                replays=self.integer(table, "replays", what),
                memory=self.memory(memory, what) if isinstance(memory, dict) else None,
            )

    def memory(self, table: dict[str, Any], what: str) -> MemoryTest:
        names = ("tested_mib", "wanted_mib", "errors")
        return MemoryTest(**{name: self.integer(table, name, f"{what}.memory") for name in names})

    def pairs(self, document: dict[str, Any]) -> Iterator[PairLoad]:
        for table in tables_of(document.get("pairs")):
            source, target = (self.address(table, key, "pairs[]") for key in ("source", "target"))
            if source is not None and target is not None:
                what = f"pairs[{source},{target}]"
                can_access, intact = (self.flag(table, key, what) for key in ("can_access", "intact"))
                yield PairLoad(source, target, can_access, self.number(table, "gbps", what), intact)

    def nvlinks(self, document: dict[str, Any]) -> Iterator[NvLinks]:
        for table in tables_of(document.get("nvlinks")):
            address = self.address(table, "address", "nvlinks[]")
            if address is None:
                continue
            what = f"nvlinks[{address}]"
            counts = {name: self.integer(table, name, what) for name in ("total", "active")}
            yield NvLinks(address, **counts, peers=self.texts(table, "peers", what) or ())
