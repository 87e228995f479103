"""One direction of a proxied connection, with the clock as a number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from owlsocket_sync.testing.flow import CAPACITY, Direction, End, Faults, Flow

TEXT = bytes(range(256)) * 40
NONE = Faults()


def flow(number: int = 1, direction: Direction = Direction.UPSTREAM, **faults: Any) -> Flow:
    """Return a flow that begins at 0."""
    return Flow(Faults(**faults), number, direction, 0.0)


def pieces(stream: Flow, now: float) -> list[bytes]:
    """Return all that leaves at this moment, send by send."""
    left = []
    while piece := bytes(stream.piece(now)):
        stream.sent(len(piece))
        left.append(piece)
    return left


def due(stream: Flow, now: float) -> bytes:
    """Return the bytes that one send would take now."""
    return bytes(stream.piece(now))


def passed(stream: Flow, now: float) -> bytes:
    """Return all that leaves at this moment."""
    return b"".join(pieces(stream, now))


def test_without_faults_all_passes_at_once() -> None:
    """In order, and the end after the bytes."""
    stream = flow()
    stream.feed(b"ab", 1.0)
    stream.feed(b"c", 1.0)
    stream.end(End.FIN, 1.0)
    assert stream.take_end(1.0) is None
    assert passed(stream, 1.0) == b"abc"
    assert (stream.passed, stream.done, stream.take_end(1.0), stream.take_end(1.0), stream.done) == (
        3,
        False,
        End.FIN,
        None,
        True,
    )
    assert stream.next_wakeup(1.0) == math.inf


def test_a_partial_send_continues() -> None:
    """As with a full send buffer."""
    stream = flow()
    stream.feed(b"abcdef", 0.0)
    assert due(stream, 0.0) == b"abcdef"
    stream.sent(2)
    assert due(stream, 0.0) == b"cdef"
    stream.sent(4)
    assert due(stream, 0.0) == b""


def test_a_delay_is_latency() -> None:
    """Each read is due that much after its arrival, independent of others; so is the end."""
    stream = flow(delay=1.0)
    stream.feed(b"a", 0.0)
    stream.feed(b"b", 0.5)
    stream.end(End.FIN, 0.75)
    assert (passed(stream, 0.99), stream.next_wakeup(0.99)) == (b"", 1.0)
    assert (passed(stream, 1.0), stream.next_wakeup(1.0)) == (b"a", 1.5)
    assert (passed(stream, 1.6), stream.next_wakeup(1.6)) == (b"b", 1.75)
    assert (stream.take_end(1.7), stream.take_end(1.75)) == (None, End.FIN)


def test_a_changed_delay_applies_to_held_bytes() -> None:
    """The new delay applies, longer or shorter."""
    stream = flow(delay=1.0)
    stream.feed(b"a", 0.0)
    stream.change(replace(stream.faults, delay=2.0), 0.5)
    assert (passed(stream, 1.5), stream.next_wakeup(1.5)) == (b"", 2.0)
    stream.change(NONE, 1.6)
    assert passed(stream, 1.6) == b"a"


def test_jitter_keeps_the_order() -> None:
    """Each read draws its share; a read that would overtake another waits for it."""
    stream = flow(delay=1.0, jitter=10.0, delay_seed=3)
    for number in range(20):
        stream.feed(bytes([number]), float(number))
    left = b""
    moments = []
    while (now := stream.next_wakeup(0.0)) < math.inf:
        moments.append(now)
        left += passed(stream, now)
    assert left == bytes(range(20))
    assert min(moments) >= 1.0
    assert max(moments) <= 30.0
    assert len({moment % 1 for moment in moments}) > 3


@pytest.mark.parametrize("rate", [10, 1000.0, 123_456])
def test_a_rate_is_not_exceeded(rate: float) -> None:
    """At no moment; and the whole rate is used."""
    stream = flow(rate=rate)
    data = bytes(int(rate * 2))
    stream.feed(data, 0.0)
    now, next_at, left = 0.0, 0.0, 0
    while left < len(data):
        now = max(now, next_at)
        left += len(passed(stream, now))
        assert left <= rate * now + 1e-3
        next_at = stream.next_wakeup(now)
    assert now == pytest.approx(2.0, abs=0.15)


def test_after_a_pause_a_tenth_of_a_second_passes_at_once() -> None:
    """The bucket does not fill further."""
    stream = flow(rate=1000)
    stream.feed(bytes(5000), 60.0)
    assert len(passed(stream, 60.0)) == 100
    stream.change(NONE, 60.0)
    assert len(passed(stream, 60.0)) == 4900


def test_pieces_are_small_and_cut_where_the_seed_says() -> None:
    """However the bytes arrive: the end of a read cuts too, but moves no other cut."""
    whole, dripped = flow(split_seed=7), flow(split_seed=7)
    whole.feed(TEXT, 0.0)
    cut = pieces(whole, 0.0)
    assert b"".join(cut) == TEXT
    assert {1, 64} <= {len(piece) for piece in cut} <= set(range(1, 65))
    ends, at = set(), 0
    for start in range(0, len(TEXT), 100):
        dripped.feed(TEXT[start : start + 100], 0.0)
        for piece in pieces(dripped, 0.0):
            at += len(piece)
            ends.add(at)
    chosen = {sum(map(len, cut[:count])) for count in range(1, len(cut) + 1)}
    assert ends == chosen | set(range(100, len(TEXT), 100))


@pytest.mark.parametrize("every", [1, 2, 50, 1000])
def test_about_one_byte_in_so_many_changes(every: int) -> None:
    """The same ones however the bytes arrive; their number never changes."""
    whole, dripped = flow(corrupt_seed=5, corrupt_every=every), flow(corrupt_seed=5, corrupt_every=every)
    whole.feed(TEXT * 10, 0.0)
    spoiled = passed(whole, 0.0)
    found = b""
    for at in range(0, len(TEXT) * 10, 333):
        dripped.feed((TEXT * 10)[at : at + 333], 0.0)
        found += passed(dripped, 0.0)
    assert found == spoiled
    changed = sum(before != after for before, after in zip(TEXT * 10, spoiled, strict=True))
    assert changed == pytest.approx(len(TEXT) * 10 / every, rel=0.2)


def drawn(seed: int = 1, number: int = 1, direction: Direction = Direction.UPSTREAM) -> bytes:
    """Return a text as one connection corrupts it."""
    stream = flow(number, direction, corrupt_seed=seed, corrupt_every=10)
    stream.feed(TEXT, 0.0)
    return passed(stream, 0.0)


def test_random_choices_depend_on_seed_connection_and_direction() -> None:
    """On each of the three, and on nothing else."""
    runs = [drawn(), drawn(seed=2), drawn(number=2), drawn(direction=Direction.DOWNSTREAM)]
    assert len(set(runs)) == 4
    assert drawn() == runs[0]


@pytest.mark.parametrize(
    ("faults", "count", "end"),
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
def test_not_one_byte_more_than_allowed_passes(faults: dict[str, Any], count: int, end: End) -> None:
    """Then the connection must end, in the way of the limit that was reached."""
    stream = flow(**faults)
    assert stream.forced_end() is (None if count else end)
    stream.feed(TEXT, 0.0)
    assert (passed(stream, 1.0), due(stream, 1.0)) == (TEXT[:count], b"")
    assert stream.forced_end() is end


def test_a_limit_counts_what_has_passed_before_it() -> None:
    """So it may be reached as soon as it is set, and ended before it is reached."""
    stream = flow()
    stream.feed(b"abcde", 0.0)
    assert passed(stream, 0.0) == b"abcde"
    stream.change(Faults(cut_after=8), 0.0)
    stream.feed(b"fgh", 0.0)
    assert stream.forced_end() is None
    stream.change(Faults(cut_after=4), 0.0)
    assert (stream.forced_end(), due(stream, 0.0)) == (End.FIN, b"")
    stream.change(NONE, 0.0)
    assert (stream.forced_end(), passed(stream, 0.0)) == (None, b"fgh")


def test_a_black_hole_keeps_everything() -> None:
    """Nothing is read and nothing leaves, no end either, until it is switched off."""
    stream = flow()
    stream.feed(b"abc", 0.0)
    stream.end(End.RESET, 0.0)
    stream.change(Faults(blackhole=True), 0.0)
    assert (stream.room(), due(stream, 9.0), stream.take_end(9.0), stream.next_wakeup(9.0)) == (0, b"", None, math.inf)
    stream.change(NONE, 9.0)
    assert (passed(stream, 9.0), stream.take_end(9.0)) == (b"abc", End.RESET)


def test_held_bytes_are_bounded() -> None:
    """Room grows as bytes leave, also those of a piece that was sent in part."""
    stream = flow(delay=1.0)
    stream.feed(bytes(CAPACITY - 1), 0.0)
    assert stream.room() == 1
    stream.feed(b"x", 0.5)
    assert stream.room() == 0
    assert len(due(stream, 1.0)) == CAPACITY - 1
    stream.sent(10)
    assert stream.room() == 10


def test_discarded_bytes_free_their_room() -> None:
    """Ends are still passed on."""
    stream = flow(delay=1.0)
    stream.feed(b"abc", 0.0)
    stream.end(End.FIN, 0.0)
    stream.discard()
    stream.feed(b"def", 0.0)
    stream.end(End.RESET, 0.5)
    assert (stream.room(), due(stream, 2.0)) == (CAPACITY, b"")
    assert [stream.take_end(2.0), stream.take_end(2.0)] == [End.FIN, End.RESET]
