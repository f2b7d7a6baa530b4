"""The first login to a node that knows a password and not yet our key: installs the key, once.

OpenSSH takes no password from a program, so this is paramiko's work. The host key was pinned by the attempt with
the key that came before; this login accepts no other.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from rigdeploy.errors import HostKeyChangedError, NodeError, UnreachableError
from rigdeploy.fleet.secrets import Secret
from rigdeploy.run.ssh import CONNECT_TIMEOUT, AccessRefusedError, Connection
from rigdeploy.workspace import Workspace

if TYPE_CHECKING:
    from paramiko import Transport

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
"""The keys that ssh offers by itself, best first (ssh_config(5), IdentityFile)."""

_INSTALL = (
    "umask 077; mkdir -p ~/.ssh; touch ~/.ssh/authorized_keys; read -r key; "
    # A last line without its end would swallow our key, and be spoilt by it.
    '[ -z "$(tail -c 1 ~/.ssh/authorized_keys)" ] || echo >> ~/.ssh/authorized_keys; '
    'grep -qxF "$key" ~/.ssh/authorized_keys || printf "%s\\n" "$key" >> ~/.ssh/authorized_keys'
)


def install_key(rig: str, connection: Connection, password: Secret, workspace: Workspace) -> None:
    """Log in with the password and add our public key to the user's authorized_keys.

    Raises AccessRefusedError when the password is refused, HostKeyChangedError when the node shows another
    key than the pinned one, UnreachableError when the connection breaks.
    """
    import paramiko

    key = public_key(connection)
    try:
        transport = paramiko.Transport(_socket(connection))
        try:
            _start(transport, rig, workspace)
            transport.auth_password(connection.user, password.reveal())
            _install(rig, transport, key)
        finally:
            transport.close()
    except paramiko.AuthenticationException:
        raise AccessRefusedError(
            f"{rig}: {connection.address} refuses {connection.user} with the declared password as well",
            "check ssh.user and ssh.password; sshd may not allow passwords for this user",
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise UnreachableError(f"{rig}: the login by password to {connection.address} broke off: {error}") from error


def public_key(connection: Connection) -> str:
    """The public half of the key that we log in with; NodeError when there is no key."""
    home = Path.home() / ".ssh"
    places = [Path(connection.private_key)] if connection.private_key else [home / name for name in _DEFAULT_KEYS]
    private = next((path for path in places if path.is_file()), None)
    if private is None:
        raise NodeError(
            f"there is no key to log in with: {', '.join(map(str, places))}", "make one: ssh-keygen -t ed25519"
        )
    public = private.with_name(f"{private.name}.pub")
    if public.is_file():
        return public.read_text().strip()
    # An empty passphrase is tried, so that the tool never asks.
    done = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", str(private)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NodeError(f"the public half of {private} is not beside it", f"write it: ssh-keygen -y -f {private}")
    return done.stdout.strip()


def _socket(connection: Connection) -> socket.socket:
    import paramiko

    if connection.jump:
        through = ["ssh", "-o", "BatchMode=yes", "-W", f"[{connection.address}]:{connection.port}", connection.jump]
        # paramiko's own stand-in for a socket, with the methods that its transport uses.
        return paramiko.ProxyCommand(shlex.join(through))  # type: ignore[return-value]
    return socket.create_connection((connection.address, connection.port), timeout=CONNECT_TIMEOUT)


def _start(transport: Transport, rig: str, workspace: Workspace) -> None:
    """The key exchange, with the pinned host key and no other."""
    import paramiko

    known = paramiko.HostKeys()
    if workspace.known_hosts.is_file():
        known.load(str(workspace.known_hosts))
    pinned = known.lookup(rig)
    if not pinned:
        raise NodeError(f"{rig}: no host key is pinned for it in {workspace.known_hosts}")
    options = transport.get_security_options()
    options.key_types = tuple(kind for kind in options.key_types if _base_type(kind) in pinned)
    transport.start_client(timeout=CONNECT_TIMEOUT)
    shown = transport.get_remote_server_key()
    if pinned.get(shown.get_name()) != shown:
        raise HostKeyChangedError(
            f"{rig}: shows another host key than the one pinned in {workspace.known_hosts}",
            f"if you reinstalled the rig, forget the old key: ssh-keygen -f {workspace.known_hosts} -R {rig}",
        )


def _base_type(kind: str) -> str:
    """The key type behind a signature algorithm: an RSA key signs under several names (RFC 8332)."""
    return "ssh-rsa" if kind.startswith("rsa-sha2") else kind


def _install(rig: str, transport: Transport, key: str) -> None:
    channel = transport.open_session(timeout=CONNECT_TIMEOUT)
    channel.settimeout(CONNECT_TIMEOUT)
    channel.exec_command(f"sh -c {shlex.quote(_INSTALL)}")
    channel.sendall(f"{key}\n".encode())
    channel.shutdown_write()
    if channel.recv_exit_status() != 0:
        raise NodeError(f"{rig}: the public key could not be written to the user's authorized_keys")
