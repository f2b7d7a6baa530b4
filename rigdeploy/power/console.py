"""A rig's serial console through its BMC (IPMI 2.0, sections 15 and 24), streamed by ``ipmitool sol activate``."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rigdeploy.errors import PowerBusyError, PowerError, PowerUnsupportedError, UsageError
from rigdeploy.node.values import display
from rigdeploy.power.ipmi_driver import BmcDriver
from rigdeploy.power.ipmi_raw import APP, CompletionError
from rigdeploy.power.ipmitool import command, environment, missing, password_file

LOG_LIMIT = 16 * 1024 * 1024
"""Bytes of a console that a capture keeps: a boot says some hundred thousand."""
ESCAPE = "~."
"""What a person types, at the beginning of a line, to leave; the tool's own escape."""

_DEACTIVATE, _ACTIVATION_STATUS, _INSTANCE_INFO = 0x49, 0x4A, 0x4B
_SOL, _FIRST_INSTANCE = 1, 1
_ANSWER_SECONDS, _TRIES = 2, 4
_BEGIN_SECONDS = 40.0
"""How long the tool may take to log in and activate the payload."""
_END_SECONDS = 5.0
_POLL_SECONDS = 0.2
"""How soon a capture sees that it is to end."""
_HOLDER_SECONDS = 5.0
"""How long the end of a capture waits to hear who has the console."""
_CLOSED = b"SOL session closed by BMC"
_READY = b"[SOL Session operational"
_IN_USE = b"already active on another session"
_OFF = (b"SOL payload disabled", b"SOL payload type disabled")
_ABSENT = b"Invalid command"
_ENDED = "the BMC has closed it, as it does when somebody takes the console"
_TAKEN = "somebody has taken the console"


def attach(driver: BmcDriver, log: Path | None, say: Callable[[str], None]) -> None:
    """Join this process's terminal to the console until ESCAPE is typed; all that it shows goes to ``log`` too.

    Whoever has the console loses it, which ``say`` tells. The driver is closed first: the console is a session of its
    own, and others may switch the rig meanwhile. UsageError without a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("a console needs a terminal to be typed at", "run it at a terminal")
    with _recorded(log) as record:
        if _in_use(driver):
            say("the console is in use: taking it over")
            with suppress(CompletionError):
                driver.change(APP, _DEACTIVATE, bytes((_SOL, _FIRST_INSTANCE, 0, 0, 0, 0)))
        driver.close()
        with _Console(driver) as console, _raw_terminal():
            say(f"connected; type {ESCAPE} at the beginning of a line to leave\r")
            _join(console, record)


def capture(driver: BmcDriver, path: Path, stop: threading.Event) -> str:
    """Write what the console shows to ``path`` (mode 0600, appended, at most LOG_LIMIT bytes) until ``stop`` is set.

    A person who takes the console meanwhile wins. Most BMCs then end this session, and with it the capture; with those
    that do not it ends with ``stop``, and leaves the console to whoever has it by then. Returns why it did not see all
    there was, which the file ends with too; nothing when it did.
    PowerBusyError when somebody has the console at the beginning. The driver is closed whenever nothing is asked.
    """
    busy = _in_use(driver)
    driver.close()
    if busy:
        raise _busy(driver)
    with _recorded(path) as record, suppress(_GivenUpError), _Console(driver, stop) as console:
        holder = _Holder(driver)
        why = _recorded_until(stop, console, record) or (_TAKEN if holder.lost() else "")
        if why:
            console.abandon()
            record(f"\r\n[rigdeploy: this capture has ended: {why}]\r\n".encode())
        return why
    return ""


def _recorded_until(stop: threading.Event, console: _Console, record: Callable[[bytes], None]) -> str:
    """Why it ended before ``stop`` was set; nothing when it did not."""
    left, tail = LOG_LIMIT, b""
    while not stop.is_set():
        piece = console.read(_POLL_SECONDS)
        if piece is None:
            return _ENDED if _CLOSED in tail else "ipmitool ended"
        record(piece[:left])
        left -= len(piece[:left])
        tail = (tail + piece)[-len(_CLOSED) - 64 :]
    return ""


class _GivenUpError(Exception):
    """It is to end before it has begun."""


class _Holder(threading.Thread):
    """The session that has the console, asked of the BMC beside the capture, which must not wait for its lock."""

    def __init__(self, driver: BmcDriver) -> None:
        super().__init__(name="console's holder", daemon=True)
        self._driver = driver
        self._first: int | None = None
        self.start()

    def run(self) -> None:
        self._first = self._now()

    def lost(self) -> bool:
        """Whether another session has it by now; a BMC that does not say has not changed hands."""
        self.join(_HOLDER_SECONDS)
        if self.is_alive() or not self._first:
            return False
        return self._now() not in (None, 0, self._first)

    def _now(self) -> int | None:
        """Its number at the BMC (24.4), 0 when nobody has the console; None when the BMC does not say."""
        with closing(self._driver), suppress(PowerError, CompletionError):
            answer = self._driver.ask(APP, _INSTANCE_INFO, bytes((_SOL, _FIRST_INSTANCE)), least=4)
            return int.from_bytes(answer[:4], "little")
        return None


def _in_use(driver: BmcDriver) -> bool | None:
    """Whether the console is active for somebody; None when the BMC does not say."""
    try:
        answer = driver.ask(APP, _ACTIVATION_STATUS, bytes((_SOL,)), least=3)
    except CompletionError:
        return None
    return bool(int.from_bytes(answer[1:3], "little"))


def _busy(driver: BmcDriver) -> PowerBusyError:
    return PowerBusyError(f"{driver.label}: somebody has its console", "'rigdeploy bmc console' takes it over")


def _join(console: _Console, record: Callable[[bytes], None]) -> None:
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    while True:
        ready = select.select([keyboard, console.terminal], [], [])[0]
        if console.terminal in ready:
            piece = console.read(0)
            if piece is None:
                return
            record(piece)
            _write_all(screen, piece)
        if keyboard in ready:
            typed = os.read(keyboard, 1024)
            if not typed:
                return
            _write_all(console.terminal, typed)


class _Console:
    """The tool with the console active, at a terminal of its own; leaving the block ends it, and the payload.

    _GivenUpError when ``stop`` is set before it is active.
    """

    def __init__(self, driver: BmcDriver, stop: threading.Event | None = None) -> None:
        self._driver = driver
        self._stop = stop or threading.Event()
        self._early = b""
        self.terminal = -1

    def __enter__(self) -> _Console:
        power = self._driver.declared
        self.terminal, theirs = os.openpty()
        try:
            tty.setraw(theirs)
            with password_file(power.password.reveal()) as file:
                arguments = command(power, self._driver.cipher, file, _ANSWER_SECONDS, tries=_TRIES)
                self._process = subprocess.Popen(
                    [*arguments, "sol", "activate"],
                    stdin=theirs,
                    stdout=theirs,
                    stderr=theirs,
                    pass_fds=(file,),
                    env=environment(),
                    start_new_session=True,
                )
        except FileNotFoundError:
            os.close(self.terminal)
            raise missing() from None
        finally:
            os.close(theirs)
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            _write_all(self.terminal, ESCAPE.encode())
        self._drain()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self.terminal)

    def abandon(self) -> None:
        """End the tool at once: what it says to the BMC at its end would end the console for whoever has it."""
        self._process.kill()
        self._process.wait()

    def read(self, seconds: float) -> bytes | None:
        """What the console shows within ``seconds``, which may be nothing; None when it has ended."""
        if self._early:
            early, self._early = self._early, b""
            return early
        if not select.select([self.terminal], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self.terminal, 4096) or None
        except OSError:
            return None  # a terminal whose other end is closed

    def _begin(self) -> None:
        """Wait until the payload is active; PowerError when it does not become so."""
        said, deadline = b"", time.monotonic() + _BEGIN_SECONDS
        while _READY not in said or b"\n" not in said.partition(_READY)[2]:
            piece = self.read(_POLL_SECONDS)
            if self._stop.is_set():
                raise _GivenUpError
            if piece is None or time.monotonic() > deadline:
                raise self._failure(said)
            said += piece
        self._early = said.partition(_READY)[2].partition(b"\n")[2]

    def _failure(self, said: bytes) -> PowerError:
        if _IN_USE in said:
            return _busy(self._driver)
        if any(text in said for text in _OFF):
            return PowerUnsupportedError(
                f"{self._driver.label}: serial over LAN is switched off", "switch it on in the BMC's settings"
            )
        if _ABSENT in said:
            return PowerUnsupportedError(f"{self._driver.label} has no serial over LAN")
        return PowerError(
            f"{self._driver.label} gives no console: {display(said.decode(errors='replace')) or 'no answer'}",
            "does the board have serial over LAN, and is it switched on in its firmware?",
        )

    def _drain(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.read(_POLL_SECONDS) is None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, deadline - time.monotonic()))
                return


@contextmanager
def _recorded(path: Path | None) -> Iterator[Callable[[bytes], None]]:
    """What writes to the file, which only its owner may read, or nowhere without one."""
    if path is None:
        yield lambda _: None
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield lambda piece: _write_all(descriptor, piece)
    finally:
        os.close(descriptor)


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Pass every key on, Ctrl-C too; the terminal is as before at the end."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setraw(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
