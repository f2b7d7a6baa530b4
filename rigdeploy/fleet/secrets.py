"""Secrets by reference: where a secret is, never what it is."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rigdeploy.errors import SecretError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema
    from pydantic_core.core_schema import ValidationInfo

Kind = Literal["env", "file", "command", "vault", "inline"]

FORMS = '{env: VARIABLE}, {file: PATH}, {command: "PROGRAM ARGUMENTS"} or !vault'
"""How a secret is written, for messages."""

_COMMAND_SECONDS = 60


class VaultText(str):
    """The encrypted text behind a ``!vault`` tag."""

    __slots__ = ()


@dataclass(frozen=True)
class Secret:
    """A reference to a secret; neither ``repr`` nor ``str`` shows more than where it comes from.

    ``base`` is the directory that relative files and commands start from.
    """

    kind: Kind
    _reference: str = field(repr=False)
    base: str = field(default="", repr=False)

    @classmethod
    def from_file(cls, path: Path) -> Secret:
        """The secret that is the content of a file."""
        return cls("file", str(path))

    @property
    def reference(self) -> str:
        """The variable or the file that holds it, as it is declared; empty for any other kind."""
        return self._reference if self.kind in ("env", "file") else ""

    @property
    def file(self) -> Path | None:
        """The file that holds it, where a file does."""
        return self._path() if self.kind == "file" else None

    def __str__(self) -> str:
        shown = self.reference
        if self.kind == "command":
            # The program alone: an argument may itself be something to keep quiet about.
            shown = shlex.split(self._reference)[0]
        return f"{self.kind}:{shown}" if shown else self.kind

    def reveal(self) -> str:
        """The secret itself, resolved now; SecretError, naming the reference, when it does not resolve."""
        match self.kind:
            case "env":
                secret = self._from_environment()
            case "file":
                secret = self._from_file()
            case "command":
                secret = self._from_command()
            case "vault":
                secret = self._from_vault()
            case "inline":
                secret = self._reference
        if not secret:
            raise SecretError(f"the secret from {self} is empty")
        return secret

    def _path(self) -> Path:
        # os.path's leaves a home that is nobody's as it stands, to be a file that is not there.
        return Path(self.base, os.path.expanduser(self._reference))  # noqa: PTH111

    def _from_environment(self) -> str:
        value = os.environ.get(self._reference)
        if value is None:
            raise SecretError(
                f"the environment variable {self._reference} is not set, and a secret is declared to be there",
                f"export {self._reference}=… and run the command again",
            )
        return value

    def _from_file(self) -> str:
        try:
            return self._path().read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            where = Path(self.base, self._reference)
            raise SecretError(f"the file {where}, which should hold a secret, cannot be read: {reason}") from None

    def _from_command(self) -> str:
        return _output_of(shlex.split(self._reference), self, cwd=self.base or None)

    def _from_vault(self) -> str:
        # Ansible's own tool, so that its configuration says where the vault's password is.
        # -P: the current directory is no place to import from.
        tool = [sys.executable, "-P", "-m", "ansible", "vault", "decrypt", "--output=-", "-"]
        return _output_of(tool, self, stdin=self._reference)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Accept the forms of FORMS, or the secret itself as a string."""
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """A string, or one object with one of the references."""
        references = [
            {
                "type": "object",
                "properties": {kind: {"type": "string", "minLength": 1, "description": text}},
                "required": [kind],
                "additionalProperties": False,
            }
            for kind, text in (
                ("env", "the environment variable that holds it"),
                ("file", "the file that holds it, relative to the inventory directory"),
                ("command", "a command that prints it, run without a shell"),
            )
        ]
        inline = {"type": "string", "description": "the secret itself, or its !vault form"}
        return {"title": "Secret", "anyOf": [*references, inline]}


def _read(value: Any, info: ValidationInfo) -> Secret:
    """Make a Secret of what the file says; the message never repeats any of it."""
    from pydantic_core import PydanticCustomError

    base = str((info.context or {}).get("base", ""))
    if isinstance(value, Secret):
        return value
    if isinstance(value, VaultText):
        return Secret("vault", value)
    if isinstance(value, str) and value:
        return Secret("inline", value)
    if isinstance(value, dict) and len(value) == 1:
        [(kind, reference)] = value.items()
        if kind in ("env", "file", "command") and isinstance(reference, str) and reference.strip():
            if kind == "command" and not _is_command(reference):
                raise PydanticCustomError("secret", "the secret's command has an unclosed quote")
            return Secret(kind, reference, base)
    raise PydanticCustomError("secret", "this is no way to name a secret; write {forms}", {"forms": FORMS})


def _is_command(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False


def _output_of(command: list[str], secret: Secret, *, stdin: str = "", cwd: str | None = None) -> str:
    """Standard output of a command, without its last line end; its output never reaches an error message."""
    import subprocess

    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=cwd, timeout=_COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SecretError(f"the secret from {secret} did not come within {_COMMAND_SECONDS} s") from None
    except (OSError, UnicodeDecodeError):
        raise SecretError(f"the secret from {secret} cannot be had: the command does not run") from None
    if done.returncode:
        raise SecretError(
            f"the secret from {secret} cannot be had: the command ended with status {done.returncode}",
            "run it by hand to see why" if secret.kind == "command" else "set ANSIBLE_VAULT_PASSWORD_FILE",
        )
    return done.stdout.rstrip("\r\n")
