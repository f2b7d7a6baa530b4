"""Asks a BMC what an audit wants to know; :mod:`rigdeploy.power.audit` judges it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rigdeploy.errors import (
    PowerAuthenticationError,
    PowerBusyError,
    PowerCertificateError,
    PowerError,
    PowerRefusedError,
    PowerUnsupportedError,
)
from rigdeploy.fleet.models import IpmiPower, RedfishPower
from rigdeploy.fleet.secrets import Secret
from rigdeploy.power import policy
from rigdeploy.power.audit import SUITES, Facts, Questions, Tls, maker, strength, well_known_logins
from rigdeploy.power.base import (
    BootDevice,
    BootOverride,
    BootsDriver,
    Capability,
    Door,
    Driver,
    ReportsDriver,
    require,
)
from rigdeploy.power.drivers import beside
from rigdeploy.power.policy import Clock, Say
from rigdeploy.power.quirks import QuirkCache

if TYPE_CHECKING:
    from rigdeploy.fleet.models import Rig
    from rigdeploy.workspace import Workspace

READ_SECONDS = 30.0
"""How long a busy BMC is given for a reading."""
_FLAGS = ("device", "efi", "persistent", "valid")
"""What a boot override is made of, as a BMC may drop it; a BMC that drops the valid bit is believed without it."""
_REFUSED = (PowerAuthenticationError, PowerCertificateError, PowerRefusedError, PowerUnsupportedError)
"""Errors of a BMC that is there and does not let us in."""


def gather(driver: Driver, rig: Rig, workspace: Workspace, questions: Questions, say: Say, clock: Clock) -> Facts:
    """Everything that can be learned; a BMC that lets us in for nothing still says some of it.

    Raises PowerUnsupportedError for a rig without a BMC, and what the driver raises when the BMC is not there at all.
    """
    power = rig.power
    if not isinstance(power, (IpmiPower, RedfishPower)):
        raise PowerUnsupportedError(f"{driver.label}: there is no BMC to audit")
    if questions.write_test:
        require(driver, Capability.BOOT)
    capabilities = tuple(sorted(capability.value for capability in driver.capabilities))
    facts = Facts(power.driver, power.username, capabilities=capabilities, strength=strength(power.password.reveal()))
    try:
        policy.read(driver, READ_SECONDS, clock)
    except _REFUSED as error:
        facts = replace(facts, refused=error.message, remedy=error.remedy)
    if isinstance(power, IpmiPower):
        facts = _ipmi(driver, rig, power, workspace, facts, questions)
    else:
        facts = _redfish(driver, power, facts, questions, say, clock)
    if questions.default_passwords:
        facts = _defaults(rig, power, workspace, facts, say, clock)
    return facts


def glance(driver: Driver, rig: Rig, doors: Iterable[Door]) -> Facts | None:
    """What can be learned of a BMC that is being asked for something else, by some 30 short requests and no log-in.

    Of its doors, those that are wanted; a BMC that stops answering says of none. None without a BMC.
    """
    power = rig.power
    if isinstance(power, RedfishPower):
        return Facts(power.driver, power.username, strength=strength(power.password.reveal()), tls=_tls(power))
    if not isinstance(power, IpmiPower):
        return None
    asked = list(doors)
    found: dict[Door, bool | None] = dict.fromkeys(asked)
    with suppress(PowerError):
        found |= policy.when_free(lambda: open_doors(driver, power, asked), READ_SECONDS)
    return Facts(power.driver, power.username, strength=strength(power.password.reveal()), doors=found)


def open_doors(driver: Driver, power: IpmiPower, doors: Iterable[Door]) -> dict[Door, bool | None]:
    """Whether each of these is open; None for one of which the BMC does not say."""
    from rigdeploy.power import ipmi_doors
    from rigdeploy.power.ipmi_driver import BmcDriver

    raw = cast(BmcDriver, driver)
    return {door: ipmi_doors.is_open(raw, door, power) for door in doors}


# --- IPMI ---


def _ipmi(
    driver: Driver, rig: Rig, power: IpmiPower, workspace: Workspace, facts: Facts, questions: Questions
) -> Facts:
    from rigdeploy.power import ipmi_audit
    from rigdeploy.power.ipmi_driver import BmcDriver

    without_login = (Door.CIPHER_0, Door.IPMI_1_5)
    found = dict.fromkeys(Door) | open_doors(driver, power, without_login if facts.refused else Door)
    facts = replace(facts, ping=ipmi_audit.answers_ping(power.address, power.port), doors=found)
    if facts.refused:
        return facts
    raw = cast(BmcDriver, driver)
    offered = ipmi_audit.offered_suites(raw)
    facts = replace(
        _described(facts, raw.inventory()),
        privilege=power.privilege,
        offered=offered,
        working=_working(rig, power, workspace),
    )
    kept = ipmi_audit.kept_boot_flags(raw) if questions.write_test else None
    if kept is not None:
        dropped = tuple(flag for flag in _FLAGS if flag not in kept)
        facts = replace(facts, dropped=dropped)
        if "device" in kept:
            QuirkCache(workspace.state).put(f"{power.address}:{power.port}", "boot_dropped", sorted(dropped))
    return facts


def _working(rig: Rig, power: IpmiPower, workspace: Workspace) -> dict[int, bool]:
    """Whether a session stands with each of SUITES; one that a busy BMC gave no answer about is left out."""
    found = {}
    # The best last: drivers remember the last suite that worked.
    for suite in reversed(SUITES):
        with beside(rig, power.model_copy(update={"cipher": suite}), workspace) as driver:
            try:
                driver.state()
            except PowerBusyError:
                continue
            except PowerError:
                found[suite] = False
            else:
                found[suite] = True
    return {suite: found[suite] for suite in SUITES if suite in found}


# --- Redfish ---


def _redfish(driver: Driver, power: RedfishPower, facts: Facts, questions: Questions, say: Say, clock: Clock) -> Facts:
    facts = replace(facts, tls=_tls(power))
    if facts.refused:
        return facts
    facts = _described(facts, cast(ReportsDriver, driver).inventory())
    if questions.write_test:
        facts = replace(facts, dropped=_kept(cast(BootsDriver, driver), say, clock))
    return facts


def _tls(power: RedfishPower) -> Tls:
    if not power.url.lower().startswith("https:"):
        return Tls.NONE
    return Tls.CHECKED if power.verify else Tls.UNCHECKED


def _kept(driver: BootsDriver, say: Say, clock: Clock) -> tuple[str, ...]:
    """What the BMC drops of a boot override; what was set before is set again, whatever happens."""
    before = policy.when_free(driver.boot_override, READ_SECONDS, clock)
    try:
        return tuple(policy.set_boot(driver, BootOverride(BootDevice.BIOS, efi=True, persistent=True), say, clock))
    except PowerRefusedError:
        return ("device",)
    finally:
        policy.set_boot(driver, before, say, clock)


# --- both ---


def _described(facts: Facts, inventory: Mapping[str, str]) -> Facts:
    """What board and BMC say they are."""
    number, product = inventory.get("manufacturer_id", ""), inventory.get("product_id", "")
    board = inventory.get("board_product") or inventory.get("product_name") or ""
    return replace(
        facts,
        manufacturer=int(number) if number.isdecimal() else maker(inventory.get("board_manufacturer", "")),
        product=int(product) if product.isdecimal() else None,
        board=board,
        firmware=inventory.get("firmware", ""),
        ipmi_version=inventory.get("ipmi", ""),
    )


def _defaults(
    rig: Rig, power: IpmiPower | RedfishPower, workspace: Workspace, facts: Facts, say: Say, clock: Clock
) -> Facts:
    """Try the well-known log-ins, once each, until one is let in."""
    tried = []
    for username, password in well_known_logins(facts.manufacturer):
        if username == power.username:
            continue  # whether that one is well known is judged by its text, and a wrong try could lock us out
        say(f"trying the log-in that BMCs are shipped with, user '{username}'")
        tried.append(username)
        changed: dict[str, object] = {"username": username, "password": Secret("inline", password)}
        if isinstance(power, IpmiPower):
            changed["privilege"] = "operator"  # what is let in as administrator is let in as that, too
        with beside(rig, power.model_copy(update=changed), workspace) as driver:
            try:
                policy.read(driver, READ_SECONDS, clock)
            except _REFUSED:
                continue
        return replace(facts, default_login=username, defaults_tried=tuple(tried))
    return replace(facts, defaults_tried=tuple(tried))
