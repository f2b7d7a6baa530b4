"""Power through a BMC's IPMI 2.0 interface on the network, spoken by python-ipmi."""

from __future__ import annotations

from pathlib import Path

import pyipmi
from pyipmi.errors import AuthenticationError, DecodingError, MessageStatusCodeError, RetryError

from rigdeploy.errors import PowerError, PowerUnreachableError
from rigdeploy.fleet.models import IpmiPower
from rigdeploy.power import ipmi_errors, rmcp
from rigdeploy.power.base import AnswerLostError
from rigdeploy.power.ipmi_driver import CIPHERS, BmcDriver
from rigdeploy.power.ipmi_raw import CompletionError
from rigdeploy.power.quirks import QuirkCache

__all__ = ["CIPHERS", "IpmiDriver"]

LOG_INS = 3
"""How often a log-in is begun again when its messages were lost half-way."""

_SILENCE = (RetryError, OSError)
"""No answer in spite of every repetition, or the network's own word that there is none (TimeoutError is an OSError)."""
_GARBLED = (DecodingError, AuthenticationError)
_LUN = 0


class IpmiDriver(BmcDriver):
    """A BMC over python-ipmi's RMCP+ (see :mod:`rigdeploy.power.rmcp`)."""

    def __init__(
        self,
        rig: str,
        power: IpmiPower,
        locks: Path,
        quirks: QuirkCache,
        *,
        answer_seconds: float = rmcp.ANSWER_SECONDS,
    ) -> None:
        super().__init__(rig, power, locks, quirks)
        self._answer_seconds = answer_seconds
        self._session: pyipmi.Ipmi | None = None

    def _exchange(self, netfn: int, command: int, data: bytes, *, once: bool) -> bytes:
        if once:
            return self._sent_once(netfn, command, data)
        if self._session is not None:
            try:
                return _sent(self._session, netfn, command, data)
            except (*_SILENCE, *_GARBLED):
                self._drop(tell=False)
        session = self._logged_in()
        try:
            return _sent(session, netfn, command, data)
        except _SILENCE as error:
            self._drop(tell=False)
            raise PowerUnreachableError(f"{self.label} has stopped answering", ipmi_errors.CHECK_NETWORK) from error
        except _GARBLED as error:
            raise PowerError(f"{self.label} sent an answer that cannot be read: {error}") from error

    def _sent_once(self, netfn: int, command: int, data: bytes) -> bytes:
        session = self._logged_in()
        try:
            with session.interface.once():
                return _sent(session, netfn, command, data)
        except (*_SILENCE, *_GARBLED) as error:
            raise AnswerLostError(f"{self.label} did not answer the request") from error

    def _log_out(self) -> None:
        self._drop(tell=True)

    def _drop(self, *, tell: bool) -> None:
        if self._session is not None:
            self._session.interface.abandon(tell=tell)
            self._session = None

    def _logged_in(self) -> pyipmi.Ipmi:
        if self._session is None:
            self._session = self._log_in()
        return self._session

    def _log_in(self) -> pyipmi.Ipmi:
        """A session with the declared cipher suite, or with the first that this BMC takes; that one is remembered."""
        password = self._power.password.reveal()
        ciphers = self._ciphers()
        for cipher in ciphers:
            try:
                session = self._connect(password, cipher)
            except ipmi_errors.LOG_IN_ERRORS as error:
                if cipher == ciphers[-1] or not ipmi_errors.blames_cipher(error):
                    raise ipmi_errors.log_in_error(error, self.label, self._power) from error
            else:
                self._quirks.put(self._bmc, "cipher", cipher)
                return session
        raise AssertionError("the last cipher suite returns or raises")

    def _connect(self, password: str, cipher: int) -> pyipmi.Ipmi:
        for attempts_left in reversed(range(LOG_INS)):
            try:
                return rmcp.connect(
                    self._power.address,
                    self._power.port,
                    self._power.username,
                    password,
                    cipher=cipher,
                    privilege=self._power.privilege,
                    known=self._quirks.get(self._bmc, "cipher") == cipher,
                    answer_seconds=self._answer_seconds,
                )
            except (TimeoutError, MessageStatusCodeError) as error:
                # The BMC answered the first message, so it is there: a log-in broken by loss is begun again.
                if not attempts_left or not ipmi_errors.broken_by_loss(error):
                    raise
        raise AssertionError("the last attempt returns or raises")


def _sent(session: pyipmi.Ipmi, netfn: int, command: int, data: bytes) -> bytes:
    answer = bytes(session.send_raw(_LUN, netfn, bytes((command,)) + data))
    if not answer:
        raise DecodingError("an answer without a completion code")
    if answer[0]:
        raise CompletionError(answer[0])
    return answer[1:]
