"""What went wrong with a Redfish service, in words: sushy's errors and HTTP's codes as errors a person can act on."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from sushy import exceptions as sushy_errors

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerError,
    PowerRefusedError,
    PowerUnsupportedError,
)
from rigdeploy.fleet.models import RedfishPower
from rigdeploy.node.values import display
from rigdeploy.power import web

ANY = (sushy_errors.SushyError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
"""All that a call of sushy can raise; what is not its own comes from answers of an odd shape."""

_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""BMCs that are starting or overloaded give any of these."""
_ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


def translated(error: Exception, label: str, power: RedfishPower) -> PowerError:
    """The error in words; names the user and the password's source, never the password."""
    if isinstance(error, sushy_errors.ConnectionError):
        return web.explain(error.__context__, label, power.url, "power.certificate")
    if isinstance(error, sushy_errors.HTTPError):
        return _answered(error, label, power)
    if isinstance(error, (sushy_errors.MissingActionError, sushy_errors.InvalidParameterValueError)):
        return PowerUnsupportedError(f"{label} cannot do this: {display(str(error))}")
    return PowerError(
        f"{label} sent an answer that cannot be read: {display(str(error))}", "is this a Redfish service?"
    )


def _answered(error: Any, label: str, power: RedfishPower) -> PowerError:
    status = error.status_code
    said = display(_said(error)) or f"HTTP status {status}"
    if status == HTTPStatus.UNAUTHORIZED:
        return PowerAuthenticationError(
            f"{label}: user '{power.username}' or the password (from {power.password}) is wrong: {said}",
            "correct power.username, or the secret that power.password refers to; it is not tried again, because BMCs "
            "lock users out",
        )
    if status == HTTPStatus.FORBIDDEN:
        return PowerRefusedError(
            f"{label} does not let user '{power.username}' do this: {said}", "give the user more rights in the BMC"
        )
    if status in _BUSY:
        return PowerBusyError(
            f"{label} is busy: {said} (HTTP status {status})", "wait a minute and try again; a stuck BMC needs a reset"
        )
    if status in _ABSENT:
        return PowerUnsupportedError(f"{label} has nothing at that address: {said} (HTTP status {status})")
    return PowerRefusedError(f"{label} refused: {said} (HTTP status {status})")


def _said(error: Any) -> str:
    """What the extended messages say, else the plain one (DSP0266, section 8.6)."""
    messages = error.extended_info if isinstance(error.extended_info, list) else [error.extended_info]
    texts = [item["Message"] for item in messages if isinstance(item, dict) and isinstance(item.get("Message"), str)]
    return "; ".join(texts) or (error.detail if isinstance(error.detail, str) else "")
