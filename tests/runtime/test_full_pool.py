"""The warning of a connection whose workers are all busy."""

from __future__ import annotations

import logging
import math
import threading

import pytest

from owlsocket_sync.runtime.full_pool import BUSY_SECONDS, INTERVAL, NEVER_FULL, QUIET_SECONDS, FullPoolWarning
from support.helpers import Collector, eventually, scaled
from support.loads import both_ends


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def look_for(full: FullPoolWarning, start: float, seconds: float, turns: int, waiting: int) -> float:
    """Look as often as is asked for, from a moment on; return the moment after."""
    until = start + seconds
    while start <= until:
        at = full.look(start, turns, waiting)
        start += INTERVAL
        assert at == (start if waiting else math.inf)
    return start


def test_an_episode_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """However long it lasts; the next one, after a while without any that wait, is another."""
    full, scheduled = FullPoolWarning("till", 4), list[float]()
    for _ in range(2):
        full.begin(10.0, scheduled.append)
    assert scheduled == [10.0 + INTERVAL]
    now = look_for(full, scheduled[0], BUSY_SECONDS - INTERVAL, 7, 3)
    assert warnings(caplog) == []
    now = look_for(full, now, 60.0, 7, 3)
    [warning] = warnings(caplog)
    assert warning.startswith("all 4 workers of till have been busy for 1 s, and 3 messages wait: raise workers=")
    now = look_for(full, now, 0.0, 8, 0)
    assert full.at == math.inf
    full.begin(now, scheduled.append)
    now = look_for(full, now, 2 * BUSY_SECONDS, 9, 3)
    assert len(warnings(caplog)) == 1
    now = look_for(full, now, 0.0, 10, 0) + 2 * QUIET_SECONDS
    full.begin(now, scheduled.append)
    look_for(full, now, 2 * BUSY_SECONDS, 11, 1)
    assert len(warnings(caplog)) == 2
    assert "1 message waits" in warnings(caplog)[1]


def test_workers_that_go_on_are_not_stuck(caplog: pytest.LogCaptureFixture) -> None:
    """Many handlers that take a while each are load, and each message has its turn."""
    full = FullPoolWarning("till", 1)
    for turns in range(40):
        full.look(turns * INTERVAL, turns, 5)
    assert warnings(caplog) == []


@pytest.mark.parametrize("side", ["client", "server"])
def test_slow_handlers_that_hold_up_all_others_are_logged(side: str, caplog: pytest.LogCaptureFixture) -> None:
    """Within two seconds, once, by the end whose workers they are."""
    gate, begun, seen = threading.Event(), Collector(), Collector()
    with both_ends(side, workers=2) as (asker, performer):
        performer.perform("hang", lambda: begun(1) or gate.wait())
        performer.observe("it", lambda message: seen(message.payload))
        futures = [asker.submit("hang") for _ in range(2)]
        begun.wait(2)
        asker.notify("it", 1)
        eventually(lambda: warnings(caplog))
        assert seen.items == []
        gate.set()
        assert seen.wait(1) == [1]
        assert [future.result(scaled(5)) for future in futures] == [True] * 2
        [warning] = warnings(caplog)
    assert warning.startswith(f"all 2 workers of {performer.name} have been busy for 1 s, and 1 message waits")


def test_handlers_that_wait_for_the_peer_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    """Others run in their place."""
    gate, begun, seen = threading.Event(), Collector(), Collector()
    with both_ends("client", workers=1) as (asker, performer):
        asker.perform("wait", lambda: begun(1) or gate.wait())
        performer.perform("ask", lambda: performer.call("wait", timeout=scaled(30)))
        performer.observe("it", lambda message: seen(message.payload))
        future = asker.submit("ask")
        begun.wait(1)
        asker.notify("it", 1)
        assert seen.wait(1) == [1]
        pool = performer._core.carrier._pool  # type: ignore[attr-defined]
        assert pool._count_waiting() == 0
        gate.set()
        assert future.result(scaled(5)) is True
    assert warnings(caplog) == []


def test_a_pool_without_slow_tasks_has_no_warning_of_its_own() -> None:
    """An idle connection pays for none."""
    with both_ends("client") as (asker, performer):
        performer.perform("sum", lambda *numbers: sum(numbers))
        assert asker.call("sum", 1, 2) == 3
        for conn in (asker, performer):
            assert conn._core.carrier._pool.full is NEVER_FULL  # type: ignore[attr-defined]
