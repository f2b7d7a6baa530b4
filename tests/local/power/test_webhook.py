"""Switching by URL, on a plug that is a small web server with faults."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from power_servers import HOST, PASSWORD, Answer, Request, Server, make_certificate

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerCertificateError,
    PowerError,
    PowerRefusedError,
    PowerTimeoutError,
    PowerUnreachableError,
    PowerUnsupportedError,
    SecretError,
)
from rigdeploy.fleet.models import Build, Rig, Ssh, WebhookPower
from rigdeploy.power import policy, web, webhook
from rigdeploy.power.base import AnswerLostError, Capability, PowerState
from rigdeploy.power.drivers import open_driver
from rigdeploy.power.webhook import WebhookDriver
from rigdeploy.workspace import Workspace

Connect = Callable[..., WebhookDriver]


class Plug(Server):
    """A plug: /rig07/on, /rig07/off and /rig07, behind a token.

    ``lose``, ``swallow``: how many of the next changes get no answer though made, or an answer though not made.
    ``always``: what is answered whatever is asked.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.on = False
        self.changes: list[str] = []
        self.lose = self.swallow = 0
        self.always: Answer | None = None
        super().__init__(self.answered, certificate)

    def answered(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each way to answer
        if self.always is not None:
            return self.always
        if request.headers.get("Authorization") != PASSWORD:
            # Some devices repeat what they were sent.
            return Answer(401, f"<b>no, {request.headers.get('Authorization')}</b>".encode())
        if request.path == "/rig07":
            return Answer(200, {"output": self.on})
        if request.path not in ("/rig07/on", "/rig07/off"):
            return Answer(404, b"nothing here")
        self.changes.append(request.path.rpartition("/")[2])
        if self.swallow:
            self.swallow -= 1
            return Answer()
        self.on = self.changes[-1] == "on"
        if self.lose:
            self.lose -= 1
            return Answer(0)
        return Answer(204)


@pytest.fixture
def plug() -> Iterator[Plug]:
    with closing(Plug()) as server:
        yield server


def rig(url: str, ssh_port: int = 1, status: bool = True, **fields: Any) -> Rig:
    headers = {"Authorization": {"env": "PLUG_TOKEN"}}
    power: dict[str, Any] = {
        "driver": "webhook",
        "switch_on": {"url": f"{url}/{{rig}}/on", "headers": headers},
        "switch_off": {"url": f"{url}/{{rig}}/off", "headers": headers},
    }
    if status:
        patterns = {"says_on": r'"output": *true', "says_off": r'"output": *false'}
        power["status"] = {"url": f"{url}/{{rig}}", "headers": headers, **patterns}
    declared = WebhookPower.model_validate(power | fields)
    ssh = Ssh.model_construct(user="root", port=ssh_port, jump=None)
    build = Build.model_construct(name="any")
    return Rig.model_construct(name="rig07", address=HOST, build=build, power=declared, ssh=ssh)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    monkeypatch.setenv("PLUG_TOKEN", PASSWORD)
    drivers = []

    def opened(url: str, **fields: Any) -> WebhookDriver:
        driver = open_driver(rig(url, **fields), Workspace(Path("inventory"), Path("state")))
        assert isinstance(driver, WebhookDriver)
        drivers.append(driver)
        return driver

    yield opened
    for driver in drivers:
        driver.close()


def test_every_verb(plug, connect, fast_clock):
    driver = connect(plug.url)
    assert driver.state() is PowerState.OFF
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock) is True
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock) is False
    policy.cycle(driver, 60, clock=fast_clock)
    assert plug.on
    assert policy.ensure(driver, PowerState.OFF, 60, clock=fast_clock) is True
    assert plug.changes == ["on", "off", "on", "off"]
    assert not plug.on


def test_what_a_plug_cannot_do_is_refused_before_anything_is_touched(plug, connect):
    driver = connect(plug.url)
    for verb in (driver.soft_off, driver.reset):
        with pytest.raises(PowerUnsupportedError, match="rig07"):
            verb()
    with pytest.raises(PowerUnsupportedError, match="cannot ask the system to shut down"):
        policy.ensure(driver, PowerState.OFF, 5, soft=True)
    assert plug.requests == []


def test_without_a_status_the_ssh_port_is_looked_at(plug, connect):
    with socket.create_server((HOST, 0)) as nobody:
        port = nobody.getsockname()[1]
    driver = connect(plug.url, status=False, ssh_port=port)
    assert driver.state() is PowerState.UNKNOWN
    assert Capability.SEES_OFF not in driver.capabilities
    assert policy.ensure(driver, PowerState.OFF, 5) is True
    assert plug.changes == ["off"]


def test_the_request_is_what_was_declared(plug, connect):
    headers = {"Content-Type": "application/json", "X-Rig": "{rig}", "Authorization": PASSWORD}
    body = '{"id": "{rig}", "on": true, "x": "{0} {rig.power} %s {{rig}}"}'
    call = {"url": f"{plug.url}/{{rig}}/on", "method": "PUT", "body": body, "headers": headers}
    connect(plug.url, switch_on=call).on()
    [request] = plug.requests
    assert (request.method, request.path) == ("PUT", "/rig07/on")
    assert request.headers["X-Rig"] == "rig07"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body.decode() == '{"id": "rig07", "on": true, "x": "{0} {rig.power} %s {rig07}"}'


def test_a_lost_answer_is_followed_by_a_reading(plug, connect, fast_clock):
    plug.lose = 2
    driver = connect(plug.url)
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert plug.changes == ["on"]
    with pytest.raises(AnswerLostError, match="rig07"):
        driver.off()
    assert plug.changes == ["on", "off"]


def test_a_swallowed_change_is_made_again_and_given_up(plug, connect, fast_clock):
    plug.swallow = 1
    assert policy.ensure(connect(plug.url), PowerState.ON, 60, clock=fast_clock)
    assert plug.changes == ["on", "on"]
    plug.swallow = 9
    with pytest.raises(PowerTimeoutError):
        policy.ensure(connect(plug.url), PowerState.OFF, 30, clock=fast_clock)
    assert len(plug.changes) == 2 + policy.ATTEMPTS


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, PowerAuthenticationError, "answered with 401"),
        (403, PowerAuthenticationError, "answered with 403"),
        (404, PowerRefusedError, "answered with 404 Not Found: why"),
        (400, PowerRefusedError, "answered with 400"),
        (500, PowerRefusedError, "answered with 500"),
        (429, PowerBusyError, "answered with 429"),
        (503, PowerBusyError, "answered with 503"),
        (302, PowerRefusedError, "302"),
    ],
)
def test_every_refusal_has_its_kind(status, kind, words, plug, connect):
    plug.always = Answer(status, b"why\x1b[2J\nso" + b"o" * 9000)
    driver = connect(plug.url)
    for verb in (driver.state, driver.on, driver.off):
        with pytest.raises(PowerError, match=words) as caught:
            verb()
        assert type(caught.value) is kind
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 500
    assert len(plug.requests) == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "neither 'on' nor 'off': an empty answer"),
        (b"\x1b[31mfoo\nbar", r"neither 'on' nor 'off':  ?\[31mfoo bar"),
        (b'"output": true "output": false', "both 'on' and 'off'"),
        (b"x" * webhook.STATUS_LIMIT + b'"output": true', "neither"),
        (b"\xff\xfe\x00", "neither"),
    ],
)
def test_a_status_that_says_nothing_is_shown(body, words, plug, connect):
    plug.always = Answer(200, body)
    with pytest.raises(PowerError, match=words) as caught:
        connect(plug.url).state()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


def test_an_answer_without_end_is_an_error(plug, connect, monkeypatch):
    monkeypatch.setattr(web, "ANSWER_LIMIT", 10_000)
    plug.always = Answer(200, b"x" * 100_000)
    with pytest.raises(PowerError, match="has no end"):
        connect(plug.url).state()


def test_redirects_are_followed_at_home_and_for_questions_alone(plug, connect):
    with closing(Server(lambda _: Answer(200, {"output": True}))) as elsewhere:
        driver = connect(plug.url)
        plug.always = Answer(302, b"", {"Location": f"{elsewhere.url}/x"})
        for verb in (driver.state, driver.on):
            with pytest.raises(PowerRefusedError, match=f"redirect to {elsewhere.url}"):
                verb()
        plug.always = Answer(307, b"", {"Location": "/rig07/off"})
        with pytest.raises(PowerRefusedError, match=f"redirect to {plug.url}"):
            driver.on()
        assert elsewhere.requests == []
    plug.always = None
    first = iter([Answer(301, b"", {"Location": "/rig07"})])
    plug.answer = lambda request: next(first, None) or plug.answered(request)
    assert driver.state() is PowerState.OFF


def test_tls_needs_the_declared_certificate(connect, tmp_path):
    pair, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    with closing(Plug(pair)) as plug:
        for certificate in (None, str(other[0])):
            with pytest.raises(PowerCertificateError, match="not trusted") as caught:
                connect(plug.url, certificate=certificate).on()
            assert "power.certificate" in caught.value.remedy
        assert plug.requests == []
        driver = connect(plug.url, certificate=str(pair[0]))
        driver.on()
        assert driver.state() is PowerState.ON


def test_several_certificates_in_one_file_are_authorities(connect, tmp_path):
    pair, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    (tmp_path / "both.pem").write_bytes(other[0].read_bytes() + pair[0].read_bytes())
    with closing(Plug(pair)) as plug:
        connect(plug.url, certificate=str(tmp_path / "both.pem")).on()
        assert plug.on


def test_silence_and_nothing_there(connect, monkeypatch):
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", 0.2)
    with socket.create_server((HOST, 0)) as silent:
        driver = connect(f"http://{HOST}:{silent.getsockname()[1]}")
        with pytest.raises(PowerUnreachableError, match="stopped answering"):
            driver.state()
        with pytest.raises(AnswerLostError):
            driver.on()
    for verb in (driver.state, driver.on):
        with pytest.raises(PowerUnreachableError, match="nothing listens"):
            verb()
    with pytest.raises(PowerUnreachableError, match="does not resolve"):
        connect("http://plug.invalid").on()


def test_the_environment_s_proxies_and_logins_are_left_alone(plug, connect, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(f"machine {HOST} login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.1.0.1:9")
    connect(plug.url).on()
    assert plug.on
    assert plug.requests[0].headers["Authorization"] == PASSWORD


def test_a_secret_that_is_not_there_is_told_before_anything_is_sent(plug, connect, monkeypatch):
    driver = connect(plug.url)
    monkeypatch.delenv("PLUG_TOKEN")
    with pytest.raises(SecretError, match="PLUG_TOKEN"):
        driver.on()
    assert plug.requests == []


@pytest.mark.parametrize("secret", ["Planted\nX-Other: 1", "Planted-ü", "Planted\x00"])
def test_a_secret_that_fits_in_no_header_is_not_shown(secret, plug, connect, monkeypatch):
    driver = connect(plug.url)
    monkeypatch.setattr("rigdeploy.fleet.secrets.Secret.reveal", lambda _: secret)
    with pytest.raises(PowerAuthenticationError, match=r"header Authorization \(from env:PLUG_TOKEN\)") as caught:
        driver.on()
    assert "Planted" not in caught.value.message
    assert plug.requests == []


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ({"url": "/cm?user=admin&password=Planted%2Fone"}, b"no /cm?user=admin&password=Planted%2Fone here"),
        ({"url": "/cm?user=admin&password=Planted%2Fone"}, b'unknown: {"password": "Planted/one"}'),
        ({"url": "/with/key/Planted-two"}, b"the key Planted-two has ended"),
        ({"url": "/", "body": '{"token": "Planted-three"}'}, b"bad token Planted-three"),
        ({"url": "/", "headers": {"Authorization": "Bearer Planted-four"}}, b"Planted-four is no token"),
    ],
)
def test_what_a_device_repeats_is_not_shown(call, answer, plug, connect):
    plug.always = Answer(404, answer)
    driver = connect(plug.url, switch_on=call | {"url": plug.url + call["url"]})
    with pytest.raises(PowerRefusedError, match=r"404 Not Found: .*…") as caught:
        driver.on()
    assert "Planted" not in caught.value.message


def test_tls_that_breaks_after_the_handshake_may_have_carried_the_request(connect, tmp_path):
    """An error of TLS then proves nothing, and the request is not made a second time."""
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard = []

    def serve(listener):
        with suppress(OSError):
            while True:
                with closing(listener.accept()[0]) as plain, suppress(ssl.SSLError):
                    wrapped = context.wrap_socket(plain.dup(), server_side=True)
                    heard.append(wrapped.recv(16)[:7])
                    plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                    wrapped.detach()

    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        driver = connect(f"https://{HOST}:{listener.getsockname()[1]}", certificate=str(certificate))
        with pytest.raises(AnswerLostError):
            driver.on()
        listener.shutdown(socket.SHUT_RDWR)
    assert heard == [b"POST /r"]


def test_no_log_line_or_text_shows_a_secret(plug, connect, monkeypatch, caplog):
    for name in ("urllib3", "urllib3.connectionpool", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    driver = connect(plug.url)
    driver.on()
    monkeypatch.setenv("PLUG_TOKEN", "Planted-wrong-one")
    shown = [caplog.text, repr(driver), repr(vars(driver)), driver.label]
    assert "POST /rig07/on" in caplog.text
    for verb in (driver.on, driver.state):
        with pytest.raises(PowerAuthenticationError, match="no, …") as caught:
            verb()
        shown.append("".join(traceback.format_exception(caught.value)))
    for text in shown:
        assert "Planted" not in text
