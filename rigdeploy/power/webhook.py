"""Power through a smart plug or PDU: URLs that switch on and off, and one that tells the state."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

import requests

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerError,
    PowerRefusedError,
    PowerUnsupportedError,
)
from rigdeploy.fleet.models import Rig, WebhookCall, WebhookPower
from rigdeploy.node.values import display
from rigdeploy.power import web
from rigdeploy.power.base import AnswerLostError, Capability, PowerState
from rigdeploy.power.greeting import state_by_greeting

ANSWER_SECONDS = 10.0
"""How long a plug may take to answer; sound ones need less than one second."""
STATUS_LIMIT = 64 * 1024
"""Bytes of an answer that the expressions for on and off are searched for in."""

_BETWEEN = re.compile(r"""[\s"'{}\[\]:,;&=?/#]+""")
"""What stands between the parts of a URL, a body or a header."""
_LEAST_SECRET = 6
"""Characters of such a part that is hidden wherever an answer repeats it."""
_BUSY = (429, 502, 503, 504)
"""Too many requests; a gateway or service that is starting or overloaded (RFC 9110, 6585)."""
_LOG_IN = (401, 403, 407)
_REDIRECTS = range(300, 400)
_GOOD = range(200, 300)


class WebhookDriver:
    """A rig behind a plug; without a status URL it is ON when its ssh port greets, else UNKNOWN.

    Headers are revealed for each call and kept nowhere. Messages name scheme and host alone: what follows in a URL may
    be a secret.
    """

    def __init__(self, rig: Rig, power: WebhookPower) -> None:
        self._rig = rig
        self._power = power
        self._session: requests.Session | None = None
        self.label = f"{rig.name} (switched by {web.origin(power.switch_on.url)})"
        self.capabilities = frozenset({Capability.ON, Capability.OFF})
        if power.status is not None:
            self.capabilities |= {Capability.SEES_OFF}
            self.patience = 10.0
        else:
            self.patience = power.timeout_seconds / 3

    def state(self) -> PowerState:
        """What the status URL says; PowerError when it says neither on nor off, or both."""
        if self._power.status is None:
            return state_by_greeting(self._rig)
        headers = self._headers(self._power.status)
        text = _text(self._called(self._power.status, headers, changing=False))
        on, off = (re.search(pattern, text) for pattern in (self._power.status.says_on, self._power.status.says_off))
        if bool(on) is bool(off):
            found = "both 'on' and 'off'" if on else "neither 'on' nor 'off'"
            said = self._shown(text, self._power.status, headers) or "an empty answer"
            raise PowerError(
                f"{self.label}: its status fits {found}: {said}",
                "correct power.status.says_on and says_off",
            )
        return PowerState.ON if on else PowerState.OFF

    def on(self) -> None:
        """Call the URL for on."""
        self._called(self._power.switch_on, self._headers(self._power.switch_on), changing=True)

    def off(self) -> None:
        """Call the URL for off: the power is cut."""
        self._called(self._power.switch_off, self._headers(self._power.switch_off), changing=True)

    def soft_off(self) -> None:
        """A plug knows nothing of the system."""
        raise PowerUnsupportedError(f"{self.label}: a plug can only cut the power")

    def reset(self) -> None:
        """A plug can only switch off and on."""
        raise PowerUnsupportedError(f"{self.label}: switch it off and on")

    def close(self) -> None:
        """Nothing is held at the other side."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _called(self, call: WebhookCall, headers: dict[str, str], *, changing: bool) -> requests.Response:
        """Make one call, once; the answer, which is a good one."""
        url = self._filled(call.url)
        body = None if call.body is None else self._filled(call.body).encode()
        if self._session is None:
            self._session = web.session(self._power.certificate)
        try:
            answer = self._session.request(
                call.method,
                url,
                data=body,
                headers=headers,
                timeout=(web.CONNECT_SECONDS, ANSWER_SECONDS),
                verify=web.authorities(self._power.certificate),
            )
        except requests.RequestException as error:
            if changing and not web.never_sent(error):
                raise AnswerLostError(f"{self.label} did not answer the request") from None
            raise web.explain(error, self.label, url, "power.certificate") from None
        if answer.status_code not in _GOOD:
            raise self._refusal(answer, call, headers)
        return answer

    def _filled(self, text: str) -> str:
        """The text with the rig's name, which needs no quoting anywhere (models.NAME_PATTERN), and nothing else."""
        return text.replace("{rig}", self._rig.name)

    def _headers(self, call: WebhookCall) -> dict[str, str]:
        headers = {}
        for name, secret in call.headers.items():
            value = self._filled(secret.reveal())
            if not value.isascii() or not value.isprintable():
                raise PowerAuthenticationError(
                    f"{self.label}: the header {name} (from {secret}) holds a character that no header can",
                    "correct the secret that it refers to",
                )
            headers[name] = value
        return headers

    def _shown(self, text: str, call: WebhookCall, headers: dict[str, str]) -> str:
        """An answer made fit to show: some devices repeat what they were sent."""
        url = self._filled(call.url)
        sent = [url.removeprefix(web.origin(url)).strip("/"), self._filled(call.body or ""), *headers.values()]
        hidden = {part for one in sent for part in _parts(one)} | set(headers.values())
        for part in sorted(hidden - {""}, key=len, reverse=True):
            text = text.replace(part, "…")
        return display(text)

    def _refusal(self, answer: requests.Response, call: WebhookCall, headers: dict[str, str]) -> PowerError:
        status = answer.status_code
        reason, said = (self._shown(text, call, headers) for text in (str(answer.reason), _text(answer)))
        what = f"{self.label}: {call.method} at {web.origin(call.url)} was answered with {status} {reason}"
        message = what + (f": {said}" if said else "")
        if status in _LOG_IN:
            return PowerAuthenticationError(message, "correct the secret in power's headers")
        if status in _BUSY:
            return PowerBusyError(message, "wait a minute and try again")
        if status in _REDIRECTS:
            return PowerRefusedError(message, "declare the address that it redirects to")
        remedy = "correct the URL" if status == requests.codes.not_found else ""
        return PowerRefusedError(message, remedy)


def _text(answer: requests.Response) -> str:
    return answer.content[:STATUS_LIMIT].decode(errors="replace")


def _parts(text: str) -> set[str]:
    """What of a text that was sent is long enough to be a secret: all of it and its parts, with escapes and without."""
    words = {text, unquote(text), unquote_plus(text)}
    parts = words | {part for word in words for part in _BETWEEN.split(word)}
    return {part for part in parts if len(part) >= _LEAST_SECRET}
