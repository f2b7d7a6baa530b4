"""Sends one of our programs to many nodes at once over SSH, and reads what each prints.

One round trip per node over a connection that is kept open; nothing is left on the node. The program is one file of
the standard library alone (``rigdeploy/node``) and travels on standard input. When the exchange is given up, the node
sees its standard output closed: a program that runs for long has to look out for that.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import IO, Generic, TypeVar

from rigdeploy.errors import NodeError, RigdeployError, UnreachableError
from rigdeploy.run import ssh
from rigdeploy.run.environment import passed_on
from rigdeploy.run.signals import StoppedError
from rigdeploy.run.ssh import Connection
from rigdeploy.workspace import Workspace

MAX_OUTPUT = 8 * 1024 * 1024
"""Bytes of one answer that are read; a real one has some tens of KiB. A node must not fill our memory."""

WHOLE = b"}\n"
"""The end of a whole answer. A process with a thread in a driver's call that never returns prints all it knows, and
cannot end: what it printed is the answer when its time is over."""

STOP_PAUSE = 0.2
"""Seconds between two looks at whether the whole exchange is to be given up."""

T = TypeVar("T")


@dataclass(frozen=True)
class Program(Generic[T]):
    """What is sent: the ``file`` in ``rigdeploy/node``, its ``name`` in messages, and how its answer is read.

    ``read`` raises a RigdeployError for an answer that is none. ``repeat`` says whether a lost connection is tried once
    more: a connection kept open to a node that was switched off since then fails although the node is up again.
    """

    file: str
    name: str
    read: Callable[[bytes], T]
    repeat: bool = True


@dataclass(frozen=True)
class Call:
    """One node's part: where it is, the program's ``words`` of arguments, and ``timeout`` seconds for all of it."""

    connection: Connection
    timeout: float
    words: Sequence[str] = ()


def send(
    program: Program[T],
    calls: Mapping[str, Call],
    workspace: Workspace,
    *,
    forks: int,
    stop: threading.Event | None = None,
    heard: Callable[[str, T | RigdeployError], None] | None = None,
) -> dict[str, T | RigdeployError]:
    """What each rig's node answered, or the error that says why it did not; by rig name.

    ``forks`` bounds how many are asked at the same time; ``heard`` is told each answer as it comes. StoppedError when
    ``stop`` is set before the last one: then nothing goes on, here or on a node.
    """
    return asyncio.run(_Exchange(program, workspace, forks, heard).all(calls, stop))


class _Exchange(Generic[T]):
    def __init__(
        self,
        program: Program[T],
        workspace: Workspace,
        forks: int,
        heard: Callable[[str, T | RigdeployError], None] | None,
    ) -> None:
        self._program = program
        self._workspace = workspace
        self._heard = heard
        self._gate = asyncio.Semaphore(forks)
        self._source = files("rigdeploy.node").joinpath(program.file).read_bytes()

    async def all(self, calls: Mapping[str, Call], stop: threading.Event | None) -> dict[str, T | RigdeployError]:
        gathered = asyncio.gather(*(self._ask(rig, call) for rig, call in calls.items()))
        if stop is not None:
            await _unless(gathered, stop)
        return dict(zip(calls, await gathered, strict=True))

    async def _ask(self, rig: str, call: Call) -> T | RigdeployError:
        async with self._gate:
            answer = await self._answer(rig, call)
        if self._heard is not None:
            self._heard(rig, answer)
        return answer

    async def _answer(self, rig: str, call: Call) -> T | RigdeployError:
        try:
            return self._read(rig, await self._reach(rig, call))
        except RigdeployError as error:
            return error
        except OSError as error:
            return NodeError(f"{rig}: ssh could not be started: {error}", "apt-get install openssh-client")

    def _read(self, rig: str, output: bytes) -> T:
        try:
            return self._program.read(output)
        except RigdeployError as error:
            raise type(error)(f"{rig}: {error.message}", error.remedy) from None

    async def _reach(self, rig: str, call: Call) -> bytes:
        try:
            return await self._send(rig, call)
        except UnreachableError:
            if not self._program.repeat or not await asyncio.to_thread(ssh.hang_up, call.connection, self._workspace):
                raise
            return await self._send(rig, call)

    async def _send(self, rig: str, call: Call) -> bytes:
        """Run the program on the node and return what it printed; a typed error for everything that can go wrong."""
        connection = call.connection
        remote = ssh.as_root(shlex.join(["python3", "-I", "-", *call.words]), connection)
        # Standard error is a file: ssh's process in the background may keep a pipe open long after the answer.
        with tempfile.TemporaryFile() as complaint:
            process = await asyncio.create_subprocess_exec(
                *ssh.command(connection, self._workspace, remote),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=complaint,
                env=passed_on(os.environ),
            )
            output = bytearray()
            late = False
            try:
                await asyncio.wait_for(_exchange(process, self._source, output), call.timeout)
            except TimeoutError:
                late = True
            finally:
                status = await _end(process)
            if late and not output.endswith(WHOLE):
                silence = f"{rig}: {connection.address} gave no answer within {call.timeout:.0f} s"
                raise UnreachableError(silence)
            if status == ssh.FAILED:
                raise ssh.explain(rig, connection, self._workspace, _text(complaint))
            if len(output) > MAX_OUTPUT:
                raise NodeError(f"{rig}: {self._program.name} printed more than {MAX_OUTPUT // 1024**2} MiB")
            if status != 0 and not late:
                raise ssh.explain_remote(rig, self._program.name, status, _text(complaint))
        return bytes(output)


async def _unless(work: asyncio.Future[list[T]], stop: threading.Event) -> None:
    """Wait for the work; once told to stop, end it and everything that it started, and raise StoppedError."""
    while not (work.done() or stop.is_set()):
        await asyncio.wait([work], timeout=STOP_PAUSE)
    if stop.is_set():  # an answer that came with the signal may be that of an ssh which got it as well
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        raise StoppedError


async def _exchange(process: asyncio.subprocess.Process, source: bytes, output: bytearray) -> None:
    """Send the program and read what comes back: to its end, or until it is more than anybody wants."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both were asked for as pipes")
    try:
        process.stdin.write(source)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # ssh ended before it read everything: its exit status says why
    process.stdin.close()
    while chunk := await process.stdout.read(65536):
        output += chunk
        if len(output) > MAX_OUTPUT:
            return
    await process.wait()


async def _end(process: asyncio.subprocess.Process) -> int:
    """Make sure that ssh has ended; returns its exit status."""
    if process.returncode is None:
        process.kill()
        # asyncio waits for the pipe to be closed too, and a reader that holds back never sees that.
        while process.stdout is not None and await process.stdout.read(65536):
            pass
    return await process.wait()


def _text(complaint: IO[bytes]) -> str:
    complaint.seek(0)
    return complaint.read(ssh.MAX_COMPLAINT).decode(errors="replace")
