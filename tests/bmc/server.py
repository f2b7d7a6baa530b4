"""The BMC on the wire: sessions, RAKP, the memory for repeated requests; many BMCs on one thread."""

from __future__ import annotations

import asyncio
import hmac
import os
import random
import struct
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

from tests.bmc import commands, wire
from tests.bmc.commands import Caller
from tests.bmc.state import ADMINISTRATOR, USER, Faults, State
from tests.bmc.state import User as BmcUser
from tests.bmc.wire import Frame, Keys, MalformedError, Suite

MEMORY_SECONDS = 5.0
"""How long a request is known again: clients repeat one under a new session sequence number when its answer is lost."""
MEMORY_SIZE = 16
"""How many requests; sequence numbers have 6 bits, so a busy client comes round to them soon."""
NODE_BUSY = 0xC0

# RMCP+ status codes (table 13-15).
NO_SLOT, WRONG_SESSION, WRONG_ALGORITHM, WRONG_ROLE, WRONG_NAME, WRONG_CODE, NO_SUITE = (
    0x01, 0x02, 0x04, 0x09, 0x0D, 0x0F, 0x11,
)  # fmt: skip


@dataclass
class Session:
    """A session, from its Open Session Request on; ``keys`` and ``caller`` come with RAKP 1 and 3."""

    number: int
    console: int
    suite: Suite
    asked: int
    used: float
    user: BmcUser | None = None
    role: bytes = b""
    console_random: bytes = b""
    bmc_random: bytes = b""
    keys: Keys | None = None
    caller: Caller = field(default_factory=Caller)
    sent: int = 0
    memory: OrderedDict[bytes, tuple[float, bytes]] = field(default_factory=OrderedDict)


class FakeBmc(asyncio.DatagramProtocol):
    """One BMC at one UDP port. ``state`` is the rig and what is stored, ``faults`` what goes wrong.

    Tests set ``faults`` at any time. Users: admin (2), oper (3) and user (4), all with one password.
    """

    def __init__(
        self,
        password: str,
        *,
        suites: tuple[int, ...] = (3, 17),
        on: bool = False,
        faults: Faults | None = None,
        seed: int = 1,
    ) -> None:
        self.faults = faults or Faults()
        self.state = State(self.faults, password, suites, on=on)
        self.address, self.port = "", 0
        self._coin = random.Random(seed)
        self._sessions: dict[int, Session] = {}
        self._away_until = 0.0
        self._transport: asyncio.DatagramTransport

    @property
    def sessions(self) -> int:
        """How many slots are taken, half-made sessions too."""
        with self.state.lock:
            self._forget_idle()
            return len(self._sessions)

    def becomes_free(self, seconds: float = 2.0) -> bool:
        """Whether every session ends within that time: who logs out waits for no answer."""
        deadline = time.monotonic() + seconds
        while self.sessions and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.sessions

    def events(self, kind: str) -> list[str]:
        """The log's lines of one kind (see :class:`tests.bmc.state.Event`)."""
        return self.state.events(kind)

    def drop_sessions(self) -> None:
        """Forget every session, as a BMC does that restarts quickly."""
        with self.state.lock:
            self._sessions.clear()

    def cold_reset(self) -> None:
        """Restart: sessions are gone, and nothing is answered for a while; the rig's power stays as it is."""
        self.drop_sessions()
        self._away_until = time.monotonic() + self.faults.reset_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address, self.port = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer a datagram, unless a fault swallows it; what cannot be read is dropped."""
        faults = self.faults
        if faults.silent or time.monotonic() < self._away_until or self._lost():
            return
        if faults.drop_next:
            faults.drop_next -= 1
            return
        try:
            with self.state.lock:
                answer = self._answer(data)
        except (MalformedError, struct.error, IndexError):
            return
        if answer is None or self._lost():
            return
        if faults.drop_answers:
            faults.drop_answers -= 1
            return
        if faults.delay:
            asyncio.get_running_loop().call_later(faults.delay, self._send, answer, addr)
        else:
            self._send(answer, addr)

    def _lost(self) -> bool:
        return bool(self.faults.drop_rate) and self._coin.random() < self.faults.drop_rate

    def _send(self, answer: bytes, addr: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)

    def _answer(self, datagram: bytes) -> bytes | None:
        if datagram[:1] != b"\x06":
            return None
        if datagram[3] & 0x1F == 6:
            return wire.pong(datagram) if self.faults.ping else None
        body = datagram[4:]
        if body[0] == wire.NO_AUTHENTICATION:
            message = self._outside(wire.request_1_5(body))
            return message and wire.answer_1_5(message)
        if body[0] != wire.RMCP_PLUS:
            return None
        received = wire.frame(body)
        if received.session:
            return self._in_session(received)
        return self._set_up(received)

    def _outside(self, request: wire.Request) -> bytes | None:
        if (request.netfn, request.command) == (commands.APP, 0x54) and not self.faults.cipher_list:
            return None
        return request.answer(*commands.run(self.state, Caller(), request.netfn, request.command, request.data))

    # A session's beginning (13.17 to 13.24)

    def _set_up(self, received: Frame) -> bytes | None:
        payload = received.payload
        if received.kind == wire.IPMI:
            message = self._outside(wire.request(payload))
            return message and wire.sealed(wire.IPMI, message)
        if received.kind == wire.OPEN_REQUEST:
            return wire.sealed(wire.OPEN_ANSWER, self._open(payload))
        if received.kind == wire.RAKP_1:
            return wire.sealed(wire.RAKP_2, self._rakp_1(payload))
        if received.kind == wire.RAKP_3:
            answer = self._rakp_3(payload)
            return answer and wire.sealed(wire.RAKP_4, answer)
        return None

    def _open(self, payload: bytes) -> bytes:
        tag, role, console = struct.unpack_from("<BBxxI", payload)
        wanted = (payload[12], payload[20], payload[28])
        self._forget_idle()
        suite, status = self._chosen(wanted)
        if suite is None:
            self.state.log("suite", "/".join(map(str, wanted)))
            return struct.pack("<BBxxI", tag, status, console)
        if len(self._sessions) >= self.faults.max_sessions:
            return struct.pack("<BBxxI", tag, NO_SLOT, console)
        number = int.from_bytes(os.urandom(4), "little") or 1
        self._sessions[number] = Session(number, console, suite, role & 0x0F, time.monotonic())
        chosen = b"".join(bytes((kind, 0, 0, 8, algorithm, 0, 0, 0)) for kind, algorithm in enumerate(wanted))
        highest = role & 0x0F or self.state.suites[suite.id]
        return struct.pack("<BBBxII", tag, 0, highest, console, number) + chosen

    def _chosen(self, wanted: tuple[int, int, int]) -> tuple[Suite | None, int]:
        offered = [wire.SUITES[number] for number, privilege in self.state.suites.items() if privilege]
        for suite in offered:
            if (suite.authentication, suite.integrity, suite.confidentiality) == wanted:
                return suite, 0
        known = any(suite.authentication == wanted[0] for suite in offered)
        return None, NO_SUITE if known else WRONG_ALGORITHM

    def _rakp_1(self, payload: bytes) -> bytes:
        tag, number = struct.unpack_from("<BxxxI", payload)
        session = self._sessions.get(number)
        if session is None or session.keys is not None:
            return struct.pack("<BBxxI", tag, WRONG_SESSION, 0)
        role, length = payload[24], payload[27]
        name = payload[28 : 28 + length]
        user_number, user = self._known(name.decode("latin-1"))
        status = WRONG_NAME if user is None else self._role_refused(user, session, role & 0x0F)
        if user is None or status:
            self.state.log("refused", name.decode("latin-1"))
            del self._sessions[number]
            return struct.pack("<BBxxI", tag, status, session.console)
        session.used = time.monotonic()
        session.user = user
        session.role = bytes((role, length)) + name
        session.console_random = payload[8:24]
        session.bmc_random = session.bmc_random or os.urandom(16)
        limit = min(role & 0x0F or ADMINISTRATOR, user.privilege, self.state.suites[session.suite.id])
        session.caller = Caller(user_number, min(USER, limit), limit, number)
        code = session.suite.hmac(
            user.password,
            struct.pack("<II", session.console, number)
            + session.console_random
            + session.bmc_random
            + self.state.guid
            + session.role,
        )
        return struct.pack("<BxxxI", tag, session.console) + session.bmc_random + self.state.guid + code

    def _known(self, name: str) -> tuple[int, BmcUser | None]:
        for number, user in self.state.users.items():
            if user.name == name and user.may_log_in:
                return number, user
        return 0, None

    def _role_refused(self, user: BmcUser, session: Session, role: int) -> int:
        return WRONG_ROLE if role > min(user.privilege, self.state.suites[session.suite.id]) else 0

    def _rakp_3(self, payload: bytes) -> bytes | None:
        tag, status, number = struct.unpack_from("<BBxxI", payload)
        session = self._sessions.get(number)
        if session is None or session.user is None:
            return None if status else struct.pack("<BBxxI", tag, WRONG_SESSION, 0)
        if status:  # the client found our code wrong, as with a password of its own
            self.state.log("refused", session.user.name)
            del self._sessions[number]
            return None
        suite, password = session.suite, session.user.password
        expected = suite.hmac(password, session.bmc_random + struct.pack("<I", session.console) + session.role)
        if not hmac.compare_digest(expected, payload[8 : 8 + len(expected)]):
            self.state.log("refused", session.user.name)
            del self._sessions[number]
            return struct.pack("<BBxxI", tag, WRONG_CODE, session.console)
        sik = suite.hmac(password, session.console_random + session.bmc_random + session.role)
        if session.keys is None:
            self.state.log("log-in", f"{session.user.name} {suite.id}")
        session.keys = Keys(suite, sik)
        session.used = time.monotonic()
        check = suite.hmac(sik, session.console_random + struct.pack("<I", number) + self.state.guid)
        return struct.pack("<BxxxI", tag, session.console) + check[: suite.kept]

    # In a session

    def _in_session(self, received: Frame) -> bytes | None:
        self._forget_idle()
        session = self._sessions.get(received.session)
        if session is None or session.keys is None or received.kind != wire.IPMI:
            return None
        message = self._remembered(session, wire.request(wire.opened(received, session.keys)))
        session.used = time.monotonic()
        session.sent += 1
        answer = wire.sealed(wire.IPMI, message, session.console, session.sent, session.keys)
        if session.caller.ended:
            del self._sessions[session.number]
        if session.caller.cold_reset:
            self.cold_reset()
        return answer

    def _remembered(self, session: Session, request: wire.Request) -> bytes:
        """The answer; a request that came before is not carried out again."""
        now = time.monotonic()
        known = session.memory.get(request.raw)
        if known is not None and now - known[0] < MEMORY_SECONDS:
            return known[1]
        if self.faults.busy_next:
            # Not kept: a busy BMC has not looked at the request.
            self.faults.busy_next -= 1
            return request.answer(NODE_BUSY)
        message = request.answer(
            *commands.run(self.state, session.caller, request.netfn, request.command, request.data)
        )
        session.memory[request.raw] = (now, message)
        if len(session.memory) > MEMORY_SIZE:
            session.memory.popitem(last=False)
        return message

    def _forget_idle(self) -> None:
        oldest = time.monotonic() - self.faults.idle_seconds
        for number in [number for number, session in self._sessions.items() if session.used < oldest]:
            del self._sessions[number]


class FakeBmcs:
    """A thread that serves BMCs until it is left: ``with FakeBmcs() as bmcs: bmc = bmcs.start(FakeBmc("…"))``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake BMCs")
        self._started: list[FakeBmc] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, bmc: FakeBmc, address: str = "127.3.0.1", port: int = 0) -> FakeBmc:
        """Let it listen; port 0: any that is free, which ``bmc.port`` then says."""
        asyncio.run_coroutine_threadsafe(self._listen(bmc, address, port), self._loop).result()
        self._started.append(bmc)
        return bmc

    async def _listen(self, bmc: FakeBmc, address: str, port: int) -> None:
        await self._loop.create_datagram_endpoint(lambda: bmc, local_addr=(address, port))

    async def _stop(self) -> None:
        for bmc in self._started:
            bmc._transport.close()
        await asyncio.sleep(0)  # closed transports say good-bye in the next round
