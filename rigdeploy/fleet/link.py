"""A PCIe link: generation and width, as people write it (``4.0 x16``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

WIDTHS = (1, 2, 4, 8, 16)
"""Lane counts a graphics slot can have (PCIe base specification; x12 and x32 are not built)."""

_TEXT = re.compile(r"([1-6])(?:\.0)? x(1|2|4|8|16)")


@dataclass(frozen=True)
class Link:
    """A PCIe link: ``gen`` 1 to 6, ``width`` in lanes."""

    gen: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Link:
        """Read ``4.0 x16``; raises ValueError, with the form that is wanted, on anything else."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a PCIe link; write it as '4.0 x16' (1.0 to 6.0, x1 x2 x4 x8 x16)")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.gen}.0 x{self.width}"

    def fits(self, limit: Link) -> bool:
        """Whether something limited to ``limit`` can carry this link."""
        return self.gen <= limit.gen and self.width <= limit.width
