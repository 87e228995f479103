"""From the reader to the handlers: room is given back as each ends, and every message is counted, whoever receives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import Collector, eventually, scaled
from pair import make_pair

from owlsocket_sync import EventMessage, Limits
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime.workers import WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """One worker."""
    pool = WorkerPool(1, "test")
    yield pool
    pool.discard()
    pool.end(Deadline(scaled(5)))


def event(name: str, payload: Any) -> str:
    """One, as it arrives."""
    return json.dumps({"type": "event", "event": name, "payload": payload})


def test_a_slow_handler_gives_back_the_room_of_those_before_it(pool: WorkerPool) -> None:
    """Four that were quick, and one that waits for what can be read only because they gave back theirs."""
    _, conn, *_ = make_pair(limits=Limits(dispatch_messages=5))
    conn._run = pool.submit
    seen, waits, go = Collector(), threading.Event(), threading.Event()

    def handle(message: EventMessage) -> None:
        seen(message.payload)
        if message.payload == 4:
            waits.set()
            assert go.wait(scaled(5))

    conn.observe("e", handle)
    conn.observe("first", lambda message: go.wait(scaled(5)))
    conn.receive(event("first", None))
    for number in range(4):
        conn.receive(event("e", number))
    assert not conn._has_room()
    go.set()
    seen.wait(4)
    eventually(lambda: conn._has_room())
    go.clear()
    conn.receive(event("e", 4))
    assert waits.wait(scaled(5))
    assert conn._backlog.count()[0] == 1
    for number in range(5, 8):
        conn.receive(event("e", number))
    assert conn._has_room()
    conn.receive(event("e", 8))
    assert not conn._has_room()
    go.set()
    assert seen.wait(9) == list(range(9))
    eventually(lambda: conn._backlog.count() == (0, 0))


def test_each_handler_gives_its_room_back_as_it_ends(pool: WorkerPool) -> None:
    """Not when its lane has run dry: one after another, with the next one under way."""
    _, conn, *_ = make_pair(limits=Limits(dispatch_messages=5))
    conn._run = pool.submit
    began, steps = Collector(), threading.Semaphore(0)

    def handle(message: EventMessage) -> None:
        began(message.payload)
        assert steps.acquire(timeout=scaled(5))

    conn.observe("e", handle)
    for number in range(5):
        conn.receive(event("e", number))
    for number in range(5):
        began.wait(number + 1)
        assert conn._backlog.count()[0] == 5 - number
        assert conn._has_room() is (number > 0)
        steps.release()
    eventually(lambda: conn._backlog.count() == (0, 0))


def test_a_handler_may_give_itself_up(pool: WorkerPool) -> None:
    """What waits in its lane already finds nobody, and gives its room back."""
    _, conn, *_ = make_pair()
    conn._run = pool.submit
    seen, go = Collector(), threading.Event()

    def handle(message: EventMessage) -> None:
        assert go.wait(scaled(5))
        seen(message.payload)
        subscription()

    subscription = conn.observe("e", handle)
    for number in range(3):
        conn.receive(event("e", number))
    go.set()
    eventually(lambda: conn._backlog.count() == (0, 0))
    assert seen.items == [0]


def test_every_message_is_counted_whichever_threads_receive(hasty: None) -> None:
    """Messages, their bytes, and the room that they hold, while somebody looks at the figures."""
    _, conn, *_ = make_pair()
    seen, count, over = [0] * 4, 1500, threading.Event()
    text = event("e", "ä" * 10)
    stream = conn.events("pulled")
    pulled = event("pulled", 1)

    def receive(thread: int) -> None:
        for _ in range(count):
            conn.receive(text)
            conn.receive(pulled)
            seen[thread] += 1

    def look() -> None:
        while not over.is_set():
            assert conn.stats.messages_in <= 8 * count

    threads = [threading.Thread(target=receive, args=(thread,)) for thread in range(4)]
    looker = threading.Thread(target=look)
    for thread in (looker, *threads):
        thread.start()
    for thread in threads:
        thread.join(scaled(60))
    over.set()
    looker.join(scaled(5))
    assert conn.stats.messages_in == 8 * count
    assert conn.stats.bytes_in == 4 * count * (len(text.encode()) + len(pulled))
    assert conn._backlog.count() == (4 * count, 4 * count * len(pulled))
    stream.close()
    assert conn._backlog.count() == (0, 0)


def test_what_nobody_runs_any_more_is_dropped_and_counted(pool: WorkerPool) -> None:
    """After the end of the workers; it holds no room."""
    _, conn, *_ = make_pair()
    conn._run = pool.submit
    conn.observe("e", lambda message: None)
    pool.end(Deadline(scaled(5)))
    conn.receive(event("e", 1))
    assert conn.stats.dropped == 1
    assert conn._backlog.count() == (0, 0)


def test_a_batch_leaves_before_an_iterator_gives_what_is_here() -> None:
    """As it does before one that has to wait."""
    _, conn, _, carrier = make_pair()
    stream = conn.events("e")
    conn.receive(event("e", 1))
    with conn.batch():
        conn.notify("gathered")
        assert not carrier.sent
        assert next(stream).payload == 1
        assert len(carrier.sent) == 1
