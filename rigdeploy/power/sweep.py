"""The power state of many rigs behind IPMI BMCs, all asked at once by one thread.

What is quick is done here: a BMC that answers each message at once, and as every BMC should. One that does not (a lost
datagram, another cipher suite, a busy BMC, one that somebody else is talking to) is left to its driver and the policy
around that. Only a refused user or password is not, because BMCs lock users out who try again.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rigdeploy.errors import PowerBusyError, PowerError, SecretError
from rigdeploy.power.lock import bmc_lock_path, exclusive
from rigdeploy.power.look import (
    LONGEST_NAME,
    LONGEST_PASSWORD,
    SUITES,
    LogInRefusedError,
    Look,
    MoreNeededError,
    WrongPasswordError,
    load_cipher,
)

if TYPE_CHECKING:
    from rigdeploy.fleet.models import IpmiPower
    from rigdeploy.fleet.secrets import Secret

ANSWER_SECONDS = 1.0
"""How long a BMC may take for one answer."""
AT_ONCE = 256
"""BMCs under way at the same time: each has two files open, and a process may usually have 1024."""
FIRST_CIPHER = 17
"""What ``cipher: auto`` begins with where nothing is known of the BMC."""
_AT_HAND = ("env", "file", "inline")
"""Secrets that can be had without starting a process for each."""
_DATAGRAM = 4096

Refusal = LogInRefusedError | WrongPasswordError
Seen = Literal["on", "off"] | Refusal
"""What a look ends with: a :class:`rigdeploy.power.base.PowerState`'s value, or a log-in that was refused."""


class Declared(Protocol):
    """How a BMC is reached: :class:`rigdeploy.fleet.models.IpmiPower`, or as much of it as is needed here."""

    @property
    def address(self) -> str:
        """Its host name or address."""
        ...

    @property
    def port(self) -> int:
        """Its UDP port."""
        ...

    @property
    def username(self) -> str:
        """Who logs in."""
        ...

    @property
    def password(self) -> Secret:
        """With what."""
        ...

    @property
    def cipher(self) -> Literal["auto", 3, 17]:
        """The suite."""
        ...

    @property
    def privilege(self) -> Literal["operator", "administrator"]:
        """As what."""
        ...


def sweep(
    bmcs: Mapping[str, Declared], ciphers: Mapping[str, int], locks: Path
) -> Iterator[tuple[str, Seen | None, float]]:
    """Look at each BMC; gives the rig's name, what was seen and the seconds that took, the first to end first.

    None: this one is left to its driver. ``ciphers`` has the suite that worked before by ``address:port``. Holds a
    BMC's lock while it is talked to.
    """
    waiting = iter(bmcs.items())
    under_way: dict[int, _Visit] = {}  # the one that is waited for longest first
    poll = select.epoll()
    try:
        while True:
            while len(under_way) < AT_ONCE and (following := next(waiting, None)):
                begun = _Visit.begin(*following, ciphers, locks)
                if begun is None:
                    yield following[0], None, 0.0
                    continue
                under_way[begun.socket.fileno()] = begun
                poll.register(begun.socket, select.EPOLLIN)
            if not under_way:
                return
            load_cipher()  # while the first answers are on their way
            ready = poll.poll(max(0.0, _first(under_way).deadline - time.monotonic()))
            now = time.monotonic()  # who takes what is given here may take long over it
            for number, _ in ready:
                visit = under_way[number]  # where it is closed, too, if Ctrl-C comes now
                if visit.goes_on():
                    under_way[number] = under_way.pop(number)
                else:
                    poll.unregister(number)
                    visit.close()
                    del under_way[number]
                    yield visit.name, visit.seen, time.monotonic() - visit.began
            while under_way and (visit := _first(under_way)).deadline <= now:
                number = visit.socket.fileno()
                poll.unregister(number)
                visit.close()
                del under_way[number]
                yield visit.name, None, now - visit.began
    finally:
        for visit in under_way.values():
            visit.close()
        poll.close()


def in_words(refusal: Refusal, rig: str, power: IpmiPower) -> PowerError:
    """The error that the driver would have raised."""
    from pyipmi.errors import AuthenticationError, MessageStatusCodeError

    from rigdeploy.power import ipmi_errors

    error = MessageStatusCodeError(refusal.code) if isinstance(refusal, LogInRefusedError) else AuthenticationError()
    return ipmi_errors.log_in_error(error, f"{rig} (BMC {power.address}:{power.port})", power)


class _Visit:
    """One BMC while it is looked at: its lock, its socket, and how far the exchange has come."""

    def __init__(self, name: str, look: Look, sock: socket.socket) -> None:
        self.name = name
        self.socket = sock
        self.seen: Seen | None = None
        self.began = time.monotonic()
        self.deadline = self.began + ANSWER_SECONDS
        self._look = look
        self._steps = look.steps()
        self._held = ExitStack()

    @classmethod
    def begin(cls, name: str, declared: Declared, ciphers: Mapping[str, int], locks: Path) -> _Visit | None:
        """Send the first message; None when this BMC is better left to its driver, nothing having been sent to it."""
        bmc = f"{declared.address}:{declared.port}"
        cipher = ciphers.get(bmc, FIRST_CIPHER) if declared.cipher == "auto" else declared.cipher
        if declared.password.kind not in _AT_HAND or cipher not in tuple(SUITES):  # what was kept may be anything
            return None
        with ExitStack() as held, suppress(SecretError, PowerBusyError, OSError):
            # Only a number: a name may take long to resolve, and all the others would wait for it.
            [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
                declared.address.encode(), declared.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )
            held.enter_context(exclusive(bmc_lock_path(locks, bmc), 0.0, name))
            # Behind the lock, which a rotation holds until the new password is stored.
            username, password = declared.username.encode(), declared.password.reveal().encode()
            if len(username) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:
                return None
            sock = held.enter_context(socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol))
            sock.connect(address)
            visit = cls(name, Look(username, password, cipher, declared.privilege), sock)
            sock.send(next(visit._steps))
            visit._held = held.pop_all()
            return visit
        return None

    def goes_on(self) -> bool:
        """Take what has come, and send what follows; False when this ends it, and ``seen`` says how."""
        try:
            self.socket.send(self._steps.send(self.socket.recv(_DATAGRAM)))
            self.deadline = time.monotonic() + ANSWER_SECONDS
        except StopIteration as end:
            self.seen = "on" if end.value & 1 else "off"
        except (LogInRefusedError, WrongPasswordError) as refusal:
            self.seen = refusal
        except (MoreNeededError, OSError):
            self.seen = None
        else:
            return True
        return False

    def close(self) -> None:
        """End the session, and let the next caller at the BMC."""
        with self._held, suppress(OSError):
            if farewell := self._look.farewell():
                self.socket.send(farewell)


def _first(visits: Mapping[int, _Visit]) -> _Visit:
    return next(iter(visits.values()))
