"""Which architecture a card is of, by its PCI device id: for cards that the catalogue does not know.

NVIDIA numbers devices chip by chip, so an architecture is a few ranges. They are read off the device ids of the PCI ID
database (pci.ids of August 2026) and agree with the chips that nouveau names; a range ends where the next chip begins.
"""

from __future__ import annotations

RANGES: tuple[tuple[int, int, str], ...] = (
    (0x1340, 0x14FF, "maxwell"),  # GM108, GM107, GM204, GM206
    (0x15C0, 0x15FF, "pascal"),  # GP100
    (0x1600, 0x171F, "maxwell"),  # GM204, mobile
    (0x1720, 0x172F, "pascal"),  # GP100
    (0x1740, 0x17FF, "maxwell"),  # GM108, GM107, GM200
    (0x1B00, 0x1D7F, "pascal"),  # GP102, GP104, GP106, GP107, GP108
    (0x1D80, 0x1DFF, "volta"),  # GV100
    (0x1E00, 0x1FFF, "turing"),  # TU102, TU104, TU106, TU117
    (0x2080, 0x20FF, "ampere"),  # GA100
    (0x2180, 0x21FF, "turing"),  # TU116
    (0x2200, 0x227F, "ampere"),  # GA102
    (0x2300, 0x23FF, "hopper"),  # GH100
    (0x2400, 0x25FF, "ampere"),  # GA103, GA104, GA106, GA107
    (0x2680, 0x28FF, "ada"),  # AD102, AD103, AD104, AD106, AD107
    (0x2900, 0x2F7F, "blackwell"),  # GB100, GB102, GB202, GB203, GB206, GB207, GB20B, GB205
    (0x3000, 0x30FF, "rubin"),  # GR100, GR102
    (0x3180, 0x337F, "blackwell"),  # GB110, GB112, GB120
)
"""First and last device id, and the architecture of what lies between."""

KEPLER = "kepler"
"""Whatever is older than Maxwell; no branch that is still built drives it."""

NEWER = "newer"
"""Whatever has an id above every range."""


def architecture_of(pci_id: str) -> str | None:
    """The architecture of ``10de:2204``; ``None`` where the id lies in no known range.

    Ids have grown with the years, so one above every range is of a card newer than all of these.
    """
    vendor, _, device = pci_id.partition(":")
    if vendor != "10de":
        return None
    try:
        number = int(device, 16)
    except ValueError:
        return None
    for first, last, name in RANGES:
        if first <= number <= last:
            return name
    if number < RANGES[0][0]:
        return KEPLER
    return NEWER if number > RANGES[-1][1] else None
