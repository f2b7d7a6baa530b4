"""Looks at many nodes at once: sends the probe over SSH, reads what comes back.

One round trip per node over a connection that is kept open; nothing is left on the node.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from typing import IO

from rigdeploy.errors import NodeError, RigdeployError, UnreachableError
from rigdeploy.fleet.models import Rig
from rigdeploy.node.observation import Observation
from rigdeploy.node.values import ObservationError
from rigdeploy.run import ssh
from rigdeploy.run.connections import connections
from rigdeploy.run.environment import passed_on
from rigdeploy.run.ssh import Connection
from rigdeploy.workspace import Workspace

MAX_OUTPUT = 8 * 1024 * 1024
"""Bytes of one observation that are read; a real one has some tens of KiB. A node must not fill our memory."""

TIMEOUT = 90.0
"""Seconds for the whole look at one node: more than the login and all that the probe gives the tools that it calls, so
that a card which makes nvidia-smi hang is what is reported."""


def observe(
    rigs: Iterable[Rig], workspace: Workspace, *, forks: int = 50, timeout: float = TIMEOUT
) -> dict[str, Observation | RigdeployError]:
    """The observation of each rig, or the error that says why there is none; by rig name.

    ``forks`` bounds how many are looked at at the same time, ``timeout`` the seconds for each of them.
    """
    wanted = list(rigs)
    reached = connections(wanted, workspace)
    return asyncio.run(_observe_all(reached, workspace, forks, timeout))


async def _observe_all(
    reached: dict[str, Connection], workspace: Workspace, forks: int, timeout: float
) -> dict[str, Observation | RigdeployError]:
    probe = files("rigdeploy.node").joinpath("probe.py").read_bytes()
    gate = asyncio.Semaphore(forks)

    async def look(rig: str, connection: Connection) -> Observation | RigdeployError:
        async with gate:
            try:
                return await _observe_one(rig, connection, workspace, probe, timeout)
            except RigdeployError as error:
                return error
            except OSError as error:
                return NodeError(f"{rig}: ssh could not be started: {error}", "apt-get install openssh-client")

    results = await asyncio.gather(*(look(rig, connection) for rig, connection in reached.items()))
    return dict(zip(reached, results, strict=True))


async def _observe_one(
    rig: str, connection: Connection, workspace: Workspace, probe: bytes, timeout: float
) -> Observation:
    try:
        output = await _send(rig, connection, workspace, probe, timeout)
    except UnreachableError:
        # A connection kept open to a node that was switched off since then fails although the node is up again.
        if not await asyncio.to_thread(ssh.hang_up, connection, workspace):
            raise
        output = await _send(rig, connection, workspace, probe, timeout)
    try:
        return Observation.from_json(output)
    except ObservationError as error:
        raise ObservationError(f"{rig}: {error.message}", error.remedy) from None


async def _send(rig: str, connection: Connection, workspace: Workspace, probe: bytes, timeout: float) -> bytes:
    """Run the probe on the node and return what it printed; a typed error for everything that can go wrong."""
    remote = ssh.as_root("python3 -I -", connection)
    # Standard error is a file: ssh's process in the background may keep a pipe open long after the answer.
    with tempfile.TemporaryFile() as complaint:
        process = await asyncio.create_subprocess_exec(
            *ssh.command(connection, workspace, remote),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaint,
            env=passed_on(os.environ),
        )
        try:
            output = await asyncio.wait_for(_exchange(process, probe), timeout)
        except TimeoutError:
            raise UnreachableError(f"{rig}: {connection.address} gave no answer within {timeout:.0f} s") from None
        finally:
            status = await _end(process)
        if status == ssh.FAILED:
            raise ssh.explain(rig, connection, workspace, _text(complaint))
        if len(output) > MAX_OUTPUT:
            raise NodeError(f"{rig}: the probe printed more than {MAX_OUTPUT // 1024**2} MiB")
        if status != 0:
            raise ssh.explain_remote(rig, status, _text(complaint))
    return output


async def _exchange(process: asyncio.subprocess.Process, probe: bytes) -> bytes:
    """Send the probe and read what comes back: to its end, or until it is more than anybody wants."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both were asked for as pipes")
    try:
        process.stdin.write(probe)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # ssh ended before it read everything: its exit status says why
    process.stdin.close()
    output = bytearray()
    while chunk := await process.stdout.read(65536):
        output += chunk
        if len(output) > MAX_OUTPUT:
            return bytes(output)
    await process.wait()
    return bytes(output)


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
