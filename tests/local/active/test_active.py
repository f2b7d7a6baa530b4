"""The active check, run as a node runs it, against the lab's simulated driver."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.local.active.conftest import CARDS, GTS, HURRY, PORT, Result, compile_driver, program

FIRST, SECOND, *_ = CARDS
# GB/s per lane and direction after encoding, as the driver's copies are timed by; it reaches 85 %.
LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938}


def reached(gen, width):
    return pytest.approx(0.85 * LANE[gen] * width, rel=0.02)


def speed_of(home):
    return (home / "current_link_speed").read_text().split()[0]


def test_a_sound_rig(rig):
    """Unhurried, as on a real node."""
    homes = [rig.card(address, memory_mib=1024, p2p=1, nvlink=f"{CARDS[at ^ 1]},-") for at, address in enumerate(CARDS)]
    result = rig.check("--memory-share", "0.05", text=program())
    load = result.load
    assert (load.ended, load.boot_id, load.unread) == ("done", "b00t", ())
    assert load.taken == pytest.approx(time.time(), abs=60)
    assert tuple(load.cards) == CARDS
    for card in load.cards.values():
        measured = (card.h2d_gbps, card.d2h_gbps, card.h2d_together_gbps, card.d2h_together_gbps)
        assert measured == (reached(4, 16),) * 4
        assert (card.link.width_min, card.link.width_max, card.link.gen_max) == (16, 16, 4)
        assert card.link.samples >= 20
        assert (card.skipped, card.replays) == (None, 0)
        assert card.aer == {"correctable": 0, "nonfatal": 0, "fatal": 0}
        assert 1 < card.seconds < load.seconds
        assert (card.memory.tested_mib, card.memory.wanted_mib, card.memory.errors) == (51, 51, 0)
    assert len(load.pairs) == 12
    assert all(pair.can_access and pair.gbps == reached(4, 16) for pair in load.pairs)
    links = load.nvlinks[FIRST]
    assert (links.total, links.active, links.peers) == (2, 1, (SECOND,))
    assert {speed_of(home) for home in homes} == {GTS[1]}


@pytest.mark.parametrize(
    ("words", "gen", "width"),
    [
        ({}, 4, 16),
        ({"width": 8}, 4, 8),
        ({"gen": 3}, 3, 16),
        ({"gen": 1, "width": 1}, 1, 1),
        ({"gen": 5, "idle": 5, "efficiency": 0.85}, 5, 16),
        ({"gen": 4, "link_dir": None, "port_dir": None, "idle": 4}, 4, 1),  # the driver sees no width, sysfs 16
    ],
)
def test_the_link_under_load(rig, words, gen, width):
    home = rig.card(FIRST, **words)
    card = rig.check("--memory-share", "0").load.cards[FIRST]
    assert (card.h2d_gbps, card.d2h_gbps) == (reached(gen, width), reached(gen, width))
    assert (card.h2d_together_gbps, card.d2h_together_gbps) == (None, None)
    assert card.link.gen_max == gen
    assert card.link.width_max == int((home / "current_link_width").read_text())
    assert card.link.samples >= 5
    assert card.memory.wanted_mib == 0


def test_a_link_that_never_rises(rig):
    rig.card(FIRST, gen=1)
    card = rig.check("--memory-share", "0").load.cards[FIRST]
    assert (card.link.gen_max, card.h2d_gbps) == (1, reached(1, 16))


def test_cards_that_share_an_uplink(rig):
    for address in (FIRST, SECOND):
        rig.card(address, switch="chipset")
    text = program(**{**HURRY, "WARM_UP_SECONDS": "0.15"})  # what one card copied is soon forgotten
    load = rig.check("--memory-share", "0", text=text).load
    for card in load.cards.values():
        assert card.h2d_gbps == reached(4, 16)
        assert card.h2d_together_gbps < 0.6 * card.h2d_gbps


@pytest.mark.parametrize(
    ("words", "errors"),
    [
        ({"bad_memory_at_mib": 100}, 1),
        ({"bad_memory_at_mib": 11, "bad_words": 300_000}, 300_000),  # across a piece's end
        ({"bad_memory_at_mib": 200}, 0),  # beyond what is tested
    ],
)
def test_bad_words_are_counted(rig, words, errors):
    rig.card(FIRST, **words)
    memory = rig.check("--memory-share", "0.5").load.cards[FIRST].memory
    assert (memory.tested_mib, memory.wanted_mib, memory.errors) == (128, 128, errors)


@pytest.mark.parametrize("alias_mib", [64, 61])  # a whole number of the check's pieces, and none
def test_memory_that_is_there_twice(rig, alias_mib):
    rig.card(FIRST, alias_mib=alias_mib)
    assert rig.check("--memory-share", "0.5").load.cards[FIRST].memory.errors > 0


@pytest.mark.parametrize(("used_mib", "at_least"), [(160, 20), (252, 0)])
def test_less_is_tested_where_less_is_free(rig, used_mib, at_least):
    rig.card(FIRST, used_mib=used_mib)
    load = rig.check("--memory-share", "0.5", "--force").load
    memory = load.cards[FIRST].memory
    if at_least:
        assert at_least < memory.tested_mib < memory.wanted_mib == 128
        assert memory.errors == 0
    else:
        assert memory is None
        assert "cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (2)" in load.why_unread(f"cards[{FIRST}]")


@pytest.mark.parametrize(
    ("words", "aer"),
    [
        ({"correctable_per_gb": 50}, ("correctable",)),
        ({"correctable_per_gb": 50, "aer_dir": PORT}, ("correctable",)),
        ({"nonfatal_per_gb": 50, "fatal_per_gb": 50}, ("nonfatal", "fatal")),
    ],
)
def test_errors_of_the_link_are_counted_at_both_ends(rig, words, aer):
    home = rig.card(FIRST, **words)
    counted = rig.check("--memory-share", "0").load.cards[FIRST].aer
    end = home.parent if "aer_dir" in words else home
    for severity in ("correctable", "nonfatal", "fatal"):
        total = int((end / f"aer_dev_{severity}").read_text().split()[-1]) - 8
        assert (counted[severity] > 2) == (severity in aer)
        assert counted[severity] == total


def test_replays_are_those_of_the_load(rig, tmp_path):
    (tmp_path / "replays").write_text("40\n")
    rig.card(FIRST, replays_per_gb=50, replays_file=tmp_path / "replays")
    card = rig.check("--memory-share", "0").load.cards[FIRST]
    assert card.replays == int((tmp_path / "replays").read_text()) - 40 > 3


@pytest.mark.parametrize(
    ("words", "options", "skipped"),
    [
        ({"processes": 1}, (), "in use by 1 process"),
        ({"processes": 3}, (), "in use by 3 processes"),
        ({"processes": 3}, ("--force",), None),
        ({"mig": 1}, ("--force",), "MIG is on"),
        ({}, ("--card", SECOND), "not asked for"),
        ({"processes": 1}, ("--card", FIRST.upper()), "in use by 1 process"),
        ({"fail": "nvmlDeviceGetComputeRunningProcesses_v3:15"}, (), "whether it is in use cannot be read"),
        ({"fail": "nvmlDeviceGetHandleByPciBusId_v2:15"}, (), "whether it is in use cannot be read"),
        ({"fail": "nvmlDeviceGetHandleByPciBusId_v2:15"}, ("--force",), None),
    ],
)
def test_cards_that_are_left_alone(pair, words, options, skipped):
    home = pair.card(FIRST, correctable_per_gb=100, **words)
    load = pair.check("--memory-share", "0", *options).load
    assert load.cards[FIRST].skipped == skipped
    assert (load.cards[FIRST].h2d_gbps is None) == (skipped is not None)
    assert ("TOTAL_ERR_COR 8\n" in (home / "aer_dev_correctable").read_text()) == (skipped is not None)
    assert (load.cards[SECOND].h2d_gbps is None) == (FIRST.upper() in options)
    assert len(load.pairs) == (0 if skipped else 2)


def test_an_nvml_of_before_2022(pair, tmp_path):
    pair.libraries = compile_driver(tmp_path, "-DSIMULATE_OLD_NVML")
    pair.card(FIRST, processes=2)
    load = pair.check("--memory-share", "0").load
    assert load.cards[FIRST].skipped == "in use by 2 processes"
    assert load.cards[SECOND].h2d_gbps == reached(3, 4)


@pytest.mark.parametrize(
    "fail",
    [
        "cuDevicePrimaryCtxRetain:46",
        "cuCtxSetCurrent:201",
        "cuStreamCreate:304",
        "cuEventCreate:2",
        "cuMemHostAlloc:2",
        "cuMemAlloc_v2:2",
        "cuMemcpyHtoDAsync_v2:700",
        "cuEventSynchronize:719:3",
        "cuMemcpyDtoHAsync_v2:214",
        "cuMemGetInfo_v2:999",
        "cuMemcpyDtoDAsync_v2:4242",
    ],
)
def test_a_card_fails_alone(pair, fail):
    pair.card(FIRST, fail=fail)
    load = pair.check("--memory-share", "0.1").load
    name, code = fail.split(":")[:2]
    why = load.why_unread(f"cards[{FIRST}]")
    assert why.startswith(f"{name}: ")
    assert why.endswith(f"({code})")
    sound = load.cards[SECOND]
    assert (sound.h2d_gbps, sound.d2h_gbps) == (reached(3, 4), reached(3, 4))
    assert (sound.memory.tested_mib, sound.memory.errors) == (25, 0)
    assert load.ended == "done"


def test_a_card_without_an_address_is_noted(pair):
    pair.card(FIRST, fail="cuDeviceGetPCIBusId:101")
    load = pair.check("--memory-share", "0").load
    assert tuple(load.cards) == (SECOND,)
    assert load.why_unread("cards[1]") == "cuDeviceGetPCIBusId: CUDA_ERROR_INVALID_DEVICE (101)"


@pytest.mark.parametrize(
    ("first", "second", "can_access", "gbps", "why"),
    [
        ({}, {}, False, reached(4, 16 / 2), ""),
        ({"p2p": 1}, {}, False, reached(4, 16 / 2), ""),
        ({"p2p": 1}, {"p2p": 1}, True, reached(4, 16), ""),
        ({"p2p": 1, "p2p_broken": 1}, {"p2p": 1}, True, None, "what was copied arrived wrong"),
        ({"p2p": 1, "fail": "cuMemcpyPeerAsync:719"}, {"p2p": 1}, True, None, "cuMemcpyPeerAsync: CUDA_ERROR_LAUNCH"),
        ({"fail": "cuDeviceCanAccessPeer:999"}, {}, None, None, "cuDeviceCanAccessPeer: CUDA_ERROR_UNKNOWN (999)"),
    ],
)
def test_from_card_to_card(rig, first, second, can_access, gbps, why):
    rig.card(FIRST, **first)
    rig.card(SECOND, **second)
    load = rig.check("--memory-share", "0").load
    there, _ = load.pairs
    assert (there.source, there.target) == (FIRST, SECOND)
    assert (there.can_access, there.gbps) == (can_access, gbps)
    assert there.intact == {"": True, "what was copied arrived wrong": False}.get(why)
    assert load.why_unread("pairs").startswith(why)


@pytest.mark.parametrize(
    ("cuda", "line", "why"),
    [
        ("/nonexistent/libcuda.so.1", "", "/nonexistent/libcuda.so.1: cannot open shared object file"),
        (None, "cuinit=803", "cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)"),
        (None, "module=/nonexistent", "cuInit: CUDA_ERROR_NO_DEVICE (100)"),
    ],
)
def test_no_driver(pair, cuda, line, why):
    pair.description.append(line)
    load = pair.check(libraries=(cuda or pair.libraries[0], pair.libraries[1])).load
    assert (load.ended, load.cards) == ("done", {})
    assert load.why_unread("library").startswith(why)


@pytest.mark.parametrize(
    ("nvml", "line", "why"),
    [
        ("/nonexistent/libnvidia-ml.so.1", "", "/nonexistent/libnvidia-ml.so.1: cannot open shared object file"),
        (None, "nvmlinit=18", "nvmlInit_v2: Driver/library version mismatch (18)"),
    ],
)
@pytest.mark.parametrize("force", [True, False])
def test_no_nvml(pair, nvml, line, why, force):
    pair.description.append(line)
    options = ["--memory-share", "0", *(["--force"] if force else [])]
    load = pair.check(*options, libraries=(pair.libraries[0], nvml or pair.libraries[1])).load
    card = load.cards[SECOND]
    assert load.why_unread("nvml").startswith(why)
    assert card.skipped == (None if force else "whether it is in use cannot be read")
    assert (card.h2d_gbps, card.replays) == (reached(3, 4) if force else None, None)


def test_the_time_box(rig):
    for address in CARDS:
        rig.card(address)
    load = rig.check("--seconds", "1", text=program()).load
    assert load.ended == "timeout"
    assert load.seconds < 3
    assert load.cards[FIRST].h2d_gbps == reached(4, 16)
    assert load.cards[CARDS[-1]].h2d_gbps is None
    assert load.why_unread(f"cards[{CARDS[-1]}]") == "the check ended before this card's turn"


def test_the_time_box_cuts_the_memory_test_short(rig):
    rig.card(FIRST, gen=1, width=1)  # 225 MiB take 1.1 s there, each of two times
    memory = rig.check("--memory-share", "0.88", "--seconds", "2").load.cards[FIRST].memory
    assert 0 < memory.tested_mib < memory.wanted_mib == 225
    assert memory.errors == 0


def started(rig, home, text, *options):
    """The check, once its first copies are under way."""
    running = subprocess.Popen(
        rig.command(*options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=rig.environment
    )
    running.stdin.write(text)
    running.stdin.close()
    running.stdin = None  # communicate() would flush it
    limit = time.monotonic() + 20
    while speed_of(home) == GTS[1]:
        assert time.monotonic() < limit, "no copy began"
        time.sleep(0.01)
    return running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_cancelled_by_a_signal(rig, number):
    home = rig.card(FIRST)
    running = started(rig, home, program(WARM_UP_SECONDS="0.1", ALONE_SECONDS="30"))
    time.sleep(0.5)
    running.send_signal(number)
    output, _ = running.communicate(timeout=5)
    load = Result.of(output).load
    assert running.returncode == 0
    assert (load.ended, load.cards[FIRST].h2d_gbps, load.cards[FIRST].d2h_gbps) == ("cancelled", reached(4, 16), None)
    assert load.cards[FIRST].aer is not None
    assert speed_of(home) == GTS[1]


def test_cancelled_when_nobody_reads(rig):
    home = rig.card(FIRST)
    running = started(rig, home, program(ALONE_SECONDS="30"))
    running.stdout.close()
    assert running.wait(timeout=5) == 0
    assert speed_of(home) == GTS[1]


def test_a_driver_that_hangs(rig):
    rig.card(FIRST)
    rig.card(SECOND, hang="cuMemcpyDtoHAsync_v2")
    load = rig.check("--seconds", "2", text=program(**HURRY, GRACE_SECONDS="1")).load
    assert load.ended == "timeout"
    assert 3 <= load.seconds < 5
    assert load.cards[FIRST].d2h_gbps == reached(4, 16)
    assert (load.cards[SECOND].h2d_gbps, load.cards[SECOND].d2h_gbps) == (reached(4, 16), None)
    assert load.why_unread(f"cards[{SECOND}]") == "cuMemcpyDtoHAsync_v2 does not come back"
