"""From the reader to the handlers: room is given back as each ends, and every message is counted, whoever receives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owlsocket_sync import Connection, EventMessage, Limits
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.backlog import memory_of
from owlsocket_sync.runtime.workers import WorkerPool
from support.helpers import Collector, eventually, scaled
from support.pair import make_pair


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
    _, conn, *_ = make_pair(right_workers=pool, limits=Limits(dispatch_messages=5))
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
    assert not conn._core.has_room()
    go.set()
    seen.wait(4)
    eventually(lambda: conn._core.has_room())
    go.clear()
    conn.receive(event("e", 4))
    assert waits.wait(scaled(5))
    assert conn._core.backlog.totals()[0] == 1
    for number in range(5, 8):
        conn.receive(event("e", number))
    assert conn._core.has_room()
    conn.receive(event("e", 8))
    assert not conn._core.has_room()
    go.set()
    assert seen.wait(9) == list(range(9))
    eventually(lambda: conn._core.backlog.totals() == (0, 0))


def test_each_handler_gives_its_room_back_as_it_ends(pool: WorkerPool) -> None:
    """Not when its lane has run dry: one after another, with the next one under way."""
    _, conn, *_ = make_pair(right_workers=pool, limits=Limits(dispatch_messages=5))
    began, steps = Collector(), threading.Semaphore(0)

    def handle(message: EventMessage) -> None:
        began(message.payload)
        assert steps.acquire(timeout=scaled(5))

    conn.observe("e", handle)
    for number in range(5):
        conn.receive(event("e", number))
    for number in range(5):
        began.wait(number + 1)
        assert conn._core.backlog.totals()[0] == 5 - number
        assert conn._core.has_room() is (number > 0)
        steps.release()
    eventually(lambda: conn._core.backlog.totals() == (0, 0))


def test_a_handler_may_give_itself_up(pool: WorkerPool) -> None:
    """What waits in its lane already finds nobody, and gives its room back."""
    _, conn, *_ = make_pair(right_workers=pool)
    seen, go = Collector(), threading.Event()

    def handle(message: EventMessage) -> None:
        assert go.wait(scaled(5))
        seen(message.payload)
        subscription()

    subscription = conn.observe("e", handle)
    for number in range(3):
        conn.receive(event("e", number))
    go.set()
    eventually(lambda: conn._core.backlog.totals() == (0, 0))
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
    assert conn._core.backlog.totals() == (4 * count, 4 * count * len(pulled))
    stream.close()
    assert conn._core.backlog.totals() == (0, 0)


def test_what_nobody_runs_any_more_is_dropped_and_counted(pool: WorkerPool) -> None:
    """After the end of the workers; it holds no room."""
    _, conn, *_ = make_pair(right_workers=pool)
    conn.observe("e", lambda message: None)
    pool.end(Deadline(scaled(5)))
    conn.receive(event("e", 1))
    assert conn.stats.dropped == 1
    assert conn._core.backlog.totals() == (0, 0)


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


@pytest.mark.parametrize("text", ['{"type":"ping"}', '{"type":"call","id":"c","method":5,"payload":[]}'])
def test_after_the_goodbye_no_message_takes_a_worker(
    pool: WorkerPool, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a pong nor for a refusal: reading does not wait for room any more, so they would pile up."""
    submitted = Collector()
    monkeypatch.setattr(WorkerPool, "submit", lambda pool, lane, *task: submitted(lane))
    _, conn, *_ = make_pair(right_workers=pool)
    conn.on_error(lambda error, context: None)
    conn._core.dispatcher.stop()
    before = list(submitted.items)
    conn.receive(text)
    assert [lane for lane in submitted.items if lane not in before] == ([] if "ping" in text else ["error"])


DENSE = "[" + ",".join(["{}"] * 20_000) + "]"


def _ignore(*arguments: Any) -> None:
    """Do nothing."""


def _observe(conn: Connection) -> None:
    conn.observe("e", _ignore)


def _iterate(conn: Connection) -> None:
    conn._kept = conn.events("e")  # type: ignore[attr-defined]


def _prepare_anew(conn: Connection) -> None:
    conn.observe("e", _ignore)
    conn.prepare = lambda message, is_request: (
        EventMessage(payload=message.payload, event="e") if is_request else message
    )


def _stream(conn: Connection) -> None:
    conn._kept = conn.stream("q", timeout=scaled(60))  # type: ignore[attr-defined]


KEPT: dict[str, tuple[Callable[[Connection], object], dict[str, Any]]] = {
    "an observer": (_observe, {"type": "event", "event": "e"}),
    "an iterator": (_iterate, {"type": "event", "event": "e"}),
    "a hook": (_prepare_anew, {"type": "event", "event": "e"}),
    "a listener": (lambda conn: conn.listen(_ignore), {"type": "system"}),
    "a performer": (lambda conn: conn.perform("m", _ignore), {"type": "call", "method": "m", "id": 1}),
    "an acknowledger": (lambda conn: conn.acknowledge(_ignore), {"type": "request", "id": 1}),
    "a stream": (_stream, {"type": "response"}),
    "a response": (lambda conn: conn.observe_response(_ignore), {"type": "response", "id": 1}),
    "authentication": (lambda conn: None, {"type": "auth", "stage": "init"}),
    "a report": (lambda conn: conn.on_error(_ignore), {"type": "result", "id": 1}),
    "a report of an invalid message": (lambda conn: conn.on_error(_ignore), {"type": "event", "event": 5}),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_what_waits_counts_by_its_memory(
    pool: WorkerPool, kept: tuple[Callable[[Connection], object], dict[str, Any]]
) -> None:
    """Whoever keeps a message, it fills the backlog by what was parsed from it, and not by its text."""
    peer, conn, *_ = make_pair(right_workers=pool)
    busy, over = threading.Event(), threading.Event()
    pool.submit(None, lambda: (busy.set(), over.wait(scaled(30))))
    assert busy.wait(scaled(5))
    try:
        prepare, fields = kept
        ids: list[Any] = []
        peer.acknowledge(lambda id, payload: ids.append(id) or True)
        prepare(conn)
        text = json.dumps({**fields, **({"id": ids[0]} if ids else {}), "payload": 0}).replace("0}", DENSE + "}")
        conn.receive(text)
        assert conn._core.backlog.totals()[1] >= memory_of(text) > 10 * len(text)
    finally:
        over.set()
