"""python-ipmi's native RMCP+ client, made to work on real BMCs and lossy networks.

What python-ipmi 0.6.1 lacks, all measured: its keys for cipher suite 17 are too long (IPMI 2.0, section 13.32, as
every other client reads it, makes K1 and K2 from a constant of 20 octets whatever the digest), it never repeats a
session set-up message, it insists on an ASF pong, knows IPv4 alone, leaves half-made sessions open, lets one stray
datagram fail a request, and prints the password when it logs a session.
"""

from __future__ import annotations

import hmac
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import pyipmi
from pyipmi.errors import AuthenticationError, DecodingError, RetryError
from pyipmi.interfaces.rmcpplus import AUTH_ALGORITHMS, CipherSuite, RmcpPlus, SessionKeys
from pyipmi.messaging import ChannelAuthenticationCapabilities
from pyipmi.session import Session

ANSWER_SECONDS = 1.0
"""How long one datagram's answer is waited for."""
RETRIES = 4
"""How often a datagram is sent again: at 20 % loss, five tries get an answer 99.4 times in 100."""
BMC = 0x20
"""The BMC's own address on its bus (IPMI 2.0, section 5.4)."""

# At DEBUG pyipmi writes every datagram out: log-in messages hold hashes that can be searched for the password.
logging.getLogger("pyipmi").setLevel(logging.WARNING)


T = TypeVar("T")


class _Keys(SessionKeys):  # type: ignore[misc]  # pyipmi carries no types
    """K1 and K2 from 20 octets, as BMCs compute them; for SHA-1 suites that is what the parent does too."""

    def __init__(self, suite: CipherSuite, sik: bytes) -> None:
        self.suite = suite
        digest = AUTH_ALGORITHMS[suite.authentication][0]
        self.k1 = hmac.new(sik, b"\x01" * 20, digest).digest()
        self.k2 = hmac.new(sik, b"\x02" * 20, digest).digest()


class _Session(Session):  # type: ignore[misc]  # pyipmi carries no types
    """A session whose text, which pyipmi logs, leaves the password out."""

    def __str__(self) -> str:
        return f"session 0x{self.sid:08x} with {self.rmcp_host}:{self.rmcp_port}"


_IPMI_2_0 = ChannelAuthenticationCapabilities()
_IPMI_2_0.ipmi_2_0 = True


class Wire(RmcpPlus):  # type: ignore[misc]  # pyipmi carries no types
    """One RMCP+ connection to one BMC, with one cipher suite."""

    NAME = "rigdeploy"
    max_retries: int
    _session: Session | None
    _keys: SessionKeys | None

    def __init__(self, cipher: int, answer_seconds: float, retries: int, *, known: bool) -> None:
        # No keep-alive thread: calls are batched, and BMCs keep an idle session for a minute.
        super().__init__(cipher_suite=cipher, max_retries=retries, keep_alive_interval=0)
        self._answer_seconds = answer_seconds
        self._known = known
        self._sik = b""
        self._sock: socket.socket | None = None

    def open(self) -> None:
        """Nothing yet: the socket's family depends on the BMC's address."""

    def ping(self) -> None:
        """Nothing: many BMCs answer no ASF ping, and the next message asks the same question."""

    def establish_session(self, session: Session) -> None:
        """Log in; when that fails, nothing stays open here or on the BMC."""
        family, kind, protocol, _, _ = socket.getaddrinfo(session.rmcp_host, session.rmcp_port, type=socket.SOCK_DGRAM)[
            0
        ]
        self._sock = socket.socket(family, kind, protocol)
        self.set_timeout(self._answer_seconds)
        try:
            super().establish_session(session)
        except BaseException:
            self.abandon(tell=True)
            raise

    def abandon(self, *, tell: bool = False) -> None:
        """Forget the session, without which nothing more can be sent; ``tell`` the BMC where it may listen.

        Telling is one datagram whose answer nobody waits for: a BMC that lost the session never gives one, and there
        is nothing to do about a refusal.
        """
        if tell and self._session is not None:
            # Whatever happens here, not having waited included, the error that led here is the one to report.
            with suppress(Exception), self.once():
                self.set_timeout(0)
                self.close_session()
        self._session = None
        self._keys = None
        self.close()

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within this, no request is sent again when its answer does not come."""
        retries, self.max_retries = self.max_retries, 0
        try:
            yield
        finally:
            self.max_retries = retries

    def _get_channel_auth_cap(self, session: Session) -> Any:
        """What the BMC speaks; one that is known to speak IPMI 2.0 is not asked."""
        return _IPMI_2_0 if self._known else super()._get_channel_auth_cap(session)

    def _open_session(self, session: Session, suite: CipherSuite) -> int:
        try:
            managed: int = super()._open_session(session, suite)
        except TimeoutError as error:
            if self._known:  # then this is the first message, and not the log-in is broken but nobody is there
                raise RetryError(f"no answer from {self.host}") from error
            raise
        return managed

    def _rakp(self, session: Session, suite: CipherSuite, managed_session_id: int) -> bytes:
        self._sik = super()._rakp(session, suite, managed_session_id)
        return self._sik

    def _set_session_privilege_level(self, level: int) -> Any:
        # The first protected message, and so the last moment to put the right keys in place.
        if self._keys is not None:
            self._keys = _Keys(self._keys.suite, self._sik)
        return super()._set_session_privilege_level(level)

    def _receive_payload(self) -> tuple[int, bytes]:
        receive: Callable[[], tuple[int, bytes]] = super()._receive_payload
        return self._skipping_strays(receive)

    def _receive_ipmi_msg(self, ignore_sdu_length: bool = False) -> bytes:
        receive: Callable[[], bytes] = partial(super()._receive_ipmi_msg, ignore_sdu_length)
        return self._skipping_strays(receive)

    def _skipping_strays(self, receive: Callable[[], T]) -> T:
        """Receive; a datagram that does not verify or decode is a late or foreign one: not ours, so not an error."""
        deadline = time.monotonic() + self._answer_seconds
        while True:
            try:
                return receive()
            except (AuthenticationError, DecodingError, struct.error, IndexError) as error:
                if time.monotonic() >= deadline:
                    raise TimeoutError from error


def connect(
    host: str,
    port: int,
    username: str,
    password: str,
    *,
    cipher: int,
    privilege: str,
    known: bool = False,
    answer_seconds: float = ANSWER_SECONDS,
    retries: int = RETRIES,
) -> pyipmi.Ipmi:
    """Open a session with exactly this cipher suite; pyipmi's own errors, and OSError, pass through.

    ``known`` says that this suite worked before: the question whether there is IPMI 2.0 at all is then saved.
    The password is forgotten as soon as the session stands.
    """
    session = _Session()
    session.set_session_type_rmcp(host, port)
    session.set_auth_type_user(username, password)
    session.set_priv_level(privilege)
    wire = Wire(cipher, answer_seconds, retries, known=known)
    ipmi = pyipmi.Ipmi(interface=wire, session=session, target=pyipmi.Target(BMC))
    try:
        ipmi.open()
    finally:
        session.set_auth_type_user(username, "")
    return ipmi
