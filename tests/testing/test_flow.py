"""One direction of a proxied connection, by a clock that is a number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from owlsocket_sync.testing.flow import CAPACITY, Direction, End, Faults, Flow

TEXT = bytes(range(256)) * 40
NONE = Faults()


def flow(number: int = 1, direction: Direction = Direction.UPSTREAM, **faults: Any) -> Flow:
    """A flow that began at 0."""
    return Flow(Faults(**faults), number, direction, 0.0)


def pieces(one: Flow, now: float) -> list[bytes]:
    """All that leaves at this moment, send by send."""
    left = []
    while piece := bytes(one.piece(now)):
        one.sent(len(piece))
        left.append(piece)
    return left


def due(one: Flow, now: float) -> bytes:
    """What one send would let out now."""
    return bytes(one.piece(now))


def passed(one: Flow, now: float) -> bytes:
    """All that leaves at this moment."""
    return b"".join(pieces(one, now))


def test_without_faults_all_passes_at_once() -> None:
    """In order, and the end behind it."""
    one = flow()
    one.arrive(b"ab", 1.0)
    one.arrive(b"c", 1.0)
    one.end(End.FIN, 1.0)
    assert one.take_end(1.0) is None
    assert passed(one, 1.0) == b"abc"
    assert (one.passed, one.done, one.take_end(1.0), one.take_end(1.0), one.done) == (3, False, End.FIN, None, True)
    assert one.wakes_at(1.0) == math.inf


def test_what_was_sent_in_part_goes_on_where_it_was() -> None:
    """As a full send buffer leaves it."""
    one = flow()
    one.arrive(b"abcdef", 0.0)
    assert due(one, 0.0) == b"abcdef"
    one.sent(2)
    assert due(one, 0.0) == b"cdef"
    one.sent(4)
    assert due(one, 0.0) == b""


def test_a_delay_is_latency() -> None:
    """Each read is due that much after it came, whatever came before it; so is the end."""
    one = flow(delay=1.0)
    one.arrive(b"a", 0.0)
    one.arrive(b"b", 0.5)
    one.end(End.FIN, 0.75)
    assert (passed(one, 0.99), one.wakes_at(0.99)) == (b"", 1.0)
    assert (passed(one, 1.0), one.wakes_at(1.0)) == (b"a", 1.5)
    assert (passed(one, 1.6), one.wakes_at(1.6)) == (b"b", 1.75)
    assert (one.take_end(1.7), one.take_end(1.75)) == (None, End.FIN)


def test_a_delay_that_changes_acts_on_what_is_held() -> None:
    """Longer or shorter."""
    one = flow(delay=1.0)
    one.arrive(b"a", 0.0)
    one.change(replace(one.faults, delay=2.0), 0.5)
    assert (passed(one, 1.5), one.wakes_at(1.5)) == (b"", 2.0)
    one.change(NONE, 1.6)
    assert passed(one, 1.6) == b"a"


def test_jitter_keeps_the_order() -> None:
    """Each read draws its share; what is overtaken in time is waited for."""
    one = flow(delay=1.0, jitter=10.0, delay_seed=3)
    for number in range(20):
        one.arrive(bytes([number]), float(number))
    left = b""
    moments = []
    while (now := one.wakes_at(0.0)) < math.inf:
        moments.append(now)
        left += passed(one, now)
    assert left == bytes(range(20))
    assert min(moments) >= 1.0
    assert max(moments) <= 30.0
    assert len({moment % 1 for moment in moments}) > 3


@pytest.mark.parametrize("rate", [10, 1000.0, 123_456])
def test_a_rate_is_not_exceeded(rate: float) -> None:
    """After every moment; and it is used to the full."""
    one = flow(rate=rate)
    data = bytes(int(rate * 2))
    one.arrive(data, 0.0)
    now, next_at, left = 0.0, 0.0, 0
    while left < len(data):
        now = max(now, next_at)
        left += len(passed(one, now))
        assert left <= rate * now + 1e-3
        next_at = one.wakes_at(now)
    assert now == pytest.approx(2.0, abs=0.15)


def test_after_a_pause_a_tenth_of_a_second_passes_at_once() -> None:
    """Not what could have passed in it."""
    one = flow(rate=1000)
    one.arrive(bytes(5000), 60.0)
    assert len(passed(one, 60.0)) == 100
    one.change(NONE, 60.0)
    assert len(passed(one, 60.0)) == 4900


def test_pieces_are_small_and_cut_where_the_seed_says() -> None:
    """However the bytes came: a read's end cuts too, but moves no other cut."""
    whole, dripped = flow(split_seed=7), flow(split_seed=7)
    whole.arrive(TEXT, 0.0)
    cut = pieces(whole, 0.0)
    assert b"".join(cut) == TEXT
    assert {1, 64} <= {len(piece) for piece in cut} <= set(range(1, 65))
    ends, at = set(), 0
    for start in range(0, len(TEXT), 100):
        dripped.arrive(TEXT[start : start + 100], 0.0)
        for piece in pieces(dripped, 0.0):
            at += len(piece)
            ends.add(at)
    chosen = {sum(map(len, cut[:count])) for count in range(1, len(cut) + 1)}
    assert ends == chosen | set(range(100, len(TEXT), 100))


@pytest.mark.parametrize("every", [1, 2, 50, 1000])
def test_about_one_byte_in_so_many_changes(every: int) -> None:
    """The same ones however the bytes came; their number never changes."""
    whole, dripped = flow(corrupt_seed=5, corrupt_every=every), flow(corrupt_seed=5, corrupt_every=every)
    whole.arrive(TEXT * 10, 0.0)
    spoiled = passed(whole, 0.0)
    found = b""
    for at in range(0, len(TEXT) * 10, 333):
        dripped.arrive((TEXT * 10)[at : at + 333], 0.0)
        found += passed(dripped, 0.0)
    assert found == spoiled
    changed = sum(one != other for one, other in zip(TEXT * 10, spoiled, strict=True))
    assert changed == pytest.approx(len(TEXT) * 10 / every, rel=0.2)


def drawn(seed: int = 1, number: int = 1, direction: Direction = Direction.UPSTREAM) -> bytes:
    """What is left of a text on one connection."""
    one = flow(number, direction, corrupt_seed=seed, corrupt_every=10)
    one.arrive(TEXT, 0.0)
    return passed(one, 0.0)


def test_what_is_drawn_depends_on_seed_connection_and_direction() -> None:
    """On each of them, and on nothing else."""
    runs = [drawn(), drawn(seed=2), drawn(number=2), drawn(direction=Direction.DOWNSTREAM)]
    assert len(set(runs)) == 4
    assert drawn() == runs[0]


@pytest.mark.parametrize(
    ("faults", "count", "verdict"),
    [
        ({"cut_after": 5}, 5, End.FIN),
        ({"reset_after": 5}, 5, End.RESET),
        ({"cut_after": 0}, 0, End.FIN),
        ({"cut_after": 5, "reset_after": 7}, 5, End.FIN),
        ({"cut_after": 7, "reset_after": 5}, 5, End.RESET),
        ({"cut_after": 5, "reset_after": 5}, 5, End.RESET),
        ({"cut_after": 5, "split_seed": 1}, 5, End.FIN),
        ({"cut_after": 5, "rate": 1e9}, 5, End.FIN),
    ],
)
def test_not_one_byte_more_than_allowed_passes(faults: dict[str, Any], count: int, verdict: End) -> None:
    """Then the connection must end, by the limit that was reached."""
    one = flow(**faults)
    assert one.verdict() is (None if count else verdict)
    one.arrive(TEXT, 0.0)
    assert (passed(one, 1.0), due(one, 1.0)) == (TEXT[:count], b"")
    assert one.verdict() is verdict


def test_a_limit_counts_what_has_passed_before_it() -> None:
    """So it may be reached as soon as it is set; and may be lifted before it is."""
    one = flow()
    one.arrive(b"abcde", 0.0)
    assert passed(one, 0.0) == b"abcde"
    one.change(Faults(cut_after=8), 0.0)
    one.arrive(b"fgh", 0.0)
    assert one.verdict() is None
    one.change(Faults(cut_after=4), 0.0)
    assert (one.verdict(), due(one, 0.0)) == (End.FIN, b"")
    one.change(NONE, 0.0)
    assert (one.verdict(), passed(one, 0.0)) == (None, b"fgh")


def test_a_black_hole_keeps_everything() -> None:
    """It reads nothing, lets nothing out, no end either, until it is lifted."""
    one = flow()
    one.arrive(b"abc", 0.0)
    one.end(End.RESET, 0.0)
    one.change(Faults(blackhole=True), 0.0)
    assert (one.room(), due(one, 9.0), one.take_end(9.0), one.wakes_at(9.0)) == (0, b"", None, math.inf)
    one.change(NONE, 9.0)
    assert (passed(one, 9.0), one.take_end(9.0)) == (b"abc", End.RESET)


def test_no_more_is_held_than_there_is_room_for() -> None:
    """Room comes back as bytes leave, those of a piece that was sent in part counted."""
    one = flow(delay=1.0)
    one.arrive(bytes(CAPACITY - 1), 0.0)
    assert one.room() == 1
    one.arrive(b"x", 0.5)
    assert one.room() == 0
    assert len(due(one, 1.0)) == CAPACITY - 1
    one.sent(10)
    assert one.room() == 10


def test_bytes_for_nobody_are_forgotten() -> None:
    """Ends are still passed on."""
    one = flow(delay=1.0)
    one.arrive(b"abc", 0.0)
    one.end(End.FIN, 0.0)
    one.void()
    one.arrive(b"def", 0.0)
    one.end(End.RESET, 0.5)
    assert (one.room(), due(one, 2.0)) == (CAPACITY, b"")
    assert [one.take_end(2.0), one.take_end(2.0)] == [End.FIN, End.RESET]
