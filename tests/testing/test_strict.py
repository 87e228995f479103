"""Doubles are as strict as a reviewer: what a peer sends must have a handler, and no handler may raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync import Connection, ResilientError
from owlsocket_sync.testing import pair


def _fail(*arguments: Any) -> None:
    raise LookupError("no such dish")


def test_an_event_without_an_observer_fails() -> None:
    """With the names that there are, iterators included."""
    ours, theirs = pair()
    with pytest.raises(AssertionError, match=r"no handler observes the event 'x'; no event is observed \(strict=False"):
        theirs.notify("x")
    ours.observe("soldOut", lambda message: None)
    iterator = ours.events("price")
    with pytest.raises(AssertionError, match="event 'soldout'; observed: 'price', 'soldOut'"):
        theirs.notify("soldout")
    theirs.notify("soldOut")
    theirs.notify("price", 1)
    assert next(iterator).payload == 1
    iterator.close()
    ours.close()


@pytest.mark.parametrize(
    "take",
    [
        lambda ours: ours.observe("*", lambda message: None),
        lambda ours: ours.events("*"),
        lambda ours: ours.listen(lambda message: None),
    ],
    ids=["observe", "events", "listen"],
)
def test_who_takes_everything_takes_each_event(take: Callable[[Connection], Any]) -> None:
    """There is no name that it would have to know."""
    ours, theirs = pair()
    kept = take(ours)
    theirs.notify("x")
    del kept
    ours.close()


@pytest.mark.parametrize(
    ("register", "send", "place"),
    [
        (lambda ours: ours.observe("x", _fail), lambda theirs: theirs.notify("x"), "the event 'x' failed in observe x"),
        (lambda ours: ours.listen(_fail), lambda theirs: theirs.notify("x"), "the event 'x' failed in listen"),
        (lambda ours: ours.observe("x", lambda message: None, payload_type=int), lambda theirs: theirs.notify("x", "a"),
         "the event 'x' failed in observe x"),
        (lambda ours: ours.acknowledge(_fail), lambda theirs: theirs.request(1), "a request failed in acknowledge"),
        (lambda ours: None, lambda theirs: theirs.request(1), "a request failed in acknowledge .* accepted request"),
    ],
    ids=["observe", "listen", "payload_type", "acknowledge", "no acknowledge"],
)  # fmt: skip
def test_a_handler_that_raises_fails(register: Any, send: Any, place: str) -> None:
    """Although an `on_error` handler of the program under test gets the error; the original error is the cause."""
    ours, theirs = pair()
    seen: list[Exception] = []
    ours.on_error(lambda error, context: seen.append(error))
    kept = register(ours)
    with pytest.raises(AssertionError, match=place) as failed:
        send(theirs)
    assert failed.value.__cause__ in seen
    del kept
    ours.close()


def test_an_error_that_the_peer_is_told_does_not_fail() -> None:
    """The test sees it as the error of its call; and what our end sends is for the peer to handle."""
    ours, theirs = pair()
    ours.perform("price", _fail)
    with pytest.raises(ResilientError, match="no such dish"):
        theirs.call("price")
    with pytest.raises(ResilientError, match="no handler registered"):
        theirs.call("nothing")
    theirs.observe("x", _fail)
    ours.notify("x")
    ours.notify("y")
    theirs.send("not JSON")
    assert ours.stats.malformed == 1
    ours.close()


def test_all_errors_of_a_message_are_named() -> None:
    """And the next message begins anew."""
    ours, theirs = pair()
    ours.observe("x", _fail)
    ours.observe("x", lambda message: 1 / 0)
    with pytest.raises(AssertionError, match=r"LookupError: no such dish; observe x: ZeroDivisionError: division"):
        theirs.notify("x")
    ours.observe("y", lambda message: None)
    theirs.notify("y")
    ours.close()


def test_a_pair_may_be_lenient(caplog: pytest.LogCaptureFixture) -> None:
    """As a socket is: the error is logged."""
    ours, theirs = pair(strict=False)
    theirs.notify("x")
    ours.observe("x", _fail)
    theirs.notify("x")
    assert "no such dish" in caplog.text
    ours.close()
