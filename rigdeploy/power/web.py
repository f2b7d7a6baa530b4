"""HTTP with whatever switches a rig: certificates, time limits and bounds, and no secret carried away."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Container
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from rigdeploy.errors import (
    PowerCertificateError,
    PowerError,
    PowerRefusedError,
    PowerUnreachableError,
)
from rigdeploy.node.values import display
from rigdeploy.power.stop import LOOK_SECONDS, Patience

CONNECT_SECONDS = 10.0
"""How long a connection may take: a BMC that starts is asked again, one that is not there should be told soon."""
ANSWER_SECONDS = 30.0
"""How long an answer may take; BMCs under load need several seconds for one."""
ANSWER_LIMIT = 4 * 1024 * 1024
"""Bytes of an answer that are read; the largest of a sound BMC (a full event log) has some 100 KB."""
_PIECE = 64 * 1024
_HANDSHAKE_REASONS = (
    "HTTP_REQUEST",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_VERSION_NUMBER",
)
"""OpenSSL's names for what only the beginning of a connection can fail with, beside a certificate."""


class RedirectedError(requests.RequestException):
    """The answer is a redirect that is not followed; ``target`` is the scheme and host it names."""

    def __init__(self, target: str) -> None:
        super().__init__("redirected")
        self.target = target


class EndlessError(requests.RequestException):
    """The answer is longer than ANSWER_LIMIT, or takes longer than ANSWER_SECONDS to come."""


def session(certificate: str | None, *, reads: Container[str] = ()) -> requests.Session:
    """A session for one host. PowerError when the certificate's file cannot be used.

    ``reads`` are the methods that change nothing: a stop does not wait for their answers (:mod:`.stop`).
    The environment's proxies and ``.netrc`` are left alone: what switches a rig is on our own network.
    """
    made = _Session()
    made.trust_env = False
    adapter = _Adapter(_only_certificate(certificate) if certificate else None, reads)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


def authorities(certificate: str | None, *, verify: bool = True) -> str | bool:
    """What ``verify`` of a request has to be; by default the system's authorities, not a package's."""
    if not verify:
        return False
    system = ssl.get_default_verify_paths()
    return certificate or system.cafile or system.capath or True


def never_sent(error: BaseException | None) -> bool:
    """Whether the request that failed cannot have arrived."""
    if isinstance(error, requests.exceptions.SSLError):
        return _in_handshake(error)
    if isinstance(error, (requests.ConnectTimeout, RedirectedError)):
        return True
    return isinstance(_reason(error), (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))


def explain(error: BaseException | None, label: str, url: str, declare: str) -> PowerError:
    """A request that got no answer, in words; ``declare`` is the setting that names the certificate's file."""
    where = origin(url)
    if isinstance(error, requests.exceptions.SSLError):
        return _distrusted(error, label, url, declare)
    if isinstance(error, RedirectedError):
        return PowerRefusedError(
            f"{label} answers at {where} with a redirect to {display(error.target)}", "declare that address instead"
        )
    if isinstance(error, EndlessError):
        return PowerError(f"{label}: the answer from {where} has no end")
    return _silent(error, label, where)


def origin(url: str) -> str:
    """Scheme, host and port: what can be shown of an address whose rest may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Session(requests.Session):
    """Follows a redirect only where nothing is changed, and only to the same place."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        if urlsplit(target).netloc and origin(target) != origin(str(resp.url)):
            raise RedirectedError(origin(target))
        if resp.request.method != "GET":
            raise RedirectedError(origin(str(resp.url)))
        return target


class _Adapter(HTTPAdapter):
    """Reads answers within bounds, and takes the declared certificate itself, whatever names and dates it says.

    A BMC's own certificate rarely names the address that it is reached at. Where the declared file holds one
    certificate, that very one (by its SHA-256) is as good as a chain to an authority, and better than no check.
    """

    def __init__(self, pinned: bytes | None, reads: Container[str]) -> None:
        super().__init__()
        self._reads = reads
        self._patience = Patience()
        self._pinned = _PinnedAdapter(pinned) if pinned is not None else None
        self._is_pinned = False

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        deadline = time.monotonic() + ANSWER_SECONDS + CONNECT_SECONDS

        def ask() -> requests.Response:
            return _within_bounds(self._sent(request, options), deadline)

        return _stoppable(ask, self._patience, reading=request.method in self._reads)

    def _sent(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        if self._pinned is None or not options.get("verify"):
            return super().send(request, **options)
        if not self._is_pinned:
            try:
                return super().send(request, **options)
            except requests.exceptions.SSLError as error:
                if not _in_handshake(error):
                    raise  # TLS broke later: the request may have arrived, and is not made twice
                response = self._retried(request, options, error)
                self._is_pinned = True
                return response
        return self._pinned.send(request, **(options | {"verify": False}))

    def _retried(
        self, request: requests.PreparedRequest, options: dict[str, Any], error: Exception
    ) -> requests.Response:
        assert self._pinned is not None  # noqa: S101 - for the type checker: the caller has looked
        try:
            return self._pinned.send(request, **(options | {"verify": False}))
        except requests.exceptions.SSLError as second:
            if not _in_handshake(second):
                raise
            raise error from None

    def close(self) -> None:
        super().close()
        if self._pinned is not None:
            self._pinned.close()


def _stoppable(ask: Callable[[], requests.Response], patience: Patience, *, reading: bool) -> requests.Response:
    """The answer, waited for in a thread of its own that a stop leaves behind, to end by itself."""
    reading = reading and not patience.ended()  # what begins after a stop has its last seconds
    answer: Future[requests.Response] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=run, name="request", daemon=True).start()
    while True:
        with suppress(TimeoutError):
            return answer.result(LOOK_SECONDS)
        if answer.done():
            return answer.result()
        if patience.ended() and reading:
            patience.check()
        if time.monotonic() >= patience.until:
            raise requests.ReadTimeout("stopped")


class _PinnedAdapter(HTTPAdapter):
    """Takes one certificate and no other: urllib3 compares its fingerprint and asks no authority."""

    def __init__(self, certificate: bytes) -> None:
        import hashlib

        self._fingerprint = hashlib.sha256(certificate).hexdigest()
        super().__init__()

    def init_poolmanager(self, *positional: Any, **options: Any) -> None:
        super().init_poolmanager(*positional, **(options | {"assert_fingerprint": self._fingerprint}))


def _within_bounds(response: requests.Response, deadline: float) -> requests.Response:
    """Read the answer now; EndlessError when it is too long or too slow."""
    content = bytearray()
    try:
        while piece := response.raw.read1(_PIECE, decode_content=True):
            content += piece
            if len(content) > ANSWER_LIMIT or time.monotonic() > deadline:
                raise EndlessError
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    finally:
        response.raw.close()
    response._content = bytes(content)
    response._content_consumed = True
    return response


def _only_certificate(path: str) -> bytes | None:
    """The certificate in a file that holds one and no more; PowerError when the file cannot be used at all."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        text = Path(path).read_text(encoding="ascii", errors="replace")
        return ssl.PEM_cert_to_DER_cert(text.strip())
    except ssl.SSLError:
        raise PowerCertificateError(f"{path} holds no certificate", "it should begin with -----BEGIN") from None
    except OSError as error:
        raise PowerCertificateError(f"the certificate {path} cannot be read: {error.strerror}") from None
    except ValueError:
        return None  # several of them: authorities


def _in_handshake(error: BaseException | None) -> bool:
    """Whether TLS failed before anything was sent; the same kind of error comes when it breaks later."""
    reason = _reason(error)
    cause = reason.args[0] if reason is not None and reason.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return True
    if isinstance(cause, ssl.SSLError):
        return cause.reason in _HANDSHAKE_REASONS
    return isinstance(reason, urllib3.exceptions.SSLError)  # urllib3's own: another fingerprint


def _reason(error: BaseException | None) -> BaseException | None:
    """What urllib3 said, below what requests wrapped around it."""
    inner = error.args[0] if error is not None and error.args else None
    reason = getattr(inner, "reason", None)
    return reason if isinstance(reason, BaseException) else inner if isinstance(inner, BaseException) else None


def _silent(error: BaseException | None, label: str, where: str) -> PowerError:
    reason = _reason(error)
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return PowerUnreachableError(f"{label}: the name in {where} does not resolve", "correct the URL")
    if isinstance(getattr(reason, "__cause__", None), ConnectionRefusedError):
        return PowerUnreachableError(
            f"{label}: a machine is there, and nothing listens at {where}", "correct the URL, or switch the service on"
        )
    if never_sent(error):
        return PowerUnreachableError(f"{label}: {where} does not answer", "check its power, network cable and address")
    return PowerUnreachableError(f"{label}: {where} has stopped answering", "wait a minute and try again")


def _distrusted(error: requests.exceptions.SSLError, label: str, url: str, declare: str) -> PowerError:
    """A failed TLS handshake, with the way to the file that would make it succeed."""
    parts = urlsplit(url)
    why = getattr(_reason(_reason(error)), "verify_message", None) or getattr(_reason(error), "verify_message", None)
    cause = error.__context__
    while why is None and cause is not None:
        why = getattr(cause, "verify_message", None)
        cause = cause.__context__ or cause.__cause__
    if why is None:
        return PowerCertificateError(
            f"{label}: no TLS with {origin(url)}", "does that port speak https? correct the URL"
        )
    address = parts.netloc if parts.port else f"{parts.netloc}:443"
    return PowerCertificateError(
        f"{label}: the certificate of {origin(url)} is not trusted: {display(str(why))}",
        f"fetch it with 'openssl s_client -connect {address} </dev/null | openssl x509 >FILE', compare its fingerprint "
        f"with the one on the device's own page, and declare {declare}: FILE",
    )
