"""What is known of a BMC: who is believed first, and what a new firmware makes of it."""

from __future__ import annotations

import pytest

from rigdeploy.fleet.models import BmcQuirks
from rigdeploy.power.quirks import QuirkCache

BMC = "192.0.2.111:623"
DROPS, KEEPS = BmcQuirks(boot_dropped=["efi"]), BmcQuirks(boot_dropped=[])


@pytest.mark.parametrize(
    ("declared", "learned", "board", "believed"),
    [
        (None, None, None, None),
        (None, None, DROPS, ["efi"]),
        (BmcQuirks(), [], DROPS, []),
        (BmcQuirks(), ["valid"], DROPS, ["valid"]),
        (KEEPS, ["valid"], DROPS, []),
        (DROPS, None, None, ["efi"]),
    ],
)
def test_the_owner_then_the_bmc_then_the_catalogue(tmp_path, declared, learned, board, believed):
    if learned is not None:
        QuirkCache(tmp_path).put(BMC, "boot_dropped", learned)
    assert QuirkCache(tmp_path, declared, board).get(BMC, "boot_dropped") == believed
    assert QuirkCache(tmp_path, declared, board).get("192.0.2.112:623", "cipher") is None


def test_what_was_learned_is_learned_although_something_is_declared(tmp_path):
    QuirkCache(tmp_path, KEEPS).put(BMC, "boot_dropped", [])
    assert QuirkCache(tmp_path, None, DROPS).get(BMC, "boot_dropped") == []


@pytest.mark.parametrize(("before", "kept"), [("3.12", True), ("3.11", False), (None, True)])
def test_another_firmware_has_quirks_of_its_own(tmp_path, before, kept):
    cache = QuirkCache(tmp_path)
    cache.put(BMC, "boot_dropped", ["valid"])
    cache.put("192.0.2.112:623", "cipher", 3)
    if before is not None:
        cache.put(BMC, "firmware", before)
    cache.saw_firmware(BMC, "3.12")
    cache.saw_firmware(BMC, "")
    assert cache.get(BMC, "boot_dropped") == (["valid"] if kept else None)
    assert (cache.get(BMC, "firmware"), cache.get("192.0.2.112:623", "cipher")) == ("3.12", 3)
