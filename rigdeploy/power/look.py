"""One look at a BMC: the four messages up to its chassis status, without a socket, a clock or a thread.

python-ipmi waits for each answer where it stands, so a hundred BMCs take a hundred threads, most of whose time goes
into taking turns; and it has to be loaded before the first message can go. Reading the power of a whole fleet is the
one thing where that shows (docs/decisions/0009-one-look-at-many-bmcs.md), so this exchange alone is written out here.
Whatever a BMC says that is not this exchange is left to :mod:`rigdeploy.power.ipmi`, which has the patience.

References are to IPMI 2.0, revision 1.1.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Generator
from struct import pack
from typing import Any

_WRONG_CODE = 0x0F

SUITES: dict[int, tuple[str, bytes, int]] = {3: ("sha1", b"\1\1\1", 12), 17: ("sha256", b"\3\4\1", 16)}
"""Per cipher suite: its digest, its algorithms (authentication, integrity, confidentiality) and the octets that are
kept of an integrity code (tables 13-17 to 13-19, 22-20). Both encrypt by AES-CBC-128."""
CREDENTIALS = (0x09, 0x0A, 0x0C, 0x0D, _WRONG_CODE)
"""RMCP+ status codes that say: this user, not in this role, or not with this password (table 13-15)."""
PRIVILEGES = {"operator": 3, "administrator": 4}
LONGEST_NAME, LONGEST_PASSWORD = 16, 20
"""Octets (section 13.20, 13.31)."""

_RMCP = b"\x06\x00\xff\x07"
_RMCP_PLUS = 0x06
_IPMI, _OPEN_REQUEST, _OPEN_ANSWER, _RAKP_1, _RAKP_2, _RAKP_3, _RAKP_4 = 0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
_SEALED = 0xC0
"""Encrypted and authenticated (table 13-8)."""
_NAME_ONLY = 0x10
_BMC, _US = 0x20, 0x81
_CHASSIS, _STATUS = 0x00, 0x01
_APP, _SET_PRIVILEGE, _CLOSE = 0x06, 0x3B, 0x3C
_PRIVILEGE_NEEDED = 0xD4
_HEADERS = 16
"""Octets of RMCP and RMCP+ headers before the payload (section 13.6)."""
_BLOCK = 16
"""Octets that AES encrypts at a time."""
_SHORTEST = 8
"""Octets of an answer over IPMB: six, a completion code, a checksum (section 13.8)."""

Steps = Generator[bytes, bytes, int]
"""Gives a datagram to send, and takes the one that comes for an answer."""


class MoreNeededError(Exception):
    """One look is not enough: the BMC did not answer as this exchange has it."""


class LogInRefusedError(Exception):
    """The BMC does not let this user in like this; ``code`` is its RMCP+ status code, one of CREDENTIALS."""

    def __init__(self, code: int) -> None:
        super().__init__(f"RMCP+ status 0x{code:02x}")
        self.code = code


class WrongPasswordError(Exception):
    """What the BMC made of the password is not what we make of ours; it was told so."""


class Look:
    """A session with one BMC for as long as it takes to read its chassis status.

    A new session has the privilege of a user, whatever it may rise to, and a user may read the chassis status: nothing
    is asked for beyond that (sections 22.18 and 28.2). A BMC that wants more for it gets asked for more.
    """

    def __init__(self, username: bytes, password: bytes, cipher: int, privilege: str) -> None:
        self._username, self._password = username, password
        self._digest, self._algorithms, self._kept = SUITES[cipher]
        self._privilege = PRIVILEGES[privilege]
        self._console, self._managed = os.urandom(4), b""
        self._integrity_key = self._cipher_key = b""
        self._sent = 0
        self._farewell: bytes | None = None

    def steps(self) -> Steps:
        """The exchange; returns the first octet of the chassis status (section 28.2).

        Raises LogInRefusedError, WrongPasswordError, and MoreNeededError for anything else that is not in order.
        """
        yield from self._log_in()
        code, data = yield from self._ask(_CHASSIS, _STATUS)
        if code == _PRIVILEGE_NEEDED:
            yield from self._ask(_APP, _SET_PRIVILEGE, bytes((self._privilege,)))
            code, data = yield from self._ask(_CHASSIS, _STATUS)
        if code or not data:
            raise MoreNeededError(f"completion code 0x{code:02x}")
        return data[0]

    def farewell(self) -> bytes | None:
        """What ends the session on the BMC, whose answer nobody needs; None when it cannot be ended."""
        return self._sealed(_APP, _CLOSE, self._managed) if self._cipher_key else self._farewell

    def _log_in(self) -> Generator[bytes, bytes, None]:
        """Open Session and RAKP 1 to 4 (sections 13.17 to 13.24)."""
        wanted = b"".join(pack("<BxxBBxxx", kind, 8, algorithm) for kind, algorithm in enumerate(self._algorithms))
        request = pack("<BBxx", 0, self._privilege) + self._console + wanted
        answer = yield from self._set_up(_OPEN_REQUEST, request, _OPEN_ANSWER, 36)
        if bytes((answer[16] & 0x3F, answer[24] & 0x3F, answer[32] & 0x3F)) != self._algorithms:
            raise MoreNeededError("the BMC chose another suite")
        self._managed = answer[8:12]

        role = bytes((self._privilege | _NAME_ONLY, len(self._username))) + self._username
        ours = os.urandom(16)
        request = pack("<Bxxx4s16sBxxB", 1, self._managed, ours, role[0], role[1]) + self._username
        answer = yield from self._set_up(_RAKP_1, request, _RAKP_2, 40)
        theirs, guid = answer[8:24], answer[24:40]
        expected = self._hmac(self._password, self._console + self._managed + ours + theirs + guid + role)
        if not hmac.compare_digest(expected, answer[40:]):
            self._farewell = _set_up_frame(_RAKP_3, pack("<BBxx4s", 2, _WRONG_CODE, self._managed))
            raise WrongPasswordError

        request = pack("<Bxxx4s", 2, self._managed) + self._hmac(self._password, theirs + self._console + role)
        session_key = self._hmac(self._password, ours + theirs + role)
        # 20 octets whatever the digest, as every BMC and every other client has it (section 13.32).
        self._integrity_key = self._hmac(session_key, b"\x01" * 20)
        self._cipher_key = self._hmac(session_key, b"\x02" * 20)[:_BLOCK]
        answer = yield from self._set_up(_RAKP_3, request, _RAKP_4, 8)
        if not hmac.compare_digest(self._hmac(session_key, ours + self._managed + guid)[: self._kept], answer[8:]):
            raise MoreNeededError("the BMC does not prove that it knows the password")

    def _set_up(self, kind: int, request: bytes, awaited: int, least: int) -> Generator[bytes, bytes, bytes]:
        """Send a set-up message; the answer to it, which has at least so many octets."""
        received = yield _set_up_frame(kind, request)
        payload = received[_HEADERS:]
        if received[4:6] != bytes((_RMCP_PLUS, awaited)) or payload[:1] != request[:1]:
            raise MoreNeededError("something else came")
        if len(payload) != int.from_bytes(received[14:16], "little"):
            raise MoreNeededError("octets are missing, or too many")  # and not a wrong password, whatever they say
        # The status first: some BMCs cut a refusal short.
        status = int.from_bytes(payload[1:2], "little")
        if status in CREDENTIALS:
            raise LogInRefusedError(status)
        if status or len(payload) < least or payload[4:8] != self._console:
            raise MoreNeededError(f"RMCP+ status 0x{status:02x}, {len(payload)} octets")
        return payload

    def _ask(self, netfn: int, command: int, data: bytes = b"") -> Generator[bytes, bytes, tuple[int, bytes]]:
        """A request in the session: its completion code, and the answer behind it."""
        answer = self._opened((yield self._sealed(netfn, command, data)))
        if answer[1] != (netfn | 1) << 2 or answer[4:6] != bytes((self._sent << 2, command)):
            raise MoreNeededError("another request's answer came")
        return answer[6], answer[7:-1]

    def _sealed(self, netfn: int, command: int, data: bytes) -> bytes:
        """A request as the datagram that carries it: encrypted, then authenticated (sections 13.28 and 13.29)."""
        self._sent += 1
        head, tail = bytes((_BMC, netfn << 2)), bytes((_US, self._sent << 2, command)) + data
        plain = head + _checksum(head) + tail + _checksum(tail)
        padding = -(len(plain) + 1) % _BLOCK
        start = os.urandom(_BLOCK)
        encryptor = _aes(self._cipher_key, start).encryptor()
        payload = start + encryptor.update(plain + bytes(range(1, padding + 1)) + bytes((padding,)))
        body: bytes = pack("<BB4sIH", _RMCP_PLUS, _SEALED | _IPMI, self._managed, self._sent, len(payload)) + payload
        trailer = -(len(body) + 2) % 4
        body += b"\xff" * trailer + bytes((trailer, 0x07))
        return _RMCP + body + self._hmac(self._integrity_key, body)[: self._kept]

    def _opened(self, datagram: bytes) -> bytes:
        """The IPMI message in a datagram of this session."""
        code = self._hmac(self._integrity_key, datagram[4 : -self._kept])[: self._kept]
        if not hmac.compare_digest(code, datagram[-self._kept :]):
            raise MoreNeededError("not from this session")
        payload = datagram[_HEADERS : _HEADERS + int.from_bytes(datagram[14:16], "little")]
        blocks, rest = divmod(len(payload), _BLOCK)
        if datagram[4:10] != bytes((_RMCP_PLUS, _SEALED | _IPMI)) + self._console or blocks < 2 or rest:  # noqa: PLR2004 - the first is no text
            raise MoreNeededError("no IPMI message")
        plain: bytes = _aes(self._cipher_key, payload[:_BLOCK]).decryptor().update(payload[_BLOCK:])
        message = plain[: -1 - plain[-1]]
        if len(message) < _SHORTEST:
            raise MoreNeededError("a short message")
        return message

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._digest)


def _set_up_frame(kind: int, payload: bytes) -> bytes:
    return _RMCP + pack("<BBIIH", _RMCP_PLUS, kind, 0, 0, len(payload)) + payload


def _checksum(data: bytes) -> bytes:
    return bytes((-sum(data) & 0xFF,))


def load_cipher() -> tuple[Any, Any, Any]:
    """What encrypts, loaded at the first call: nothing is encrypted before the third message."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher, algorithms.AES, modes.CBC


def _aes(key: bytes, start: bytes) -> Any:
    cipher, aes, cbc = load_cipher()
    return cipher(aes(key), cbc(start))
