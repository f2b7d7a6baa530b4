"""What the kernel and the firmware say of a twin's processor and of the system itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigdeploy.lab.topology import is_intel

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Build

_FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx lm"
    " constant_tsc rep_good nopl cpuid pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx avx2 lahf_lm"
)
"""What a current processor can do; without ``hypervisor``, which only a virtual machine's shows."""
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""EFI's global variable (UEFI 2.10, 3.3)."""


def threads(cores: int) -> int:
    """Two per core from four cores on."""
    return cores * 2 if cores >= 4 else cores  # noqa: PLR2004 - stated above


def cpuinfo(build: Build) -> str:
    """/proc/cpuinfo of the declared processor, no hypervisor in sight."""
    model, cores = (build.cpu.model, build.cpu.cores) if build.cpu else ("unknown", 1)
    intel = is_intel(model)
    together = threads(cores)
    blocks = []
    for number in range(together):
        fields = {
            "processor": number,
            "vendor_id": "GenuineIntel" if intel else "AuthenticAMD",
            "cpu family": 6 if intel else 23,
            "model": 165 if intel else 49,
            "model name": model,
            "stepping": 0,
            "cpu MHz": "3100.000",
            "physical id": 0,
            "siblings": together,
            "core id": number % cores,
            "cpu cores": cores,
            "flags": _FLAGS,
            "bogomips": "6200.00",
        }
        blocks.append("".join(f"{name:<16}: {value}\n" for name, value in fields.items()))
    return "\n".join(blocks) + "\n"


def kernel_arguments(*, iommu: bool) -> str:
    """/proc/cmdline; where cards are to reach each other the IOMMU is off."""
    return "BOOT_IMAGE=/vmlinuz root=/dev/nvme0n1p2 ro quiet" + ("" if iommu else " iommu=off") + "\n"


def efi_variables(*, secure_boot: bool) -> dict[str, bytes]:
    """Files of /sys/firmware/efi/efivars: four bytes of attributes, then the value."""
    return {_SECURE_BOOT: bytes([6, 0, 0, 0, secure_boot])}
