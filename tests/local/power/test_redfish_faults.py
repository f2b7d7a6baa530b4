"""What goes wrong with Redfish services: each ends in the right state or in an error with a name, by its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from power_servers import ROOT, SYSTEM, Answer, Request, StrictBmc, refusal

from rigdeploy.errors import PowerAuthenticationError, PowerBusyError, PowerRefusedError, PowerUnsupportedError
from rigdeploy.power import policy
from rigdeploy.power.base import BootDevice, BootOverride, PowerState
from rigdeploy.power.redfish import RedfishDriver

SETTINGS = f"{SYSTEM}/SD"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"
STARTING = Answer(503, b"<html>starting</html>", {"Retry-After": "2"})

Connect = Callable[..., RedfishDriver]
Rule = Callable[[Request], Answer | None]


@pytest.fixture
def connect(connect_redfish: Connect) -> Connect:
    return connect_redfish


@pytest.fixture
def bmc(strict_bmc: StrictBmc) -> StrictBmc:
    return strict_bmc


def disturb(service: StrictBmc, rule: Rule) -> None:
    """Let ``rule`` answer first; what it has no answer to is answered as ever."""
    service.answer = lambda request: rule(request) or service.answered(request)


# --- time -------------------------------------------------------------------------------------------


def test_a_change_that_takes_eight_seconds_is_waited_for_and_not_asked_for_again(emulate, connect):
    emulator = emulate(lag=8)
    driver = connect(emulator.url)
    started = time.monotonic()
    assert policy.ensure(driver, PowerState.ON, 20)
    assert 6.9 < time.monotonic() - started < 15
    assert (emulator.power, emulator.changes) == ("On", 1)


def test_a_change_that_takes_longer_than_the_deadline_is_told(emulate, connect, fast_clock):
    emulator = emulate(lag=8)
    with pytest.raises(policy.PowerTimeoutError, match="it did not within 20 s"):
        policy.ensure(connect(emulator.url), PowerState.ON, 20, clock=fast_clock)
    assert emulator.changes == 2  # 15 s of patience each


@pytest.mark.parametrize("paths", [(RESET,), (SYSTEM,), (RESET, SYSTEM, ROOT, f"{ROOT}/SessionService/Sessions")])
def test_a_service_that_starts_is_given_time(bmc, connect, fast_clock, paths):
    left = 4

    def starting(request: Request) -> Answer | None:
        nonlocal left
        if request.path.rstrip("/") not in paths or left == 0:
            return None
        left -= 1
        return STARTING

    disturb(bmc, starting)
    assert policy.ensure(connect(bmc.url), PowerState.ON, 60, clock=fast_clock)
    assert (left, bmc.resets) == (0, ["On"])


def test_a_service_that_never_starts_is_busy_by_the_deadline(bmc, connect, fast_clock):
    disturb(bmc, lambda _: STARTING)
    started = time.monotonic()
    with pytest.raises(PowerBusyError, match=r"is busy: .*\(HTTP status 503\)"):
        policy.ensure(connect(bmc.url), PowerState.ON, 20, clock=fast_clock)
    assert time.monotonic() - started < 3  # 20 s of the policy's are one


# --- sessions ---------------------------------------------------------------------------------------


def test_a_session_that_ends_at_every_request_is_renewed_and_no_change_is_made_twice(bmc, connect, fast_clock):
    ended: set[str] = set()

    def forgetful(request: Request) -> Answer | None:
        if "/Sessions" not in request.path and (token := request.headers.get("X-Auth-Token")) is not None:
            if token in ended:
                bmc.tokens.discard(token)
            ended.add(token)  # good for one request
        return None

    disturb(bmc, forgetful)
    driver = connect(bmc.url)
    assert policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert policy.set_boot(driver, BootOverride(BootDevice.PXE, efi=True), clock=fast_clock) == []
    assert bmc.resets == ["On"]
    assert bmc.log_ins > 3


def test_a_password_that_changes_meanwhile_is_tried_once_more_and_told(bmc, connect, fast_clock):
    driver = connect(bmc.url)
    assert driver.state() is PowerState.OFF
    bmc.tokens.clear()
    bmc.password = "another"
    with pytest.raises(PowerAuthenticationError):
        policy.ensure(driver, PowerState.ON, 60, clock=fast_clock)
    assert (bmc.log_ins, bmc.resets) == (2, [])


def test_a_service_that_takes_no_session_of_its_own_is_no_endless_loop(bmc, connect, fast_clock):
    def distrustful(request: Request) -> Answer | None:
        if request.path.rstrip("/") == ROOT or "/Sessions" in request.path:
            return None
        return refusal(401, "Base.1.0.NoValidSession", "There is no valid session established.")

    disturb(bmc, distrustful)
    with pytest.raises(PowerAuthenticationError, match="no valid session"):
        policy.ensure(connect(bmc.url), PowerState.ON, 60, clock=fast_clock)
    assert bmc.log_ins <= 2


def test_no_room_for_a_session_is_busy(bmc, connect, fast_clock):
    def full(request: Request) -> Answer | None:
        if request.method == "POST" and request.path.endswith("/Sessions"):
            return refusal(503, "Base.1.0.SessionLimitExceeded", "The session limit is reached.")
        return None

    disturb(bmc, full)
    with pytest.raises(PowerBusyError, match="session limit is reached"):
        policy.ensure(connect(bmc.url), PowerState.ON, 10, clock=fast_clock)


# --- already so ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize(
    ("there", "want"), [("On", PowerState.ON), ("Off", PowerState.OFF)], ids=["already on", "already off"]
)
def test_already_in_that_state_is_success(bmc, connect, fast_clock, status, there, want):
    readings = iter([{"On": "Off", "Off": "On"}[there]])

    def already(request: Request) -> Answer | None:
        if request.path == RESET:
            bmc.resets.append(request.json["ResetType"])
            return refusal(status, "IPMI.1.0.AlreadyThere", f"Host is already powered {there}.")
        # Somebody was faster: the first reading is old.
        bmc.documents[SYSTEM]["PowerState"] = next(readings, there) if request.path == SYSTEM else there
        return None

    disturb(bmc, already)
    assert policy.ensure(connect(bmc.url), want, 60, clock=fast_clock)
    assert len(bmc.resets) == 1


@pytest.mark.parametrize("status", [400, 409])
def test_a_refusal_that_is_none_of_that_is_told(bmc, connect, fast_clock, status):
    def refuses(request: Request) -> Answer | None:
        return refusal(status, "Oem.Interlock", "The lid is open.") if request.path == RESET else None

    disturb(bmc, refuses)
    with pytest.raises(PowerRefusedError, match=rf"refused: The lid is open\. \(HTTP status {status}\)"):
        policy.ensure(connect(bmc.url), PowerState.ON, 60, clock=fast_clock)


# --- boot ---------------------------------------------------------------------------------------------


@pytest.fixture
def strict(fleet, strict_bmc: StrictBmc) -> StrictBmc:
    """A service that the command line knows as rig01."""
    fleet.add_redfish("rig01", strict_bmc.url)
    return strict_bmc


def forgets(service: StrictBmc, *parts: str, **instead: str) -> None:
    """Make it take a boot override whole, and keep of it all but some parts, or something else."""

    def rule(request: Request) -> Answer | None:
        if request.method != "PATCH" or request.path != SETTINGS:
            return None
        before = dict(service.documents[SETTINGS]["Boot"])
        answer = service.answered(request)
        kept = service.documents[SETTINGS]["Boot"]
        kept.update({f"BootSourceOverride{part}": before.get(f"BootSourceOverride{part}") for part in parts})
        kept.update({f"BootSourceOverride{part}": value for part, value in instead.items()})
        return answer

    disturb(service, rule)


def test_once_that_is_read_back_as_for_good_is_told_and_is_not_dropped(fleet, strict):
    forgets(strict, Enabled="Continuous")
    code, out, err = fleet.run("boot", "pxe", "rig01", "--efi")
    assert (code, out.split()) == (0, ["rig01", "pxe", "EFI,", "at", "every", "start"])
    assert "drops" not in err
    row = fleet.rows("boot", "pxe", "rig01")[1]["rig01"]
    assert (row["persistent"], row["dropped"]) == (True, [])


def test_for_good_that_is_read_back_as_once_is_a_warning(fleet, strict):
    forgets(strict, Enabled="Once")
    code, _, err = fleet.run("boot", "disk", "rig01", "--persistent", "--yes")
    assert code == 0
    assert "rig01: warning: its BMC takes the boot device, and drops what else was asked for: persistent" in err


def test_a_mode_that_is_dropped_is_a_warning(fleet, strict):
    strict.documents[SETTINGS]["Boot"]["BootSourceOverrideMode"] = "Legacy"
    forgets(strict, "Mode")
    code, out, err = fleet.run("boot", "pxe", "rig01", "--efi")
    assert (code, out.split()) == (0, ["rig01", "pxe", "legacy"])
    assert "drops what else was asked for: efi" in err


def test_a_service_without_modes_is_asked_for_none_and_that_is_told(bmc, connect, fast_clock):
    for path in (SYSTEM, SETTINGS):
        del bmc.documents[path]["Boot"]["BootSourceOverrideMode"]
    said = []

    def modeless(request: Request) -> Answer | None:
        if request.method != "PATCH":
            return None
        said.append(request.json["Boot"])
        if "BootSourceOverrideMode" in said[-1]:
            return refusal(400, "Base.1.0.PropertyUnknown", "BootSourceOverrideMode is unknown.")
        bmc.documents[SETTINGS]["Boot"].update(said[-1])
        return Answer(204)

    disturb(bmc, modeless)
    driver = connect(bmc.url)
    assert policy.set_boot(driver, BootOverride(BootDevice.PXE), clock=fast_clock) == []
    assert driver.boot_override() == BootOverride(BootDevice.PXE)
    assert policy.set_boot(driver, BootOverride(BootDevice.DISK, efi=True), clock=fast_clock) == ["efi"]
    assert driver.boot_override() == BootOverride(BootDevice.DISK)
    assert len(said) == 2


def test_a_target_that_is_dropped_is_an_error(bmc, connect, fast_clock):
    forgets(bmc, "Target", "Enabled")
    with pytest.raises(PowerRefusedError, match="asked to boot from pxe next, and says none"):
        policy.set_boot(connect(bmc.url), BootOverride(BootDevice.PXE), clock=fast_clock)


def test_a_firmware_entry_that_somebody_chose_is_named_and_can_be_replaced(bmc, connect, fast_clock):
    """UefiTarget needs a path of its own beside it, which we neither send nor keep."""
    bmc.documents[SETTINGS]["Boot"].update(BootSourceOverrideEnabled="Once", BootSourceOverrideTarget="UefiTarget")
    driver = connect(bmc.url)
    with pytest.raises(policy.PowerError, match="the next boot is from UefiTarget, which has no name here"):
        driver.boot_override()
    assert policy.set_boot(driver, BootOverride(BootDevice.PXE, efi=True), clock=fast_clock) == []
    assert driver.boot_override() == BootOverride(BootDevice.PXE, efi=True)


def test_a_firmware_entry_can_be_taken_back_where_no_target_is_none(bmc, connect, fast_clock):
    for path in (SYSTEM, SETTINGS):
        bmc.documents[path]["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = ["Pxe", "Hdd", "UefiTarget"]
    bmc.documents[SETTINGS]["Boot"].update(BootSourceOverrideEnabled="Once", BootSourceOverrideTarget="UefiTarget")
    driver = connect(bmc.url)
    assert policy.set_boot(driver, BootOverride(BootDevice.NONE), clock=fast_clock) == []
    assert driver.boot_override().device is BootDevice.NONE


def test_a_lost_answer_to_a_boot_override_is_followed_by_a_reading(bmc, connect, fast_clock):
    lost = 0

    def loses(request: Request) -> Answer | None:
        nonlocal lost
        if request.method != "PATCH" or lost:
            return None
        lost += 1
        bmc.answered(request)
        return Answer(0)

    disturb(bmc, loses)
    assert policy.set_boot(connect(bmc.url), BootOverride(BootDevice.DISK, efi=True), clock=fast_clock) == []
    assert sum(request.method == "PATCH" for request in bmc.requests) == 1


def test_a_reset_type_that_is_not_offered_is_unsupported_and_nothing_is_sent(bmc, connect):
    bmc.documents[SYSTEM]["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = ["On"]
    with pytest.raises(PowerUnsupportedError, match="rig01"):
        connect(bmc.url).soft_off()
    assert bmc.resets == []
