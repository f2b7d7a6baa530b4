"""What IPMI leaves open on a BMC: whether it is, and what closes it (IPMI 2.0, sections 22.30 and 23.1)."""

from __future__ import annotations

from rigdeploy.fleet.models import IpmiPower
from rigdeploy.power import ipmi_audit
from rigdeploy.power.base import Door
from rigdeploy.power.ipmi_raw import APP, THIS_CHANNEL, TRANSPORT, CompletionError, Raw
from rigdeploy.power.ipmi_users import users

_SET_LAN, _GET_LAN, _SET_PASSWORD = 0x01, 0x02, 0x47
_AUTHENTICATION, _SUITES_PRIVILEGES = 2, 24
"""LAN parameters: the authentication types of IPMI 1.5 for each of five privileges; who may use which suite."""
_PRIVILEGES, _LEVELS = 5, 16
_DISABLE, _ENABLE = 0, 1
"""What Set User Password does to a user beside setting the password."""

Request = tuple[int, int, bytes]
"""Network function, command and data."""


def is_open(raw: Raw, door: Door, power: IpmiPower) -> bool | None:
    """Whether it is open, by trying it where that needs no password; None when the BMC does not say."""
    if door is Door.CIPHER_0:
        return ipmi_audit.suite_0_opens(power.address, power.port, power.username)
    if door is Door.IPMI_1_5:
        return ipmi_audit.allows_ipmi_1_5(power.address, power.port)
    return ipmi_audit.null_user_enabled(raw, power.address, power.port)


def closing(raw: Raw, door: Door) -> list[tuple[Request, Request]]:
    """The requests that close it, each with the one that takes it back; none where nothing is there to be set.

    They touch nothing that a session of IPMI 2.0 with a name, a password and another suite than 0 needs.
    """
    if door is Door.CIPHER_0:
        return _suite_0(raw)
    if door is Door.IPMI_1_5:
        return _ipmi_1_5(raw)
    return [
        ((APP, _SET_PASSWORD, bytes((user.number, _DISABLE))), (APP, _SET_PASSWORD, bytes((user.number, _ENABLE))))
        for user in users(raw)
        if not user.name and user.privilege and user.enabled is not False
    ]


def _suite_0(raw: Raw) -> list[tuple[Request, Request]]:
    levels = ipmi_audit.suite_privileges(raw)
    if not levels or not levels.get(0):
        return []
    return [(_set_lan(_SUITES_PRIVILEGES, _packed({**levels, 0: 0})), _set_lan(_SUITES_PRIVILEGES, _packed(levels)))]


def _packed(levels: dict[int, int]) -> bytes:
    """The levels in the order of the BMC's own list of suites, four bits each, behind a byte that is reserved."""
    nibbles = [*levels.values(), *bytes(_LEVELS)][:_LEVELS]
    return bytes((0, *(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))))


def _ipmi_1_5(raw: Raw) -> list[tuple[Request, Request]]:
    try:
        before = raw.ask(TRANSPORT, _GET_LAN, bytes((THIS_CHANNEL, _AUTHENTICATION, 0, 0)), least=1 + _PRIVILEGES)
    except CompletionError:
        return []
    return [(_set_lan(_AUTHENTICATION, bytes(_PRIVILEGES)), _set_lan(_AUTHENTICATION, before[1 : 1 + _PRIVILEGES]))]


def _set_lan(parameter: int, value: bytes) -> Request:
    return TRANSPORT, _SET_LAN, bytes((THIS_CHANNEL, parameter)) + value
