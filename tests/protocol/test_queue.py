"""The queue: what was put on it is taken once, in order, or waits."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from owlsocket_sync import Connection, Consumed, Limits, SocketMessageError
from support.helpers import eventually
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


@pytest.fixture
def ends() -> Ends:
    """Two ends."""
    return make_pair()


def test_messages_are_consumed_in_order(ends: Ends) -> None:
    """Payload, id, and how many remain."""
    left, right, *_ = ends
    left.enqueue({"k": 1}, "m1")
    left.enqueue("two")
    left.enqueue(None, id="n")
    assert right.enqueued() == right.stats.queued == 3
    assert right.consume() == Consumed({"k": 1}, "m1", 2)
    assert right.consume() == ("two", None, 1)
    assert right.consume() == (None, "n", 0)
    assert right.consume() is None


def test_a_filter_takes_the_first_that_fits(ends: Ends) -> None:
    """The others keep their places; no match is not nothing."""
    left, right, *_ = ends
    for number in range(4):
        left.enqueue(number)
    assert right.consume(lambda payload: payload > 9) == (None, None, 4)
    assert right.consume(lambda payload: payload % 2) == (1, None, 3)
    assert [right.consume().payload for _ in range(3)] == [0, 2, 3]  # type: ignore[union-attr]
    assert right.consume(lambda payload: True) is None


def test_a_filter_that_raises_takes_nothing(ends: Ends) -> None:
    """What it raises comes through."""
    left, right, *_ = ends
    left.enqueue(1)
    with pytest.raises(ZeroDivisionError):
        right.consume(lambda payload: 1 / 0 > 0)
    assert right.enqueued() == 1


def test_consume_waits_when_it_is_told_to(ends: Ends) -> None:
    """For a message that fits, no longer than its timeout."""
    left, right, *_ = ends
    assert right.consume(timeout=0.02) is None
    left.enqueue("unwanted")
    assert right.consume(lambda payload: payload == "wanted", timeout=0.02) == (None, None, 1)
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(right.consume(lambda payload: payload == "wanted", timeout=5)))
    waiter.start()
    left.enqueue("noise")
    left.enqueue("wanted", "w")
    waiter.join(5)
    assert got == [("wanted", "w", 2)]


def test_a_message_is_done_when_the_loop_comes_round_again(ends: Ends) -> None:
    """One whose work failed, or was left, is first in the queue again."""
    left, right, *_ = ends
    for number in range(4):
        left.enqueue(number)
    seen = []
    with pytest.raises(ValueError, match="no"):
        for message in right.messages():
            seen.append(message.payload)
            if message.payload == 1:
                raise ValueError("no")
    for message in right.messages():
        seen.append(message.payload)
        if message.payload == 2:
            break
    assert seen == [0, 1, 1, 2]
    assert [message.payload for message in right.messages(limit=2)] == [2, 3]
    assert right.enqueued() == 0


def test_the_loop_passes_over_what_the_filter_refuses(ends: Ends) -> None:
    """And ends when nothing more came in time."""
    left, right, *_ = ends
    for number in range(5):
        left.enqueue(number)
    assert [message.payload for message in right.messages(lambda payload: payload % 2, timeout=0.02)] == [1, 3]
    assert right.enqueued() == 3


def test_the_loop_ends_with_the_connection(ends: Ends) -> None:
    """After what is queued; who waits is freed."""
    left, right, *_ = ends
    left.enqueue(1)
    seen: list[Any] = []
    waiter = threading.Thread(target=lambda: seen.extend(message.payload for message in right.messages()))
    waiter.start()
    eventually(lambda: seen == [1])
    right.close()
    waiter.join(5)
    assert not waiter.is_alive()
    assert right.consume(timeout=5) is None


def test_what_came_before_the_end_can_still_be_consumed(ends: Ends) -> None:
    """Closing loses nothing that is here."""
    left, right, *_ = ends
    left.enqueue(1)
    right.close()
    assert right.consume() == (1, None, 0)


def test_two_consumers_never_get_the_same(ends: Ends) -> None:
    """Each message goes to one of them."""
    left, right, *_ = ends
    taken: list[int] = []

    def take() -> None:
        taken.extend(message.payload for message in right.messages(timeout=0.2))

    takers = [threading.Thread(target=take) for _ in range(4)]
    for taker in takers:
        taker.start()
    for number in range(400):
        left.enqueue(number)
    for taker in takers:
        taker.join(10)
    assert sorted(taken) == list(range(400))


def test_a_full_queue_drops_counts_and_tells_once() -> None:
    """Once per episode, until there is room again."""
    left, right, *_ = make_pair(limits=Limits(inbox_messages=2))
    wrong: list[Exception] = []
    right.on_error(lambda error, context: wrong.append(error))
    for number in range(5):
        left.enqueue(number)
    assert right.stats.dropped == 3
    assert [type(error) for error in wrong] == [SocketMessageError]
    assert "Limits.inbox_messages" in str(wrong[0])
    right.consume()
    left.enqueue(5)
    left.enqueue(6)
    assert (right.stats.dropped, len(wrong), right.enqueued()) == (4, 2, 2)


DENSE: list[Any] = [{} for _ in range(1000)]


def test_a_queue_is_bounded_by_the_memory_of_its_messages() -> None:
    """By what was parsed, and not by the text on the wire; what does not fit is dropped and reported."""
    left, right, *_ = make_pair(limits=Limits(inbox_bytes=1_000_000))
    wrong: list[Exception] = []
    right.on_error(lambda error, context: wrong.append(error))
    for _ in range(20):
        left.enqueue(DENSE)  # 3 KB of text, and 65 KB of lists and objects
    assert 4 <= right.enqueued() <= 12
    assert right.stats.dropped == 20 - right.enqueued()
    assert [type(error) for error in wrong] == [SocketMessageError]
    assert "Limits.inbox_bytes" in str(wrong[0])
    left.enqueue("x")
    assert right.consume() == Consumed(DENSE, None, right.enqueued())
    left.enqueue("y")
    assert [right.consume() for _ in range(right.enqueued())][-1] == ("y", None, 0)
    for _ in range(4):
        left.enqueue(DENSE)
    assert right.enqueued() == 4


def test_a_message_that_is_put_back_takes_its_room_again() -> None:
    """However often it is taken, the memory of the queue is that of what it holds."""
    left, right, *_ = make_pair(limits=Limits(inbox_bytes=400_000))
    for _ in range(2):
        left.enqueue(DENSE)
    for _ in range(20):
        for _ in right.messages():
            break
    left.enqueue(DENSE)
    assert (right.enqueued(), right.stats.dropped) == (2, 1)
    while right.consume() is not None:
        pass
    assert right._core.queue._messages.size == 0


def test_an_empty_queue_takes_a_message_of_any_size() -> None:
    """Or it could never be consumed."""
    left, right, *_ = make_pair(limits=Limits(inbox_bytes=1))
    left.enqueue(DENSE)
    left.enqueue(None)
    assert (right.enqueued(), right.stats.dropped) == (1, 1)
    assert right.consume() == (DENSE, None, 0)
