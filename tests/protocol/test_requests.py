"""Streamed requests: as many responses as the one who asked wants."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from owlsocket_sync import Connection, SocketConnectionError, SocketMessageMalformed, SocketTimeout
from owlsocket_sync.deadline import Deadline
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]


@pytest.fixture
def ends() -> Ends:
    """Two ends; the right one answers ``{"count": n}`` by n responses, and keeps ids of what it was asked."""
    left, right, *carriers = make_pair()

    def count(id: Any, payload: Any) -> bool:
        if not isinstance(payload, dict) or "count" not in payload:
            return False
        for number in range(payload["count"]):
            right.reply(id, {"data": number, "hasMore": number < payload["count"] - 1})
        return True

    right.acknowledge(count)
    return left, right, *carriers  # type: ignore[return-value]


def test_an_observer_goes_on_until_it_returns_false(ends: Ends) -> None:
    """The README's convention: as long as there is more."""
    left, *_ = ends
    seen: list[int] = []

    def more(payload: Any) -> bool:
        seen.append(payload["data"])
        return bool(payload["hasMore"])

    subscription = left.request({"count": 3}, more)
    assert seen == [0, 1, 2]
    assert not subscription.active


@pytest.mark.parametrize("answer", [False, None, 0])
def test_what_is_not_true_stops(ends: Ends, answer: Any) -> None:
    """An observer that returns nothing wanted one response."""
    left, *_ = ends
    seen: list[Any] = []
    left.request({"count": 3}, lambda payload: (seen.append(payload), answer)[1])
    assert len(seen) == 1
    assert left.stats.unmatched == 2


def test_responses_that_come_apart_in_time_are_all_seen(ends: Ends) -> None:
    """Unlike at the reference, which forgets its observer after the first."""
    left, right, *_ = ends
    ids: list[Any] = []
    right.acknowledge(lambda id, payload: ids.append(id) or True)
    seen: list[Any] = []
    subscription = left.request("later", lambda payload: seen.append(payload) or True)
    for number in range(5):
        right.reply(ids[0], number)
    assert seen == [0, 1, 2, 3, 4]
    subscription()
    right.reply(ids[0], 5)
    assert seen == [0, 1, 2, 3, 4]


def test_who_captured_a_response_captured_it_for_itself(ends: Ends) -> None:
    """`observe_response` sees the others, and its first taker keeps them from the next."""
    left, *_ = ends
    mine: list[Any] = []
    first: list[Any] = []
    second: list[Any] = []
    left.observe_response(lambda payload: first.append(payload) or payload["hasMore"])
    left.observe_response(second.append)
    left.request({"count": 2}, lambda payload: mine.append(payload) or True)
    assert (len(mine), first, second) == (2, [], [])
    left.request({"count": 2})
    assert (len(first), len(second)) == (2, 1)


def test_an_observer_that_fails_is_reported_and_goes_on(ends: Ends) -> None:
    """One bad response is not the end of a stream."""
    left, *_ = ends
    wrong: list[str] = []
    left.on_error(lambda error, context: wrong.append(f"{context.source}: {error!r}"))
    left.request({"count": 2}, lambda payload: 1 / 0 > 0)
    assert wrong == ["request: ZeroDivisionError('division by zero')"] * 2


def test_a_stream_is_iterated(ends: Ends) -> None:
    """In the caller's own thread; ``break`` stops it."""
    left, *_ = ends
    seen = []
    stream = left.stream({"count": 3})
    for part in stream:
        seen.append(part["data"])
        if not part["hasMore"]:
            break
    assert seen == [0, 1, 2]
    stream.close()
    assert list(stream) == []
    assert "closed" in repr(stream)


def test_a_stream_that_is_left_takes_nothing_more(ends: Ends) -> None:
    """And gives its room in the backlog back."""
    left, right, *_ = ends
    ids: list[Any] = []
    right.acknowledge(lambda id, payload: ids.append(id) or True)
    with left.stream("open") as stream:
        right.reply(ids[0], 1)
        right.reply(ids[0], 2)
        assert next(stream) == 1
        assert left._core.backlog.totals()[0] == 1
    right.reply(ids[0], 3)
    assert left._core.backlog.totals()[0] == 0
    assert left.stats.unmatched == 1


def test_a_stream_waits_so_long_for_each_response(ends: Ends) -> None:
    """Then it raises, and is over."""
    left, right, *_ = ends
    right.acknowledge(lambda id, payload: True)
    stream = left.stream("never", timeout=0.02)
    with pytest.raises(SocketTimeout, match=r"no response came within 0\.02 s"):
        next(stream)
    assert list(stream) == []


def test_a_lost_link_ends_streams_with_an_error(ends: Ends) -> None:
    """What came is given out first; an observer's end is reported."""
    left, right, carrier, _ = ends
    ids: list[Any] = []
    wrong: list[Any] = []
    left.on_error(lambda error, context: wrong.append((type(error), context.source)))
    right.acknowledge(lambda id, payload: ids.append(id) or True)
    stream = left.stream("open")
    observed = left.request("watched", lambda payload: True)
    right.reply(ids[0], 1)
    carrier.lose()
    assert next(stream) == 1
    with pytest.raises(SocketConnectionError, match="the link was lost"):
        next(stream)
    assert wrong == [(SocketConnectionError, "request")]
    carrier.restore()
    right.reply(ids[1], 2)
    assert left.stats.unmatched == 1
    observed()


def test_closing_frees_who_waits_for_a_response(ends: Ends) -> None:
    """With an error, at once."""
    left, right, *_ = ends
    right.acknowledge(lambda id, payload: True)
    stream = left.stream("never")
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            next(stream)
        except SocketConnectionError as error:
            outcome.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    left.close()
    waiter.join(5)
    assert len(outcome) == 1


def test_acknowledgers_are_asked_in_order(ends: Ends) -> None:
    """Until one returns true; a failing one is passed over and reported."""
    left, right, *_ = ends
    asked: list[str] = []
    wrong: list[str] = []
    right.on_error(lambda error, context: wrong.append(f"{context.source}: {error}"))

    def fail(id: Any, payload: Any) -> bool:
        asked.append("fail")
        raise ValueError("no")

    right.acknowledge(fail)
    right.acknowledge(lambda id, payload: asked.append("second") or payload == "take")
    right.acknowledge(lambda id, payload: asked.append("third") or payload == "rest")
    left.request("take")
    left.request("rest")
    left.request("nobody's")
    assert asked == ["fail", "second", "fail", "second", "third", "fail", "second", "third"]
    assert wrong[0] == "acknowledge: no"
    assert "no acknowledge() handler accepted" in wrong[-1]


def test_a_request_without_payload_is_a_request_for_nothing(ends: Ends) -> None:
    """None, and not the message itself."""
    left, right, *_ = ends
    asked: list[Any] = []
    right.acknowledge(lambda id, payload: asked.append((id, payload)) or True)
    right.receive('{"type":"request","id":"r1"}')
    assert asked == [("r1", None)]
    right.reply(7, "numbers are ids too")
    assert left.stats.unmatched == 1


@pytest.mark.parametrize("id", [None, True, [], {}])
def test_a_reply_needs_the_id_of_its_request(ends: Ends, id: Any) -> None:
    """No response without an id ever leaves."""
    _, right, _, carrier = ends
    with pytest.raises(TypeError, match="id must be that of a request"):
        right.reply(id, 1)
    assert carrier.sent == []


def test_an_observer_of_responses_that_fails_takes_nothing(ends: Ends) -> None:
    """The next one is asked."""
    left, right, *_ = ends
    seen: list[Any] = []
    wrong: list[str] = []
    left.on_error(lambda error, context: wrong.append(context.source))
    left.observe_response(lambda payload: 1 / 0 > 0)
    observer = left.observe_response(seen.append)
    right.reply("any", 5)
    observer()
    right.reply("any", 6)
    assert seen == [5]
    assert wrong == ["observe_response"] * 2


def test_a_response_that_nobody_waits_for_is_counted(ends: Ends) -> None:
    """It is no garbage, and ends nothing."""
    left, right, *_ = ends
    right.reply("nobody", 1)
    assert (left.stats.unmatched, left.stats.malformed) == (1, 0)


def test_two_streams_do_not_mix(ends: Ends) -> None:
    """Each has its own id."""
    left, right, *_ = ends
    ids: list[Any] = []
    right.acknowledge(lambda id, payload: ids.append(id) or True)
    with left.stream("a") as first, left.stream("b") as second:
        assert first.id != second.id
        right.reply(ids[1], "b1")
        right.reply(ids[0], "a1")
        right.reply(ids[1], "b2")
        assert [next(second), next(first), next(second)] == ["b1", "a1", "b2"]


@pytest.mark.parametrize("payload", [None, False, 0, "", []])
def test_a_falsehood_is_a_response(ends: Ends, payload: Any) -> None:
    """It does not stop the one who asked."""
    left, right, *_ = ends
    ids: list[Any] = []
    right.acknowledge(lambda id, payload: ids.append(id) or True)
    with left.stream("open") as stream:
        right.reply(ids[0], payload)
        right.reply(ids[0], "more")
        assert [next(stream), next(stream)] == [payload, "more"]


def test_a_request_that_cannot_be_sent_leaves_nobody_waiting(ends: Ends) -> None:
    """It raises, and is forgotten."""
    left, _, carrier, _ = ends
    for ask in (lambda: left.stream(1j), lambda: left.request(1j, lambda payload: True)):
        with pytest.raises(SocketMessageMalformed):
            ask()
    assert list(left._core.requests.pending.keys()) == []
    carrier.lose()
    assert left.stats.messages_out == 0


def test_acknowledgers_outlive_a_lost_link(ends: Ends) -> None:
    """And what they answer goes to the new one."""
    left, _, carrier, other = ends
    carrier.reconnect(Deadline(0))
    other.reconnect(Deadline(0))
    with left.stream({"count": 1}) as stream:
        assert next(stream) == {"data": 0, "hasMore": False}


def test_an_acknowledger_that_was_given_up_is_not_asked(ends: Ends) -> None:
    """The others are."""
    left, right, *_ = ends
    asked: list[str] = []
    right.on_error(lambda error, context: None)
    first = right.acknowledge(lambda id, payload: bool(asked.append("first")))
    right.acknowledge(lambda id, payload: bool(asked.append("second")))
    first()
    left.request("x")
    assert asked == ["second"]


def test_an_observer_ends_with_its_link(ends: Ends) -> None:
    """Its subscription says so."""
    left, _, carrier, _ = ends
    left.on_error(lambda error, context: None)
    subscription = left.request("nobody's", lambda payload: True)
    carrier.lose()
    assert not subscription.active
