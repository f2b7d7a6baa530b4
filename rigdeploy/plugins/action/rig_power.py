"""Switches a rig by whatever its declaration says, with the same policy as ``rigdeploy power``."""

from __future__ import annotations

from contextlib import closing
from typing import Any, ClassVar, Literal, cast

from rigdeploy.fleet.fleet import Fleet
from rigdeploy.fleet.models import Rig
from rigdeploy.plugins.controller import RigAction, load_drivers
from rigdeploy.power import policy
from rigdeploy.power.base import BootDevice, BootOverride, BootsDriver, Capability, Driver, PowerState, require
from rigdeploy.power.drivers import open_driver

READ_SECONDS = 30.0
"""How long a busy BMC is given for a reading."""

_NEEDS = {
    "on": (Capability.ON,),
    "off": (Capability.OFF,),
    "soft": (Capability.SOFT_OFF, Capability.OFF),
    "cycled": (Capability.ON, Capability.OFF),
    "reset": (Capability.RESET,),
}

load_drivers()


class ActionModule(RigAction):
    """``rig_power``: brings a host's power to ``state``, and says what it is to boot from.

    It runs once per host, in Ansible's own forks; docs/decisions/0007 has what that costs, and what else was tried.
    """

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "state": {"type": "str", "choices": ["on", "off", "soft", "cycled", "reset"], "default": "on"},
        "soft": {"type": "bool", "default": False},
        "boot": {"type": "str", "choices": [device.value for device in BootDevice]},
        "boot_efi": {"type": "bool"},
    }

    def act(self, fleet: Fleet, rig: Rig, arguments: dict[str, Any]) -> dict[str, Any]:
        """Read, change where needed, read back; returns the power before and after."""
        state, boot = arguments["state"], _wanted(arguments)
        soft = arguments["soft"] or state == "soft"
        with closing(open_driver(rig, fleet.workspace, self._ask)) as driver:
            require(driver, *_NEEDS[state], *([Capability.SOFT_OFF] if soft and state in ("off", "cycled") else []))
            if boot is not None:
                require(driver, Capability.BOOT)
            before = policy.read(driver, READ_SECONDS)
            want = PowerState.OFF if state in ("off", "soft") else PowerState.ON
            changes = state in ("cycled", "reset") or before is not want
            if boot is not None and not changes and _is_set(cast(BootsDriver, driver), boot):
                boot = None
            if self._task.check_mode:
                return {"changed": changes or boot is not None, "before": before.value}
            changed, dropped = self._change(driver, rig, state, boot, soft=soft)
            after = policy.read(driver, READ_SECONDS)
        result: dict[str, Any] = {"changed": changed, "before": before.value, "after": after.value}
        if dropped:
            result["warnings"] = [f"{rig.name}: its BMC took the boot device, and dropped {', '.join(dropped)}"]
        return result

    def _change(
        self, driver: Driver, rig: Rig, state: str, boot: BootOverride | None, *, soft: bool
    ) -> tuple[bool, list[str]]:
        """Do it; whether that changed anything, and which parts of the boot override the BMC dropped."""
        seconds, say = rig.power.timeout_seconds, self._display.v
        if state == "cycled":
            return True, policy.cycle(driver, seconds, say, soft=soft, boot=boot)
        dropped = policy.set_boot(cast(BootsDriver, driver), boot, say) if boot is not None else []
        if state == "reset":
            policy.reset(driver, seconds, say)
            return True, dropped
        want = PowerState.OFF if state in ("off", "soft") else PowerState.ON
        switched = policy.ensure(driver, want, seconds, say, soft=soft and want is PowerState.OFF)
        return switched or boot is not None, dropped

    def _ask(self, rig: Rig, what: Literal["on", "off"]) -> None:
        # A worker's own standard output goes nowhere; the display reaches the person.
        self._display.display(f"[{rig.name}] please switch it {what}; waiting up to {rig.power.timeout_seconds} s")


def _wanted(arguments: dict[str, Any]) -> BootOverride | None:
    if arguments["boot"] is None:
        return None
    return BootOverride(BootDevice(arguments["boot"]), efi=arguments["boot_efi"])


def _is_set(driver: BootsDriver, wanted: BootOverride) -> bool:
    """Whether the next boot is the wanted one already; ``efi`` counts where it is asked for."""
    found = policy.when_free(driver.boot_override, READ_SECONDS)
    return found.device is wanted.device and (wanted.efi is None or bool(found.efi) is wanted.efi)
