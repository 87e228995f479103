"""`HeartbeatTimer` on a fake clock, and `PingTracker`."""

from __future__ import annotations

import math
import threading
from functools import partial

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.options import Heartbeat
from owlsocket_sync.runtime.heartbeat import HeartbeatAction, HeartbeatTimer, PingTracker
from owlsocket_sync.runtime.link_state import LinkState, LinkStatus
from owlsocket_sync.states import CloseInfo
from support.helpers import scaled
from support.strikes import struck

START = 100.0
WAIT, PING, TIMED_OUT = HeartbeatAction


def _timer() -> HeartbeatTimer:
    return HeartbeatTimer(Heartbeat(interval=20.0, timeout=5.0), START)


@pytest.mark.parametrize(
    ("active_at", "polled_at", "actions"),
    [
        (
            [],
            [119.9, 120.0, 124.9, 125.0],
            [WAIT, PING, WAIT, TIMED_OUT],
        ),
        (
            [110.0],
            [120.0, 129.9, 130.0, 135.0],
            [WAIT, WAIT, PING, TIMED_OUT],
        ),
        ([], [500.0, 504.9, 505.0], [PING, WAIT, TIMED_OUT]),
    ],
    ids=["silence", "a byte postpones it", "the timeout counts from the ping"],
)
def test_when_to_ping_and_when_to_time_out(
    active_at: list[float], polled_at: list[float], actions: list[HeartbeatAction]
) -> None:
    """A ping after the interval without a byte, the end after the timeout without one."""
    timer = _timer()
    for at in active_at:
        timer.on_activity(at)
    assert [timer.poll(now) for now in polled_at] == actions


def test_any_byte_answers_a_ping() -> None:
    """The interval starts again with the byte that came after the ping."""
    timer = _timer()
    assert timer.poll(120.0) is PING
    timer.on_activity(124.0)
    assert [timer.poll(now) for now in (125.0, 143.9, 144.0)] == [
        WAIT,
        WAIT,
        PING,
    ]


def test_a_byte_from_before_the_ping_does_not_answer_it() -> None:
    """What was read late but came early does not count as life."""
    timer = _timer()
    assert timer.poll(120.0) is PING
    timer.on_activity(119.0)
    assert timer.poll(125.0) is TIMED_OUT


def test_a_pause_in_reading_is_not_held_against_the_peer() -> None:
    """While we do not read, no answer is seen; once we do, the peer has its full time again."""
    timer = _timer()
    assert timer.poll(120.0) is PING
    assert timer.poll_while_paused(130.0, None) is WAIT
    assert [timer.poll(130.0), timer.poll(134.9), timer.poll(135.0)] == [
        WAIT,
        WAIT,
        TIMED_OUT,
    ]


def test_a_peer_is_pinged_while_reading_is_paused() -> None:
    """A ping for each interval, so that it does not time out on its side."""
    timer = _timer()
    actions = [timer.poll_while_paused(now, None) for now in (119.9, 120.0, 139.9, 140.0, 160.0)]
    assert actions == [
        WAIT,
        PING,
        WAIT,
        PING,
        PING,
    ]
    timer.on_activity(161.0)
    assert timer.next_at() == 181.0


def test_a_stalled_peer_times_out_while_reading_is_paused() -> None:
    """After interval and timeout of a stall, whether we read or not."""
    timer = _timer()
    assert timer.poll_while_paused(134.9, 110.0) is PING
    assert timer.poll_while_paused(135.0, 110.0) is TIMED_OUT


def test_when_to_poll_next() -> None:
    """The moment of the next ping or timeout."""
    timer = _timer()
    assert timer.next_at() == 120.0
    timer.on_activity(103.0)
    assert timer.next_at() == 123.0
    timer.poll(123.0)
    assert timer.next_at() == 128.0


def test_no_heartbeat() -> None:
    """``None`` never pings and never times out."""
    timer = HeartbeatTimer(None, START)
    assert timer.poll(1e9) is WAIT
    assert timer.poll_while_paused(1e9, 0.0) is WAIT
    assert timer.next_at() == math.inf


def _tracker() -> tuple[LinkStatus, PingTracker]:
    status = LinkStatus(threading.RLock())
    return status, PingTracker(status)


def test_a_pong_answers_all_pings_before_it() -> None:
    """RFC 6455, section 5.5.3: the latest may be answered alone; a later ping goes on waiting."""
    _, pings = _tracker()
    (payload_1, waiter_1), (payload_2, waiter_2), (_, waiter_3) = pings.register(), pings.register(), pings.register()
    assert payload_1 != payload_2
    pings.on_pong(payload_2)
    assert waiter_1.seconds is not None
    assert waiter_2.seconds is not None
    assert waiter_3.seconds is None
    assert pings.latency == waiter_2.seconds >= 0
    assert pings.wait(waiter_1, Deadline(0.0)) == waiter_1.seconds


def test_a_pong_answers_pings_in_the_order_in_which_they_were_sent() -> None:
    """A ping that was registered first and sent last is not answered by the pong to the other."""
    _, pings = _tracker()
    (payload_1, waiter_1), (payload_2, waiter_2) = pings.register(), pings.register()
    pings.on_ping_sent(payload_2)
    pings.on_ping_sent(payload_1)
    pings.on_pong(payload_2)
    assert waiter_1.seconds is None
    assert waiter_2.seconds is not None


def test_the_pong_of_a_ping_that_timed_out_answers_those_before_it() -> None:
    """The peer may answer the latest alone; and nothing is kept of pings once no earlier one waits."""
    _, pings = _tracker()
    (_, first), (payload, _) = pings.register(), pings.register()
    pings.unregister(payload)
    pings.on_pong(payload)
    assert first.seconds is not None
    assert pings.latency == first.seconds
    for _ in range(3):
        payload, _ = pings.register()
        pings.unregister(payload)
    assert not pings._waiters


def test_a_ping_may_be_given_up_wherever_a_pong_is_taken_in() -> None:
    """By a signal handler whose own ping times out: nothing is raised, and the pong answers what it would have."""
    at, interrupted = 0, True
    while interrupted:
        _, pings = _tracker()
        _, (second, _), (third, waiter) = pings.register(), pings.register(), pings.register()
        interrupted = struck(at, partial(pings.on_pong, third), partial(pings.unregister, second))
        assert waiter.seconds is not None
        assert not pings._waiters
        at += 1
    assert at > 2


def test_an_unsolicited_pong_changes_nothing() -> None:
    """An empty pong, an unknown payload, and a ping that is not tracked any more are ignored."""
    _, pings = _tracker()
    payload, waiter = pings.register()
    pings.on_pong(b"")
    pings.on_pong(b"another")
    assert pings.latency is None
    pings.unregister(payload)
    pings.unregister(payload)
    pings.on_pong(payload)
    assert waiter.seconds is None


def test_the_end_of_the_link_frees_a_thread_that_waits_for_a_pong() -> None:
    """Without an answer there is no round trip to return."""
    status, pings = _tracker()
    _, waiter = pings.register()
    results: list[float | None] = []
    thread = threading.Thread(target=lambda: results.append(pings.wait(waiter, Deadline(scaled(5)))))
    thread.start()
    assert status.enter(LinkState.ENDED, CloseInfo(1006, "lost"))
    thread.join(scaled(5))
    assert results == [None]


def test_the_first_end_of_a_link_holds() -> None:
    """A state that was left is not entered again, and the reason does not change."""
    status, _ = _tracker()
    first = CloseInfo(1000, "first")
    assert status.enter(LinkState.CLOSING)
    assert status.enter(LinkState.ENDED, first)
    assert not status.enter(LinkState.ENDED, CloseInfo(1006, "second"))
    assert not status.enter(LinkState.CLOSING)
    assert status.info is first
    assert status.enter(LinkState.RELEASED)
    assert "1000 first" in str(status.error())
