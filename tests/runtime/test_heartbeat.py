"""`Pulse` on a clock of its own, and who waits for a pong."""

from __future__ import annotations

import math
import threading

import pytest
from helpers import scaled

from owlsocket_sync.options import Heartbeat
from owlsocket_sync.runtime.heartbeat import Beat, Pongs, Pulse

START = 100.0


def _pulse() -> Pulse:
    return Pulse(Heartbeat(interval=20.0, timeout=5.0), START)


@pytest.mark.parametrize(
    ("heard", "asked_at", "beats"),
    [
        ([], [119.9, 120.0, 124.9, 125.0], [Beat.REST, Beat.PING, Beat.REST, Beat.DEAD]),
        ([110.0], [120.0, 129.9, 130.0, 135.0], [Beat.REST, Beat.REST, Beat.PING, Beat.DEAD]),
        ([], [500.0, 504.9, 505.0], [Beat.PING, Beat.REST, Beat.DEAD]),
    ],
    ids=["silence", "a byte puts it off", "the time-out counts from the ping"],
)
def test_when_to_ping_and_when_to_give_up(heard: list[float], asked_at: list[float], beats: list[Beat]) -> None:
    """A ping after the interval without a byte, the end after the time-out without one."""
    pulse = _pulse()
    for at in heard:
        pulse.heard(at)
    assert [pulse.beat(now) for now in asked_at] == beats


def test_any_byte_answers_a_ping() -> None:
    """The interval begins anew with the byte that came after the ping."""
    pulse = _pulse()
    assert pulse.beat(120.0) is Beat.PING
    pulse.heard(124.0)
    assert [pulse.beat(now) for now in (125.0, 143.9, 144.0)] == [Beat.REST, Beat.REST, Beat.PING]


def test_a_byte_from_before_the_ping_is_no_answer() -> None:
    """What was read late but came early does not count as life."""
    pulse = _pulse()
    assert pulse.beat(120.0) is Beat.PING
    pulse.heard(119.0)
    assert pulse.beat(125.0) is Beat.DEAD


def test_a_pause_in_listening_is_not_held_against_the_peer() -> None:
    """While we do not read, nobody can answer; once we do, it has all its time again."""
    pulse = _pulse()
    assert pulse.beat(120.0) is Beat.PING
    assert pulse.beat_unheard(130.0, None) is Beat.REST
    assert [pulse.beat(130.0), pulse.beat(134.9), pulse.beat(135.0)] == [Beat.REST, Beat.REST, Beat.DEAD]


def test_a_peer_that_is_not_listened_to_hears_from_us() -> None:
    """A ping for each interval, so that it does not take us for dead."""
    pulse = _pulse()
    beats = [pulse.beat_unheard(now, None) for now in (119.9, 120.0, 139.9, 140.0, 160.0)]
    assert beats == [Beat.REST, Beat.PING, Beat.REST, Beat.PING, Beat.PING]
    pulse.heard(161.0)
    assert pulse.next_at() == 181.0


def test_a_peer_that_takes_nothing_for_long_is_given_up_unheard() -> None:
    """After interval and time-out of a stall, whether we read or not."""
    pulse = _pulse()
    assert pulse.beat_unheard(134.9, 110.0) is Beat.PING
    assert pulse.beat_unheard(135.0, 110.0) is Beat.DEAD


def test_when_to_look_again() -> None:
    """The reader is told the moment of the next beat."""
    pulse = _pulse()
    assert pulse.next_at() == 120.0
    pulse.heard(103.0)
    assert pulse.next_at() == 123.0
    pulse.beat(123.0)
    assert pulse.next_at() == 128.0


def test_no_heartbeat() -> None:
    """``None`` never pings and never gives up."""
    pulse = Pulse(None, START)
    assert pulse.beat(1e9) is Beat.REST
    assert pulse.beat_unheard(1e9, 0.0) is Beat.REST
    assert pulse.next_at() == math.inf


def test_a_pong_answers_all_pings_before_it() -> None:
    """RFC 6455, section 5.5.3: the latest may be answered alone; a later ping goes on waiting."""
    pongs = Pongs()
    (first, one), (second, two), (_, three) = pongs.expect(), pongs.expect(), pongs.expect()
    assert first != second
    pongs.arrived(second)
    assert one.arrived.is_set()
    assert two.arrived.is_set()
    assert not three.arrived.is_set()
    assert pongs.latency == two.seconds
    assert two.seconds is not None
    assert two.seconds >= 0


def test_pongs_for_nobody_change_nothing() -> None:
    """An empty pong, one of somebody else, and one that was forgotten are passed over."""
    pongs = Pongs()
    payload, waiter = pongs.expect()
    pongs.arrived(b"")
    pongs.arrived(b"another")
    assert pongs.latency is None
    pongs.forget(payload)
    pongs.forget(payload)
    pongs.arrived(payload)
    assert not waiter.arrived.is_set()


def test_the_end_frees_whoever_waits() -> None:
    """Without an answer there is no time to tell."""
    pongs = Pongs()
    _, waiter = pongs.expect()
    freed: list[bool] = []
    thread = threading.Thread(target=lambda: freed.append(waiter.arrived.wait(scaled(5))))
    thread.start()
    pongs.end()
    thread.join(scaled(5))
    assert freed == [True]
    assert waiter.seconds is None
