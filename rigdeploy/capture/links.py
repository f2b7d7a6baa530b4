"""The link that a card is declared with: as wide as it is, as fast as it was seen or can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.fleet.link import WIDTHS, Link

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Gpu
    from rigdeploy.verify.cards import Card


@dataclass(frozen=True)
class Found:
    """A link to declare. ``gen_is_assumed``: no reading shows that generation. ``warnings`` say what is wrong."""

    link: Link
    gen_is_assumed: bool
    warnings: tuple[str, ...] = ()


def find(card: Card, gpu: Gpu, *, virtual: bool) -> Found:
    """The link of a card of that model; in a virtual machine the port above it says nothing."""
    width, warnings = _width(card, gpu, virtual=virtual)
    able = _able((card.gen_max, None if virtual else card.port_gen_max), gpu.link.gen)
    seen = card.gen
    if seen is None:
        warnings.append(f"the link's generation could not be read: {able}.0 is what card and port can do")
    gen = max(seen or 0, able)
    return Found(Link(gen, width), gen_is_assumed=seen != gen, warnings=tuple(warnings))


def _width(card: Card, gpu: Gpu, *, virtual: bool) -> tuple[int, list[str]]:
    able = _able((card.width_max, None if virtual else card.port_width_max), gpu.link.width)
    under_load = card.load.link.width_max if card.load else None
    measured = max((width for width in (card.width, under_load) if width is not None), default=None)
    if measured is None:
        width = declarable(able)
        return width, [f"the link's width could not be read: x{width} is what card and port can do"]
    width = declarable(measured)
    if width < able:
        return width, [
            f"the link is degraded: it came up as x{measured}, and card and port can both do x{able}; reseat card and "
            "riser and capture again, unless the riser has no more lanes"
        ]
    if not virtual and card.port_width_max is None:
        return width, [f"what the port above can do could not be read: whether x{width} is all is not known"]
    return width, []


def _able(limits: tuple[int | None, int | None], model: int) -> int:
    """What card and port can both do, and never more than the model can."""
    return min([model, *(limit for limit in limits if limit is not None)])


def declarable(width: int) -> int:
    """The widest link that can be declared and is no wider (PCIe knows x12 and x32, too)."""
    return max(able for able in WIDTHS if able <= width)
