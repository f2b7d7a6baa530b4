"""``rigdeploy bmc`` as a user meets it, against fake BMCs by either IPMI driver."""

from __future__ import annotations

import json
import stat
from contextlib import closing

import pytest
from command_line import PASSWORD
from power_servers import StrictBmc, make_certificate

from tests.bmc import OPERATOR, USER, Faults


@pytest.fixture(params=["ipmi", "ipmitool"])
def driver(request):
    return request.param


# --- reports ---


def test_sensors(fleet, driver):
    bmc = fleet.add("rig01", driver=driver)
    bmc.state.sensors[0].reading = 91
    code, out, _ = fleet.run("bmc", "sensors", "rig01")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:4] == ["rig01", "4", "of", "5"]
    assert ["CPU", "Temp", "91", "C", "critical"] in [row[:5] for row in rows]
    assert ["FAN1", "1200", "RPM", "ok"] in rows
    assert "GPU3" not in out
    assert "GPU3" in fleet.run("bmc", "sensors", "rig01", "--all")[1]
    code, found = fleet.rows("bmc", "sensors", "rig01")
    assert {"name": "CPU Temp", "value": 91.0, "health": "critical"}.items() <= found["rig01"]["sensors"][0].items()


def test_the_event_log_is_shown_and_then_cleared(fleet, driver):
    bmc = fleet.add("rig01", driver=driver)
    bmc.state.add_sel(0x01, 1, 0x01, bytes((0x59, 0x5B, 0x5A)), when=1_700_000_000)
    bmc.state.add_sel(0x08, 5, 0x6F, bytes((0x01, 0xFF, 0xFF)), when=0)
    code, out, _ = fleet.run("bmc", "sel", "rig01")
    assert code == 0
    assert "rig01  2 events" in out
    assert "2023-11-1" in out
    code, _, err = fleet.run("bmc", "sel", "rig01", "--clear")
    assert code == 4
    assert "this would clear the event log of rig01" in err
    assert len(bmc.state.sel) == 2
    code, rows = fleet.rows("bmc", "sel", "rig01", "--clear", "--yes")
    assert code == 0
    assert rows["rig01"]["cleared"] is True
    assert len(rows["rig01"]["events"]) == 2
    assert bmc.state.sel == {}
    assert fleet.run("bmc", "sel", "--clear", "--yes")[0] == 4


def test_inventory(fleet, driver):
    fleet.add("rig01", driver=driver)
    code, out, _ = fleet.run("bmc", "fru", "rig01")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["board_product", "ROMED8-2T"] in rows
    assert fleet.rows("bmc", "fru")[1]["rig01"]["inventory"]["board_serial"] == "SN0001"


def test_the_lamp(fleet, driver):
    bmc = fleet.add("rig01", driver=driver)
    assert fleet.run("bmc", "identify", "rig01", "--seconds", "30")[0] == 0
    assert fleet.run("bmc", "identify", "rig01", "--off")[0] == 0
    assert bmc.events("identify") == ["30", "0"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["sensors"], "read sensors"),
        (["sel"], "read the event log"),
        (["fru"], "read the inventory"),
        (["identify"], "light the identify lamp"),
    ],
)
def test_a_rig_without_a_bmc_is_an_error_of_its_own(fleet, words, what):
    fleet.add("rig01")
    code, _, err = fleet.run("bmc", *words, "hand", "rig01")
    assert code == 5
    assert f"hand (switched by hand): cannot {what}" in err
    assert "rig01  error" not in err


@pytest.mark.parametrize("words", [["bmc", "sensors"], ["bmc", "fru"], ["bmc", "probe"], ["boot", "status"]])
def test_without_names_it_is_about_the_rigs_that_have_a_bmc(fleet, words):
    fleet.add("rig01")
    code, rows = fleet.rows(*words)
    assert code in (0, 3)
    assert list(rows) == ["rig01"]


# --- a new password ---


def test_a_password_is_rotated_and_stored(fleet, driver):
    bmc = fleet.add("rig01", driver=driver)
    code, out, err = fleet.run("bmc", "user", "rotate", "rig01", "--yes")
    new = fleet.stored("rig01")
    assert code == 0
    assert bmc.state.users[2].password == new.encode()
    assert len(new) == 16
    assert new not in out + err
    assert stat.S_IMODE((fleet.directory / "inventory" / "rig01.password").stat().st_mode) == 0o600
    assert fleet.run("power", "status", "rig01")[0] == 0
    assert list((fleet.state / "rotations").iterdir()) == []
    assert new not in "".join(path.read_text() for path in fleet.state.rglob("*") if path.is_file())


def test_many_rigs_at_once(fleet):
    bmcs = {name: fleet.add(name) for name in ("rig01", "rig02", "rig03")}
    code, rows = fleet.rows("bmc", "user", "rotate", "rig*", "--yes")
    assert code == 0
    assert {row["outcome"] for row in rows.values()} == {"changed"}
    assert len({fleet.stored(name) for name in bmcs}) == 3
    for name, bmc in bmcs.items():
        assert bmc.state.users[2].password == fleet.stored(name).encode()


def test_a_rotation_needs_a_yes_and_a_name(fleet):
    bmc = fleet.add("rig01")
    assert fleet.run("bmc", "user", "rotate", "rig01")[0] == 4
    assert fleet.run("bmc", "user", "rotate", "--yes")[0] == 4
    assert bmc.events("log-in") == []


def test_a_password_that_cannot_be_stored_is_not_changed(fleet, monkeypatch, tmp_path):
    monkeypatch.setenv("RIG_PASSWORD", PASSWORD)
    bmc = fleet.add("rig01", secret="{env: RIG_PASSWORD}")
    code, _, err = fleet.run("bmc", "user", "rotate", "rig01", "--yes")
    assert code == 4
    assert "env:RIG_PASSWORD, where rigdeploy cannot store a new one" in err
    assert bmc.events("log-in") == []
    code, _, err = fleet.run("bmc", "user", "rotate", "rig01", "--yes", "--output", str(tmp_path / "new"))
    assert code == 0
    assert "put the new one there now" in err
    assert bmc.state.users[2].password == (tmp_path / "new").read_text().rstrip().encode()


@pytest.mark.parametrize("privilege", [USER, OPERATOR])
def test_another_user(fleet, tmp_path, driver, privilege):
    bmc = fleet.add("rig01", driver=driver)
    bmc.state.users[3].privilege = privilege
    output = tmp_path / "oper"
    code, _, _ = fleet.run("bmc", "user", "rotate", "rig01", "--yes", "--username", "oper", "--output", str(output))
    assert code == 0
    assert bmc.state.users[3].password == output.read_text().rstrip().encode()
    assert bmc.state.users[2].password == fleet.stored("rig01").encode()


def test_an_interrupted_rotation_is_named_and_finished(fleet):
    bmc = fleet.add("rig01")
    journal = fleet.state / "rotations" / "rig01.json"
    fleet.run("power", "status", "rig01")
    journal.parent.mkdir()
    said = {"schema": 1, "bmc": f"{bmc.address}:{bmc.port}", "username": "admin", "password": "New0123456789abc"}
    journal.write_text(json.dumps(said))
    bmc.state.users[2].password = b"New0123456789abc"
    code, _, err = fleet.run("power", "status", "rig01")
    assert code == 5
    assert "rigdeploy bmc user rotate rig01 finishes it" in err
    code, rows = fleet.rows("bmc", "user", "rotate", "rig01", "--yes")
    assert (code, rows["rig01"]["outcome"]) == (0, "finished")
    assert fleet.stored("rig01") == "New0123456789abc"
    assert not journal.exists()


def test_a_busy_bmc_with_lost_answers_is_rotated_all_the_same(fleet):
    bmc = fleet.add("rig01", faults=Faults(drop_rate=0.1, busy_next=2))
    for _ in range(5):
        assert fleet.run("bmc", "user", "rotate", "rig01", "--yes")[0] in (0, 5)
        noted = "".join(path.read_text() for path in (fleet.state / "rotations").iterdir())
        password = bmc.state.users[2].password.decode()
        assert password == fleet.stored("rig01") or password in noted
    bmc.faults.drop_rate = 0
    assert fleet.run("bmc", "user", "rotate", "rig01", "--yes")[0] == 0
    assert bmc.state.users[2].password == fleet.stored("rig01").encode()


# --- the audit ---


def verdicts(row):
    return {finding["check"].removeprefix("bmc."): finding["status"] for finding in row["findings"]}


def test_a_sound_bmc_is_unknown_by_its_firmware_alone(fleet, driver):
    bmc = fleet.add("rig01", driver=driver)
    code, rows = fleet.rows("bmc", "probe", "rig01")
    assert code == 3
    assert rows["rig01"]["status"] == "UNKNOWN"
    assert verdicts(rows["rig01"]) == {
        "login": "PASS",
        "suites": "PASS",
        "cipher_0": "PASS",
        "ipmi_1_5": "PASS",
        "null_user": "PASS",
        "password": "PASS",
        "firmware": "UNKNOWN",
    }
    facts = rows["rig01"]["facts"]
    assert (facts["offered"], facts["working"], facts["board"]) == ([3, 17], {"17": True, "3": True}, "ROMED8-2T")
    assert "username" not in facts
    assert bmc.events("control") == []
    assert bmc.becomes_free()
    assert fleet.run("bmc", "probe", "rig01", "--strict")[0] == 2


def test_what_is_wrong_is_found(fleet, driver):
    bmc = fleet.add("rig01", driver=driver, suites=(0, 3))
    bmc.state.users[1].enabled = True
    bmc.state.users[1].privilege = 4
    code, out, _ = fleet.run("bmc", "probe", "rig01")
    assert code == 2
    assert "FAIL     bmc.cipher_0   open: it lets anybody in" in out
    assert "ipmitool lan set 1 cipher_privs XaXXXXXXXXXXXXX" in " ".join(out.split())
    assert "FAIL     bmc.null_user  enabled" in out
    assert "PASS     bmc.suites     3 work; offered: 0, 3" in out


def test_a_suite_that_is_offered_and_does_not_work(fleet, driver):
    bmc = fleet.add("rig01", driver=driver, declared="cipher: 3")
    bmc.state.suites[17] = 2  # the privilege that it may be used with
    code, rows = fleet.rows("bmc", "probe", "rig01")
    assert (code, verdicts(rows["rig01"])["suites"]) == (1, "WARN")
    assert fleet.run("power", "status", "rig01")[0] == 0


def test_suite_0_is_found_open_by_who_may_not_administer(fleet, driver):
    secret = "{env: OPER_PASSWORD}"
    bmc = fleet.add(
        "rig01", driver=driver, suites=(0, 3, 17), username="oper", secret=secret, declared="privilege: operator"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPER_PASSWORD", bmc.state.users[3].password.decode())
        _, rows = fleet.rows("bmc", "probe", "rig01")
    assert (verdicts(rows["rig01"])["login"], verdicts(rows["rig01"])["cipher_0"]) == ("PASS", "FAIL")


def test_who_is_not_let_in_still_learns_what_anybody_can(fleet, driver):
    bmc = fleet.add("rig01", driver=driver, suites=(0, 3, 17))
    (fleet.directory / "inventory" / "rig01.password").write_text("wrong-Pa55word-1")
    code, rows = fleet.rows("bmc", "probe", "rig01")
    assert code == 2
    said = verdicts(rows["rig01"])
    assert (said["login"], said["cipher_0"], said["suites"]) == ("FAIL", "FAIL", "UNKNOWN")
    assert len(bmc.events("refused")) <= 1


def test_a_bmc_that_is_not_there_is_an_error(fleet):
    fleet.add("rig01", faults=Faults(silent=True))
    fleet.add("rig02")
    code, rows = fleet.rows("bmc", "probe", "*")
    assert code == 5
    assert rows["rig01"]["error"]["kind"] == "PowerUnreachableError"
    assert rows["rig01"]["findings"] is None
    assert rows["hand"]["error"]["kind"] == "PowerUnsupportedError"
    assert rows["rig02"]["status"] == "UNKNOWN"


def test_boot_flags_are_tried_and_set_back(fleet, driver):
    bmc = fleet.add("rig01", driver=driver, faults=Faults(efi_ignored=True, persist_ignored=True))
    assert fleet.run("boot", "disk", "rig01")[0] == 0
    before = bmc.state.get_boot(5)
    assert fleet.run("bmc", "probe", "rig01", "--write-test")[0] == 4
    code, rows = fleet.rows("bmc", "probe", "rig01", "--write-test", "--yes")
    assert (code, verdicts(rows["rig01"])["boot_flags"]) == (1, "WARN")
    assert rows["rig01"]["facts"]["dropped"] == ["efi", "persistent"]
    assert bmc.state.get_boot(5) == before
    learned = json.loads((fleet.state / "bmc.json").read_text())["bmcs"][f"{bmc.address}:{bmc.port}"]
    assert learned["boot_dropped"] == ["efi", "persistent"]
    assert "this BMC is known to drop persistent" in fleet.run("boot", "disk", "rig01", "--persistent", "--yes")[2]
    bmc.faults.persist_ignored = False
    assert fleet.run("boot", "disk", "rig01", "--persistent", "--yes")[0] == 0
    assert "known to drop" not in fleet.run("boot", "disk", "rig01", "--persistent", "--yes")[2]


def test_makers_log_ins_are_tried_only_when_asked_and_twice_at_most(fleet):
    bmc = fleet.add("rig01", username="oper", declared="privilege: operator")
    fleet.run("bmc", "probe", "rig01")
    assert bmc.events("refused") == []
    code, rows = fleet.rows("bmc", "probe", "rig01", "--default-passwords")
    assert verdicts(rows["rig01"])["default_login"] == "PASS"
    assert bmc.events("refused") == ["admin"]
    bmc.state.users[2].password = b"admin"
    code, rows = fleet.rows("bmc", "probe", "rig01", "--default-passwords")
    assert (code, verdicts(rows["rig01"])["default_login"]) == (2, "FAIL")
    assert bmc.events("refused") == ["admin"]


def test_the_report_holds_all_but_secrets(fleet, tmp_path):
    fleet.add("rig01", username="oper", declared="privilege: operator")
    fleet.run("bmc", "probe", "rig01", "hand", "--report", str(tmp_path / "report.json"))
    text = (tmp_path / "report.json").read_text()
    document = json.loads(text)
    assert document["schema"] == 1
    assert document["rigs"]["rig01"]["facts"]["driver"] == "ipmi"
    assert document["rigs"]["hand"]["error"]["kind"] == "PowerUnsupportedError"
    assert PASSWORD not in text


# --- Redfish ---


@pytest.fixture
def strict(fleet):
    with closing(StrictBmc()) as bmc:
        fleet.add_redfish("rig01", bmc.url)
        yield bmc


def test_a_redfish_service_is_audited(fleet, strict, tmp_path):
    code, rows = fleet.rows("bmc", "probe", "rig01", "--report", str(tmp_path / "report.json"))
    assert code == 2
    assert verdicts(rows["rig01"]) == {"login": "PASS", "password": "PASS", "tls": "FAIL", "firmware": "UNKNOWN"}
    certificate = make_certificate(tmp_path)
    with closing(StrictBmc(certificate)) as bmc:
        fleet.add_redfish("rig02", bmc.url, f"certificate: {certificate[0]}")
        assert verdicts(fleet.rows("bmc", "probe", "rig02")[1]["rig02"])["tls"] == "PASS"


def test_what_a_redfish_boot_override_keeps(fleet, strict):
    assert fleet.run("boot", "pxe", "rig01")[0] == 0
    before = fleet.rows("boot", "status", "rig01")[1]
    rows = fleet.rows("bmc", "probe", "rig01", "--write-test", "--yes")[1]
    assert verdicts(rows["rig01"])["boot_flags"] == "PASS"
    assert fleet.rows("boot", "status", "rig01")[1] == before


def test_makers_log_ins_by_redfish(fleet, strict):
    rows = fleet.rows("bmc", "probe", "rig01", "--default-passwords")[1]
    assert rows["rig01"]["facts"]["default_login"] is None
    assert strict.log_ins <= 3


def test_a_redfish_password_is_rotated(fleet, strict):
    code, rows = fleet.rows("bmc", "user", "rotate", "rig01", "--yes")
    assert (code, rows["rig01"]["outcome"]) == (0, "changed")
    assert strict.password == fleet.stored("rig01") != PASSWORD
    assert fleet.run("power", "status", "rig01")[0] == 0


def test_a_redfish_service_has_no_console_over_ipmi(fleet, strict):
    code, _, err = fleet.run("bmc", "console", "rig01")
    assert code == 5
    assert "has no console over IPMI" in err


# --- console ---


def test_a_console_is_one_rigs_and_needs_a_terminal(fleet):
    fleet.add("rig01")
    fleet.add("rig02")
    assert fleet.run("bmc", "console", "rig*")[0] == 4
    code, _, err = fleet.run("bmc", "console", "rig01")
    assert code == 4
    assert "needs a terminal" in err
    assert fleet.run("bmc", "console", "hand")[0] == 5


# --- help ---


@pytest.mark.parametrize("words", ["", "probe", "sensors", "sel", "fru", "identify", "user", "user rotate", "console"])
def test_help_has_an_example(fleet, words):
    code, out, _ = fleet.run("bmc", *words.split(), "--help")
    assert code == 0
    assert f"rigdeploy bmc {words}".strip() in out
