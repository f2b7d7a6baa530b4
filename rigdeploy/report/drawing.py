"""The drawing of a board: where everything stands, in the units of its SVG. Pure geometry; the template draws it.

Two layouts of one picture: ``WIDE`` for screens and paper, ``NARROW`` for a telephone, where labels would be too small
to read if the wide one were only shrunk. A link's stroke is as many units wide as it has lanes, in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rigdeploy.report.result import RigResult, Row, SlotView
from rigdeploy.verify.findings import Status, worst

LINK_CHECKS = ("link.", "load.bandwidth", "load.errors")
"""Checks whose gravest verdict colours the line of a link; all others belong to the card."""


@dataclass(frozen=True)
class Layout:
    """Columns from left to right and the heights of rows, in SVG units (a CSS pixel at full size)."""

    name: str
    width: int
    padding: int
    cpu: int
    """Width of the processor's block."""
    chipset_x: int
    chipset: int
    slot_x: int
    slot: int
    card_x: int
    row: int
    empty: int
    gap: int
    loose: int
    """How long the line of a slot is whose feeder is not known: it begins in the open."""
    labels_on_links: bool

    @property
    def card(self) -> int:
        """Width of a card's block."""
        return self.width - self.padding - self.card_x


WIDE = Layout("wide", 920, 20, 124, 184, 84, 424, 10, 446, 88, 44, 12, 130, labels_on_links=True)
NARROW = Layout("narrow", 344, 10, 36, 60, 24, 116, 8, 130, 104, 40, 10, 34, labels_on_links=False)


_BADGES = {Status.PASS: 66, Status.WARN: 70, Status.FAIL: 62, Status.UNKNOWN: 94}


@dataclass(frozen=True)
class Text:
    """A line of text; ``x`` is its start, its middle or its end by ``anchor``. ``css`` names its style."""

    x: float
    y: float
    text: str
    css: str
    anchor: str = "start"


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The vertical middle."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Place:
    """A slot and what is in it. ``kind``: ``card``, ``missing`` or ``empty``.

    ``link_from`` is where the line begins; ``declared`` and ``measured`` are its widths in lanes, 0 where there is
    none. ``link_status`` is the verdict on the link alone, ``status`` on everything about the slot.
    """

    name: str
    kind: str
    slot: Box
    card: Box
    link_from: float
    declared: int
    measured: int
    link_status: Status
    status: Status | None
    badge: int
    """Width of the verdict's badge."""
    texts: tuple[Text, ...]
    labels: tuple[Text, ...]
    """What stands on the card, and what along its link."""


@dataclass(frozen=True)
class Drawing:
    """One rig's board in one layout; ``says`` is the picture in words."""

    layout: Layout
    height: float
    cpu: Box
    chipsets: tuple[Box, ...]
    places: tuple[Place, ...]
    texts: tuple[Text, ...]
    says: str


def drawing(result: RigResult, layout: Layout) -> Drawing:
    """The board of a rig that was looked at."""
    boxes = list(_rows(result.slots, layout))
    has_chipset = any(slot.attached == "chipset" for slot in result.slots)
    places = tuple(_place(result, slot, box, layout) for slot, box in zip(result.slots, boxes, strict=True))
    bottom = max((box.y + box.height for box in boxes), default=layout.padding + layout.row)
    fed = [box.y + box.height for box, slot in zip(boxes, result.slots, strict=True) if slot.attached]
    cpu = Box(layout.padding, layout.padding, layout.cpu, max(fed, default=bottom) - layout.padding)
    chipsets = tuple(_chipsets(result.slots, boxes, layout)) if has_chipset else ()
    texts = (*_cpu_texts(result, cpu, layout), *(_chipset_text(box) for box in chipsets if layout.labels_on_links))
    return Drawing(layout, bottom + layout.padding, cpu, chipsets, places, texts, _says(result))


def link_verdict(result: RigResult, slot: str) -> Status:
    """The gravest verdict on a slot's link; that on the whole slot where no check was about the link."""
    about = result.about(slot)
    return worst([finding for finding in about if finding.check.startswith(LINK_CHECKS)] or about)


def _rows(slots: Iterable[SlotView], layout: Layout) -> Iterator[Box]:
    y = layout.padding
    for slot in slots:
        height = layout.row if slot.row else layout.empty
        yield Box(layout.card_x, y, layout.card, height)
        y += height + layout.gap


def _chipsets(slots: Sequence[SlotView], boxes: Sequence[Box], layout: Layout) -> Iterator[Box]:
    """A block beside every run of slots that the chipset feeds."""
    runs = groupby(zip(slots, boxes, strict=True), key=lambda pair: pair[0].attached)
    for attached, pairs in runs:
        if attached == "chipset":
            run = [box for _, box in pairs]
            height = run[-1].y + run[-1].height - run[0].y
            yield Box(layout.chipset_x, run[0].y, layout.chipset, height)


def _place(result: RigResult, slot: SlotView, card: Box, layout: Layout) -> Place:
    row = slot.row
    inset = 8 if row else 4
    start = {"cpu": layout.padding + layout.cpu, "chipset": layout.chipset_x + layout.chipset}
    link_from = start.get(slot.attached or "", layout.slot_x - layout.loose)
    declared = row.declared_link.width if row and row.declared_link else 0
    return Place(
        name=slot.name,
        kind="empty" if row is None else "missing" if row.is_missing else "card",
        slot=Box(layout.slot_x, card.y + inset, layout.slot, card.height - 2 * inset),
        card=card,
        link_from=link_from,
        declared=declared,
        measured=(row.link.width or 0) if row and not row.is_missing else 0,
        link_status=link_verdict(result, slot.name),
        status=row.verdict if row else None,
        badge=_BADGES[row.verdict] if row else 0,
        texts=tuple(_texts(slot, card, layout)),
        labels=tuple(_labels(row, card, (link_from + layout.slot_x) / 2)) if row and layout.labels_on_links else (),
    )


def _texts(slot: SlotView, card: Box, layout: Layout) -> Iterator[Text]:
    row = slot.row
    if row is None:
        limit = f"empty, {slot.limit}" if slot.limit else "empty"
        indent = 16 if layout.labels_on_links else 12
        name = fit(slot.name, 0.55 * card.width, 13)
        yield Text(card.x + indent, card.middle + 4.5, name, "dim name")
        yield Text(card.x + card.width - indent, card.middle + 4.5, limit, "dim", "end")
    elif layout.labels_on_links:
        left, room = card.x + 112, card.width - 128
        yield Text(left, card.y + 27, fit(slot.name, room - _BADGES[row.verdict] - 12, 15), "name")
        yield Text(left, card.y + 49, fit(row.model, room, 13.5), "model")
        yield Text(left, card.y + 70, fit(" · ".join(_details(row)), room, 12), "detail")
    else:
        left, room = card.x + 12, card.width - 24
        first, second = _link_words(row)
        yield Text(left, card.y + 24, fit(slot.name, room - _BADGES[row.verdict] - 8, 14), "name")
        yield Text(left, card.y + 47, fit(row.model, room, 12.5), "model")
        yield Text(left, card.y + 68, fit(first, 70, 12.5), "link")
        yield Text(card.x + card.width - 12, card.y + 68, second, "detail", "end")
        yield Text(left, card.y + 89, fit(" · ".join(_details(row, address=False)), room, 11.5), "detail")


def _labels(row: Row, card: Box, middle: float) -> Iterator[Text]:
    """The measured link above its line, the declared one below."""
    first, second = _link_words(row)
    reach = max(row.link.width or 0, row.declared_link.width if row.declared_link else 0) / 2
    yield Text(middle, card.middle - reach - 7, first, "link", "middle")
    yield Text(middle, card.middle + reach + 16, second, "detail", "middle")


def _link_words(row: Row) -> tuple[str, str]:
    """The measured link, and how it stands to the declared one."""
    if not row.declared:
        return row.measured or "?", "not declared"
    if row.is_missing:
        return "no card", f"declared {row.declared}"
    return row.measured or "?", "as declared" if row.measured == row.declared else f"declared {row.declared}"


def _details(row: Row, *, address: bool = True) -> Iterator[str]:
    if row.memory_mib is not None:
        yield f"{row.memory_mib} MiB"
    if row.bandwidth is not None:
        yield f"{row.bandwidth.to_card:.1f} / {row.bandwidth.from_card:.1f} GB/s"
    if address and row.address:
        yield row.address
    if row.is_missing:
        yield "not there"


def _cpu_texts(result: RigResult, cpu: Box, layout: Layout) -> Iterator[Text]:
    centre = cpu.x + cpu.width / 2
    if not layout.labels_on_links:
        yield Text(centre, cpu.middle + 4, "CPU", "block", "middle")
        return
    room = max(0, min(5, int((cpu.height - 48) / 17)))
    parts = (result.host.cpu or "").split(", ")
    lines = [line for part in parts for line in wrap(part, cpu.width - 16, 12, room)][:room]
    top = cpu.middle - 8.5 * len(lines) + 5
    yield Text(centre, top, "CPU", "block", "middle")
    for index, line in enumerate(lines, 1):
        yield Text(centre, top + 4 + 17 * index, line, "detail", "middle")


def _chipset_text(box: Box) -> Text:
    return Text(box.x + box.width / 2, box.middle + 5, "Chipset", "block", "middle")


def _says(result: RigResult) -> str:
    """The picture in words, for those who do not see it."""
    said = []
    for slot in result.slots:
        row = slot.row
        if row is None:
            said.append(f"{slot.name}: empty.")
        else:
            first, second = _link_words(row)
            link = link_verdict(result, slot.name).value
            said.append(f"{slot.name}: {row.model}, link {first}, {second}, {link}; slot {row.verdict.value}.")
    return " ".join(said)


# Widths of Helvetica's letters as shares of the font size (Adobe's Core14 AFM), rounded up into four classes. Whatever
# is no ASCII counts as a full em, which East Asian letters are. A font that is wider still is clipped by the template.
_NARROW, _BROAD, _CAPITAL, _MEDIUM = 0.34, 0.95, 0.73, 0.57
_CLASSES = {**dict.fromkeys("ijltfrI.,:;'|!()[]/ -`", _NARROW), **dict.fromkeys("mwMWGOQ@%", _BROAD)}


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a font of this size; rather too much than too little."""
    return size * sum(_width(character) for character in text)


def _width(character: str) -> float:
    if not character.isascii():
        return _NARROW if character == "·" else 1.0
    return _CLASSES.get(character, _CAPITAL if character.isupper() else _MEDIUM)


def fit(text: str, width: float, size: float) -> str:
    """The text, shortened with an ellipsis where it is too wide."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, width: float, size: float, limit: int) -> list[str]:
    """The text in at most ``limit`` lines, broken at spaces; what is left over goes, with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > limit:
        lines = [*lines[: limit - 1], " ".join(lines[limit - 1 :])] if limit else []
    return [fit(line, width, size) for line in lines]
