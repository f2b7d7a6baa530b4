"""What an audit of a BMC says: facts that were gathered, judged. Pure.

The known holes: cipher suite 0 lets anybody in without a password (US-CERT TA13-207A); IPMI 1.5 sends what it sends in
clear; whoever names a valid user gets a hash of its password to search (CVE-2013-4786), so that only a long random one
helps; and AMI's MegaRAC firmware let anybody in by Redfish (CVE-2024-54085).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from rigdeploy.power.base import Door
from rigdeploy.verify.findings import Finding, Status

SUITES = (17, 3)
"""The cipher suites that are tried with the declared user: with SHA-256, and with SHA-1, which every BMC has."""
SHORT = 12
"""Characters below which a password can be searched for from its hash in days, with one good card."""
MOST_TRIES = 2
"""Well-known log-ins that are tried: BMCs lock a user out after three or more."""

DELL, SUPERMICRO, LENOVO, ASROCK_RACK, ASUS = 674, 10876, 19046, 49622, 2623
"""Manufacturers' numbers in Get Device ID (IANA's private enterprise numbers)."""
_DEFAULTS = {
    DELL: (("root", "calvin"),),
    SUPERMICRO: (("ADMIN", "ADMIN"),),
    LENOVO: (("USERID", "PASSW0RD"),),
    ASROCK_RACK: (("admin", "admin"),),
    ASUS: (("admin", "admin"),),
}
"""What user and password are when a BMC leaves its maker, by the makers' manuals."""
_NAMES = {"dell": DELL, "supermicro": SUPERMICRO, "lenovo": LENOVO, "asrock": ASROCK_RACK, "asus": ASUS}
_ANY_MAKER = (("admin", "admin"), ("ADMIN", "ADMIN"))
_WELL_KNOWN = frozenset(
    {"admin", "administrator", "password", "calvin", "passw0rd", "root", "superuser", "0penbmc", "changeme", "123456"}
)
"""Passwords in lower case that are tried first by everybody."""

_CVE = "CVE-2024-54085"
_FIXED = {
    "wrx90e sage se": "2.1.28",
    "wrx80e sage se": "1.34.0",
    "w790e sage se": "1.1.57",
    "w680m ace se": "1.1.21",
}
"""The first BMC firmware without that hole, by a part of the board's name: ASUS's releases of March 2025, as recalled.

Not checked against ASUS's own advisory: so an older one is blamed, and a newer one is not praised.
"""
_NOT_AMI = frozenset({DELL})
"""Makers whose BMCs run no MegaRAC."""


class Strength(StrEnum):
    """What can be said of a password without showing any of it."""

    WELL_KNOWN = "well known"
    SHORT = "short"
    LONG = "long"


class Tls(StrEnum):
    """How a Redfish service is reached."""

    NONE = "http"
    UNCHECKED = "https, certificate not checked"
    CHECKED = "https, certificate checked"


@dataclass(frozen=True)
class Questions:
    """What is asked beyond reading: what a boot override keeps, and whether the maker's own log-in works."""

    write_test: bool = False
    default_passwords: bool = False


@dataclass(frozen=True)
class Facts:
    """What was learned about one BMC. None, or empty: it was not asked, or could not be learned.

    ``refused`` is why the declared user was not let in; most other facts are then unknown. ``working`` says of each
    cipher suite that was tried whether a session stood, ``doors`` of each that was looked at whether it is open.
    ``dropped`` is what a boot override lost on its way through the BMC: of ``device``, ``efi``, ``persistent`` and
    ``valid``. ``default_login`` is the well-known user that was let in.
    """

    driver: str
    username: str
    privilege: str = ""
    refused: str = ""
    remedy: str = ""
    offered: tuple[int, ...] | None = None
    working: Mapping[int, bool] = field(default_factory=lambda: MappingProxyType({}))
    ping: bool | None = None
    doors: Mapping[Door, bool | None] = field(default_factory=lambda: MappingProxyType({}))
    manufacturer: int | None = None
    product: int | None = None
    board: str = ""
    firmware: str = ""
    ipmi_version: str = ""
    strength: Strength | None = None
    default_login: str | None = None
    defaults_tried: tuple[str, ...] = ()
    dropped: tuple[str, ...] | None = None
    tls: Tls | None = None
    capabilities: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON-ready data, without the user's name; no password, and no hash of one, is among them."""
        said = {name: _plain(value) for name, value in vars(self).items() if name not in ("username", "doors")}
        return said | {door.value: found for door, found in self.doors.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def strength(password: str) -> Strength:
    """How a password stands up to a search, as far as its text shows."""
    if password.lower() in _WELL_KNOWN:
        return Strength.WELL_KNOWN
    return Strength.SHORT if len(password) < SHORT else Strength.LONG


def well_known_logins(manufacturer: int | None) -> tuple[tuple[str, str], ...]:
    """User and password as this maker's BMCs are shipped, at most MOST_TRIES."""
    return _DEFAULTS.get(manufacturer or 0, _ANY_MAKER)[:MOST_TRIES]


def maker(name: str) -> int | None:
    """A manufacturer's number by its name."""
    return next((number for part, number in _NAMES.items() if part in name.lower()), None)


def judge(facts: Facts) -> list[Finding]:
    """Every finding about one BMC, in the order in which a person reads them."""
    rules = (_login, _suites, judge_open, _defaults, _firmware, _boot)
    return [finding for rule in rules for finding in rule(facts)]


def judge_open(facts: Facts) -> Iterator[Finding]:
    """The findings that a look at the BMC on the way to something else suffices for."""
    for rule in (_cipher_0, _ipmi_1_5, _null_user, _password, _tls):
        yield from rule(facts)


def _finding(
    check: str,
    status: Status,
    observed: str,
    cause: str = "",
    remedy: str = "",
    evidence: dict[str, Any] | None = None,
) -> Iterator[Finding]:
    yield Finding(f"bmc.{check}", "bmc", status, "", observed, cause, remedy, evidence or {})


def _is_ipmi(facts: Facts) -> bool:
    return facts.driver in ("ipmi", "ipmitool")


def _login(facts: Facts) -> Iterator[Finding]:
    if facts.refused:
        return _finding("login", Status.FAIL, facts.refused, "refused", facts.remedy)
    return _finding("login", Status.PASS, f"let in as {facts.privilege}" if facts.privilege else "let in")


def _suites(facts: Facts) -> Iterator[Finding]:
    if not _is_ipmi(facts):
        return iter(())
    good = [suite for suite, works in facts.working.items() if works]
    broken = [suite for suite, works in facts.working.items() if not works and suite in (facts.offered or ())]
    offered = "not told" if facts.offered is None else _listed(facts.offered)
    observed = f"{_listed(good)} work; offered: {offered}" if good else f"none was tried; offered: {offered}"
    evidence = {"offered": facts.offered, "working": good, "broken": broken}
    if facts.working and not good:
        remedy = "look for newer firmware; until then declare power.driver: ipmitool"
        return _finding(
            "suites", Status.FAIL, f"none works; offered: {offered}", "none-works", remedy, evidence=evidence
        )
    if broken:
        remedy = f"declare power.cipher: {good[0]}, and look for newer firmware"
        observed = f"{_listed(broken)} is offered and does not work; {_listed(good)} does"
        return _finding("suites", Status.WARN, observed, "suite-broken", remedy, evidence=evidence)
    if not good:
        return _finding("suites", Status.UNKNOWN, observed, "not-tried", "correct the log-in first", evidence=evidence)
    return _finding("suites", Status.PASS, observed, evidence=evidence)


def _cipher_0(facts: Facts) -> Iterator[Finding]:
    by_hand = f"close it in the BMC's settings (ipmitool lan set 1 cipher_privs {_privileges(facts.offered)})"
    return _door(facts, Door.CIPHER_0, ("open", "closed"), Status.FAIL, by_hand, "lets anybody in")


def _privileges(offered: tuple[int, ...] | None) -> str:
    """Who may use each suite of the BMC's list, in the letters of ipmitool: administrators, and nobody suite 0."""
    return "".join("a" if suite else "X" for suite in offered or range(15))[:15].ljust(15, "X")


def _ipmi_1_5(facts: Facts) -> Iterator[Finding]:
    by_hand = "switch IPMI 1.5 sessions off in the BMC's settings; nothing here uses them"
    return _door(facts, Door.IPMI_1_5, ("on", "off"), Status.WARN, by_hand, "sends all in clear")


def _null_user(facts: Facts) -> Iterator[Finding]:
    by_hand = "disable the user without a name (ipmitool user disable 1), or give it no access on the LAN channel"
    return _door(facts, Door.NULL_USER, ("enabled", "disabled"), Status.FAIL, by_hand, "needs no name")


_CAUSES = {Door.CIPHER_0: "cipher-0", Door.IPMI_1_5: "ipmi-1-5", Door.NULL_USER: "null-user"}


def _door(facts: Facts, door: Door, words: tuple[str, str], bad: Status, by_hand: str, why: str) -> Iterator[Finding]:
    """A door that is open, is closed, or could not be looked at; ``words`` for the first two."""
    if door not in facts.doors:
        return iter(())
    found = facts.doors[door]
    if found is None:
        how = "look in the BMC's own pages; it did not say"
        return _finding(door, Status.UNKNOWN, "", "unreadable", how)
    if found:
        remedy = f"declare bmc.close: [{door}], and run rigdeploy up; or {by_hand}"
        return _finding(door, bad, f"{words[0]}: it {why}", _CAUSES[door], remedy)
    return _finding(door, Status.PASS, words[1])


def _password(facts: Facts) -> Iterator[Finding]:
    remedy = "give it a long random one: rigdeploy bmc user rotate"
    if facts.strength is None:
        return iter(())
    if facts.strength is Strength.WELL_KNOWN:
        return _finding("password", Status.FAIL, "one that everybody tries first", "well-known", remedy)
    if facts.strength is Strength.SHORT:
        observed = f"shorter than {SHORT} characters: anybody can have its hash from the BMC and search it"
        return _finding("password", Status.WARN, observed, "short", remedy)
    return _finding("password", Status.PASS, f"{SHORT} characters or more")


def _defaults(facts: Facts) -> Iterator[Finding]:
    tried = list(facts.defaults_tried)
    if facts.default_login is not None:
        observed = f"user '{facts.default_login}' is let in with the password that it was shipped with"
        remedy = f"change it: rigdeploy bmc user rotate --username {facts.default_login}, or disable that user"
        return _finding("default_login", Status.FAIL, observed, "default-password", remedy, evidence={"tried": tried})
    if tried:
        return _finding("default_login", Status.PASS, f"refused: {_listed(tried)}", evidence={"tried": tried})
    return iter(())


def _tls(facts: Facts) -> Iterator[Finding]:
    if facts.tls is None:
        return iter(())
    if facts.tls is Tls.CHECKED:
        return _finding("tls", Status.PASS, facts.tls.value)
    if facts.tls is Tls.UNCHECKED:
        remedy = "declare power.certificate, the BMC's own certificate or its authority's, and drop verify: false"
        return _finding("tls", Status.WARN, facts.tls.value, "unchecked", remedy)
    return _finding("tls", Status.FAIL, "the password travels in clear", "no-tls", "declare power.url with https")


def _firmware(facts: Facts) -> Iterator[Finding]:
    """Whether the firmware's version says that it has the hole in MegaRAC's Redfish service."""
    named = f"firmware {facts.firmware or 'of unknown version'}" + (f" on {facts.board}" if facts.board else "")
    evidence = {"manufacturer": facts.manufacturer, "product": facts.product, "firmware": facts.firmware}
    if facts.manufacturer in _NOT_AMI:
        return _finding("firmware", Status.PASS, f"{named}; no MegaRAC", evidence=evidence)
    board = facts.board.lower().replace("-", " ")
    fixed = next((version for part, version in _FIXED.items() if part in board), None)
    older = _is_older(facts.firmware, fixed) if fixed and facts.firmware else None
    if older is True:
        remedy = f"update the BMC to {fixed} or later, and keep its network apart until then"
        return _finding("firmware", Status.FAIL, f"{named} has {_CVE}", "known-hole", remedy, evidence=evidence)
    remedy = (
        f"look for {_CVE} (AMI MegaRAC: anybody gets in by Redfish) in the release notes of the board's BMC firmware, "
        + (f"fixed in {fixed}, " if fixed else "")
        + "and keep the BMC's network apart"
    )
    return _finding("firmware", Status.UNKNOWN, named, "unknown-version", remedy, evidence=evidence)


def _boot(facts: Facts) -> Iterator[Finding]:
    if facts.dropped is None:
        return iter(())
    if "device" in facts.dropped:
        remedy = "choose the boot device in the firmware's own setup, or declare power.driver: redfish"
        return _finding("boot_flags", Status.FAIL, "a boot override is dropped", "device-dropped", remedy)
    if facts.dropped:
        remedy = "do without it: an override is set anew before each boot, and disk order belongs into the firmware"
        return _finding("boot_flags", Status.WARN, f"dropped: {_listed(facts.dropped)}", "flags-dropped", remedy)
    return _finding("boot_flags", Status.PASS, "device, EFI and persistent are kept")


def _is_older(version: str, than: str) -> bool | None:
    """Whether one version is below another; None when it is too short to tell."""
    mine, other = ([int(part) for part in re.findall(r"\d{1,9}", text)] for text in (version, than))
    if len(mine) < len(other) and mine == other[: len(mine)]:
        return None
    return mine < other if mine else None


def _listed(items: Any) -> str:
    return ", ".join(str(item) for item in items)
