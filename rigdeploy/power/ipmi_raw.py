"""What every IPMI client gives to the code above it: a request in bytes, an answer in bytes (IPMI 2.0, section 5)."""

from __future__ import annotations

from typing import Protocol

CHASSIS, SENSOR, APP, STORAGE, TRANSPORT = 0x00, 0x04, 0x06, 0x0A, 0x0C
"""Network functions (table 5-1)."""
THIS_CHANNEL = 0x0E
"""The channel that a request comes by (table 6-1)."""

NO_COMMAND = (0xC1, 0xC2)
"""The BMC has no such command, or not here."""
TOO_MUCH = (0xC7, 0xC8, 0xCA, 0xFF)
"""What BMCs answer to a request for more bytes than they can return at once."""
LAST = 0xFFFF
"""What stands for "no further record" where the next one's number is given."""
CANCELLED = 0xC5
"""The reservation has ended: what it stood for has changed, or somebody else has reserved it."""


class CompletionError(Exception):
    """The BMC answered with a completion code other than success (table 5-2)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"completion code 0x{code:02x}")
        self.code = code


class Raw(Protocol):
    """An open line to a BMC. Both calls raise CompletionError, or a PowerError."""

    def ask(self, netfn: int, command: int, data: bytes = b"", *, least: int = 0) -> bytes:
        """A request that may safely be made twice; its answer, PowerError when that has fewer than ``least`` bytes."""
        ...

    def change(self, netfn: int, command: int, data: bytes = b"") -> bytes:
        """A request that is made once: AnswerLostError when no answer came."""
        ...
