"""IPMI's codes in words, one case per thing that a person would do differently."""

from __future__ import annotations

import socket

import pytest
from pyipmi.errors import (
    AuthenticationError,
    CompletionCodeError,
    DecodingError,
    MessageStatusCodeError,
    NotSupportedError,
    RetryError,
)

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerRefusedError,
    PowerUnreachableError,
    PowerUnsupportedError,
)
from rigdeploy.power.ipmi_errors import blames_cipher, log_in_error, refusal


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (MessageStatusCodeError(0x01), PowerBusyError, "no session slot"),
        (MessageStatusCodeError(0x09), PowerAuthenticationError, "does not let user 'admin' log in as administrator"),
        (MessageStatusCodeError(0x0A), PowerAuthenticationError, "does not let user"),
        (MessageStatusCodeError(0x0D), PowerAuthenticationError, "knows no user 'admin'"),
        (MessageStatusCodeError(0x0F), PowerAuthenticationError, "is wrong"),
        (AuthenticationError("RAKP"), PowerAuthenticationError, "(from env:BMC) is wrong"),
        (MessageStatusCodeError(0x11), PowerRefusedError, "0x11"),
        (DecodingError("short"), PowerRefusedError, "short"),
        (CompletionCodeError(0x81), PowerAuthenticationError, "log in as administrator"),
        (CompletionCodeError(0xC0), PowerBusyError, "0xc0"),
        (NotSupportedError("1.5"), PowerUnsupportedError, "no IPMI 2.0"),
        (RetryError("r"), PowerUnreachableError, "does not answer"),
        (TimeoutError(), PowerUnreachableError, "does not answer"),
        (ConnectionRefusedError(), PowerUnreachableError, "nothing listens on UDP port 623"),
        (socket.gaierror(), PowerUnreachableError, "does not resolve"),
        (OSError(113, "No route to host"), PowerUnreachableError, "No route to host"),
    ],
)
def test_log_in(error, kind, word, declare):
    found = log_in_error(error, "rig01 (BMC x)", declare(623, password={"env": "BMC"}))
    assert type(found) is kind
    assert found.message.startswith("rig01 (BMC x)")
    assert word in found.message
    assert found.remedy


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, PowerBusyError) for code in (0xC0, 0xC3, 0xC4, 0xCE, 0xCF, 0xD2, 0xFF)),
        (0xC1, PowerUnsupportedError),
        (0xD4, PowerRefusedError),
        (0xD5, PowerRefusedError),
    ],
)
def test_inside_a_session(code, kind, declare):
    found = refusal(code, "rig01 (BMC x)", declare(623))
    assert type(found) is kind
    assert found.message.startswith("rig01 (BMC x)")


@pytest.mark.parametrize(
    ("error", "other_may_work"),
    [
        (MessageStatusCodeError(0x04), True),
        (MessageStatusCodeError(0x11), True),
        (DecodingError("other algorithms"), True),
        (MessageStatusCodeError(0x01), False),
        (MessageStatusCodeError(0x0D), False),
        (MessageStatusCodeError(0x0F), False),
        (AuthenticationError("wrong"), False),
        (TimeoutError(), False),
    ],
)
def test_only_a_cipher_refusal_tries_the_other_cipher(error, other_may_work):
    assert blames_cipher(error) is other_may_work
