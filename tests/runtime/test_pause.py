"""When a connection tries again: after its backoff, earlier for who waits, and never before the server allows it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from owlsocket_sync import Backoff, SocketConnectionError
from owlsocket_sync.runtime import pause
from owlsocket_sync.runtime.pause import ReconnectSchedule
from owlsocket_sync.states import CloseInfo
from support.figures import Figure

REFUSED = SocketConnectionError("refused")
STEADY = Backoff(initial=0.5, factor=10.0, cap=30.0, jitter="none")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the schedules."""
    clock = Clock()
    monkeypatch.setattr(pause, "monotonic", clock)
    return clock


def _fail(schedule: ReconnectSchedule, error: Exception = REFUSED) -> bool:
    return schedule.plan(None, error, was_open=False, was_healthy=False)


def attempts(schedule: ReconnectSchedule, clock: Clock, seconds: float, is_awaited: bool) -> list[float]:
    """Return when a schedule tries, each time in vain, after the loss of a link that was open for long."""
    began = clock.now
    assert schedule.plan(CloseInfo(1006, "lost"), None, was_open=True, was_healthy=True)
    moments: list[float] = []
    while True:
        clock.now += schedule.seconds_left(is_awaited)
        if clock.now > began + seconds:
            return moments
        moments.append(clock.now - began)
        if not _fail(schedule):
            return moments


def test_who_waits_gets_an_attempt_once_per_initial(clock: Clock) -> None:
    """For all who wait together; without anyone who waits, the pauses grow."""
    assert attempts(ReconnectSchedule(STEADY), clock, 40, is_awaited=False) == [0.5, 5.5, 35.5]
    assert attempts(ReconnectSchedule(STEADY), clock, 5, is_awaited=True) == [0.5 * number for number in range(1, 11)]


def test_who_comes_during_a_long_pause_gets_an_attempt_at_once(clock: Clock) -> None:
    """The time since the last attempt counts, not since the call."""
    schedule = ReconnectSchedule(STEADY)
    _fail(schedule)
    clock.now += 0.5
    _fail(schedule)
    assert schedule.seconds_left(False) == 5.0
    clock.now += 0.2
    assert schedule.seconds_left(True) == pytest.approx(0.3)
    clock.now += 1.0
    assert schedule.seconds_left(True) == 0.0
    assert schedule.seconds_left(False) == pytest.approx(3.8)


def test_early_attempts_leave_the_backoff_as_it_is(clock: Clock) -> None:
    """It does not grow with them, goes on after them, and they do not use up its attempts."""
    backoff = Backoff(initial=0.5, factor=10.0, cap=30.0, jitter="none", max_attempts=3)
    moments = attempts(ReconnectSchedule(backoff), clock, 100, is_awaited=True)
    assert {0.5, 5.5, 35.5} <= set(moments)
    assert moments[-1] == 35.5
    assert attempts(ReconnectSchedule(backoff), clock, 100, is_awaited=False) == [0.5, 5.5, 35.5]


@pytest.mark.parametrize("is_awaited", [False, True], ids=["idle", "awaited"])
def test_the_server_decides_how_early(clock: Clock, monkeypatch: pytest.MonkeyPatch, is_awaited: bool) -> None:
    """Not before its ``Retry-After``, nor before what was drawn after its restart, whoever waits."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    schedule, busy = ReconnectSchedule(Backoff(initial=0.5, jitter="none")), SocketConnectionError("busy")
    busy.retry_after = 20.0
    _fail(schedule, busy)
    assert schedule.seconds_left(is_awaited) == pytest.approx(21.0)
    clock.now += 21.0
    schedule.plan(CloseInfo(1012, "restart"), None, was_open=True, was_healthy=True)
    assert schedule.seconds_left(is_awaited) == pytest.approx(1.0)


def test_an_early_attempt_learns_of_a_pause_that_the_server_asks_for(clock: Clock) -> None:
    """It holds for the backoff too."""
    schedule, busy = ReconnectSchedule(STEADY), SocketConnectionError("busy")
    _fail(schedule)
    clock.now += 0.5
    _fail(schedule)
    clock.now += 1.0
    busy.retry_after = 20.0
    _fail(schedule, busy)
    assert 20.0 <= schedule.seconds_left(True) <= schedule.seconds_left(False) <= 25.0


def test_row_15_clients_whose_callers_wait_are_spread_out(clock: Clock, figure: Figure) -> None:
    """Over an outage of 30 s, no tenth of a second holds more than 5 % of the attempts of clients in use."""
    buckets, most = Counter[int](), 0
    for _ in range(2_000):
        moments = attempts(ReconnectSchedule(Backoff()), clock, 30.0, is_awaited=True)
        buckets.update(int(at * 10) for at in moments)
        most = max(most, len(moments))
    figure("attempts in the fullest tenth of a second", 100 * max(buckets.values()) / buckets.total(), 5.0, "%")
    assert 30 < most < 60 + 20, "one in half a second, and those of the backoff"
