"""The boot flags: what the next boot is from (IPMI 2.0, section 28.12 and table 28-14)."""

from __future__ import annotations

from contextlib import suppress

from rigdeploy.errors import PowerError
from rigdeploy.power.base import BootDevice, BootOverride
from rigdeploy.power.ipmi_raw import CHASSIS, CompletionError, Raw

_SET_OPTION, _GET_OPTION = 0x08, 0x09
_TIMER, _FLAGS = 3, 5
"""Boot parameters."""
_KEEP = 0x08
"""Parameter 3: do not clear the valid bit when no Chassis Control comes within 60 s."""
VALID, PERSISTENT, EFI = 0x80, 0x40, 0x20
PARTS = {"valid": VALID, "efi": EFI, "persistent": PERSISTENT}
DEVICE = 0x3C
"""The device, as a mask of the second byte."""
_CODES = {BootDevice.NONE: 0, BootDevice.PXE: 1, BootDevice.DISK: 2, BootDevice.CD: 5, BootDevice.BIOS: 6}
_REMOTE = {0x08: BootDevice.CD, 0x0B: BootDevice.DISK}
"""The same from media that the BMC itself lends the rig."""
_DEVICES = {code: device for device, code in _CODES.items()} | _REMOTE


def encode(wanted: BootOverride) -> bytes:
    """The five bytes of parameter 5. No override is all zeros: some boards obey whatever has the valid bit."""
    if wanted.device is BootDevice.NONE:
        return bytes(5)
    first = VALID | (EFI if wanted.efi else 0) | (PERSISTENT if wanted.persistent else 0)
    return bytes((first, _CODES[wanted.device] << 2, 0, 0, 0))


def decode(flags: bytes, *, needs_valid: bool = True) -> BootOverride | None:
    """What the flags say; None for a device that has no name here.

    Without the valid bit they are what an earlier boot left behind, unless this BMC is known to drop the bit.
    """
    device = _DEVICES.get((flags[1] & DEVICE) >> 2)
    if device is BootDevice.NONE or (needs_valid and not flags[0] & VALID):
        return BootOverride(BootDevice.NONE)
    if device is None:
        return None
    return BootOverride(device, efi=bool(flags[0] & EFI), persistent=bool(flags[0] & PERSISTENT))


def get(raw: Raw) -> bytes:
    """Parameter 5 as it stands, five bytes; PowerError when something else was answered."""
    answer = raw.ask(CHASSIS, _GET_OPTION, bytes((_FLAGS, 0, 0)), least=7)
    if answer[1] & 0x7F != _FLAGS:
        raise PowerError("the BMC was asked for its boot flags and answered with something else")
    return answer[2:7]


def put(raw: Raw, flags: bytes) -> None:
    """Stop the 60-second timer where the BMC can, then set parameter 5, once."""
    with suppress(CompletionError):
        raw.ask(CHASSIS, _SET_OPTION, bytes((_TIMER, _KEEP)))
    raw.change(CHASSIS, _SET_OPTION, bytes((_FLAGS,)) + flags)
