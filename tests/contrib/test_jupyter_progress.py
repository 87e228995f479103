"""Streams and parallel calls, with and without a bar over them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import pytest
from helpers import eventually, scaled

from owlsocket_sync import Connection, ResilientError, SocketTimeout, SocketUnsupported
from owlsocket_sync.contrib.jupyter import gather, stream
from owlsocket_sync.server import Request

pytest.importorskip("tqdm")


class Far:
    """The handler of the server, and how many of its calls run at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = self.asked = 0
        self.gate = threading.Event()

    def __call__(self, conn: Connection, request: Request) -> None:
        """Serve a client."""
        conn.on_error(lambda error, context: None)
        conn.perform("add", lambda a, b: a + b)
        conn.perform("nothing", lambda: None)
        conn.perform("fail", self.fail)
        conn.perform("wait", lambda: self.gate.wait(scaled(20)) and None)
        conn.perform("together", self.together)
        conn.acknowledge(lambda id, payload: ([conn.reply(id, one) for one in range(payload)], True)[1])

    def fail(self) -> None:
        """What cannot be done."""
        raise ValueError("no")

    def together(self) -> None:
        """Note how many are here at once."""
        with self.lock:
            self.asked += 1
            self.running += 1
            self.most = max(self.most, self.running)
        with self.lock:
            self.running -= 1


@pytest.fixture
def far() -> Far:
    """What the server does."""
    return Far()


@pytest.fixture
def owlsocket_handler(far: Far) -> Callable[[Connection, Request], object]:
    """The same, for the server."""
    return far


@pytest.mark.parametrize("progress", [False, True])
def test_results_come_in_the_order_asked(
    owlsocket_connection: Connection, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a bar that counts them, where one is asked for; a call without arguments is its name."""
    calls = ["nothing", *[("add", number, 1) for number in range(200)]]
    results = gather(owlsocket_connection, calls, timeout=scaled(10), progress=progress, description="sums")
    assert results == [None, *range(1, 201)]
    shown = capsys.readouterr().err
    assert ("sums" in shown, "201/201" in shown) == (progress, progress)


def test_no_thread_watches_over_a_bar(owlsocket_connection: Connection) -> None:
    """As one of tqdm's own would, to the end of the process."""
    import tqdm

    gather(owlsocket_connection, ["nothing"], progress=True)
    assert tqdm.tqdm.monitor is None


def test_only_so_many_calls_are_under_way(owlsocket_connection: Connection, far: Far) -> None:
    """However many there are."""
    gather(owlsocket_connection, ["together"] * 50, at_once=2, timeout=scaled(10))
    assert far.asked == 50
    assert far.most <= 2


def test_the_first_error_is_raised_and_the_others_are_given_up(owlsocket_connection: Connection, far: Far) -> None:
    """Nothing is left pending."""
    with pytest.raises(ResilientError, match="ValueError: no"):
        gather(owlsocket_connection, ["wait", "fail", "wait"], timeout=scaled(20))
    assert owlsocket_connection.stats.pending == 0
    far.gate.set()


def test_errors_may_take_the_place_of_results(owlsocket_connection: Connection) -> None:
    """Each where its result would be."""
    calls: list[Any] = [("add", 1, 1), "fail", "unheard of", ("add", 2, 2)]
    first, failed, unknown, last = gather(owlsocket_connection, calls, return_errors=True, timeout=scaled(10))
    assert (first, last) == (2, 4)
    assert "no" in str(failed)
    assert isinstance(unknown, SocketUnsupported)


def test_a_deadline_holds_over_all_of_it(owlsocket_connection: Connection, far: Far) -> None:
    """As over calls one by one."""
    with pytest.raises(SocketTimeout), owlsocket_connection.deadline(0.1):
        gather(owlsocket_connection, ["wait"] * 3)
    far.gate.set()


@pytest.mark.parametrize("at_once", [0, -1, True, 1.5])
def test_a_number_that_is_none_is_named(owlsocket_connection: Connection, at_once: Any) -> None:
    """Before anything is called."""
    with pytest.raises(ValueError, match="at_once"):
        gather(owlsocket_connection, ["nothing"], at_once=at_once)


def test_no_calls_have_no_results(owlsocket_connection: Connection) -> None:
    """At once."""
    assert gather(owlsocket_connection, []) == []


@pytest.mark.parametrize("progress", [False, True])
def test_a_stream_is_counted(
    owlsocket_connection: Connection, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends after so many."""
    parts = stream(owlsocket_connection, 9, limit=5, timeout=scaled(5), progress=progress)
    assert list(parts) == [0, 1, 2, 3, 4]
    assert ("5/5" in capsys.readouterr().err) is progress
    assert not owlsocket_connection._waiters


def test_a_stream_that_is_left_ends(owlsocket_connection: Connection) -> None:
    """And a response that does not come is told of."""
    parts = cast("Any", stream(owlsocket_connection, 9, timeout=scaled(5), progress=True))
    with closing(parts):
        assert next(parts) == 0
    assert not owlsocket_connection._waiters
    with pytest.raises(SocketTimeout):
        list(stream(owlsocket_connection, 2, timeout=0.1))
    eventually(lambda: not owlsocket_connection._waiters)
