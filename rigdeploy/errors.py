"""Every error that a person may see, each with the exit code it ends in.

The exit codes are a contract (they are what scripts read):
0 all PASS, 1 WARN, 2 FAIL, 3 UNKNOWN only, 4 usage or declaration error,
5 a node could not be reached or a phase failed.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_PASS = 0
EXIT_WARN = 1
EXIT_FAIL = 2
EXIT_UNKNOWN = 3
EXIT_USAGE = 4
EXIT_NODE = 5


class RigdeployError(Exception):
    """Root of the project's errors: a message, a remedy, an exit code.

    The one error boundary (``rigdeploy.cli.main``) prints ``message`` and ``remedy`` and
    exits with ``exit_code``; no traceback reaches a user.
    """

    exit_code = EXIT_NODE

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(RigdeployError, ValueError):
    """The command line asks for something that does not exist or cannot be done."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the declaration, and where.

    ``path`` is dotted from the top of the file (``rigs.rig01.power.driver``); ``line`` is 1-based,
    ``None`` where the value is absent or comes from no file. ``severity`` is ``error`` (the
    declaration cannot be used) or ``warning`` (it can, and the owner should know).
    """

    file: str
    line: int | None
    path: str
    message: str
    remedy: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class DeclarationError(RigdeployError, ValueError):
    """The fleet's files cannot be used; carries every problem found, not just the first."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))


class SecretError(RigdeployError):
    """A secret's reference does not resolve (never carries the secret)."""

    exit_code = EXIT_USAGE


class NodeError(RigdeployError):
    """A node could not be reached, refused us, or is not the node it was."""


class UnreachableError(NodeError, ConnectionError):
    """No answer from the node's address."""


class HostKeyChangedError(NodeError):
    """The node shows another host key than the one pinned at first contact."""


class LockedError(NodeError):
    """Another run holds the node's lock."""


class PhaseError(NodeError):
    """A phase of ``up`` failed on a node."""


class PowerError(NodeError):
    """Root of what can go wrong between us and whatever switches the rig."""


class PowerAuthenticationError(PowerError):
    """The BMC answered and refused user or password; never retried (lockouts)."""


class PowerCertificateError(PowerError):
    """What answers at the declared address shows a certificate that nobody vouches for."""


class PowerUnreachableError(PowerError, ConnectionError):
    """The BMC did not answer at all."""


class PowerBusyError(PowerError):
    """The BMC answered, and stayed busy or out of session slots past the deadline."""


class PowerUnsupportedError(PowerError):
    """The driver or the BMC cannot do what was asked."""


class PowerRefusedError(PowerError):
    """The BMC understood the request and would not do it."""


class PowerTimeoutError(PowerError, TimeoutError):
    """The BMC accepted the request and the state was not seen to change in time."""


class LabError(RigdeployError):
    """The lab could not be built, changed or removed."""
