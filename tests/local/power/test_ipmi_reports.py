"""Boot, sensors, events, inventory, users and audit by both IPMI drivers, on two BMCs, read back by ipmitool."""

from __future__ import annotations

import shutil

import pytest
from simulator import Simulator, ipmitool

from rigdeploy.errors import PowerBusyError, PowerRefusedError, PowerUnreachableError, PowerUnsupportedError
from rigdeploy.power import ipmi_audit, ipmi_boot, ipmi_events, ipmi_inventory, ipmi_sensors, policy
from rigdeploy.power.base import BootDevice, BootOverride, EventRecord, Health, PowerState, RestorePolicy, Sensor
from rigdeploy.power.ipmi import IpmiDriver
from rigdeploy.power.ipmi_raw import CompletionError
from rigdeploy.power.ipmitool import IpmitoolDriver
from rigdeploy.power.quirks import QuirkCache
from tests.bmc import FakeBmc, FakeBmcs

PASSWORD = "Planted-Pa55word"
NONE = BootOverride(BootDevice.NONE)


@pytest.fixture
def fake():
    with FakeBmcs() as bmcs:
        yield bmcs.start(FakeBmc(PASSWORD))


@pytest.fixture
def simulated(tmp_path):
    for tool in ("ipmi_sim", "ipmitool"):
        if shutil.which(tool) is None:
            pytest.skip(f"not tested: reports of a simulated BMC; {tool} is missing (Debian: openipmi, ipmitool)")
    directory = tmp_path / "simulated"
    directory.mkdir()
    simulator = Simulator(directory, PASSWORD)
    yield simulator
    simulator.stop()


@pytest.fixture
def password(tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    return file


@pytest.fixture(params=[IpmiDriver, IpmitoolDriver])
def connected(request, tmp_path, declare):
    """A driver of either kind for a BMC; closed at the end."""
    drivers = []

    def connected(bmc, **fields):
        power = declare(bmc.port, address=bmc.address, **fields)
        drivers.append(request.param("rig01", power, tmp_path, QuirkCache(tmp_path)))
        return drivers[-1]

    yield connected
    for driver in drivers:
        driver.close()


@pytest.mark.parametrize(
    ("wanted", "flags"),
    [
        (BootOverride(BootDevice.PXE, efi=True), "a0 04 00 00 00"),
        (BootOverride(BootDevice.DISK, efi=True, persistent=True), "e0 08 00 00 00"),
        (BootOverride(BootDevice.CD, efi=False), "80 14 00 00 00"),
        (BootOverride(BootDevice.BIOS, persistent=True), "c0 18 00 00 00"),
        (NONE, "00 00 00 00 00"),
    ],
)
def test_boot_flags_arrive_byte_for_byte_and_outlive_the_timer(fake, connected, password, wanted, flags):
    driver = connected(fake)
    assert policy.set_boot(driver, wanted) == []
    assert driver.boot_override() == BootOverride(wanted.device, bool(wanted.efi), wanted.persistent) or wanted == NONE
    assert ipmitool(fake, password, "raw", "0x00", "0x09", "5", "0", "0").strip() == f"01 05 {flags}"
    assert fake.state.boot[3] == b"\x08"


def test_boot_flags_without_the_timer_parameter(fake, connected):
    fake.faults.boot_timer_fixed = True
    assert policy.set_boot(connected(fake), BootOverride(BootDevice.PXE, efi=True)) == []


def test_stale_flags_are_no_override(fake, connected):
    fake.state.boot[5] = bytes((0x20, 0x04, 0, 0, 0))
    assert connected(fake).boot_override() == NONE


@pytest.mark.parametrize(("fault", "dropped"), [("efi_ignored", ["efi"]), ("persist_ignored", ["persistent"])])
def test_dropped_flags_are_told(fake, connected, fault, dropped):
    setattr(fake.faults, fault, True)
    assert policy.set_boot(connected(fake), BootOverride(BootDevice.PXE, efi=True, persistent=True)) == dropped


def test_a_dropped_device_is_refused(fake, connected, fast_clock):
    fake.faults.device_ignored = True
    with pytest.raises(PowerRefusedError, match="asked to boot from pxe next"):
        policy.set_boot(connected(fake), BootOverride(BootDevice.PXE), clock=fast_clock)


def test_a_cycle_boots_once_from_what_was_asked_for(fake, connected, fast_clock):
    fake.state.press(on=True)
    assert policy.cycle(connected(fake), 60, boot=BootOverride(BootDevice.PXE, efi=True), clock=fast_clock) == []
    assert fake.events("power") == ["on", "off", "on"]
    assert fake.events("boot")[-1] == "a0 04 00 00 00"


def test_a_bmc_that_drops_the_valid_bit_is_learned_and_believed(simulated, connected, password):
    driver = connected(simulated)
    assert policy.set_boot(driver, BootOverride(BootDevice.PXE, efi=True, persistent=True)) == ["efi", "persistent"]
    assert driver.boot_override().device is BootDevice.PXE
    assert (simulated.directory / "boot").read_text() == "pxe\n"
    assert policy.set_boot(driver, NONE) == []


def test_sensors(fake, connected, password):
    assert list(connected(fake).sensors()) == [
        Sensor("CPU Temp", "temperature", 42.0, "C", Health.OK),
        Sensor("FAN1", "fan", 1200.0, "RPM", Health.OK),
        Sensor("12V", "voltage", 12.06, "V", Health.OK),
        Sensor("GPU3 Temp", "temperature", None, "C", Health.UNKNOWN),
        Sensor("PSU1 Status", "discrete", None, "", Health.OK, ("present",)),
    ]
    assert "CPU Temp         | 42 degrees C" in ipmitool(fake, password, "sdr", "list", "full")


@pytest.mark.parametrize(
    ("number", "reading", "health", "states"),
    [
        (1, 86, Health.WARNING, ("upper non-critical",)),
        (1, 91, Health.CRITICAL, ("upper non-critical", "upper critical")),
        (2, 2, Health.CRITICAL, ("lower non-critical", "lower critical", "lower non-recoverable")),
        (5, 0x0B, Health.CRITICAL, ("present", "failed", "input lost")),
        (5, 0x05, Health.WARNING, ("present", "failure predicted")),
    ],
)
def test_sensors_out_of_range(fake, connected, number, reading, health, states):
    sensor = next(sensor for sensor in fake.state.sensors if sensor.number == number)
    sensor.reading = reading
    found = next(found for found in connected(fake).sensors() if found.name == sensor.name)
    assert (found.health, found.states) == (health, states)


def test_sensors_of_another_bmc(simulated, connected, password):
    driver = connected(simulated)
    assert list(driver.sensors()) == [Sensor("CPU Temp", "temperature", 42.0, "C", Health.OK)]
    assert "42 degrees C" in ipmitool(simulated, password, "sdr", "list", "full")


def test_events(fake, connected, password):
    fake.state.add_sel(0x01, 1, 0x01, bytes((0x59, 97, 90)), when=1_700_000_000)
    fake.state.add_sel(0x01, 1, 0x81, bytes((0x59, 80, 90)), when=1_700_000_060)
    fake.state.add_sel(0x08, 5, 0x6F, bytes((0x03, 0xFF, 0xFF)), when=1_700_000_120)
    fake.state.add_sel(0x0C, 77, 0x6F, bytes((0xA1, 0x02, 0x03)), when=9)
    driver = connected(fake)
    assert driver.events() == [
        EventRecord(1, 1_700_000_000.0, "CPU Temp", "upper critical, going high (97 C, limit 90 C)", Health.CRITICAL),
        EventRecord(2, 1_700_000_060.0, "CPU Temp", "upper critical, going high (80 C, limit 90 C): over", Health.OK),
        EventRecord(3, 1_700_000_120.0, "PSU1 Status", "input lost", Health.CRITICAL),
        EventRecord(4, None, "memory #77", "uncorrectable ECC error (data 02 03)", Health.CRITICAL),
    ]
    assert len(ipmitool(fake, password, "sel", "list").splitlines()) == 4
    driver.clear_events()
    assert driver.events() == []
    assert "no entries" in ipmitool(fake, password, "sel", "list") or not fake.state.sel


def test_events_of_another_bmc(simulated, connected, password):
    words = ["0x0a", "0x44", "0", "0", "2", "0", "0", "0", "0", "0x20", "0", "4", "1", "1", "1", "0x59", "97", "90"]
    ipmitool(simulated, password, "raw", *words)
    driver = connected(simulated)
    (event,) = driver.events()
    assert (event.source, event.text) == ("CPU Temp", "upper critical, going high (97 C, limit 90 C)")
    driver.clear_events()
    assert driver.events() == []
    assert "0%" in ipmitool(simulated, password, "sel", "info")


def test_inventory(fake, simulated, connected, password):
    driver = connected(fake)
    found = dict(driver.inventory())
    assert found == {
        "firmware": "3.12",
        "ipmi": "2.0",
        "manufacturer_id": "49622",
        "product_id": "3842",
        "board_manufacturer": "ASRockRack",
        "board_product": "ROMED8-2T",
        "board_serial": "SN0001",
        "board_part": "PN0001",
        "product_manufacturer": "ASRockRack",
        "product_name": "ROMED8-2T",
        "product_part": "PN0001",
        "product_version": "1.02",
        "product_serial": "SN0001",
    }
    other = dict(connected(simulated).inventory())
    assert {
        name: text for name, text in found.items() if name.startswith(("board", "product_n"))
    }.items() <= other.items()
    assert "Board Serial          : SN0001" in ipmitool(simulated, password, "fru")


def test_identify(fake, connected):
    driver = connected(fake)
    driver.identify(15)
    driver.identify(0)
    assert fake.events("identify") == ["15", "0"]
    with pytest.raises(PowerUnsupportedError, match="0 to 255"):
        driver.identify(256)


@pytest.mark.parametrize(("new", "size"), [("Sixteen-bytes-ok", 16), ("Twenty-bytes-are-ok!", 20)])
def test_another_password(fake, connected, new, size):
    connected(fake).set_password("oper", new)
    assert (fake.state.users[3].password, fake.state.users[3].size) == (new.encode(), size)
    assert fake.state.users[2].password == PASSWORD.encode()


def test_another_password_on_another_bmc(simulated, connected, tmp_path):
    driver = connected(simulated)
    driver.set_password("admin", "Another-Pa55word")
    driver.close()
    fresh = connected(simulated, password="Another-Pa55word")
    assert fresh.state() is PowerState.OFF


@pytest.mark.parametrize(
    ("user", "new", "words"),
    [("nobody", "long-enough", "no user 'nobody'"), ("admin", "x" * 21, "1 to 20"), ("admin", "", "1 to 20")],
)
def test_passwords_that_cannot_be_set(fake, connected, user, new, words):
    with pytest.raises(PowerRefusedError, match=words):
        connected(fake).set_password(user, new)
    assert fake.state.users[2].password == PASSWORD.encode()


@pytest.mark.parametrize("wanted", RestorePolicy)
def test_restore_policy(fake, connected, password, wanted):
    driver = connected(fake)
    driver.set_restore_policy(wanted)
    assert driver.restore_policy() is wanted
    assert f"Power Restore Policy : {wanted}" in ipmitool(fake, password, "chassis", "status")


def test_an_unknown_restore_policy_is_none(fake, connected):
    fake.state.restore = 3
    assert connected(fake).restore_policy() is None


def test_a_busy_bmc_is_busy_for_reports_too(fake, connected):
    driver = connected(fake)
    driver.state()
    for report in (driver.sensors, driver.events, driver.inventory, driver.boot_override):
        fake.faults.busy_next = 1
        with pytest.raises(PowerBusyError):
            report()


def test_long_readings_survive_loss_in_one_session(fake, tmp_path, declare):
    power = declare(fake.port, address=fake.address)
    driver = IpmiDriver("rig01", power, tmp_path, QuirkCache(tmp_path), answer_seconds=0.1)
    driver.state()
    fake.faults.drop_rate = 0.2
    for _ in range(5):
        assert len(driver.sensors()) == 5
    fake.faults.drop_rate = 0.0
    driver.close()
    assert len(fake.events("log-in")) == 1


class Scripted:
    """A Raw that answers from a table, refuses what is not in it, and keeps what was asked."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    def ask(self, netfn, command, data=b"", *, least=0):
        self.asked.append((netfn, command, data))
        answer = self.table.get((netfn, command), 0xC1)
        answer = answer(data) if callable(answer) else answer
        if isinstance(answer, int):
            raise CompletionError(answer)
        return answer

    change = ask


@pytest.mark.parametrize(("ended", "cleared"), [(2, True), (9, False)])
def test_clearing_a_log_whose_reservation_ended_is_begun_again(ended, cleared):
    answers = iter([0xC5] * ended + [b"\1"] * 2)
    scripted = Scripted({(0x0A, 0x42): b"\1\0", (0x0A, 0x47): lambda _: next(answers)})
    if cleared:
        ipmi_events.clear(scripted)
    else:
        with pytest.raises(CompletionError, match="0xc5"):
            ipmi_events.clear(scripted)
    assert sum(one[1] == 0x47 for one in scripted.asked) == (ended + 2 if cleared else 5)


@pytest.mark.parametrize("report", [ipmi_sensors.sensors, ipmi_sensors.records])
def test_a_bmc_without_sensor_records_has_no_sensors(report):
    assert report(Scripted({})) == []


def test_a_repository_that_goes_in_circles_or_holds_junk_ends():
    junk = Scripted({(0x0A, 0x22): b"\1\0", (0x0A, 0x23): lambda _: b"\0\0" + bytes(range(40))})
    assert ipmi_sensors.records(junk) == []
    assert len(junk.asked) < 5


def test_records_are_read_in_pieces_where_the_bmc_can_return_no_more(fake, connected):
    driver = connected(fake)

    class Small(Scripted):
        def ask(self, netfn, command, data=b"", *, least=0):
            if (netfn, command) == (0x0A, 0x23) and data[5] > 16:
                raise CompletionError(0xCA)
            return driver.ask(netfn, command, data, least=least)

    names = [record.name for record in ipmi_sensors.records(driver)]
    assert [record.name for record in ipmi_sensors.records(Small({}))] == names
    assert len(names) == 5


def test_a_log_that_is_not_there_is_unsupported(fake, connected):
    with pytest.raises(CompletionError):
        ipmi_events.events(Scripted({}))
    assert ipmi_events.events(Scripted({(0x0A, 0x40): b"\x51\0\0" + bytes(11)})) == []


@pytest.mark.parametrize("damage", [b"", b"\1\0\0\1", b"\xff" * 64, b"\1\0\0\1\0\0\0\xfe" + b"\1\1\x19" + b"\xff" * 5])
def test_a_damaged_fru_says_nothing(damage):
    assert ipmi_inventory.decode(damage) == {}


def test_a_device_without_a_name_is_no_override_of_ours():
    assert ipmi_boot.decode(bytes((0x80, 0x0F << 2, 0, 0, 0))) is None
    assert ipmi_boot.decode(bytes((0x80, 0x08 << 2, 0, 0, 0))) == BootOverride(BootDevice.CD, efi=False)


def test_audit(fake, connected):
    fake.state.suites[3] = 2
    driver = connected(fake)
    assert ipmi_audit.offered_suites(driver) == (3, 17)
    assert ipmi_audit.suite_privileges(driver) == {3: 2, 17: 4}
    assert ipmi_audit.null_user_enabled(driver, fake.address, fake.port) is False
    assert ipmi_audit.allows_ipmi_1_5(fake.address, fake.port) is False
    assert ipmi_audit.suite_0_opens(fake.address, fake.port, "admin") is False
    assert ipmi_audit.answers_ping(fake.address, fake.port) is True
    fake.state.users[1].enabled, fake.state.users[1].privilege = True, 2
    assert ipmi_audit.null_user_enabled(driver, fake.address, fake.port) is True
    fake.faults.ping = False
    assert ipmi_audit.answers_ping(fake.address, fake.port) is False


def test_audit_of_an_open_bmc(simulated, connected):
    driver = connected(simulated)
    assert 0 in ipmi_audit.offered_suites(driver)
    assert ipmi_audit.allows_ipmi_1_5(simulated.address, simulated.port) is True
    for _ in range(80):  # more than there are slots: each session is closed again
        assert ipmi_audit.suite_0_opens(simulated.address, simulated.port, "admin") is True
    assert ipmi_audit.suite_0_opens(simulated.address, simulated.port, "nobody") is False
    assert ipmi_audit.kept_boot_flags(driver) == {"device"}
    assert (simulated.directory / "boot").read_text() == "none\n"


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (None, {"valid", "device", "efi", "persistent"}),
        ("efi_ignored", {"valid", "device", "persistent"}),
        ("device_ignored", {"valid", "efi", "persistent"}),
    ],
)
def test_the_boot_trial_leaves_the_flags_as_they_were(fake, connected, fault, kept):
    before = bytes(5) if fault == "device_ignored" else bytes((0x80, 0x08, 0, 0, 0))
    fake.state.boot[5] = before
    if fault:
        setattr(fake.faults, fault, True)
    assert ipmi_audit.kept_boot_flags(connected(fake)) == kept
    assert fake.state.boot[5] == before


def test_what_nobody_answers_is_unknown(fake, monkeypatch):
    monkeypatch.setattr(ipmi_audit, "ANSWER_SECONDS", 0.05)
    fake.faults.silent = True
    assert ipmi_audit.suite_0_opens(fake.address, fake.port, "admin") is None
    assert ipmi_audit.allows_ipmi_1_5(fake.address, fake.port) is None
    assert ipmi_audit.answers_ping(fake.address, fake.port) is False
    refused = Scripted({})
    assert ipmi_audit.offered_suites(refused) is None
    assert ipmi_audit.suite_privileges(refused) is None
    assert ipmi_audit.null_user_enabled(refused, fake.address, fake.port) is None
    assert ipmi_audit.kept_boot_flags(refused) is None


@pytest.mark.parametrize(
    ("records", "suites"),
    [
        ("", ()),
        ("c0 03 01 41 81 c0 11 03 44 81", (3, 17)),
        ("c1 80 d6 c1 00 01 41 81 c0 03 01 41 81", (3,)),
        ("c0", ()),
        ("00 00 c0 02", (2,)),
    ],
)
def test_suite_records(records, suites):
    assert ipmi_audit.parse_suites(bytes.fromhex(records)) == suites


def test_a_bmc_that_goes_away_in_a_report_is_unreachable(fake, tmp_path, declare):
    power = declare(fake.port, address=fake.address)
    driver = IpmiDriver("rig01", power, tmp_path, QuirkCache(tmp_path), answer_seconds=0.05)
    driver.state()
    fake.faults.silent = True
    with pytest.raises(PowerUnreachableError):
        driver.sensors()
