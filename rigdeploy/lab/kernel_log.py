"""A twin's kernel log, in the kernel's and the driver's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rigdeploy.lab import host, smbios
from rigdeploy.lab.cards import cards
from rigdeploy.lab.faults import Faults

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build, Gpu

XID_TEXTS = {
    13: "Graphics Engine Exception",
    31: "MMU Fault",
    43: "GPU stopped processing",
    48: "DBE (double bit error)",
    62: "Internal micro-controller halt",
    74: "NVLink error",
    79: "GPU has fallen off the bus.",
    94: "Contained ECC error",
    95: "Uncontained ECC error",
    119: "Timeout waiting for RPC from GSP",
}
"""What the driver prints behind the number (docs.nvidia.com/deploy/xid-errors)."""

AER_LOGGED = 10
"""So many corrected errors of a card are logged before the kernel's rate limit sets in (10 in 5 s since Linux 6.16)."""


def kernel_log(build: Build, board: Board, gpus: Mapping[str, Gpu], faults: Faults, now: float = 0.0) -> list[str]:
    """The kernel's log since boot: how it greets the machine, and what the faults leave there."""
    named = smbios.identity(board)
    lines = [
        "Linux version 6.1.0 (rigdeploy's lab: this log is simulated)",
        f"Command line: {host.kernel_arguments(iommu=not build.peer_to_peer).strip()}",
        f"DMI: {named.vendor} {named.board}, BIOS {smbios.BIOS_VERSION} {smbios.BIOS_DATE}",
    ]
    for card in cards(build, board, gpus, faults):
        pci_id = card.gpu.pci_ids[0]
        for number in range(min(card.errors(now), AER_LOGGED)):
            bit, name = ("    [12] Timeout", 0x1000) if number % 3 == 2 else ("    [ 6] BadTLP", 0x40)  # noqa: PLR2004
            lines += [
                f"pcieport {card.port.address}: AER: Corrected error received: {card.address}",
                f"nvidia {card.address}: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Receiver ID)",
                f"nvidia {card.address}:   device [{pci_id}] error status/mask={name:08x}/0000a000",
                f"nvidia {card.address}: {bit}",
            ]
        if card.fault.xid is not None:
            text = XID_TEXTS.get(card.fault.xid, "")
            place = card.address.rpartition(".")[0]
            lines.append(
                f"NVRM: Xid (PCI:{place}): {card.fault.xid}, pid='<unknown>', name=<unknown>, {text}".rstrip(", ")
            )
    return lines
