"""Power through a BMC's IPMI 2.0 interface on the network, spoken by the program ipmitool."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from pyipmi.errors import (
    AuthenticationError,
    CompletionCodeError,
    DecodingError,
    IpmiLongPasswordError,
    MessageStatusCodeError,
)
from pyipmi.interfaces.rmcpplus import MAX_USER_NAME_LENGTH

from rigdeploy.errors import PowerError, PowerUnreachableError, PowerUnsupportedError
from rigdeploy.fleet.models import IpmiPower
from rigdeploy.node.values import display
from rigdeploy.power import ipmi_errors
from rigdeploy.power.base import AnswerLostError
from rigdeploy.power.ipmi_driver import BmcDriver
from rigdeploy.power.ipmi_raw import CompletionError
from rigdeploy.power.ipmi_users import LONGEST_PASSWORD
from rigdeploy.power.policy import StoppedError
from rigdeploy.power.quirks import QuirkCache
from rigdeploy.power.stop import LOOK_SECONDS, Patience

ANSWER_SECONDS = 2
"""How long the tool waits for one datagram's answer (its ``-N``)."""
TRIES = 3
"""How often something is sent that may be sent again; the tool itself repeats nothing but a log-in's messages."""
BROKEN_LOG_INS = 20
"""How often a log-in is begun again that the BMC had begun to answer."""
SILENT_LOG_INS = 5
"""How often, one after another, that ended without a sign of the BMC: the tool does not say what was not answered."""
_LOG_IN_SECONDS = 90.0
"""No log-in of the tool takes longer: its messages are sent a bounded number of times."""
_SLACK_SECONDS = 10.0
"""How much longer than its own patience the tool may take, on a busy machine, before it counts as stuck."""
_STOPPED_SECONDS = 0.5
"""How long it may take to close its session when we are to stop: a BMC that is there needs less."""
_OUTPUT_LIMIT = 64 * 1024
_ENVIRONMENT = ("PATH", "HOME")
"""All that the tool gets of our environment: others may hold secrets, and its messages must stay untranslated."""

_REFUSALS = {
    "insufficient resources for session": 0x01,
    "invalid session ID": 0x02,
    "invalid authentication algorithm": 0x04,
    "invalid integrity algorithm": 0x05,
    "no matching authentication": 0x06,
    "no matching integrity": 0x07,
    "inactive session ID": 0x08,
    "invalid role": 0x09,
    "unauthorized role requested": 0x0A,
    "insufficient resources for role": 0x0B,
    "invalid name length": 0x0C,
    "unauthorized name": 0x0D,
    "invalid integrity check value": 0x0F,
    "invalid confidentiality algorithm": 0x10,
    "no matching cipher suite": 0x11,
}
"""The tool's words for RMCP+ status codes (IPMI 2.0, table 13-15)."""


class _OutsideError(CompletionCodeError):  # type: ignore[misc]
    """The level was refused as too high, which a BMC also answers to who asks outside a session.

    The tool does that where an earlier message of its log-in was lost: the log-in is begun again, and only one that
    ends so every time has a user who may not.
    """


_FAILURES: tuple[tuple[str, Callable[[], Exception]], ...] = (
    *((re.escape(words), partial(MessageStatusCodeError, status)) for words, status in _REFUSALS.items()),
    ("HMAC is invalid", AuthenticationError),
    (r"Set Session Privilege Level to \w+ failed: Insufficient privilege", partial(_OutsideError, 0x81)),
    (r"Set Session Privilege Level to \w+ failed: ", partial(CompletionCodeError, 0x81)),
    ("Address lookup for", socket.gaierror),
    (
        "is not what we requested",
        partial(DecodingError, "the BMC answered with other algorithms than it was asked for"),
    ),
    ("Unable to establish", TimeoutError),
)
"""What it prints when it gets no session, the telling words first."""
_ANSWER = re.compile(r"RAW RSP \((\d+) bytes\)\n([ 0-9a-f\n]*)")
_REFUSAL = re.compile(r"Unable to send RAW command \(.*rsp=0x([0-9a-f]+)\)")
_NO_ANSWER = "Unable to send RAW command"


class _SilenceError(Exception):
    """No answer to a request that was sent."""


class _EndedError(Exception):
    """The tool has ended, or is stuck; it had printed this."""


class IpmitoolDriver(BmcDriver):
    """A BMC over one ``ipmitool exec`` that stays open: a session, and one line in for every request.

    The password goes to the tool in a file without a name, which ends with the two processes, however they end; a new
    password goes in by its standard input. Of what it prints only bytes and completion codes are believed.
    """

    def __init__(
        self, rig: str, power: IpmiPower, locks: Path, quirks: QuirkCache, *, answer_seconds: int = ANSWER_SECONDS
    ) -> None:
        super().__init__(rig, power, locks, quirks)
        self._answer_seconds = answer_seconds
        self._line: _Line | None = None
        self._patience = Patience()

    def _exchange(self, netfn: int, command: int, data: bytes, *, once: bool) -> bytes:
        if once:
            return self._sent_once(netfn, command, data)
        if self._line is not None:
            with self._dropped_by_a_stop(), suppress(_SilenceError, _EndedError):
                return self._line.repeated(netfn, command, data)
            self._drop()
            self._patience.check()
        line = self._logged_in()
        try:
            with self._dropped_by_a_stop():
                return line.repeated(netfn, command, data)
        except (_SilenceError, _EndedError) as error:
            self._drop()
            self._patience.check()
            raise PowerUnreachableError(f"{self.label} has stopped answering", ipmi_errors.CHECK_NETWORK) from error
        except DecodingError as error:
            raise PowerError(f"{self.label} sent an answer that cannot be read: {error}") from error

    def _sent_once(self, netfn: int, command: int, data: bytes) -> bytes:
        line = self._logged_in()
        try:
            return line.request(netfn, command, data)
        except (_SilenceError, DecodingError) as error:
            raise AnswerLostError(f"{self.label} did not answer the request") from error
        except _EndedError as error:
            self._drop()
            raise AnswerLostError(f"{self.label} did not answer the request: ipmitool ended") from error

    @contextmanager
    def _dropped_by_a_stop(self) -> Iterator[None]:
        """A reading that was abandoned leaves its answer in the line, where it would be taken for the next one's."""
        try:
            yield
        except StoppedError:
            self._drop()
            raise

    def _log_out(self) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _logged_in(self) -> _Line:
        if self._line is None:
            self._line = self._log_in()
        return self._line

    def _log_in(self) -> _Line:
        """A session with the declared cipher suite, or with the first that this BMC takes; that one is remembered."""
        password = self._power.password.reveal()
        self._refuse_too_long(password)
        ciphers = self._ciphers()
        for cipher in ciphers:
            try:
                line = self._connect(password, cipher)
            except ipmi_errors.LOG_IN_ERRORS as error:
                if cipher == ciphers[-1] or not ipmi_errors.blames_cipher(error):
                    raise ipmi_errors.log_in_error(error, self.label, self._power) from error
            else:
                self._quirks.put(self._bmc, "cipher", cipher)
                return line
        raise AssertionError("the last cipher suite returns or raises")

    def _refuse_too_long(self, password: str) -> None:
        """The tool says nothing of use, and cuts a password at its first line's end."""
        error: Exception | None = None
        if len(password.encode()) > LONGEST_PASSWORD:
            error = IpmiLongPasswordError()
        elif len(self._power.username.encode()) > MAX_USER_NAME_LENGTH or not password.isprintable():
            error = AuthenticationError()
        if error is not None:
            raise ipmi_errors.log_in_error(error, self.label, self._power)

    def _connect(self, password: str, cipher: int) -> _Line:
        silent = outside = 0
        for attempt in range(1, BROKEN_LOG_INS + 1):
            line = _Line(self._power, password, cipher, self._answer_seconds, self._patience)
            try:
                line.log_in()
            except _EndedError as ended:
                line.close()
                self._patience.check()
                error = _log_in_failure(str(ended))
                silent = silent + 1 if isinstance(error, TimeoutError) and not _half_way(str(ended)) else 0
                outside += isinstance(error, _OutsideError)
                broken = ipmi_errors.broken_by_loss(error) or isinstance(error, _OutsideError)
                if attempt == BROKEN_LOG_INS or silent == SILENT_LOG_INS or not broken:
                    raise (TimeoutError() if 0 < outside < attempt and broken else error) from ended
            except BaseException:
                line.close()
                raise
            else:
                return line
        raise AssertionError("the last attempt returns or raises")


class _Line:
    """One process of the tool. Its standard output is a terminal, so that every answer comes at once."""

    def __init__(self, power: IpmiPower, password: str, cipher: int, answer_seconds: int, patience: Patience) -> None:
        self._answer_seconds = answer_seconds
        self._patience = patience
        self._asked = 0
        self._output, theirs = os.openpty()
        try:
            tty.setraw(theirs)
            with password_file(password) as file:
                self._process = subprocess.Popen(
                    [*command(power, cipher, file, answer_seconds, tries=1), "-v", "exec", "/proc/self/fd/0"],
                    stdin=subprocess.PIPE,
                    stdout=theirs,
                    stderr=theirs,
                    pass_fds=(file,),
                    env=environment(),
                    start_new_session=True,  # Ctrl-C is for us; the tool ends when its standard input does
                )
        except FileNotFoundError:
            os.close(self._output)
            raise missing() from None
        finally:
            os.close(theirs)

    def log_in(self) -> None:
        """Wait until the tool has a session; _EndedError with what it printed when it gets none."""
        self._said("", _LOG_IN_SECONDS, reading=True)

    def repeated(self, netfn: int, number: int, data: bytes) -> bytes:
        """A request that may be sent again, and is when its answer does not come."""
        for _ in range(TRIES - 1):
            with suppress(_SilenceError):
                return self.request(netfn, number, data, reading=True)
        return self.request(netfn, number, data, reading=True)

    def request(self, netfn: int, number: int, data: bytes, *, reading: bool = False) -> bytes:
        """Send a request once; the answer behind its completion code. ``reading``: a stop need not wait for it."""
        words = " ".join(f"0x{byte:02x}" for byte in (netfn, number, *data))
        said = self._said(f"raw {words}\n", self._answer_seconds + _SLACK_SECONDS, reading=reading)
        if refused := _REFUSAL.search(said):
            raise CompletionError(int(refused[1], 16) & 0xFF)
        answered = _ANSWER.search(said)
        if answered is None:
            if _NO_ANSWER in said:
                raise _SilenceError
            raise DecodingError("ipmitool printed neither an answer nor an error")
        answer = bytes.fromhex(answered[2])
        if len(answer) != int(answered[1]):
            raise DecodingError(f"ipmitool printed {len(answer)} bytes of {answered[1]}")
        return answer

    def close(self) -> None:
        """End the tool, which closes its session first."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOPPED_SECONDS if self._patience.ended() else self._answer_seconds + 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._output)

    def _said(self, line: str, seconds: float, *, reading: bool) -> str:
        """Give the tool a line, and what it prints until it is done with that."""
        reading = reading and not self._patience.ended()  # what begins after a stop has its last seconds
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        self._asked += 1
        mark = f"rigdeploy-{self._asked}"
        try:
            self._process.stdin.write(f"{line}echo {mark}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it printed says why
        output, deadline = b"", time.monotonic() + seconds
        while mark.encode() not in output:
            piece = self._piece(deadline, reading=reading)
            output = (output + piece)[-_OUTPUT_LIMIT:]
            if not piece:
                raise _EndedError(output.decode(errors="replace"))
        return output.decode(errors="replace")

    def _piece(self, deadline: float, *, reading: bool) -> bytes:
        """What is there to read; nothing when the tool has ended or the deadline, or a stop's, has come."""
        while not select.select([self._output], [], [], LOOK_SECONDS)[0]:
            if self._patience.ended() and reading:
                self._patience.check()
            if time.monotonic() >= min(deadline, self._patience.until):
                return b""
        try:
            return os.read(self._output, 4096)
        except OSError:
            return b""  # a terminal whose other end is closed


@contextmanager
def password_file(password: str) -> Iterator[int]:
    """The password as a file for the tool's ``-f``: in memory and without a name, so that nothing is left to remove."""
    descriptor = os.memfd_create("ipmi", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, password.encode() + b"\n")
        yield descriptor
    finally:
        os.close(descriptor)


def command(power: IpmiPower, cipher: int, file: int, answer_seconds: int, *, tries: int) -> list[str]:
    """The tool's arguments up to its own command; ``file`` is the descriptor that holds the password."""
    return [
        *("ipmitool", "-I", "lanplus", "-H", power.address, "-p", str(power.port), "-U", power.username),
        *("-f", f"/proc/self/fd/{file}", "-C", str(cipher), "-L", power.privilege.upper()),
        *("-N", str(answer_seconds), "-R", str(tries)),
    ]


def environment() -> dict[str, str]:
    """The environment of the tool."""
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"LC_ALL": "C", "TERM": "dumb"}


def missing() -> PowerError:
    """What to say when the tool is not installed."""
    return PowerUnsupportedError(
        "ipmitool is not installed on this machine", "install it (Debian: apt install ipmitool), or use driver: ipmi"
    )


def _log_in_failure(output: str) -> Exception:
    """Why the tool got no session, as python-ipmi would have raised it."""
    for pattern, error in _FAILURES:
        if re.search(pattern, output):
            return error()
    return DecodingError(f"ipmitool said: {display(output) or 'nothing'}")  # type: ignore[no-any-return]


def _half_way(output: str) -> bool:
    """Whether the BMC had answered before the log-in failed."""
    return "no response from RAKP" in output or "Set Session Privilege Level" in output
