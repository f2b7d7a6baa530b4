"""What cannot be about how a rig is switched, or is probably not meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.document import Place
from rigdeploy.fleet.models import (
    IpmiPower,
    RedfishPower,
    Rig,
    WebhookCall,
    WebhookPower,
    WebhookStatus,
    WolPower,
)
from rigdeploy.fleet.remark import Remark
from rigdeploy.fleet.secrets import FORMS, Secret

_CREDENTIAL = re.compile(r"auth|token|key|secret|cookie|password", re.IGNORECASE)
"""What the names of headers that carry a secret have in common: Authorization, X-Api-Key, Cookie."""
_PLAIN = "whoever listens in between can read the password; https is safer"


def power_remarks(rig: Rig, catalogue: Catalogue) -> Iterator[Remark]:
    """What cannot be, or is probably not meant, about one rig's power."""
    at: Place = ("rigs", rig.name, "power")
    power = rig.power
    if isinstance(power, (IpmiPower, RedfishPower)):
        yield from inline_remarks((*at, "password"), power.password)
        board = catalogue.boards.get(rig.build.board)
        if board is not None and board.bmc is None:
            yield Remark.warning((*at, "driver"), f"{board.name} is not known to have a BMC")
    elif rig.bmc.settings:
        message = f"power.driver {power.driver} has no BMC to set that in"
        yield Remark(("rigs", rig.name, "bmc", rig.bmc.settings[0]), message, "set it in the board's firmware setup")
    if rig.bmc.close:
        yield from _close_remarks(("rigs", rig.name, "bmc", "close"), rig)
    if isinstance(power, RedfishPower):
        yield from _redfish_remarks(at, power)
    elif isinstance(power, WolPower) and int(power.mac[:2], 16) & 1:
        yield Remark((*at, "mac"), f"{power.mac} is no card's address but a group's: the second digit is even")
    elif isinstance(power, WebhookPower):
        yield from _webhook_remarks(at, power)


def _close_remarks(at: Place, rig: Rig) -> Iterator[Remark]:
    power = rig.power
    if isinstance(power, RedfishPower):
        yield Remark(at, "that is set by IPMI, and power.driver is redfish", "close it in the BMC's own pages")
    elif isinstance(power, IpmiPower) and power.privilege != "administrator":
        yield Remark(at, "only an administrator can", "leave power.privilege out, or close it in the BMC's own pages")
    elif isinstance(power, IpmiPower) and not power.username and "null_user" in rig.bmc.close:
        yield Remark(at, "power.username is empty: that would shut rigdeploy out", "give the BMC's user a name first")


def shared_power(rigs: dict[str, Rig]) -> Iterator[Remark]:
    """Two rigs that one and the same thing would switch, and rigs that would switch themselves."""
    switches: dict[tuple[object, ...], str] = {}
    addresses = {rig.address: name for name, rig in rigs.items()}
    for name, rig in rigs.items():
        at: Place = ("rigs", name, "power")
        switch, key, shown = _switch(rig)
        if switch and (other := switches.setdefault(switch, name)) != name:
            yield Remark((*at, key), f"{shown} is {_what(rig)} of {other} already")
        if isinstance(rig.power, (IpmiPower, RedfishPower)) and (host := _host(rig.power)) in addresses:
            yield Remark((*at, key), f"{host} is the address of {addresses[host]} itself; a BMC has its own")


def inline_remarks(at: Place, secret: Secret | None) -> Iterator[Remark]:
    """A secret that is written down."""
    if secret is not None and secret.kind == "inline":
        yield Remark.warning(at, "a password stands in the file itself", f"write {FORMS} instead")


def _switch(rig: Rig) -> tuple[tuple[object, ...], str, str]:
    """What makes a rig's switch that one and no other (empty: a person's hand), the key that says so, and its text."""
    power = rig.power
    if isinstance(power, IpmiPower):
        return ("ipmi", power.address, power.port), "address", power.address
    if isinstance(power, RedfishPower):
        parts = urlsplit(power.url)
        return ("redfish", parts.netloc.lower(), parts.path.rstrip("/"), power.system), "url", str(parts.netloc)
    if isinstance(power, WolPower):
        return ("wol", power.mac.lower()), "mac", power.mac
    if isinstance(power, WebhookPower):
        url, body = (text.replace("{rig}", rig.name) for text in (power.switch_on.url, power.switch_on.body or ""))
        return ("webhook", url, body), "switch_on", f"this call to {urlsplit(url).netloc}"
    return (), "driver", ""


def _what(rig: Rig) -> str:
    if isinstance(rig.power, (IpmiPower, RedfishPower)):
        return "the BMC"
    return "the network card" if isinstance(rig.power, WolPower) else "the switch"


def _host(power: IpmiPower | RedfishPower) -> str:
    return power.address if isinstance(power, IpmiPower) else str(urlsplit(power.url).hostname)


def _redfish_remarks(at: Place, power: RedfishPower) -> Iterator[Remark]:
    if power.url.startswith("http:"):
        yield Remark.warning((*at, "url"), "the password goes over the network as it is", _PLAIN)
    if power.certificate is not None and (power.url.startswith("http:") or not power.verify):
        why = "http has none" if power.verify else "power.verify is false"
        yield Remark((*at, "certificate"), f"the certificate is never looked at: {why}", "remove one of the two")
    elif not power.verify:
        message = "the BMC's certificate is not checked: anyone in between can read the password"
        yield Remark.warning((*at, "verify"), message, "declare power.certificate: the file with the BMC's certificate")


def _webhook_remarks(at: Place, power: WebhookPower) -> Iterator[Remark]:
    calls: dict[str, WebhookCall | None] = {
        "switch_on": power.switch_on,
        "switch_off": power.switch_off,
        "status": power.status,
    }
    for name, call in calls.items():
        if call is not None:
            yield from _call_remarks((*at, name), call)
    on, off = power.switch_on, power.switch_off
    if (on.url, on.body, on.method) == (off.url, off.body, off.method):
        yield Remark(
            (*at, "switch_off"), "on and off are the same call", "the URL, the body or the method has to differ"
        )
    if power.certificate is not None and not any(call and call.url.startswith("https:") for call in calls.values()):
        yield Remark((*at, "certificate"), "the certificate is never looked at: no URL is https", "remove it")
    if power.status is not None:
        yield from _status_remarks((*at, "status"), power.status)


def _call_remarks(at: Place, call: WebhookCall) -> Iterator[Remark]:
    if call.method == "GET" and call.body is not None:
        yield Remark((*at, "body"), "a GET has no body", "declare method: POST")
    for name, secret in call.headers.items():
        if _CREDENTIAL.search(name):
            yield from inline_remarks((*at, "headers", name), secret)
            if call.url.startswith("http:"):
                yield Remark.warning((*at, "url"), f"{name} goes over the network as it is", _PLAIN)


def _status_remarks(at: Place, status: WebhookStatus) -> Iterator[Remark]:
    for name, pattern in (("says_on", status.says_on), ("says_off", status.says_off)):
        try:
            matches_nothing = re.search(pattern, "")
        except re.error as error:
            yield Remark((*at, name), f"'{pattern}' is no regular expression: {error}")
        else:
            if matches_nothing:
                yield Remark((*at, name), f"'{pattern}' fits an empty answer, and so any", "name what stands there")
    if status.says_on == status.says_off:
        yield Remark((*at, "says_off"), f"on and off are both told by '{status.says_on}'")
