"""Events: seen by whoever observes them, in order, and by nobody who gave up."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from owlsocket_sync import Connection, EventMessage, SocketConnectionError, SocketTimeout
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.runtime.workers import WorkerPool
from support.helpers import eventually
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


@pytest.fixture
def ends() -> Ends:
    """Two ends."""
    return make_pair()


def test_an_observer_gets_the_message(ends: Ends) -> None:
    """With its name, payload, and when it was sent."""
    left, right, *_ = ends
    seen: list[EventMessage] = []
    right.observe("news", seen.append)
    left.notify("news", {"n": 1})
    left.notify("other", 2)
    assert [(message.event, message.payload) for message in seen] == [("news", {"n": 1})]
    assert seen[0].dt is not None
    assert seen[0].raw == '{"event":"news","payload":{"n":1},"type":"event"}'


@pytest.mark.parametrize("payload", [None, False, 0, "", []])
def test_a_falsehood_is_a_payload(ends: Ends, payload: Any) -> None:
    """None is null, and not the message itself."""
    left, right, *_ = ends
    seen: list[Any] = []
    right.observe("e", lambda message: seen.append(message.payload))
    left.notify("e", payload)
    assert seen == [payload]


def test_every_event_can_be_observed(ends: Ends) -> None:
    """By ``"*"``, after those who asked for it by name."""
    left, right, *_ = ends
    seen: list[str] = []
    right.observe("*", lambda message: seen.append(f"* {message.event}"))
    right.observe("a", lambda message: seen.append("a"))
    left.notify("a")
    left.notify("b")
    assert seen == ["a", "* a", "* b"]


def test_observe_is_a_decorator_too(ends: Ends) -> None:
    """The function stays what it is."""
    left, right, *_ = ends
    seen: list[int] = []

    @right.observe("e")
    def keep(message: EventMessage) -> None:
        seen.append(message.payload)

    left.notify("e", 1)
    assert seen == [1]
    assert callable(keep)


def test_who_gave_up_is_not_invoked_any_more(ends: Ends) -> None:
    """Also when an observer before it, of the same event, gives it up."""
    left, right, *_ = ends
    seen: list[str] = []
    second: list[Any] = []

    def give_up_second(message: EventMessage) -> None:
        seen.append("first")
        second[0]()

    first = right.observe("e", give_up_second)
    second.append(right.observe("e", lambda message: seen.append("second")))
    left.notify("e")
    first()
    first()
    left.notify("e")
    assert seen == ["first"]
    assert not first.active
    assert "unsubscribed" in repr(first)


def test_an_observer_that_fails_stops_nobody(ends: Ends) -> None:
    """It is reported, with its message."""
    left, right, *_ = ends
    seen: list[int] = []
    wrong: list[Any] = []

    def fail(message: EventMessage) -> None:
        raise ValueError("no")

    right.on_error(
        lambda error, context: wrong.append((str(error), str(context), getattr(context.message, "payload", None)))
    )
    right.observe("e", fail)
    right.observe("e", lambda message: seen.append(message.payload))
    left.notify("e", 7)
    assert seen == [7]
    assert wrong == [("no", "observe e", 7)]


def test_events_of_one_name_are_handled_in_order_and_names_side_by_side() -> None:
    """A slow observer of one does not keep another waiting."""
    pool = WorkerPool(2, "test")
    left, right, *_ = make_pair(right_workers=pool)
    gate, seen = threading.Event(), []
    right.observe("slow", lambda message: (gate.wait(5), seen.append(message.payload)))
    right.observe("quick", lambda message: seen.append(message.payload))
    for number in range(20):
        left.notify("slow", number)
    left.notify("quick", "quick")
    eventually(lambda: seen == ["quick"])
    gate.set()
    eventually(lambda: len(seen) == 21)
    assert seen == ["quick", *range(20)]
    pool.end(Deadline(5))


def test_events_are_pulled_in_the_callers_own_thread(ends: Ends) -> None:
    """From the moment of asking, up to a limit."""
    left, right, *_ = ends
    left.notify("e", "before")
    stream = right.events("e", limit=2)
    for number in range(3):
        left.notify("e", number)
    assert [message.payload for message in stream] == [0, 1]
    assert list(stream) == []


def test_pulling_waits_no_longer_than_it_was_told(ends: Ends) -> None:
    """Then it raises."""
    _, right, *_ = ends
    with (
        right.events("e", timeout=0.02) as stream,
        pytest.raises(SocketTimeout, match=r"no event 'e' came within 0\.02 s"),
    ):
        next(stream)


def test_pulling_ends_with_the_connection(ends: Ends) -> None:
    """What came is given out first; who waits is freed."""
    left, right, *_ = ends
    stream, all_of_them = right.events("e"), right.events("*")
    left.notify("e", 1)
    seen: list[Any] = []
    waiter = threading.Thread(target=lambda: seen.extend(message.payload for message in all_of_them))
    waiter.start()
    eventually(lambda: seen == [1])
    right.close()
    waiter.join(5)
    assert [message.payload for message in stream] == [1]
    assert list(right.events("e")) == []


def test_what_is_not_pulled_counts_as_backlog_until_it_is(ends: Ends) -> None:
    """And no longer when nobody wants it."""
    left, right, *_ = ends
    stream = right.events("e")
    left.notify("e", 1)
    left.notify("e", 2)
    assert right._core.backlog.totals()[0] == 2
    next(stream)
    assert right._core.backlog.totals()[0] == 1
    stream.close()
    assert right._core.backlog.totals() == (0, 0)
    left.notify("e", 3)
    assert right._core.backlog.totals()[0] == 0


def test_an_event_needs_a_link(ends: Ends) -> None:
    """A closed connection raises, and so does a name that is no text."""
    left, *_ = ends
    with pytest.raises(TypeError, match="event must be text"):
        left.notify(5)  # type: ignore[arg-type]
    left.close()
    with pytest.raises(SocketConnectionError):
        left.notify("e")


def test_an_event_whose_name_is_a_star_is_seen_once(ends: Ends) -> None:
    """By those who observe all, and it is pulled once."""
    left, right, *_ = ends
    seen: list[Any] = []
    right.observe("*", lambda message: seen.append(message.payload))
    stream = right.events("*")
    left.notify("*", 1)
    right.close()
    assert seen == [1]
    assert [message.payload for message in stream] == [1]


@pytest.mark.parametrize("name", ["toString", "__proto__", "__class__", "", "żółw"])
def test_a_name_of_an_event_is_a_key_and_nothing_else(ends: Ends, name: str) -> None:
    """Whatever it would mean elsewhere."""
    left, right, *_ = ends
    seen: list[str] = []
    right.observe(name, lambda message: seen.append(message.event))
    left.notify(name)
    left.notify(f"{name}x")
    assert seen == [name]


def test_observers_outlive_a_lost_link(ends: Ends) -> None:
    """And those who pull."""
    left, right, _, carrier = ends
    seen: list[Any] = []
    right.observe("e", lambda message: seen.append(message.payload))
    stream = right.events("e", limit=2)
    left.notify("e", 1)
    carrier.reconnect(Deadline(0))
    left.notify("e", 2)
    assert seen == [1, 2]
    assert [message.payload for message in stream] == [1, 2]


def test_observers_are_asked_in_the_order_registered(ends: Ends) -> None:
    """The same one twice, when it was registered twice."""
    left, right, *_ = ends
    seen: list[str] = []

    def third(message: EventMessage) -> None:
        seen.append("third")

    right.observe("e", lambda message: seen.append("first"))
    right.observe("e", lambda message: seen.append("second"))
    right.observe("e", third)
    again = right.observe("e", third)
    left.notify("e")
    again()
    left.notify("e")
    assert seen == ["first", "second", "third", "third", "first", "second", "third"]


def test_pulling_none_at_all_waits_for_nothing(ends: Ends) -> None:
    """A limit of 0."""
    assert list(ends[1].events("e", limit=0)) == []


@pytest.mark.parametrize("timeout", ["5", -1, math.nan, [], True])
def test_a_timeout_that_is_none_is_refused_at_once(ends: Ends, timeout: Any) -> None:
    """Not by the first wait; and no request is sent for it."""
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        ends[0].events("e", timeout=timeout)
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        ends[0].stream(1, timeout=timeout)
    assert ends[2].sent == []


def test_leaving_the_block_ends_the_pulling(ends: Ends) -> None:
    """What was not taken is dropped, and nothing more is kept."""
    left, right, *_ = ends
    with right.events("e") as stream:
        left.notify("e", 1)
    left.notify("e", 2)
    assert list(stream) == []


def test_who_pulls_is_freed_when_another_thread_closes_the_stream(ends: Ends) -> None:
    """Its loop ends."""
    stream = ends[1].events("e")
    seen: list[Any] = ["waiting"]
    waiter = threading.Thread(target=lambda: seen.append(list(stream)))
    waiter.start()
    stream.close()
    waiter.join(5)
    assert seen == ["waiting", []]


def test_an_iterator_that_is_forgotten_is_cleaned_up_without_a_lock(ends: Ends) -> None:
    """The garbage collector may come by while a lock is held; what it finds is done at the next message."""
    left, right, *_ = ends
    stream = right.events("e")
    left.notify("e", 1)
    assert right._core.backlog.totals()[0] == 1
    with right._core.registrations.event_queues._table_lock, right._core.backlog._counters_lock:
        del stream
    left.notify("other")
    assert right._core.backlog.totals()[0] == 0
    assert not right._core.registrations.event_queues.get("e")
