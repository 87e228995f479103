"""The backlog: exact, whoever takes room and gives it back, and however much of that is yet to be counted."""

from __future__ import annotations

import sys
import threading
import tracemalloc

import orjson
import pytest

from owlsocket_sync.protocol.backlog import FEW, MEDIUM, MESSAGE_COST, RESERVE, SHORT, Backlog, memory_of
from owlsocket_sync.protocol.counters import UNCOUNTED
from support.helpers import scaled


def fill(backlog: Backlog, messages: int, sizes: list[int]) -> None:
    """Take room for so many messages, the first of which have these sizes."""
    for size in [*sizes, *[0] * (messages - len(sizes))]:
        backlog.take(size)


@pytest.mark.parametrize(
    ("messages", "sizes", "room", "reserve"),
    [
        (1, [1], True, True),
        (3, [1], False, True),
        (1, [RESERVE], False, True),
        (3 + RESERVE // MESSAGE_COST, [1], False, True),
        (4 + RESERVE // MESSAGE_COST, [1], False, False),
        (2, [RESERVE, RESERVE - 1], False, True),
        (2, [RESERVE, RESERVE], False, False),
        (3 + RESERVE // MESSAGE_COST // 2, [RESERVE, RESERVE // 2], False, True),
        (4 + RESERVE // MESSAGE_COST // 2, [RESERVE, RESERVE // 2], False, False),
    ],
)
def test_a_backlog_has_two_limits_and_a_reserve(messages: int, sizes: list[int], room: bool, reserve: bool) -> None:
    """Messages and bytes, either alone is enough; what is beyond them counts by the memory it takes."""
    backlog = Backlog(3, RESERVE, threading.Lock())
    fill(backlog, messages, sizes)
    assert (backlog.has_room(), backlog.has_reserve()) == (room, reserve)
    for size in [*sizes, *[0] * (messages - len(sizes))]:
        backlog.release(size)
    assert backlog.has_room()
    assert backlog.totals() == (0, 0)


def test_a_message_above_the_limit_leaves_the_whole_reserve() -> None:
    """Its handler gets an answer that it waits for, behind as much as behind any other message."""
    backlog = Backlog(10, 100, threading.Lock())
    backlog.take(3 * RESERVE)
    assert (backlog.has_room(), backlog.has_reserve()) == (False, True)
    backlog.take(RESERVE - 1)
    assert backlog.has_reserve()
    backlog.take(1)
    assert not backlog.has_reserve()


DENSE = {
    "lists": "[]",
    "objects": "{}",
    "objects with a key": '{"":0}',
    "nested lists": "[" * 500 + "]" * 500,
    "nested objects": '{"":' * 500 + "0" + "}" * 500,
    "numbers": "999",
    "fractions": "1e9",
    "texts": '"\u00e9"',
    "usual objects": '{"id":12345,"name":"somebody","tags":["a","b"],"price":1.5}',
}


@pytest.mark.parametrize("entry", DENSE.values(), ids=DENSE)
def test_the_memory_of_a_message_is_estimated_from_its_text(entry: str) -> None:
    """At most three times, and at least half of what it really takes."""
    text = "[" + ",".join([entry] * (400_000 // len(entry))) + "]"
    tracemalloc.start()
    value = orjson.loads(text)
    taken = tracemalloc.get_traced_memory()[0] + sys.getsizeof(text)
    tracemalloc.stop()
    assert taken / 2 < memory_of(text) < taken * 3
    assert value


def test_short_and_few_messages_count_as_their_text() -> None:
    """An estimate costs time; where it makes no difference there is none."""
    backlog = Backlog(10_000, 1, threading.Lock())
    short, medium, large = "[" * SHORT, "[" * MEDIUM, "[" * (MEDIUM + 1)
    assert [backlog.weigh(text) for text in (None, "", short, medium)] == [0, 0, SHORT, MEDIUM]
    assert backlog.weigh(large) == memory_of(large) > 80 * MEDIUM
    for _ in range(FEW):
        backlog.take(0)
    backlog.totals()
    assert (backlog.weigh(short), backlog.weigh(medium)) == (SHORT, memory_of(medium))


def test_room_that_is_released_is_there_at_once() -> None:
    """Though nobody has counted it yet, and at most few messages wait for that."""
    backlog = Backlog(2, 100, threading.Lock())
    fill(backlog, 2, [10])
    assert not backlog.has_room()
    backlog.release(0)
    assert backlog.has_room()
    backlog.take(90)
    assert not backlog.has_room()
    backlog.release(90)
    assert backlog.has_room()


def test_little_waits_for_being_counted() -> None:
    """However much comes and goes, with nobody who asks."""
    backlog = Backlog(10, 10, threading.Lock())
    for _ in range(1000):
        backlog.take(1)
        backlog.release(1)
        assert len(backlog._taken) <= UNCOUNTED
        assert len(backlog._released) <= UNCOUNTED


def test_a_large_message_fills_it_behind_small_ones() -> None:
    """What is not counted yet is weighed by the largest."""
    backlog = Backlog(1000, 1000, threading.Lock())
    for _ in range(50):
        backlog.take(1)
    assert backlog.has_room()
    backlog.take(949)
    assert backlog.has_room()
    backlog.take(1)
    assert not backlog.has_room()


def test_no_thread_makes_it_inexact(hasty: None) -> None:
    """Several take and give back while another one looks."""
    backlog, count, over = Backlog(1, 1, threading.Lock()), 5000, threading.Event()

    def work(size: int) -> None:
        for _ in range(count):
            backlog.take(size)
            backlog.release(size - 1)

    def look() -> None:
        while not over.is_set():
            backlog.has_room()
            backlog.totals()

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 2, 3, 4)]
    looker = threading.Thread(target=look)
    for thread in (looker, *threads):
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    over.set()
    looker.join(scaled(5))
    assert backlog.totals() == (0, 4 * count)
