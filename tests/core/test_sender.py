"""Batches and deadlines: what one thread has in mind, and no other."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from owlsocket_sync import (
    Connection,
    ConnectionState,
    Limits,
    SocketConnectionError,
    SocketMessageError,
    SocketMessageMalformed,
    SocketTimeout,
)
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.scopes import Scopes
from support.helpers import scaled
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


@pytest.fixture
def ends() -> Ends:
    """Two ends, whose right one echoes."""
    left, right, *carriers = make_pair()
    right.perform("echo", lambda *values: values[0] if values else None)
    return left, right, *carriers  # type: ignore[return-value]


def aside(function: Any) -> None:
    """On another thread, to its end."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(scaled(5))
    assert not thread.is_alive()


def test_the_nearest_deadline_holds() -> None:
    """Inner ones may be nearer, never further; the outer one is back after."""
    scopes = Scopes()
    near, far = Deadline(1), Deadline(100)
    with scopes.deadline_scope(near), scopes.deadline_scope(far) as holds:
        assert holds is near
        assert scopes.find_deadline() is near
    assert scopes.find_deadline() is None
    with scopes.deadline_scope(far):
        with pytest.raises(ValueError, match="no"), scopes.deadline_scope(near):
            raise ValueError("no")
        assert scopes.find_deadline() is far


@pytest.mark.parametrize(
    "verb",
    [
        lambda conn: conn.notify("e"),
        lambda conn: conn.enqueue(1),
        lambda conn: conn.reply("r", 1),
        lambda conn: conn.request(1),
        lambda conn: conn.stream(1).close(),
        lambda conn: conn.send("text"),
        lambda conn: conn.call("echo", timeout=50),
    ],
)
def test_a_deadline_holds_over_whatever_is_done_inside(ends: Ends, verb: Any) -> None:
    """And what is written has no longer than that."""
    left, right, carrier, _ = ends
    right.on_error(lambda error, context: None)
    with left.deadline(3) as deadline:
        verb(left)
    assert carrier.budgets
    assert all(budget.at <= deadline.at for budget in carrier.budgets)


def test_writing_a_call_takes_no_longer_than_the_call_may(ends: Ends) -> None:
    """A peer that takes nothing does not hold up the caller beyond the timeout."""
    left, _, carrier, _ = ends
    left.call("echo", 1, timeout=2)
    left.submit("echo", 1, timeout=2)
    assert [budget.seconds <= 2 for budget in carrier.budgets] == [True, True]


def test_a_batch_that_a_call_sends_first_has_no_longer_than_the_call(ends: Ends) -> None:
    """The timeout of a call holds inside a batch too."""
    left, _, carrier, _ = ends
    with left.batch():
        left.notify("e")
        left.call("echo", 1, timeout=2)
    assert [budget.seconds <= 2 for budget in carrier.budgets] == [True]


def test_a_deadline_holds_over_what_is_waited_for(ends: Ends) -> None:
    """Events, responses, messages of the queue, the end."""
    left, right, carrier, _ = ends
    carrier.silent = True
    for wait in (
        lambda: next(left.events("e")),
        lambda: next(left.stream(1)),
        lambda: left.auth("init"),
        lambda: left.wait_closed(),
        lambda: left.call("echo", timeout=math.inf),
    ):
        with left.deadline(0.02), pytest.raises(SocketTimeout):
            wait()
    with right.deadline(0.02):
        assert right.consume(timeout=50) is None
        assert list(right.messages()) == []


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("close", lambda conn: conn.close()),
        ("close", lambda conn: conn.drain()),
        ("reconnect", lambda conn: conn.reconnect()),
        ("wait_idle", lambda conn: conn.wait_idle()),
    ],
)
def test_a_deadline_holds_over_the_end_of_a_link(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, method: str, verb: Any
) -> None:
    """And over the wait for handlers."""
    left, _, carrier, _ = ends
    deadlines: list[Any] = []
    for target in (carrier, left._core._workers):
        monkeypatch.setattr(target, method, lambda *values: deadlines.append(values[-1]), raising=False)
    with left.deadline(0.3) as deadline:
        verb(left)
    assert [each.at <= deadline.at + 0.1 for each in deadlines] == [True]


@pytest.mark.parametrize("seconds", [-1, math.nan, "1", None])
def test_a_deadline_is_a_number_of_seconds(ends: Ends, seconds: Any) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match="seconds must be a number"):
        ends[0].deadline(seconds)


def test_what_one_thread_has_in_mind_is_not_another_ones(ends: Ends) -> None:
    """Neither its batch nor its deadline."""
    left, _, carrier, _ = ends
    with left.deadline(0.5), left.batch():
        left.notify("mine")
        aside(lambda: left.notify("another's"))
        assert [json.loads(frame)["event"] for frame in carrier.sent] == ["another's"]
        assert carrier.budgets[0].seconds > 1
    assert [json.loads(frame)["event"] for frame in carrier.sent] == ["another's", "mine"]


def test_a_call_that_was_given_up_in_a_batch_does_not_leave(ends: Ends) -> None:
    """It is nobody's any more."""
    left, _, carrier, _ = ends
    with left.batch():
        future = left.submit("echo", 1)
        left.notify("e")
        future.cancel()
    assert [json.loads(frame)["type"] for frame in carrier.sent] == ["event"]
    with left.batch():
        left.submit("echo", 1).cancel()
    assert carrier.writes == 1


@pytest.mark.parametrize(
    "wait",
    [
        lambda conn: conn.call("echo", timeout=0),
        lambda conn: conn.ping(0),
        lambda conn: conn.wait_open(0),
        lambda conn: conn.wait_closed(0),
        lambda conn: next(conn.events("e", timeout=0.01)),
        lambda conn: conn.consume(timeout=0.01),
        lambda conn: conn.auth("init", timeout=0),
        lambda conn: conn.submit("echo", timeout=0).result(0.01),
    ],
)
def test_a_wait_that_finds_no_link_leaves_a_batch_as_it_was(ends: Ends, wait: Any) -> None:
    """What was gathered before is sent at the end, once there is a link; only the wait has failed."""
    left, _, carrier, _ = ends
    with left.batch():
        left.notify("first")
        carrier.lose()
        with pytest.raises((SocketTimeout, TimeoutError)):
            wait(left)
        left.notify("last")
        carrier.restore()
    events = [message["event"] for message in map(json.loads, carrier.sent) if message["type"] == "event"]
    assert events == ["first", "last"]


@pytest.mark.parametrize(
    "verb", [lambda conn: conn.stream("q", timeout=0.01), lambda conn: conn.events("e", timeout=0.01)]
)
def test_an_iterator_tells_what_a_batch_could_not_send(ends: Ends, verb: Any) -> None:
    """Not that the peer has not answered: it was not asked. The iterator stays open."""
    left, right, carrier, _ = ends
    right.acknowledge(lambda id, payload: right.reply(id, payload) or right.notify("e") or True)
    with left.batch():
        carrier.lose()
        iterator = verb(left)
        left.request("q")
        with pytest.raises(SocketTimeout, match="waiting for a connection") as caught:
            next(iterator)
        assert caught.value.sent is False
        carrier.restore()
        assert next(iterator) is not None


def test_a_request_in_a_batch_is_not_told_to_be_sent(ends: Ends) -> None:
    """A link that is lost before the end of the batch has not carried it."""
    left, _, carrier, _ = ends
    lost: list[Any] = []
    left.on_error(lambda error, context: lost.append(error))
    with left.batch():
        left.request("q", repr)
        carrier.lose()
        carrier.restore()
    left.request("q", repr)
    carrier.lose()
    assert [error.sent for error in lost] == [None, True]


def test_a_drain_that_cannot_send_a_batch_closes(ends: Ends) -> None:
    """Within its timeout."""
    left, _, carrier, _ = ends

    def drain_in_a_batch() -> None:
        with left.batch():
            left.notify("e")
            carrier.lose()
            with pytest.raises(SocketTimeout):
                left.drain(0.02)
            assert left.state is ConnectionState.CLOSED

    with pytest.raises(SocketConnectionError) as caught:
        drain_in_a_batch()
    assert caught.value.sent is False
    assert all(budget.seconds <= 0.02 for budget in carrier.budgets[:-1])


def test_an_error_does_not_wait_for_a_link_to_leave_a_batch(ends: Ends) -> None:
    """Nor is it replaced: what could not be sent is counted."""
    left, _, carrier, _ = ends

    def fail_in_a_batch() -> None:
        with left.batch():
            left.notify("e")
            future.append(left.submit("echo", 1))
            carrier.lose()
            raise KeyboardInterrupt

    future: list[Future[Any]] = []
    with pytest.raises(KeyboardInterrupt):
        fail_in_a_batch()
    assert not carrier.budgets
    assert left.stats.dropped == 1
    carrier.restore()
    assert future[0].result(0) == 1


def test_an_empty_batch_writes_nothing(ends: Ends) -> None:
    """Not even nothing."""
    left, _, carrier, _ = ends
    with left.batch():
        pass
    assert carrier.writes == 0


def test_what_cannot_be_sent_raises_inside_the_batch(ends: Ends) -> None:
    """Where it was said; the rest leaves."""
    left, _, carrier, _ = ends
    with left.batch():
        left.notify("a")
        with pytest.raises(SocketMessageMalformed):
            left.notify("b", 1j)
        left.notify("c")
    assert [json.loads(frame)["event"] for frame in carrier.sent] == ["a", "c"]


def test_a_message_that_is_too_large_raises_inside_the_batch() -> None:
    """The limit is that of one message, not of the batch."""
    left, _, carrier, _ = make_pair(limits=Limits(message_size=100))
    with left.batch():
        for _ in range(10):
            left.notify("e", "x" * 50)
        with pytest.raises(SocketMessageError):
            left.notify("e", "x" * 100)
    assert (len(carrier.sent), carrier.writes) == (10, 1)


def test_statistics_count_messages_of_a_batch_when_they_leave(ends: Ends) -> None:
    """Each of them, and its bytes."""
    left, _, carrier, _ = ends
    with left.batch():
        left.notify("a")
        left.notify("b")
        assert left.stats.messages_out == 0
    assert (left.stats.messages_out, left.stats.bytes_out) == (2, sum(map(len, carrier.sent)))
