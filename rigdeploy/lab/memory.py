"""A twin's system memory: the modules in their sockets, what the kernel has of it, and its error counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigdeploy.lab.topology import is_intel, is_server

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Board, Build

DEFAULT_GIB = 64
"""What a rig has whose build does not say."""
_KERNEL_SHARE = 0.985
"""What is left of the memory when the firmware and the kernel's own tables have had their part."""
_SHARES = {
    "MemTotal": 1.0,
    "MemFree": 0.93,
    "MemAvailable": 0.965,
    "Buffers": 0.001,
    "Cached": 0.03,
    "SwapCached": 0.0,
    "Active": 0.012,
    "Inactive": 0.022,
    "Shmem": 0.001,
    "Slab": 0.008,
    "SReclaimable": 0.004,
}
_DDR5_GENERATION = 5
_LETTERS = "ABCDEFGHIJKLMNOP"


@dataclass(frozen=True)
class Dimm:
    """A socket and what is in it; ``size_mib`` is 0 for an empty one."""

    locator: str
    bank: str
    size_mib: int
    ecc: bool
    registered: bool
    speed_mts: int


def is_ddr5(board: Board) -> bool:
    """Boards with PCIe 5.0 take DDR5 (so do all but a few of the first ones)."""
    return any(slot.link.gen >= _DDR5_GENERATION for slot in board.slots.values())


def dimms(build: Build, board: Board, *, missing: bool) -> list[Dimm]:
    """Every socket, one per channel of the board; as many are filled as are declared, or as divide the size.

    ``missing`` leaves the last of several empty.
    """
    size, ecc = _declared_gib(build), bool(build.memory and build.memory.ecc)
    wanted = build.memory.channels if build.memory is not None and build.memory.channels else board.memory_channels
    filled = next(count for count in range(wanted, 0, -1) if size % count == 0)
    intel, speed = is_intel(build.cpu.model if build.cpu else ""), 4800 if is_ddr5(board) else 3200
    found = []
    for number in range(max(board.memory_channels, filled)):
        letter = _LETTERS[number % len(_LETTERS)]
        locator = f"Channel{letter}-DIMM0" if intel else f"DIMM {number}"
        bank = f"BANK {number}" if intel else f"P0 CHANNEL {letter}"
        there = number < max(1, filled - missing)
        mib = size * 1024 // filled if there else 0
        found.append(Dimm(locator, bank, mib, ecc, ecc and is_server(board), speed))
    return found


def meminfo(build: Build, board: Board, *, missing: bool) -> str:
    """/proc/meminfo of that much memory, nearly all of it free."""
    installed = sum(dimm.size_mib for dimm in dimms(build, board, missing=missing))
    total = int(installed * 1024 * _KERNEL_SHARE)
    values = {name: int(total * share) for name, share in _SHARES.items()} | {"SwapTotal": 0, "SwapFree": 0}
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in values.items())


def edac(build: Build, board: Board, *, missing: bool) -> dict[str, str]:
    """The files of /sys/devices/system/edac; a memory controller only where there is ECC."""
    files = {"pci/edac_pci_log_npe": "1\n", "mc/power/control": "auto\n"}
    modules = [dimm for dimm in dimms(build, board, missing=missing) if dimm.size_mib]
    if not (build.memory and build.memory.ecc):
        return files
    counters = ("ce_count", "ce_noinfo_count", "ue_count", "ue_noinfo_count")
    files |= {f"mc/mc0/{name}": "0\n" for name in counters}
    files["mc/mc0/mc_name"] = "ie31200\n" if is_intel(build.cpu.model if build.cpu else "") else "F17h_M30h\n"
    files["mc/mc0/size_mb"] = f"{sum(dimm.size_mib for dimm in modules)}\n"
    for number, dimm in enumerate(modules):
        home = f"mc/mc0/dimm{number}"
        kind = ("Registered-" if dimm.registered else "Unbuffered-") + ("DDR5" if is_ddr5(board) else "DDR4")
        files |= {f"{home}/{name}": "0\n" for name in ("dimm_ce_count", "dimm_ue_count")}
        files |= {
            f"{home}/dimm_label": f"mc#0csrow#0channel#{number}\n",
            f"{home}/size": f"{dimm.size_mib}\n",
            f"{home}/dimm_mem_type": f"{kind}\n",
            f"{home}/dimm_edac_mode": "S4ECD4ED\n",
        }
    return files


def _declared_gib(build: Build) -> int:
    return build.memory.size_gib if build.memory is not None else DEFAULT_GIB
