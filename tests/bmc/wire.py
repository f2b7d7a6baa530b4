"""IPMI's framing: RMCP, ASF pings, IPMI 1.5 and RMCP+ sessions, IPMB messages. Section numbers are IPMI 2.0's."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

RMCP_IPMI = bytes((6, 0, 0xFF, 7))
RMCP_ASF = bytes((6, 0, 0xFF, 6))
PING = bytes.fromhex("000011be80")
NO_AUTHENTICATION = 0x00
RMCP_PLUS = 0x06

# Payload types (13.27.3).
IPMI, OPEN_REQUEST, OPEN_ANSWER, RAKP_1, RAKP_2, RAKP_3, RAKP_4 = 0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
ENCRYPTED, AUTHENTICATED = 0x80, 0x40


class MalformedError(Exception):
    """A datagram that is not what it should be: a BMC drops it without a word."""


@dataclass(frozen=True)
class Suite:
    """A cipher suite: the numbers of its algorithms (22.15.2), their digests and the octets kept of them."""

    id: int
    authentication: int
    integrity: int
    confidentiality: int
    digest: Callable[..., Any] | None = None
    kept: int = 0

    def hmac(self, key: bytes, data: bytes) -> bytes:
        """The suite's code for this data; empty where it has no authentication."""
        return hmac.new(key, data, self.digest).digest() if self.digest is not None else b""


SUITES = {
    0: Suite(0, 0, 0, 0),
    3: Suite(3, 1, 1, 1, hashlib.sha1, 12),
    17: Suite(17, 3, 4, 1, hashlib.sha256, 16),
}


@dataclass(frozen=True)
class Keys:
    """What protects a session (13.32); both keys are made from 20 octets whatever the digest."""

    suite: Suite
    sik: bytes

    def code(self, data: bytes) -> bytes:
        """The integrity code of a datagram, from its authentication type to its next-header octet."""
        return self._hmac(self._hmac(self.sik, b"\x01" * 20), data)[: self.suite.kept]

    def encrypt(self, data: bytes) -> bytes:
        """AES-CBC-128 behind a random first block (13.29)."""
        padding = -(len(data) + 1) % 16
        start = os.urandom(16)
        encryptor = self._aes(start).encryptor()
        return start + encryptor.update(data + bytes(range(1, padding + 1)) + bytes((padding,))) + encryptor.finalize()

    def decrypt(self, data: bytes) -> bytes:
        """The other way; the padding is checked, as 13.29 allows."""
        if len(data) < 32 or len(data) % 16:
            raise MalformedError("not whole AES blocks")
        decryptor = self._aes(data[:16]).decryptor()
        plain = decryptor.update(data[16:]) + decryptor.finalize()
        padding = plain[-1]
        if padding > 15 or plain[-1 - padding : -1] != bytes(range(1, padding + 1)):
            raise MalformedError("wrong padding")
        return plain[: -1 - padding]

    def _aes(self, start: bytes) -> Cipher[modes.CBC]:
        return Cipher(algorithms.AES(self._hmac(self.sik, b"\x02" * 20)[:16]), modes.CBC(start))

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return self.suite.hmac(key, data)


@dataclass(frozen=True)
class Frame:
    """One RMCP+ datagram: a payload and the session it belongs to, still as it came."""

    kind: int
    flags: int
    session: int
    sequence: int
    payload: bytes
    datagram: bytes


def frame(datagram: bytes) -> Frame:
    """Take the RMCP+ session header off; the payload is opened by whoever knows the session's keys."""
    if len(datagram) < 12:
        raise MalformedError("short session header")
    kind, session, sequence, length = struct.unpack_from("<BIIH", datagram, 1)
    if len(datagram) < 12 + length:
        raise MalformedError("short payload")
    return Frame(kind & 0x3F, kind & 0xC0, session, sequence, datagram[12 : 12 + length], datagram)


def opened(received: Frame, keys: Keys) -> bytes:
    """The payload, verified and decrypted; everything in a session must be protected as the suite says."""
    suite, datagram = keys.suite, received.datagram
    if suite.integrity and not (
        received.flags & AUTHENTICATED
        and hmac.compare_digest(keys.code(datagram[: -suite.kept]), datagram[-suite.kept :])
    ):
        raise MalformedError("wrong integrity code")
    if not suite.confidentiality:
        return received.payload
    if not received.flags & ENCRYPTED:
        raise MalformedError("not encrypted")
    return keys.decrypt(received.payload)


def sealed(kind: int, payload: bytes, session: int = 0, sequence: int = 0, keys: Keys | None = None) -> bytes:
    """A whole RMCP+ datagram."""
    if keys is not None and keys.suite.confidentiality:
        payload, kind = keys.encrypt(payload), kind | ENCRYPTED
    if keys is None or not keys.suite.integrity:
        return RMCP_IPMI + struct.pack("<BBIIH", RMCP_PLUS, kind, session, sequence, len(payload)) + payload
    body = struct.pack("<BBIIH", RMCP_PLUS, kind | AUTHENTICATED, session, sequence, len(payload)) + payload
    padding = -(len(body) + 2) % 4
    body += b"\xff" * padding + bytes((padding, 0x07))
    return RMCP_IPMI + body + keys.code(body)


def pong(datagram: bytes) -> bytes | None:
    """The answer to an ASF presence ping (13.2.4): IPMI is spoken here. None when it is no ping."""
    if datagram[4:9] != PING or len(datagram) < 12:
        return None
    return (
        RMCP_ASF
        + bytes.fromhex("000011be40")
        + datagram[9:10]
        + bytes.fromhex("0010000011be00000000810000000000")
        + b"\0\0"
    )


@dataclass(frozen=True)
class Request:
    """An IPMB request to the BMC (13.8); ``raw`` is what makes two requests the same."""

    netfn: int
    command: int
    data: bytes
    raw: bytes

    def answer(self, code: int, data: bytes = b"") -> bytes:
        """The IPMB message that answers it."""
        to, sequence = self.raw[3], self.raw[4]
        head = bytes((to, (self.netfn | 1) << 2 | sequence & 3))
        tail = bytes((0x20, sequence & 0xFC | self.raw[1] & 3, self.command, code)) + data
        return head + _checksum(head) + tail + _checksum(tail)


def request(message: bytes) -> Request:
    """Read an IPMB request; both checksums must be right."""
    if len(message) < 7 or sum(message[:3]) & 0xFF or sum(message[3:]) & 0xFF:
        raise MalformedError("wrong checksum")
    return Request(message[1] >> 2, message[5], message[6:-1], message)


def request_1_5(datagram: bytes) -> Request:
    """An IPMI 1.5 message outside any session (13.6); this BMC has no 1.5 sessions."""
    if len(datagram) < 10 or datagram[5:9] != bytes(4):
        raise MalformedError("an IPMI 1.5 session")
    return request(datagram[10 : 10 + datagram[9]])


def answer_1_5(message: bytes) -> bytes:
    """Its answer, framed."""
    return RMCP_IPMI + bytes(9) + bytes((len(message),)) + message


def _checksum(data: bytes) -> bytes:
    return bytes((-sum(data) & 0xFF,))
