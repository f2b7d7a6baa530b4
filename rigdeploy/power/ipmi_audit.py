"""What an audit asks of a BMC, one function per fact; None is "could not be learned".

Those that take a :class:`rigdeploy.power.ipmi_raw.Raw` ask in a session, the others anybody's BMC without one.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from rigdeploy.errors import PowerError, PowerUnreachableError
from rigdeploy.power import ipmi_boot
from rigdeploy.power.ipmi_raw import APP, THIS_CHANNEL, TRANSPORT, CompletionError, Raw
from rigdeploy.power.ipmi_users import users

ANSWER_SECONDS = 1.0
TRIES = 3
"""How long an answer is waited for, and how often something is sent, outside sessions."""

_AUTHENTICATION_CAPABILITIES, _CIPHER_SUITES, _GET_LAN = 0x38, 0x54, 0x02
_BY_SUITE = 0x80
_PAGES, _PAGE = 64, 16
"""Get Channel Cipher Suites gives so many pages of so many bytes (section 22.15)."""
_STANDARD, _OEM = 0xC0, 0xC1
_SUITES_COUNT, _SUITES_ENTRIES, _SUITES_PRIVILEGES = 22, 23, 24
"""LAN parameters: how many suites, their numbers, and the highest privilege for each (table 23-4)."""
_USER, _ADMINISTRATOR = 2, 4
"""Privileges (table 13-9)."""
_ANONYMOUS, _NULL_USERS = 0x01, 0x02
_RMCP = bytes.fromhex("0600ff07")
"""The head of every datagram that holds IPMI."""
_TYPES_1_5 = 0x37
"""The authentication types of IPMI 1.5: none, MD2, MD5, straight password, the maker's own."""
_EXTENDED, _SPEAKS_1_5 = 0x80, 0x01

T = TypeVar("T")


def offered_suites(raw: Raw) -> tuple[int, ...] | None:
    """The cipher suites that the BMC says it offers on this channel."""
    return _known(lambda: parse_suites(_suite_records(raw)))


def parse_suites(records: bytes) -> tuple[int, ...]:
    """The standard suites' numbers in cipher suite records (table 22-18); the maker's own are left out."""
    found, place = [], 0
    while place + 1 < len(records):
        if records[place] == _STANDARD:
            found.append(records[place + 1])
        place += 5 if records[place] == _OEM else 2
        while place < len(records) and records[place] < _STANDARD:
            place += 1  # the algorithms, whose two highest bits say which kind each is
    return tuple(sorted(set(found)))


def _suite_records(raw: Raw) -> bytes:
    content = b""
    for page in range(_PAGES):
        answer = raw.ask(APP, _CIPHER_SUITES, bytes((THIS_CHANNEL, 0, _BY_SUITE | page)), least=1)
        content += answer[1:]
        if len(answer) <= _PAGE:
            break
    return content


def suite_privileges(raw: Raw) -> dict[int, int] | None:
    """For each suite the highest privilege that it may be used with: 0 none, 4 administrator."""

    def parameter(number: int) -> bytes:
        return raw.ask(TRANSPORT, _GET_LAN, bytes((THIS_CHANNEL, number, 0, 0)), least=2)[1:]

    def ask() -> dict[int, int]:
        count = parameter(_SUITES_COUNT)[0] & 0x1F
        entries, levels = parameter(_SUITES_ENTRIES)[1:], parameter(_SUITES_PRIVILEGES)[1:]
        nibbles = [level for byte in levels for level in (byte & 0x0F, byte >> 4)]
        return dict(zip(entries[:count], nibbles, strict=False))

    return _known(ask)


def allows_ipmi_1_5(host: str, port: int) -> bool | None:
    """Whether a session of IPMI 1.5 can be opened, which sends everything in clear. Anybody may ask that."""
    answer = _capabilities(host, port)
    if answer is None:
        return None
    types = answer[1]
    speaks = bool(answer[3] & _SPEAKS_1_5) if types & _EXTENDED else True
    return bool(types & _TYPES_1_5) and speaks


def null_user_enabled(raw: Raw, host: str, port: int) -> bool | None:
    """Whether somebody without a name may log in; by the users themselves, or else by what the channel says."""
    enabled = _known(lambda: [user.enabled for user in users(raw) if not user.name and user.privilege])
    if enabled is not None and None not in enabled:
        return True in enabled
    answer = _capabilities(host, port)
    return None if answer is None else bool(answer[2] & (_ANONYMOUS | _NULL_USERS))


def _capabilities(host: str, port: int) -> bytes | None:
    """Get Channel Authentication Capabilities, without a session, as IPMI 1.5 has it (sections 13.6 and 22.13)."""
    head, body = (
        bytes((0x20, APP << 2)),
        bytes((0x81, 0x04, _AUTHENTICATION_CAPABILITIES, THIS_CHANNEL | _EXTENDED, _ADMINISTRATOR)),
    )
    message = _summed(head) + _summed(body)
    datagram = _RMCP + bytes(9) + bytes((len(message),)) + message

    def fits(got: bytes) -> bool:
        # RMCP and session take 14 bytes, the message's head 6; then the completion code and 8 bytes of data.
        return got[:5] == _RMCP + b"\0" and got[19:21] == body[2:3] + b"\0" and len(got[21:]) >= 8  # noqa: PLR2004

    with suppress(OSError), _wire(host, port) as exchange:
        answer = exchange(datagram, fits)
        return answer and answer[21:]
    return None


def _summed(part: bytes) -> bytes:
    """Part of a message and its checksum."""
    return part + bytes((-sum(part) & 0xFF,))


def kept_boot_flags(raw: Raw) -> frozenset[str] | None:
    """Which of ``valid``, ``device``, ``efi`` and ``persistent`` are read back after being set; needs a rig's consent.

    What was set before is set again, whatever happens in between; a PowerError says when that failed.
    """
    before = _known(lambda: ipmi_boot.get(raw))
    if before is None:
        return None
    asked = bytes((ipmi_boot.VALID | ipmi_boot.EFI | ipmi_boot.PERSISTENT, 6 << 2, 0, 0, 0))
    try:
        ipmi_boot.put(raw, asked)
        found = ipmi_boot.get(raw)
    except CompletionError:
        return None
    finally:
        _restore(raw, before)
    kept = {
        "valid": found[0] & ipmi_boot.VALID,
        "device": found[1] & ipmi_boot.DEVICE == asked[1],
        "efi": found[0] & ipmi_boot.EFI,
        "persistent": found[0] & ipmi_boot.PERSISTENT,
    }
    return frozenset(name for name, there in kept.items() if there)


def _restore(raw: Raw, flags: bytes) -> None:
    """Put the flags back, and see that they are; repeated where an answer is lost, which does no harm."""
    for _ in range(TRIES):
        with suppress(PowerError, CompletionError):
            if ipmi_boot.get(raw)[:2] == flags[:2]:
                return
            ipmi_boot.put(raw, flags)
    if _known(lambda: ipmi_boot.get(raw)[:2]) != flags[:2]:
        raise PowerError("the boot flags that were set for a trial could not be taken back", "run: rigdeploy boot none")


def _known(ask: Callable[[], T]) -> T | None:
    """What is answered; None when the BMC refuses, is silent about just this, or sends something else."""
    try:
        return ask()
    except (CompletionError, PowerUnreachableError):
        return None
    except PowerError as error:
        if type(error) is not PowerError:  # busy or a log-in that failed: not an answer to this question
            raise
        return None


def answers_ping(host: str, port: int) -> bool:
    """Whether an ASF presence ping (ASF 2.0, 3.2.4.2) is answered; false as well when nobody is there."""
    ping = bytes.fromhex("0600ff06 000011be 80 01 00 00")
    with _wire(host, port) as exchange, suppress(OSError):
        return exchange(ping, lambda answer: answer[:4] == ping[:4] and answer[8:9] == b"\x40") is not None
    return False


def suite_0_opens(host: str, port: int, username: str) -> bool | None:
    """Whether a session stands with cipher suite 0, which asks for no password; it is closed again.

    The whole log-in is done, without any password at all, with the least rights that anything can be read with: asked
    for more than this user has, an open suite refuses too. None when nobody answers.
    """
    with suppress(OSError), _wire(host, port) as exchange:
        ours = os.urandom(4)
        algorithms = b"".join(bytes((kind, 0, 0, 8, 0, 0, 0, 0)) for kind in range(3))
        opened = exchange(_set_up(0x10, bytes((1, _USER, 0, 0)) + ours + algorithms), _is(0x11))
        if opened is None:
            return None
        if opened[17] != 0 or len(opened) < 28:  # noqa: PLR2004 - header of 16, then tag, status, ..., both numbers
            return False
        theirs = opened[24:28]
        name = username.encode()[:16]
        first = bytes((2, 0, 0, 0)) + theirs + os.urandom(16) + bytes((0x10 | _USER, 0, 0, len(name))) + name
        second = exchange(_set_up(0x12, first), _is(0x13))
        if second is None or second[17] != 0:
            return None if second is None else False
        fourth = exchange(_set_up(0x14, bytes((3, 0, 0, 0)) + theirs), _is(0x15))
        if fourth is None or fourth[17] != 0:
            return None if fourth is None else False
        with suppress(OSError):
            exchange(_close(theirs), lambda _: True)
        return True
    return None


def _set_up(kind: int, payload: bytes) -> bytes:
    """A message of a session's beginning: RMCP, then RMCP+ without session, encryption or signature (13.6)."""
    return _RMCP + struct.pack("<BBIIH", 0x06, kind, 0, 0, len(payload)) + payload


def _is(kind: int) -> Callable[[bytes], bool]:
    """Whether an answer is that payload and long enough to have a status."""
    return lambda answer: answer[:5] == _RMCP + b"\6" and answer[5] & 0x3F == kind and len(answer) > 17  # noqa: PLR2004


def _close(session: bytes) -> bytes:
    """Close Session, in that session, unsigned."""
    message = _summed(bytes((0x20, APP << 2))) + _summed(bytes((0x81, 0x04, 0x3C)) + session)
    number = int.from_bytes(session, "little")
    return _RMCP + struct.pack("<BBIIH", 0x06, 0, number, 1, len(message)) + message


Exchange = Callable[[bytes, Callable[[bytes], bool]], bytes | None]


@contextmanager
def _wire(host: str, port: int) -> Iterator[Exchange]:
    """Send a datagram, TRIES times, until one comes back that fits; None when none does."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(ANSWER_SECONDS)
        sock.connect(address)

        def exchange(datagram: bytes, fits: Callable[[bytes], bool]) -> bytes | None:
            for _ in range(TRIES):
                sock.send(datagram)
                with suppress(TimeoutError):
                    answer = sock.recv(1024)
                    if fits(answer):
                        return answer
            return None

        yield exchange
