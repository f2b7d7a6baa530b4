"""The BMC's users: who there is, and another password for one of them (IPMI 2.0, sections 22.26 to 22.30)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rigdeploy.errors import PowerRefusedError
from rigdeploy.power.ipmi_errors import BUSY
from rigdeploy.power.ipmi_raw import APP, THIS_CHANNEL, CompletionError, Raw

_GET_ACCESS, _GET_NAME, _SET_PASSWORD = 0x44, 0x46, 0x47
_SET, _TWENTY_BYTES = 0x02, 0x80
SHORT_PASSWORD, LONGEST_PASSWORD = 16, 20
"""Bytes: what every BMC can store, and what IPMI 2.0 allows."""
_NO_ACCESS = 0x0F
_NAMELESS = 1
"""The user without a name has this number for ever (section 6.9)."""


@dataclass(frozen=True)
class User:
    """A user that may have a name or none; ``enabled`` None: the BMC does not say. ``privilege`` 0: no access."""

    number: int
    name: str
    enabled: bool | None
    privilege: int


def users(raw: Raw) -> Iterator[User]:
    """Every user slot that can be read, by its number.

    Many BMCs refuse to name a user that nobody made, and some user 1, who has no name by the specification.
    """
    most = raw.ask(APP, _GET_ACCESS, bytes((THIS_CHANNEL, 1)), least=4)[0] & 0x3F
    for number in range(1, most + 1):
        try:
            access = raw.ask(APP, _GET_ACCESS, bytes((THIS_CHANNEL, number)), least=4)
            name = _name(raw, number)
        except CompletionError as error:
            if error.code in BUSY:
                raise
            continue
        status = {0x40: True, 0x80: False}.get(access[1] & 0xC0)
        privilege = access[3] & 0x0F
        yield User(
            number,
            name.split(b"\0", 1)[0].decode("latin-1"),
            status,
            0 if privilege == _NO_ACCESS else privilege,
        )


def _name(raw: Raw, number: int) -> bytes:
    try:
        return raw.ask(APP, _GET_NAME, bytes((number,)), least=16)
    except CompletionError as error:
        if number != _NAMELESS or error.code in BUSY:
            raise
        return b""


def set_password(raw: Raw, label: str, username: str, password: str) -> None:
    """Give an existing user another password; no error shows it.

    AnswerLostError when the BMC did not answer: then either password may be the right one.
    """
    given = password.encode()
    if not 0 < len(given) <= LONGEST_PASSWORD or b"\0" in given:
        raise PowerRefusedError(f"{label}: a password has 1 to {LONGEST_PASSWORD} bytes, none of them zero")
    number = next((user.number for user in users(raw) if user.name == username), None)
    if number is None:
        raise PowerRefusedError(f"{label} has no user '{username}' whose password could be set")
    size, flag = (SHORT_PASSWORD, 0) if len(given) <= SHORT_PASSWORD else (LONGEST_PASSWORD, _TWENTY_BYTES)
    raw.change(APP, _SET_PASSWORD, bytes((number | flag, _SET)) + given.ljust(size, b"\0"))
