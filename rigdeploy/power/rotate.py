"""A new password for a BMC's user, so that its owner is never locked out, whatever fails and whenever.

The new password is written down first (the journal), then set, then tried in a new session, then stored where the
declaration looks for it; the journal goes last. So at every instant what the BMC wants stands in the journal or where
it is stored, and a rotation that was killed is finished by the next one.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerError,
    PowerUnsupportedError,
    RigdeployError,
    UsageError,
)
from rigdeploy.files import write_atomically
from rigdeploy.fleet.models import IpmiPower, RedfishPower
from rigdeploy.fleet.secrets import Secret
from rigdeploy.power import policy
from rigdeploy.power.base import AnswerLostError, Capability, ReportsDriver, require
from rigdeploy.power.drivers import beside
from rigdeploy.power.lock import bmc_lock_path, exclusive
from rigdeploy.power.policy import REAL_CLOCK, Clock

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig
    from rigdeploy.workspace import Workspace

LENGTH = 16
"""Characters of a new password: IPMI 2.0 has room for 20, some BMCs keep 16; of 62 kinds each, that is 95 bits."""
SETTLE_SECONDS = 2.0
"""How long a BMC has to put a new password into force before it is tried."""
READ_SECONDS = 30.0
"""How long a busy BMC is waited for when a password is tried."""
_SCHEMA = 1
_ALPHABET = string.ascii_letters + string.digits
_KINDS = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
"""Letters and digits alone: what else a BMC, its pages and a shell make of them differs."""


class RotationError(PowerError):
    """The password was not changed, or not stored; the message says which password is in force."""


class Outcome(StrEnum):
    """What a rotation did."""

    CHANGED = "changed"
    FINISHED = "finished"
    """An interrupted rotation was brought to its end."""


@dataclass(frozen=True)
class Target:
    """Whose password is changed, and where the new one is kept.

    ``old`` is the user's password now, None where nobody told us (a user other than the declared one): then nothing can
    be taken back. ``stored`` is the file that is to hold the new one; ``declared`` says where the declaration has the
    password, where that is another place, which a person has to see to.
    """

    rig: str
    bmc: str
    username: str
    old: str | None = field(repr=False)
    stored: Path
    journal: Path
    declared: str = ""


class Access(Protocol):
    """What a rotation needs of a BMC; all raise PowerError."""

    def open(self) -> None:
        """Log in as declared; the session stays open."""
        ...

    def declared(self) -> str:
        """The declared password as it is now."""
        ...

    def set_password(self, username: str, password: str) -> None:
        """Set it, through that session, once."""
        ...

    def check(self, username: str, password: str) -> None:
        """Log in with it in a session of its own; PowerAuthenticationError when the BMC refuses it."""
        ...


def rotate(target: Target, bmc: Access, clock: Clock = REAL_CLOCK) -> Outcome:
    """Give the user a new password, or finish a rotation that was interrupted; RotationError says how things stand."""
    if _finished(target, bmc):
        return Outcome.FINISHED
    bmc.open()
    if target.old is not None:
        # Another rotation may have come between the choice of targets and the lock that is held now.
        target = replace(target, old=bmc.declared())
    new = new_password()
    _note(target, new)
    try:
        # A lost answer is no answer: trying the password says whether the request arrived.
        with suppress(AnswerLostError):
            bmc.set_password(target.username, new)
        clock.sleep(SETTLE_SECONDS)
        bmc.check(target.username, new)
        _store(target.stored, new)
    except (PowerError, OSError) as error:
        raise _taken_back(target, bmc, clock, error) from error
    target.journal.unlink()
    return Outcome.CHANGED


def new_password() -> str:
    """A random password with lower-case and upper-case letters and digits, which some BMCs insist on."""
    while True:
        password = "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
        if all(set(kind) & set(password) for kind in _KINDS):
            return password


def interrupted(rig: Rig, workspace: Workspace) -> Path | None:
    """The journal of a rotation that did not come to its end; None without one."""
    journal = _journal(rig, workspace)
    return journal if journal.exists() else None


# --- what is written down ---


def _note(target: Target, password: str) -> None:
    said = {"schema": _SCHEMA, "rig": target.rig, "bmc": target.bmc, "username": target.username, "password": password}
    target.journal.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(target.journal, json.dumps(said).encode(), mode=0o600, durable=True)


def _store(path: Path, password: str) -> None:
    write_atomically(path, f"{password}\n".encode(), mode=0o600, durable=True)


def _noted(target: Target) -> str | None:
    """The password in the journal; RotationError when the journal is about something else."""
    try:
        said = json.loads(target.journal.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        said = {}
    keys = ("schema", "bmc", "username", "password")
    schema, bmc, username, password = (said.get(key) if isinstance(said, dict) else None for key in keys)
    if schema != _SCHEMA or not isinstance(password, str):
        raise RotationError(f"{target.journal} cannot be read", "look at it: it may hold the only copy of a password")
    if (bmc, username) != (target.bmc, target.username):
        raise RotationError(
            f"{target.rig}: a rotation was interrupted, of user '{username}' at {bmc}; {target.journal} holds the new "
            "password",
            f"finish it first: rigdeploy bmc user rotate {target.rig} --username {username}; or remove that file, when "
            "the password is of no use any more",
        )
    return password


def _finished(target: Target, bmc: Access) -> bool:
    """Bring an interrupted rotation to its end: store the new password if the BMC takes it. False: it does not."""
    new = _noted(target)
    if new is None:
        return False
    try:
        bmc.check(target.username, new)
    except PowerAuthenticationError:
        # It was never set, or taken back: the journal stays until the next one takes its place.
        return False
    _store(target.stored, new)
    target.journal.unlink()
    return True


# --- when something fails ---


def _taken_back(target: Target, bmc: Access, clock: Clock, error: Exception) -> PowerError:
    """Set the old password again, see which one is in force, and say so; the journal goes if it is the old one.

    A BMC that cannot change passwords, and has the old one, is only that.
    """
    why = error.message if isinstance(error, PowerError) else f"{target.stored} cannot be written: {error}"
    who = f"{target.rig}: user '{target.username}'"
    kept = f"{target.journal} holds the new one; run this command again to finish"
    if target.old is None:
        return RotationError(f"{why}. {who} has the old or the new password", kept)
    with suppress(PowerError):
        bmc.set_password(target.username, target.old)
    clock.sleep(SETTLE_SECONDS)
    try:
        bmc.check(target.username, target.old)
    except PowerAuthenticationError:
        return RotationError(f"{why}. {who} could not be given the old password again, which is refused", kept)
    except PowerError as unseen:
        return RotationError(f"{why}. {who} has the old or the new password: {unseen}", kept)
    target.journal.unlink()
    if isinstance(error, PowerUnsupportedError):
        return PowerUnsupportedError(error.message, error.remedy)
    return RotationError(f"{why}. {who} has the old password, as before; nothing was stored")


# --- the BMC, and where its password is declared to be ---


def targets(
    rigs: Mapping[str, Rig], chosen: list[Rig], workspace: Workspace, username: str | None, output: Path | None
) -> list[Target]:
    """Whose password is changed and where it goes, for each chosen rig; all that speaks against it is raised here.

    ``rigs`` is the whole fleet. Nothing has been touched when this raises. The passwords are read from where they are.
    """
    if output is not None and len(chosen) > 1:
        raise UsageError("--output is one file, for one password", "name one rig at a time")
    return [_target(rig, rigs, workspace, username, output) for rig in chosen]


def _target(
    rig: Rig, rigs: Mapping[str, Rig], workspace: Workspace, username: str | None, output: Path | None
) -> Target:
    power = rig.power
    if not isinstance(power, (IpmiPower, RedfishPower)):
        raise PowerUnsupportedError(f"{rig.name}: power.driver {power.driver} has no users with passwords")
    other = username not in (None, power.username)
    stored = output.absolute() if output is not None else None if other else power.password.file
    if stored is None:
        what = f"user '{username}' is not the declared one" if other else f"the password is in {power.password}"
        raise UsageError(
            f"{rig.name}: {what}, where rigdeploy cannot store a new one",
            "name a file for it with --output FILE, or declare power.password as {file: PATH}",
        )
    journal = _journal(rig, workspace)
    if output is not None and output.exists() and not journal.exists():
        raise UsageError(f"{output} is there already", "name a new file")
    if not stored.resolve().parent.is_dir():
        raise UsageError(f"{rig.name}: there is no directory {stored.parent}", "make it first")
    if output is None:
        _refuse_shared(rig, rigs, stored)
    old = None if other else power.password.reveal()
    elsewhere = str(power.password) if output is not None and not other else ""
    return Target(rig.name, _address(power), username or power.username, old, stored, journal, elsewhere)


def _refuse_shared(rig: Rig, rigs: Mapping[str, Rig], stored: Path) -> None:
    """One file for several BMCs can not hold several passwords."""
    sharing = [
        name
        for name, one in rigs.items()
        if isinstance(one.power, (IpmiPower, RedfishPower))
        and one.power.password.file is not None
        and one.power.password.file.resolve() == stored.resolve()
        and _address(one.power) != (_address(rig.power) if isinstance(rig.power, (IpmiPower, RedfishPower)) else "")
    ]
    if sharing:
        raise UsageError(
            f"{rig.name}: {stored} holds the password of {', '.join(sharing[:8])}, too",
            "declare a file of its own for each rig, with the present password in it, and run the command again",
        )


def _journal(rig: Rig, workspace: Workspace) -> Path:
    return workspace.state / "rotations" / f"{rig.name}.json"


def _address(power: IpmiPower | RedfishPower) -> str:
    return f"{power.address}:{power.port}" if isinstance(power, IpmiPower) else urlsplit(power.url).netloc


@contextmanager
def access(rig: Rig, workspace: Workspace, clock: Clock = REAL_CLOCK) -> Iterator[Access]:
    """The rig's BMC for a rotation: nobody else talks to it meanwhile.

    Raises PowerUnsupportedError, before anything is touched, where the driver cannot set passwords.
    """
    power = rig.power
    if not isinstance(power, (IpmiPower, RedfishPower)):
        raise PowerUnsupportedError(f"{rig.name}: power.driver {power.driver} has no users with passwords")
    with ExitStack() as held:
        label, lock = f"{rig.name} (BMC {_address(power)})", bmc_lock_path(workspace.locks, _address(power))
        session = held.enter_context(beside(rig, power, workspace))
        require(session, Capability.USERS)
        held.enter_context(exclusive(lock, float(power.timeout_seconds), label))
        yield _Access(rig, power, workspace, clock, cast(ReportsDriver, session))


class _Access:
    """One BMC, whose lock is held by whoever made this: a session that stays open, others beside it."""

    def __init__(
        self,
        rig: Rig,
        power: IpmiPower | RedfishPower,
        workspace: Workspace,
        clock: Clock,
        session: ReportsDriver,
    ) -> None:
        self._rig = rig
        self._power = power
        self._workspace = workspace
        self._clock = clock
        self._session = session

    def open(self) -> None:
        """Log in as declared."""
        policy.read(self._session, READ_SECONDS, self._clock)

    def declared(self) -> str:
        """Read anew from where it is."""
        return self._power.password.reveal()

    def set_password(self, username: str, password: str) -> None:
        """Through the session that was opened."""
        self._session.set_password(username, password)

    def check(self, username: str, password: str) -> None:
        """A session of its own, as that user; its state is all that is read."""
        changed: dict[str, object] = {"username": username, "password": Secret("inline", password)}
        if isinstance(self._power, IpmiPower) and username != self._power.username:
            changed["privilege"] = "user"  # the least that reads the power: what else that user may is not known
        with beside(self._rig, self._power.model_copy(update=changed), self._workspace) as driver:
            policy.read(driver, READ_SECONDS, self._clock)


def explained(error: RigdeployError, rig: Rig, workspace: Workspace) -> RigdeployError:
    """A refused log-in, with what an interrupted rotation has to do with it."""
    if isinstance(error, PowerAuthenticationError) and (journal := interrupted(rig, workspace)) is not None:
        return PowerAuthenticationError(
            error.message, f"a rotation was interrupted ({journal}): rigdeploy bmc user rotate {rig.name} finishes it"
        )
    return error
