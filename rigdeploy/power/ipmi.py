"""Power through a BMC's IPMI 2.0 interface on the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pyipmi
from pyipmi.errors import CompletionCodeError, DecodingError, MessageStatusCodeError, RetryError
from pyipmi.msgs.chassis import CONTROL_HARD_RESET, CONTROL_POWER_DOWN, CONTROL_POWER_UP, CONTROL_SOFT_SHUTDOWN

from rigdeploy.errors import PowerError, PowerUnreachableError
from rigdeploy.fleet.models import IpmiPower
from rigdeploy.power import ipmi_errors, rmcp
from rigdeploy.power.base import AnswerLostError, Capability, PowerState
from rigdeploy.power.lock import bmc_lock_path, exclusive
from rigdeploy.power.quirks import QuirkCache

CIPHERS = (17, 3)
"""What ``cipher: auto`` tries: SHA-256 first, then SHA-1, which every BMC has."""
LOG_INS = 3
"""How often a log-in is begun again when its messages were lost half-way."""

_SILENCE = (RetryError, OSError)
"""No answer in spite of every repetition, or the network's own word that there is none (TimeoutError is an OSError)."""

T = TypeVar("T")


class IpmiDriver:
    """One BMC; logs in at the first call and stays logged in, holding the BMC's lock, until ``close()``."""

    capabilities = frozenset(
        {Capability.ON, Capability.OFF, Capability.SOFT_OFF, Capability.RESET, Capability.SEES_OFF}
    )
    patience = 10.0

    def __init__(
        self,
        rig: str,
        power: IpmiPower,
        locks: Path,
        quirks: QuirkCache,
        *,
        answer_seconds: float = rmcp.ANSWER_SECONDS,
    ) -> None:
        self._power = power
        self._bmc = f"{power.address}:{power.port}"
        self.label = f"{rig} (BMC {self._bmc})"
        self._lock = bmc_lock_path(locks, self._bmc)
        self._quirks = quirks
        self._answer_seconds = answer_seconds
        self._session: pyipmi.Ipmi | None = None
        self._held: ExitStack | None = None

    def state(self) -> PowerState:
        """What the BMC says now."""
        power_on: bool = self._ask(lambda session: session.get_chassis_status().power_on)
        return PowerState.ON if power_on else PowerState.OFF

    def on(self) -> None:
        """Chassis Control: power up."""
        self._control(CONTROL_POWER_UP)

    def off(self) -> None:
        """Chassis Control: power down, at once."""
        self._control(CONTROL_POWER_DOWN)

    def soft_off(self) -> None:
        """Chassis Control: soft shutdown, as a short press of the power button."""
        self._control(CONTROL_SOFT_SHUTDOWN)

    def reset(self) -> None:
        """Chassis Control: hard reset."""
        self._control(CONTROL_HARD_RESET)

    def close(self) -> None:
        """Log out and let the next caller at the BMC."""
        self._drop(tell=True)
        if self._held is not None:
            self._held.close()
            self._held = None

    def _ask(self, question: Callable[[pyipmi.Ipmi], T]) -> T:
        """Ask something that changes nothing; once more in a new session when the old one is dead."""
        if self._session is not None:
            try:
                return self._refusals_translated(question, self._session)
            except (*_SILENCE, DecodingError):
                self._drop(tell=False)
        session = self._logged_in()
        try:
            return self._refusals_translated(question, session)
        except _SILENCE as error:
            self._drop(tell=False)
            raise PowerUnreachableError(f"{self.label} has stopped answering", ipmi_errors.CHECK_NETWORK) from error
        except DecodingError as error:
            raise PowerError(f"{self.label} sent an answer that cannot be read: {error}") from error

    def _control(self, option: int) -> None:
        """Send one Chassis Control, exactly once; AnswerLostError when no answer that can be read comes back."""
        session = self._logged_in()
        try:
            with session.interface.once():
                self._refusals_translated(lambda opened: opened.chassis_control(option), session)
        except (*_SILENCE, DecodingError) as error:
            raise AnswerLostError(f"{self.label} did not answer the request") from error

    def _refusals_translated(self, call: Callable[[pyipmi.Ipmi], T], session: pyipmi.Ipmi) -> T:
        try:
            return call(session)
        except CompletionCodeError as error:
            raise ipmi_errors.refusal(error.cc, self.label, self._power) from error

    def _drop(self, *, tell: bool) -> None:
        if self._session is not None:
            self._session.interface.abandon(tell=tell)
            self._session = None

    def _logged_in(self) -> pyipmi.Ipmi:
        if self._held is None:
            held = ExitStack()
            held.enter_context(exclusive(self._lock, float(self._power.timeout_seconds), self.label))
            self._held = held
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

    def _ciphers(self) -> list[int]:
        """The suites to try, in order."""
        if self._power.cipher != "auto":
            return [self._power.cipher]
        worked = self._quirks.get(self._bmc, "cipher")
        return sorted(CIPHERS, key=lambda cipher: cipher != worked)

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
                    answer_seconds=self._answer_seconds,
                )
            except (TimeoutError, MessageStatusCodeError) as error:
                # The BMC answered the first message, so it is there: a log-in broken by loss is begun again.
                if not attempts_left or not ipmi_errors.broken_by_loss(error):
                    raise
        raise AssertionError("the last attempt returns or raises")
