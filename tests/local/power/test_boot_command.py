"""``rigdeploy boot`` as a user meets it, and ``power cycle --boot``."""

from __future__ import annotations

import pytest

from tests.bmc import Faults


@pytest.fixture(params=["ipmi", "ipmitool"])
def driver(request):
    return request.param


def flags(bmc):
    return bmc.state.get_boot(5).hex(" ")


def test_the_next_boot_is_chosen_read_back_and_taken_back(fleet, driver):
    bmc = fleet.add("rig01", driver=driver)
    assert fleet.rows("boot", "pxe", "rig01", "--efi") == (
        0,
        {
            "rig01": {
                "driver": driver,
                "device": "pxe",
                "efi": True,
                "persistent": False,
                "dropped": [],
                "error": None,
            }
        },
    )
    assert flags(bmc) == "a0 04 00 00 00"
    code, out, _ = fleet.run("boot", "status", "rig01")
    assert (code, out.split()) == (0, ["rig01", "pxe", "EFI"])
    code, out, _ = fleet.run("boot", "none", "rig01")
    assert (code, out.split()) == (0, ["rig01", "none"])
    assert flags(bmc)[:2] == "00"
    assert bmc.events("control") == []


@pytest.mark.parametrize(
    ("device", "options", "octets"),
    [
        ("disk", [], "80 08"),
        ("bios", ["--legacy"], "80 18"),
        ("cd", ["--efi"], "a0 14"),
        ("disk", ["--efi", "--persistent", "--yes"], "e0 08"),
    ],
)
def test_every_device(fleet, device, options, octets):
    bmc = fleet.add("rig01")
    assert fleet.run("boot", device, "rig01", *options)[0] == 0
    assert flags(bmc)[:5] == octets


def test_what_the_bmc_drops_is_a_warning(fleet):
    fleet.add("rig01", faults=Faults(efi_ignored=True, persist_ignored=True))
    code, out, err = fleet.run("boot", "pxe", "rig01", "--efi", "--persistent", "--yes")
    assert code == 0
    assert out.split()[:2] == ["rig01", "pxe"]
    assert "rig01: warning: its BMC takes the boot device, and drops what else was asked for: efi, persistent" in err
    assert fleet.rows("boot", "pxe", "rig01", "--efi")[1]["rig01"]["dropped"] == ["efi"]


def test_a_dropped_device_is_an_error(fleet):
    fleet.add("rig01", faults=Faults(device_ignored=True))
    fleet.add("rig02")
    code, rows = fleet.rows("boot", "pxe", "rig01", "rig02")
    assert code == 5
    assert rows["rig01"]["error"]["kind"] == "PowerRefusedError"
    assert rows["rig01"]["device"] is None
    assert rows["rig02"]["device"] == "pxe"


def test_what_lasts_is_confirmed(fleet):
    bmc = fleet.add("rig01")
    code, _, err = fleet.run("boot", "disk", "rig01", "--persistent")
    assert code == 4
    assert "this would boot from disk, at every start, rig01" in err
    assert flags(bmc) == "00 00 00 00 00"


def test_rigs_are_named(fleet):
    fleet.add("rig01")
    assert fleet.run("boot", "pxe")[0] == 4
    assert fleet.run("boot", "none")[0] == 4


def test_a_rig_without_a_bmc_cannot_choose(fleet):
    fleet.add("rig01")
    code, _, err = fleet.run("boot", "pxe", "hand")
    assert code == 5
    assert "hand (switched by hand): cannot choose what the rig boots from next this way" in err


def test_a_cycle_sets_the_boot_device_while_the_rig_is_off(fleet, driver):
    bmc = fleet.add("rig01", driver=driver, on=True)
    code, out, _ = fleet.run("power", "cycle", "rig01", "--boot", "pxe", "--efi", "--yes")
    assert (code, out.split()[:2]) == (0, ["rig01", "on"])
    assert bmc.events("power") == ["off", "on"]
    assert bmc.events("boot")[-1] == "a0 04 00 00 00"


def test_a_cycle_says_what_was_dropped(fleet):
    fleet.add("rig01", faults=Faults(efi_ignored=True))
    code, _, err = fleet.run("power", "cycle", "rig01", "--boot", "pxe", "--efi", "--yes")
    assert code == 0
    assert "drops what else was asked for: efi" in err
    assert fleet.rows("power", "cycle", "rig01", "--boot", "pxe", "--efi", "--yes")[1]["rig01"]["dropped"] == ["efi"]


def test_a_cycle_that_cannot_choose_touches_nothing(fleet):
    fleet.add("rig01")
    code, _, err = fleet.run("power", "cycle", "hand", "--boot", "pxe", "--yes")
    assert code == 5
    assert "cannot choose" in err
    assert "please switch" not in err


def test_efi_and_legacy_without_a_device_are_refused(fleet):
    fleet.add("rig01")
    code, _, err = fleet.run("power", "cycle", "rig01", "--efi", "--yes")
    assert code == 4
    assert "--boot" in err
