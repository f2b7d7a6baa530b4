"""Power, and all that IPMI cannot do, through a BMC's Redfish service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import sushy
from sushy import auth as sushy_auth
from sushy import connector as sushy_connector
from sushy import exceptions as sushy_errors

from rigdeploy.errors import PowerError, PowerRefusedError, PowerUnsupportedError
from rigdeploy.fleet.models import RedfishPower
from rigdeploy.node.values import display, table_of, tables_of
from rigdeploy.power import redfish_errors, redfish_reports, web
from rigdeploy.power.base import (
    AnswerLostError,
    BootDevice,
    BootOverride,
    BootQuirks,
    Capability,
    EventRecord,
    PowerState,
    RestorePolicy,
    Sensor,
)
from rigdeploy.power.lock import bmc_lock_path, exclusive

# What sushy complains about, our errors say; at DEBUG it writes every request out.
logging.getLogger("sushy").setLevel(logging.CRITICAL)

_STATES = {
    "On": PowerState.ON,
    "Off": PowerState.OFF,
    "PoweringOn": PowerState.OFF,
    "PoweringOff": PowerState.ON,
    "Paused": PowerState.ON,
}
"""ComputerSystem.PowerState (DSP0268); on the way counts as not yet there."""
_TARGETS = {
    BootDevice.NONE: ("None",),
    BootDevice.PXE: ("Pxe",),
    BootDevice.DISK: ("Hdd",),
    BootDevice.BIOS: ("BiosSetup",),
    BootDevice.CD: ("Cd", "UsbCd"),
}
"""ComputerSystem.Boot.BootSourceOverrideTarget; the first that a BMC allows is taken."""
_DEVICES = {target: device for device, targets in _TARGETS.items() for target in targets}
_KNOWN = frozenset(source.value for source in sushy.BootSource)
_EFI = {"UEFI": True, "Legacy": False}
_POLICIES = {
    RestorePolicy.ON: "AlwaysOn",
    RestorePolicy.OFF: "AlwaysOff",
    RestorePolicy.PREVIOUS: "LastState",
}
_NO_SESSIONS = (404, 405, 501)
"""What a service answers to a log-in that has no sessions after all."""

T = TypeVar("T")


class RedfishDriver:
    """One BMC; logs in at the first call and stays logged in, holding the BMC's lock, until ``close()``."""

    capabilities = frozenset(Capability)
    boot_quirks = BootQuirks()
    patience = 15.0

    def __init__(self, rig: str, power: RedfishPower, locks: Path) -> None:
        self._power = power
        self.label = f"{rig} (Redfish at {urlsplit(power.url).netloc})"
        self._lock = bmc_lock_path(locks, urlsplit(power.url).netloc)
        self._held: ExitStack | None = None
        self._wire: _Wire | None = None
        self._log_in: _LogIn | None = None
        self._root: Any = None
        self._found: Any = None

    # --- power ---

    def state(self) -> PowerState:
        """What the BMC says now."""
        said = self._ask(lambda: self._system(fresh=True).json.get("PowerState"))
        state = _STATES.get(said) if isinstance(said, str) else None
        if state is None:
            raise PowerError(f"{self.label} does not say whether the rig is on: PowerState is {display(str(said))}")
        return state

    def on(self) -> None:
        """ComputerSystem.Reset: On."""
        self._reset_by("On")

    def off(self) -> None:
        """ComputerSystem.Reset: ForceOff, at once."""
        self._reset_by("ForceOff")

    def soft_off(self) -> None:
        """ComputerSystem.Reset: GracefulShutdown, as a short press of the power button."""
        self._reset_by("GracefulShutdown")

    def reset(self) -> None:
        """ComputerSystem.Reset: ForceRestart."""
        self._reset_by("ForceRestart")

    # --- boot ---

    def boot_override(self) -> BootOverride:
        """What the next boot is set to: what is to come, where the BMC keeps that apart from what is."""
        boot = self._ask(self._boot)
        if boot.get("BootSourceOverrideEnabled") not in ("Once", "Continuous"):
            return BootOverride(BootDevice.NONE)
        target = boot.get("BootSourceOverrideTarget")
        device = _DEVICES.get(target) if isinstance(target, str) else None
        if device is None:
            raise PowerError(f"{self.label}: the next boot is from {display(str(target))}, which has no name here")
        if device is BootDevice.NONE:
            return BootOverride(device)
        mode = boot.get("BootSourceOverrideMode")
        return BootOverride(
            device,
            efi=_EFI.get(mode) if isinstance(mode, str) else None,
            persistent=boot["BootSourceOverrideEnabled"] == "Continuous",
        )

    def set_boot_override(self, wanted: BootOverride) -> None:
        """Send target, how long, and mode, all three every time: AMI's firmware takes no less.

        A service that says nothing of modes gets none: sushy would send it behind the rest, in a request of its own.
        """
        boot = self._ask(self._boot)
        efi = _EFI.get(str(boot.get("BootSourceOverrideMode"))) if wanted.efi is None else wanted.efi
        if "BootSourceOverrideMode" not in boot:
            efi = None
        enabled = "Continuous" if wanted.persistent else "Once"
        if wanted.device is BootDevice.NONE:
            enabled = "Disabled"
        options = {
            "target": sushy.BootSource(self._target(wanted.device, boot)),
            "enabled": sushy.BootSourceOverrideEnabled(enabled),
            "mode": None if efi is None else sushy.BootSourceOverrideMode("UEFI" if efi else "Legacy"),
        }
        system = self._ask(self._system)
        self._change(lambda: system.set_system_boot_options(**options))

    # --- media and firmware ---

    def insert_media(self, url: str) -> None:
        """VirtualMedia.InsertMedia, in the first device that takes CDs."""
        device = self._ask(self._media_device)
        self._change(lambda: device.insert_media(url))

    def eject_media(self) -> None:
        """VirtualMedia.EjectMedia, where something is inserted."""
        device = self._ask(self._media_device)
        if redfish_reports.inserted(device.json) is not None:
            self._change(device.eject_media)

    def media(self) -> str | None:
        """What is inserted."""
        return redfish_reports.inserted(self._ask(self._media_device).json)

    def bios(self) -> Mapping[str, str]:
        """Bios.Attributes."""
        return redfish_reports.bios(self._ask(lambda: self._linked(self._system().json, "Bios")))

    # --- reports ---

    def sensors(self) -> Sequence[Sensor]:
        """Every reading of every chassis of the system."""
        return self._ask(lambda: [sensor for chassis in self._chassis() for sensor in self._sensors(chassis)])

    def events(self) -> Sequence[EventRecord]:
        """The entries of the system event log."""
        log = self._ask(self._event_log)
        return redfish_reports.events(self._ask(lambda: list(self._members(self._linked(log, "Entries")))))

    def clear_events(self) -> None:
        """LogService.ClearLog."""
        log = self._ask(self._event_log)
        target = redfish_reports.action(log, "#LogService.ClearLog")
        if target is None:
            raise PowerUnsupportedError(f"{self.label} does not let its event log be cleared")
        self._change(lambda: self._connected().post(target, data={}))

    def inventory(self) -> Mapping[str, str]:
        """What system and manager say they are."""
        system = self._ask(lambda: self._system(fresh=True).json)
        managers = self._ask(lambda: self._related(system, "ManagedBy", "Managers"))
        return redfish_reports.inventory(system, managers[0] if managers else {})

    def identify(self, seconds: int) -> None:
        """Light the lamp, or put it out with 0. Redfish knows no time: a lamp that is lit stays so until put out."""
        system = self._ask(lambda: self._system(fresh=True).json)
        if "LocationIndicatorActive" in system:
            self._patch(system, {"LocationIndicatorActive": seconds > 0})
        elif "IndicatorLED" in system:
            # Blinking is optional, Lit is what some take in its place.
            allowed = system.get("IndicatorLED@Redfish.AllowableValues")
            lit = "Blinking" if not isinstance(allowed, list) or "Blinking" in allowed else "Lit"
            self._patch(system, {"IndicatorLED": lit if seconds > 0 else "Off"})
        else:
            raise PowerUnsupportedError(f"{self.label} has no identify lamp")

    def set_password(self, username: str, password: str) -> None:
        """PATCH the account of that name."""
        account = self._ask(lambda: self._account(username))
        self._patch(account, {"Password": password})

    def restore_policy(self) -> RestorePolicy | None:
        """ComputerSystem.PowerRestorePolicy."""
        said = self._ask(lambda: self._system(fresh=True).json.get("PowerRestorePolicy"))
        return next((policy for policy, name in _POLICIES.items() if name == said), None)

    def set_restore_policy(self, policy: RestorePolicy) -> None:
        """The same; PowerUnsupportedError where the BMC does not show it."""
        system = self._ask(lambda: self._system(fresh=True).json)
        if "PowerRestorePolicy" not in system:
            raise PowerUnsupportedError(f"{self.label} does not say what happens when mains power comes back")
        self._patch(system, {"PowerRestorePolicy": _POLICIES[policy]})

    def close(self) -> None:
        """Log out and let the next caller at the BMC."""
        if self._log_in is not None:
            self._log_in.end()
        if self._wire is not None:
            self._wire.close()
        self._log_in = self._wire = self._root = self._found = None
        if self._held is not None:
            self._held.close()
            self._held = None

    # --- asking and changing ---

    def _ask(self, question: Callable[[], T]) -> T:
        with self._translated():
            self._connected()
            return question()

    def _change(self, request: Callable[[], object]) -> None:
        """Make a request that changes something, once; AnswerLostError when no answer comes back."""
        with self._translated():
            self._connected()
        try:
            with self._translated():
                request()
        except PowerError as error:
            cause = error.__cause__
            if isinstance(cause, sushy_errors.ConnectionError) and not web.never_sent(cause.__context__):
                raise AnswerLostError(f"{self.label} did not answer the request") from cause
            raise

    def _patch(self, resource: Mapping[str, Any], values: dict[str, Any]) -> None:
        path = redfish_reports.path(resource)
        if path is None:
            raise PowerError(f"{self.label} sent an answer that cannot be read: a resource without its address")

        def patch() -> None:
            # The tag of this moment: some refuse a change without it, some give it as a header alone.
            tag = self._connected().get(path).headers.get("ETag")
            self._connected().patch(path, data=values, etag=tag)

        self._change(patch)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redfish_errors.ANY as error:
            raise redfish_errors.translated(error, self.label, self._power) from error

    def _reset_by(self, kind: str) -> None:
        system = self._ask(self._system)
        self._change(lambda: system.reset_system(sushy.ResetType(kind)))

    # --- the service's resources ---

    def _connected(self) -> _Wire:
        if self._held is None:
            held = ExitStack()
            held.enter_context(exclusive(self._lock, float(self._power.timeout_seconds), self.label))
            self._held = held
        if self._wire is None:
            if not self._power.verify:
                logging.getLogger(__name__).warning(
                    "%s: its certificate is not checked (power.verify: false): anyone in between can read the password",
                    self.label,
                )
            wire = _Wire(self._power)
            log_in = _LogIn(self._power.username, self._power.password.reveal())
            prefix = urlsplit(self._power.url).path.rstrip("/") + "/redfish/v1/"
            self._root = sushy.Sushy(self._power.url, auth=log_in, connector=wire, root_prefix=prefix)
            self._wire, self._log_in = wire, log_in
        return self._wire

    def _system(self, *, fresh: bool = False) -> Any:
        """The declared system, or the only one; ``fresh`` reads it again."""
        if self._found is None:
            self._found = self._root.get_system(self._system_path())
        elif fresh:
            self._found.refresh(force=True)
        return self._found

    def _system_path(self) -> str:
        paths = [str(path) for path in self._root.get_system_collection().members_identities]
        names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        wanted = self._power.system
        chosen = [path for path, name in zip(paths, names, strict=True) if wanted in (None, name)]
        if len(chosen) == 1:
            return chosen[0]
        what = f"has no system '{wanted}'" if wanted else "has several systems" if names else "has no system"
        shown = ", ".join(display(name) for name in names[:16])
        raise PowerRefusedError(f"{self.label} {what}", f"declare power.system as one of: {shown}" if names else "")

    def _boot(self) -> dict[str, Any]:
        """The Boot object, with what is to come (the settings resource, AMI's ``/SD``) over what is."""
        system = self._system(fresh=True).json
        boot = table_of(system.get("Boot"))
        settings = table_of(system.get("@Redfish.Settings")).get("SettingsObject")
        if (path := redfish_reports.path(settings)) is None:
            return boot
        coming = table_of(self._document(path).get("Boot"))
        return coming | boot | {name: value for name, value in coming.items() if value is not None}

    def _target(self, device: BootDevice, boot: Mapping[str, Any]) -> str:
        allowed = boot.get("BootSourceOverrideTarget@Redfish.AllowableValues")
        if not isinstance(allowed, list) or not allowed:
            return _TARGETS[device][0]
        for target in _TARGETS[device]:
            if target in allowed:
                return target
        current = boot.get("BootSourceOverrideTarget")
        if device is BootDevice.NONE and current in allowed and current in _KNOWN:
            return str(current)  # disabled, so it does not count
        shown = display(", ".join(map(str, allowed)))
        raise PowerUnsupportedError(f"{self.label} cannot boot from {device}: it offers {shown}")

    def _media_device(self) -> Any:
        """The first virtual device that takes CDs."""
        system = self._system()
        managers = self._related(system.json, "ManagedBy", "Managers")
        for owner in [system.json, *managers]:
            if "VirtualMedia" not in owner:
                continue
            for device in self._members(self._linked(owner, "VirtualMedia")):
                kinds, path = device.get("MediaTypes"), redfish_reports.path(device)
                if path is not None and isinstance(kinds, list) and {"CD", "DVD"} & set(map(str, kinds)):
                    return sushy.resources.manager.virtual_media.VirtualMedia(self._connected(), path)
        raise PowerUnsupportedError(f"{self.label} has no virtual CD")

    def _chassis(self) -> list[dict[str, Any]]:
        return self._related(self._system().json, "Chassis", "Chassis")

    def _sensors(self, chassis: dict[str, Any]) -> list[Sensor]:
        """From Thermal and Power, which most BMCs have, else from the newer Sensors."""
        found = []
        for name, read in (("Thermal", redfish_reports.thermal), ("Power", redfish_reports.power)):
            if name in chassis:
                found += read(self._linked(chassis, name))
        if not found and "Sensors" in chassis:
            found = redfish_reports.readings(self._members(self._linked(chassis, "Sensors")))
        return found

    def _event_log(self) -> dict[str, Any]:
        system = self._system().json
        logs = [
            log
            for owner in [*self._related(system, "ManagedBy", "Managers"), system]
            if "LogServices" in owner
            for log in self._members(self._linked(owner, "LogServices"))
        ]
        log = redfish_reports.event_log(logs)
        if log is None:
            raise PowerUnsupportedError(f"{self.label} has no event log")
        return log

    def _account(self, username: str) -> dict[str, Any]:
        service = self._linked(self._root.json, "AccountService")
        for account in self._members(self._linked(service, "Accounts")):
            if account.get("UserName") == username:
                return account
        raise PowerRefusedError(f"{self.label} knows no user '{username}'")

    def _related(self, system: Mapping[str, Any], link: str, collection: str) -> list[dict[str, Any]]:
        """What the system links to, or all that there is of it."""
        links = table_of(system.get("Links")).get(link)
        if paths := redfish_reports.paths(links):
            return [self._document(path) for path in paths]
        return list(self._members(self._linked(self._root.json, collection)))

    def _linked(self, owner: Mapping[str, Any], name: str) -> dict[str, Any]:
        path = redfish_reports.path(owner.get(name))
        if path is None:
            raise PowerUnsupportedError(f"{self.label} has no {name}")
        return self._document(path)

    def _members(self, collection: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The members of a collection, page by page; some BMCs put them in, others link to them."""
        left = redfish_reports.MOST_MEMBERS
        page: dict[str, Any] | None = collection
        while page is not None and left > 0:
            for member in tables_of(page.get("Members"))[:left]:
                left -= 1
                path = redfish_reports.path(member)
                yield self._document(path) if set(member) == {"@odata.id"} and path else member
            following = page.get("Members@odata.nextLink")
            page = self._document(following) if isinstance(following, str) and following else None

    def _document(self, path: str) -> dict[str, Any]:
        document = self._connected().get(path).json()
        if not isinstance(document, dict):
            raise ValueError("no JSON object")  # noqa: TRY004 - one kind for every answer that cannot be read
        return document


class _Wire(sushy_connector.Connector):  # type: ignore[misc]
    """sushy's connection without its repetitions, and with our certificates and bounds."""

    def __init__(self, power: RedfishPower) -> None:
        verify = web.authorities(power.certificate, verify=power.verify)
        super().__init__(
            power.url,
            verify=verify,
            # One: sushy repeats a request, even one that changes something, when its answer is lost.
            server_side_retries=1,
            default_request_timeout=web.ANSWER_SECONDS,
            connect_timeout=web.CONNECT_SECONDS,
        )
        self._session = web.session(power.certificate if power.verify else None, reads=("GET",))
        self._session.headers["Connection"] = "close"  # as sushy's own: BMCs choke on connections that stay

    def check_retry_on_exception(self, exception_msg: str) -> bool:  # noqa: ARG002 - sushy's name
        """Never: the policy decides what is repeated."""
        return False

    def _op(self, method: str, path: str = "", **options: Any) -> requests.Response:
        # An address that names another host would take our password there; what a BMC calls itself is not always
        # where it is reached, either.
        parts = urlsplit(path)
        local = parts._replace(scheme="", netloc="").geturl()
        response: requests.Response = super()._op(method, local, **options)
        return response


class _LogIn(sushy_auth.SessionAuth):  # type: ignore[misc]
    """A session where the service has sessions, else the password with every request; a refusal is final.

    sushy's own way tries a refused password a second time, and BMCs lock users out.
    """

    def _do_authenticate(self) -> None:
        root = self._root_resource.json
        if "SessionService" in root or "Sessions" in table_of(root.get("Links")):
            try:
                super()._do_authenticate()
            except sushy_errors.HTTPError as error:
                if error.status_code not in _NO_SESSIONS:
                    raise
            else:
                return
        self._connector.set_http_basic_auth(self._username, self._password)

    def end(self) -> None:
        """Log out; a BMC that does not answer ends the session by itself."""
        with suppress(*redfish_errors.ANY):
            self.close()
        # sushy would try again when its objects go.
        self.reset_session_attrs()
