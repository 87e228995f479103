"""Errors of our own on the reader: each ends a link and is reported; one that comes back ends the connection."""

from __future__ import annotations

import math
from typing import Any

import pytest

from owlsocket_sync import Backoff, ConnectionState, SocketConnectionError, connect
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.runtime.supervisor import MAX_READER_FAILURES
from owlsocket_sync.server import serve
from support.handlers import echo
from support.helpers import Collector, eventually, scaled

QUICK = Backoff(initial=0.01, factor=1.0, cap=0.01, jitter="none", healthy_after=math.nextafter(math.inf, 0.0))


def break_client(monkeypatch: pytest.MonkeyPatch, failures: list[Exception]) -> None:
    """Have the reader of a client raise the next of these errors."""
    step = Link._step

    def fail(link: Link, ready: int) -> float:
        if failures and link._framing.__class__.__name__ == "ClientFraming":
            raise failures.pop()
        return step(link, ready)

    monkeypatch.setattr(Link, "_step", fail)


def test_an_error_that_repeats_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few links, with a pause before each; whoever waits for the connection gets an error of ours."""
    failures: list[Exception] = [AttributeError("no such thing") for _ in range(9)]
    break_client(monkeypatch, failures)
    reported = Collector()
    with serve(echo) as server:
        conn = connect(server.url, reconnect=QUICK, wait=False, setup=lambda conn: conn.on_error(reported))
        info = conn.wait_closed(scaled(10))
        with pytest.raises(SocketConnectionError, match="internal error") as caught:
            conn.call("echo", 1)
        assert "AttributeError: no such thing" in str(caught.value.__cause__)
        eventually(lambda: len(reported.items) == MAX_READER_FAILURES)
    assert info.code == 1011
    assert isinstance(info.error, SocketConnectionError)
    assert isinstance(info.error.__cause__, AttributeError)
    assert len(failures) == 9 - MAX_READER_FAILURES
    assert {(type(error), context.source) for error, context in reported.items} == {(SocketConnectionError, "receive")}


@pytest.mark.parametrize("error", [AttributeError("x"), ValueError("x"), OverflowError("x")])
def test_an_error_that_does_not_repeat_costs_one_link(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its type is: the next link works."""
    with serve(echo) as server, connect(server.url, reconnect=QUICK) as conn:
        break_client(monkeypatch, [error])
        conn._core.carrier.schedule_wakeup(0.0)
        eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN, 10)
        assert conn.call("echo", 1) == 1


def test_errors_between_which_a_link_was_healthy_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that meets an error of ours once a day costs a link a day."""
    healthy: Any = Backoff(initial=0.01, factor=1.0, cap=0.01, jitter="none", healthy_after=0.0)
    rounds = MAX_READER_FAILURES + 2
    with serve(echo) as server, connect(server.url, reconnect=healthy) as conn:
        for number in range(rounds):
            break_client(monkeypatch, [AttributeError("x")])
            conn._core.carrier.schedule_wakeup(0.0)
            eventually(lambda number=number: conn.stats.reconnects == number + 1, 10)  # type: ignore[misc]
        assert conn.call("echo", 1) == 1
