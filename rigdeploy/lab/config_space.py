"""A PCI function's configuration space, 4096 bytes, as /sys/bus/pci/devices/*/config gives it to root.

What is in it: the header, the PCI Express capability (the link, as lspci reads it), and as extended capabilities
Advanced Error Reporting and, at ports, Access Control Services. Layout: PCI Express Base Specification 5.0, 7.5 to 7.8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rigdeploy.fleet.link import Link

SIZE = 4096
EXPRESS = 0x60
"""Where the PCI Express capability sits here; devices differ."""
LINK_STATUS = EXPRESS + 0x12
_AER = 0x100
_ACS = 0x2A0
_TYPES = {"endpoint": 0x0, "root": 0x4, "upstream": 0x5, "downstream": 0x6}
_ACS_CAN = 0x005F
"""Everything but egress control: what root ports of EPYC and Core offer."""
_ACS_REDIRECT = 0x001D
"""SrcValid, ReqRedir, CmpltRedir and UpstreamFwd: what Linux switches on together with an IOMMU
(drivers/pci/pci.c, pci_std_enable_acs)."""


@dataclass(frozen=True)
class Function:
    """What a configuration space says: ids as numbers, the widest link, and the link now (None: no card behind).

    ``kind`` is the port's kind or ``endpoint``. A bridge has ``buses`` (its own, the first and the last behind it).
    ``redirect`` says whether its Access Control Services send a peer's requests up to the root; None: it has none.
    """

    vendor: int
    device: int
    subsystem: tuple[int, int]
    class_code: int
    revision: int
    kind: str
    limit: Link
    current: Link | None
    buses: tuple[int, int, int] | None = None
    redirect: bool | None = None


def build(function: Function) -> bytes:
    """The whole space."""
    space = bytearray(SIZE)
    _header(space, function)
    _express(space, function)
    next_capability = _ACS if function.redirect is not None else 0
    struct.pack_into("<I", space, _AER, 0x0001 | 2 << 16 | next_capability << 20)
    if function.redirect is not None:
        control = _ACS_REDIRECT if function.redirect else 0
        struct.pack_into("<IHH", space, _ACS, 0x000D | 1 << 16, _ACS_CAN, control)
    return bytes(space)


def _header(space: bytearray, function: Function) -> None:
    # Command: memory, I/O and bus mastering on; status: there is a list of capabilities.
    struct.pack_into("<HHHH", space, 0, function.vendor, function.device, 0x0007, 0x0010)
    struct.pack_into("<I", space, 8, function.class_code << 8 | function.revision)
    space[0x34] = EXPRESS
    if function.buses is None:
        struct.pack_into("<HH", space, 0x2C, *function.subsystem)
    else:
        space[0x0E] = 0x01
        struct.pack_into("<BBB", space, 0x18, *function.buses)


def _express(space: bytearray, function: Function) -> None:
    limit, current = function.limit, function.current
    struct.pack_into("<BBH", space, EXPRESS, 0x10, 0, 2 | _TYPES[function.kind] << 4)
    # Clock power management off, ASPM not supported; port number 0.
    struct.pack_into("<I", space, EXPRESS + 0x0C, limit.gen | limit.width << 4)
    status = current.gen | current.width << 4 if current else 1
    active = 0x2000 if current and function.kind in ("root", "downstream") else 0
    struct.pack_into("<H", space, LINK_STATUS, status | active)
    # Every speed up to the greatest is supported.
    struct.pack_into("<I", space, EXPRESS + 0x2C, ((1 << limit.gen) - 1) << 1)
    struct.pack_into("<H", space, EXPRESS + 0x30, limit.gen)
