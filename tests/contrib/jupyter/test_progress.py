"""Streams and parallel calls, with and without a progress bar."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import pytest

from owlsocket_sync import Connection, ResilientError, SocketTimeout, SocketUnsupported
from owlsocket_sync.contrib.jupyter import gather, stream
from owlsocket_sync.server import Request
from support.helpers import eventually, scaled

pytest.importorskip("tqdm")


class Far:
    """The handler of the server, which counts the calls that run at once."""

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
        conn.acknowledge(lambda id, payload: ([conn.reply(id, number) for number in range(payload)], True)[1])

    def fail(self) -> None:
        """Raise an error."""
        raise ValueError("no")

    def together(self) -> None:
        """Count the calls that run at once."""
        with self.lock:
            self.asked += 1
            self.running += 1
            self.most = max(self.most, self.running)
        with self.lock:
            self.running -= 1


@pytest.fixture
def far() -> Far:
    """The handler of the server."""
    return Far()


@pytest.fixture
def owlsocket_handler(far: Far) -> Callable[[Connection, Request], object]:
    """The handler of the server, for the fixture of the server."""
    return far


@pytest.mark.parametrize("progress", [False, True])
def test_results_are_in_the_order_of_the_calls(
    owlsocket_connection: Connection, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a progress bar if requested; a call without arguments is the name of the method."""
    calls = ["nothing", *[("add", number, 1) for number in range(200)]]
    results = gather(owlsocket_connection, calls, timeout=scaled(10), progress=progress, description="sums")
    assert results == [None, *range(1, 201)]
    shown = capsys.readouterr().err
    assert ("sums" in shown, "201/201" in shown) == (progress, progress)


def test_a_progress_bar_starts_no_thread(owlsocket_connection: Connection) -> None:
    """tqdm's monitor thread would run until the process ends."""
    import tqdm

    gather(owlsocket_connection, ["nothing"], progress=True)
    assert tqdm.tqdm.monitor is None


def test_concurrency_limits_the_calls_in_flight(owlsocket_connection: Connection, far: Far) -> None:
    """However many calls are requested."""
    gather(owlsocket_connection, ["together"] * 50, concurrency=2, timeout=scaled(10))
    assert far.asked == 50
    assert far.most <= 2


def test_the_first_error_is_raised_and_other_calls_are_cancelled(owlsocket_connection: Connection, far: Far) -> None:
    """No call stays pending."""
    with pytest.raises(ResilientError, match="ValueError: no"):
        gather(owlsocket_connection, ["wait", "fail", "wait"], timeout=scaled(20))
    assert owlsocket_connection.stats.pending == 0
    far.gate.set()


def test_return_exceptions_returns_errors(owlsocket_connection: Connection) -> None:
    """Each at the index of its call."""
    calls: list[Any] = [("add", 1, 1), "fail", "unheard of", ("add", 2, 2)]
    first, failed, unknown, last = gather(owlsocket_connection, calls, return_exceptions=True, timeout=scaled(10))
    assert (first, last) == (2, 4)
    assert "no" in str(failed)
    assert isinstance(unknown, SocketUnsupported)


def test_a_deadline_holds_for_all_calls(owlsocket_connection: Connection, far: Far) -> None:
    """As over single calls."""
    with pytest.raises(SocketTimeout), owlsocket_connection.deadline(0.1):
        gather(owlsocket_connection, ["wait"] * 3)
    far.gate.set()


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5])
def test_an_invalid_concurrency_is_named(owlsocket_connection: Connection, concurrency: Any) -> None:
    """Before any call."""
    with pytest.raises(ValueError, match="concurrency"):
        gather(owlsocket_connection, ["nothing"], concurrency=concurrency)


def test_no_calls_have_no_results(owlsocket_connection: Connection) -> None:
    """The result is an empty list."""
    assert gather(owlsocket_connection, []) == []


@pytest.mark.parametrize("progress", [False, True])
def test_a_stream_is_counted(
    owlsocket_connection: Connection, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stream ends after the limit."""
    parts = stream(owlsocket_connection, 9, limit=5, timeout=scaled(5), progress=progress)
    assert list(parts) == [0, 1, 2, 3, 4]
    assert ("5/5" in capsys.readouterr().err) is progress
    assert not owlsocket_connection._core.requests.pending


def test_leaving_a_stream_ends_the_request(owlsocket_connection: Connection) -> None:
    """A missing response raises a timeout."""
    parts = cast("Any", stream(owlsocket_connection, 9, timeout=scaled(5), progress=True))
    with closing(parts):
        assert next(parts) == 0
    assert not owlsocket_connection._core.requests.pending
    with pytest.raises(SocketTimeout):
        list(stream(owlsocket_connection, 2, timeout=0.1))
    eventually(lambda: not owlsocket_connection._core.requests.pending)
