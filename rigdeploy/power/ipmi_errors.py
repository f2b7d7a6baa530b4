"""What went wrong with a BMC, in words: pyipmi's errors and IPMI's codes as errors that a person can act on."""

from __future__ import annotations

import socket

from pyipmi.errors import (
    AuthenticationError,
    CompletionCodeError,
    DecodingError,
    IpmiLongPasswordError,
    MessageStatusCodeError,
    NotSupportedError,
    RetryError,
)
from pyipmi.interfaces.rmcpplus import MAX_USER_NAME_LENGTH
from pyipmi.msgs import constants as ipmi

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
)
from rigdeploy.fleet.models import IpmiPower

CHECK_NETWORK = "check the BMC's network cable and address; a BMC needs standby power, so look at the PSU's switch too"

LOG_IN_ERRORS = (
    AuthenticationError,
    CompletionCodeError,
    DecodingError,
    IpmiLongPasswordError,
    MessageStatusCodeError,
    NotSupportedError,
    RetryError,
    OSError,
)
"""All that a log-in can raise."""

_ROLE = (ipmi.MSC_INVALID_ROLE, ipmi.MSC_UNAUTHORIZED_ROLE)
_NAME = (ipmi.MSC_INVALID_NAME_LENGTH, ipmi.MSC_UNAUTHORIZED_NAME)
_NO_SLOT = (ipmi.MSC_INSUFFICIENT_RESOURCES, ipmi.MSC_INSUFFICIENT_RESOURCES_FOR_ROLE)
_CREDENTIALS = (*_ROLE, *_NAME, ipmi.MSC_INVALID_INTEGRITY_CHECK_VALUE)
_OUT_OF_STEP = (ipmi.MSC_INVALID_SESSION_ID, ipmi.MSC_INACTIVE_SESSION_ID)
"""What a repeated set-up message gets whose first copy had arrived."""
BUSY = (
    ipmi.CC_NODE_BUSY,
    ipmi.CC_TIMEOUT,
    ipmi.CC_OUT_OF_SPACE,
    ipmi.CC_RESP_COULD_NOT_BE_PRV,
    ipmi.CC_CANT_RESP_DUPLI_REQ,
    ipmi.CC_CANT_RESP_BMC_INIT,
    ipmi.CC_UNSPECIFIED_ERROR,
)
"""Completion codes that BMCs give when they are overloaded or starting."""
_PRIVILEGE_NOT_GIVEN = (0x80, 0x81, ipmi.CC_INSUFFICIENT_PRIVILEGES)
"""Set Session Privilege Level: not available to this user; above the channel's limit (IPMI 2.0, section 22.18)."""


def blames_cipher(error: Exception) -> bool:
    """Whether another cipher suite may succeed where this log-in failed."""
    if isinstance(error, MessageStatusCodeError):
        return error.msc not in (*_CREDENTIALS, *_NO_SLOT)
    return isinstance(error, DecodingError)


def broken_by_loss(error: Exception) -> bool:
    """Whether the log-in failed because its messages were lost half-way."""
    return isinstance(error, TimeoutError) or (isinstance(error, MessageStatusCodeError) and error.msc in _OUT_OF_STEP)


def log_in_error(error: Exception, label: str, power: IpmiPower) -> PowerError:
    """A failed log-in in words; names user and the password's source, never the password."""
    if isinstance(error, MessageStatusCodeError):
        return _session_refused(error, label, power)
    if isinstance(error, (AuthenticationError, IpmiLongPasswordError)):
        return _wrong_password(error, label, power)
    if isinstance(error, CompletionCodeError):
        return _role_refused(label, power) if error.cc in _PRIVILEGE_NOT_GIVEN else refusal(error.cc, label, power)
    if isinstance(error, NotSupportedError):
        return PowerUnsupportedError(
            f"{label} speaks no IPMI 2.0 over the network", "switch RMCP+ (lanplus) on in the BMC's settings"
        )
    if isinstance(error, DecodingError):
        return PowerRefusedError(f"{label} broke the log-in off: {error}", "declare power.cipher: 3, or 17")
    return _unreachable(error, label, power)


def refusal(code: int, label: str, power: IpmiPower) -> PowerError:
    """A completion code other than success, given inside a session, in words."""
    what = f"{CompletionCodeError.find_cc_desc(code)} (completion code 0x{code:02x})"
    if code in BUSY:
        return PowerBusyError(f"{label} is busy: {what}", "wait a minute and try again; a stuck BMC needs a cold reset")
    if code == ipmi.CC_INSUFFICIENT_PRIVILEGES:
        return PowerRefusedError(
            f"{label} does not let user '{power.username}' do this as {power.privilege}",
            "give the user more rights in the BMC, or declare power.privilege: administrator",
        )
    if code in (ipmi.CC_INV_CMD, ipmi.CC_INV_CMD_FOR_LUN):
        return PowerUnsupportedError(f"{label} cannot do this: {what}")
    return PowerRefusedError(f"{label} refused: {what}")


def _session_refused(error: MessageStatusCodeError, label: str, power: IpmiPower) -> PowerError:
    if error.msc in _ROLE:
        return _role_refused(label, power)
    if error.msc in _NAME:
        return PowerAuthenticationError(
            f"{label} knows no user '{power.username}' with the rights of {power.privilege}",
            "correct power.username, or make that user in the BMC",
        )
    if error.msc in _NO_SLOT:
        return PowerBusyError(f"{label} has no session slot left", "wait a minute: idle sessions end by themselves")
    if error.msc == ipmi.MSC_INVALID_INTEGRITY_CHECK_VALUE:
        return _wrong_password(error, label, power)
    what = f"{error.msc_desc} (status code 0x{error.msc:02x})"
    return PowerRefusedError(f"{label} takes no session: {what}", "declare power.cipher: 3, or 17, or update the BMC")


def _role_refused(label: str, power: IpmiPower) -> PowerError:
    return PowerAuthenticationError(
        f"{label} does not let user '{power.username}' log in as {power.privilege}",
        "declare power.privilege: operator, which suffices to switch power, or give the user more rights in the BMC",
    )


def _wrong_password(error: Exception, label: str, power: IpmiPower) -> PowerError:
    if isinstance(error, IpmiLongPasswordError):
        problem = "is longer than the 20 bytes that IPMI 2.0 allows"
    elif len(power.username.encode()) > MAX_USER_NAME_LENGTH:
        return PowerAuthenticationError(f"{label}: the user name '{power.username}' is longer than IPMI's 16 bytes")
    else:
        problem = "is wrong"
    return PowerAuthenticationError(
        f"{label}: the password for user '{power.username}' (from {power.password}) {problem}",
        "correct the secret that power.password refers to; it is not tried again, because BMCs lock users out",
    )


def _unreachable(error: Exception, label: str, power: IpmiPower) -> PowerError:
    if isinstance(error, socket.gaierror):
        return PowerUnreachableError(f"{label}: the name {power.address} does not resolve", "correct power.address")
    if isinstance(error, ConnectionRefusedError):
        return PowerUnreachableError(
            f"{label}: a machine is there, but nothing listens on UDP port {power.port}",
            "correct power.port, or switch IPMI over LAN on in the BMC's settings",
        )
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return PowerUnreachableError(f"{label} cannot be reached: {error.strerror or error}", CHECK_NETWORK)
    return PowerUnreachableError(f"{label} does not answer", CHECK_NETWORK)
