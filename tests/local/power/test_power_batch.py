"""Many rigs at once; what is remembered of a BMC between sessions."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from rigdeploy.errors import PowerError, PowerUnreachableError
from rigdeploy.power import policy
from rigdeploy.power.base import PowerState
from rigdeploy.power.batch import each
from rigdeploy.power.quirks import QuirkCache

RIGS = [SimpleNamespace(name=f"rig{number:02}") for number in range(50)]


def test_all_at_once_and_the_first_to_end_first():
    together = threading.Barrier(50, timeout=10)

    def work(rig, clock):
        together.wait()
        if rig is RIGS[0]:
            clock.sleep(0.2)
        if rig is RIGS[1]:
            raise PowerUnreachableError("away")
        return rig.name

    results = list(each(RIGS, work))
    assert len(results) == 50
    assert results[-1] == (RIGS[0], "rig00")
    errors = [(rig.name, str(result)) for rig, result in results if isinstance(result, PowerError)]
    assert errors == [("rig01", "away")]


def test_a_mistake_of_ours_is_not_taken_for_a_rigs_error():
    def work(rig, clock):
        raise KeyError("mistake")

    with pytest.raises(KeyError):
        list(each(RIGS[:1], work))


def test_who_stops_early_waits_for_nobody():
    ended = []
    all_began = threading.Barrier(3, timeout=10)

    def work(rig, clock):
        all_began.wait()
        if rig is RIGS[0]:
            return
        try:
            clock.sleep(60)
        except PowerError:
            ended.append(rig.name)
            raise

    started = time.monotonic()
    results = each(RIGS[:3], work)
    next(results)
    results.close()  # what Ctrl-C in the caller's loop does
    assert time.monotonic() - started < 5
    assert sorted(ended) == ["rig01", "rig02"]


def test_ctrl_c_is_heard_before_the_last_answers_are_waited_for(monkeypatch):
    order = []
    began = threading.Event()

    def interrupted(*_):
        assert began.wait(10)
        raise KeyboardInterrupt

    def work(rig, clock):
        began.set()
        time.sleep(0.3)
        order.append("answer")

    monkeypatch.setattr("rigdeploy.power.batch.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(each(RIGS[:1], work, lambda: order.append("told")))
    assert order == ["told", "answer"]


def test_fifty_bmcs_asked_at_once_by_threads_share_one_memory(tmp_path):
    cache = QuirkCache(tmp_path)
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda number: cache.put(f"192.0.2.{number}:623", "cipher", 3), range(50)))
    assert all(QuirkCache(tmp_path).get(f"192.0.2.{number}:623", "cipher") == 3 for number in range(50))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "bmcs": {"a:623": 3}}', '{"schema": 9}']
)
def test_a_spoilt_memory_is_an_empty_one(tmp_path, text):
    (tmp_path / "bmc.json").write_text(text)
    cache = QuirkCache(tmp_path)
    assert cache.get("a:623", "cipher") is None
    cache.put("a:623", "cipher", 17)
    assert QuirkCache(tmp_path).get("a:623", "cipher") == 17


def test_the_cipher_that_worked_is_tried_first(bmc, connect, tmp_path, monkeypatch):
    from rigdeploy.power import rmcp

    tried = []
    real = rmcp.connect
    monkeypatch.setattr(rmcp, "connect", lambda *a, **k: (tried.append(k["cipher"]), real(*a, **k))[1])
    for _ in range(2):
        driver = connect(bmc.port)
        assert policy.read(driver, 5) is PowerState.OFF
        driver.close()
    assert tried == [17, 3, 3]
