"""Whether a message that failed was sent, and why there was no link: as a program reads it from the error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    Connection,
    Limits,
    ResilientError,
    SocketConnectionError,
    SocketError,
    SocketMessageError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnsupported,
    connect,
)
from owlsocket_sync.server import Server, serve
from owlsocket_sync.states import CloseInfo
from owlsocket_sync.testing import FaultProxy
from support.helpers import eventually, scaled
from support.pair import RecordingCarrier, make_pair
from support.sockets import free_port

Call = Callable[..., Any]


def submit(conn: Connection, *arguments: Any, **options: Any) -> Any:
    """Call by way of a future."""
    future: Future[Any] = conn.submit(*arguments, **options)
    return future.result(scaled(10))


CALLS: list[Call] = [Connection.call, submit]


@pytest.fixture(params=CALLS, ids=["call", "submit"])
def call(request: pytest.FixtureRequest) -> Call:
    """Both ways to call."""
    way: Call = request.param
    return way


@pytest.fixture
def ends() -> tuple[Connection, Connection, RecordingCarrier]:
    """Two ends in memory, and the carrier of the first; the second one performs a few methods."""
    left, right, carrier, _ = make_pair(limits=Limits(message_size=1000, pending_calls=2))
    right.on_error(lambda error, context: None)
    right.perform("echo", lambda value: value)
    right.perform("fail", lambda: 1 / 0)
    return left, right, carrier


Ends = tuple[Connection, Connection, RecordingCarrier]


@pytest.mark.parametrize(
    ("arguments", "options", "kind"),
    [
        (("fail",), {}, ResilientError),
        (("nobody",), {}, SocketUnsupported),
        (("echo", "x"), {"result_type": int}, SocketMessageMalformed),
    ],
)
def test_an_error_in_the_answer_was_sent(
    ends: Ends, call: Call, arguments: tuple[Any, ...], options: Any, kind: type[ResilientError]
) -> None:
    """The peer received the call, and may have done something for it."""
    with pytest.raises(kind) as raised:
        call(ends[0], *arguments, **options)
    assert raised.value.sent is True


@pytest.mark.parametrize(
    ("argument", "kind"), [(object(), SocketMessageMalformed), ("x" * 1000, SocketMessageError)], ids=["json", "size"]
)
def test_a_call_that_cannot_be_sent_was_not_sent(
    ends: Ends, call: Call, argument: Any, kind: type[SocketError]
) -> None:
    """The call raises before its first byte."""
    with pytest.raises(kind) as raised:
        call(ends[0], "echo", argument)
    assert raised.value.sent is False


def test_a_call_beyond_the_limit_was_not_sent(ends: Ends, call: Call) -> None:
    """As many calls as allowed wait for their answers."""
    left, _, carrier = ends
    carrier.silent = True
    pending = [left.submit("echo", 1) for _ in range(2)]
    with pytest.raises(SocketError, match="2 calls wait for an answer") as raised:
        call(left, "echo", 1)
    assert raised.value.sent is False
    left.close()
    for future in pending:
        error = future.exception(5)
        assert isinstance(error, SocketConnectionError)
        assert error.sent is True


def test_a_call_that_was_not_answered_was_sent(ends: Ends) -> None:
    """The peer may perform it still."""
    left, _, carrier = ends
    carrier.silent = True
    with pytest.raises(SocketTimeout, match="was not answered within") as raised:
        left.call("echo", 1, timeout=0.01)
    assert raised.value.sent is True


def test_a_call_whose_link_was_lost_was_sent(ends: Ends) -> None:
    """And one that waited for a link when the connection was closed was not."""
    left, _, carrier = ends
    carrier.silent = True
    sent = left.submit("echo", 1)
    again = left.submit("echo", 1, retry=True)
    carrier.lose()
    error = sent.exception(5)
    assert isinstance(error, SocketConnectionError)
    assert error.sent is True
    waiting = left.submit("echo", 2)
    left.close()
    for future, was_sent in ((again, True), (waiting, False)):
        error = future.exception(5)
        assert isinstance(error, SocketConnectionError)
        assert error.sent is was_sent


def test_a_closed_connection_sends_nothing(ends: Ends) -> None:
    """Whatever the verb."""
    left, *_ = ends
    left.close()
    for verb in (
        lambda: left.call("echo", 1),
        lambda: left.submit("echo", 1),
        lambda: left.notify("e"),
        lambda: left.request(1, bool),
        lambda: left.enqueue(1),
        lambda: left.auth("init", timeout=1),
        lambda: left.ping(1),
    ):
        with pytest.raises(SocketConnectionError) as raised:
            verb()
        assert raised.value.sent is False


VERBS: dict[str, Callable[[Connection], Any]] = {
    "call": lambda conn: conn.call("echo", 1, timeout=0.01),
    "notify": lambda conn: _within(conn, lambda: conn.notify("e")),
    "request": lambda conn: _within(conn, lambda: conn.request(1, bool)),
    "stream": lambda conn: _within(conn, lambda: conn.stream(1)),
    "reply": lambda conn: _within(conn, lambda: conn.reply("r", 1)),
    "enqueue": lambda conn: _within(conn, lambda: conn.enqueue(1)),
    "auth": lambda conn: conn.auth("init", timeout=0.01),
    "ping": lambda conn: conn.ping(0.01),
    "wait_open": lambda conn: conn.wait_open(0.01),
    "batch": lambda conn: _within(conn, lambda: _batch(conn)),
}


def _within(conn: Connection, verb: Callable[[], Any]) -> None:
    with conn.deadline(0.01):
        verb()


def _batch(conn: Connection) -> None:
    with conn.batch():
        conn.notify("e")


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_link_each_verb_says_why(ends: Ends, verb: str) -> None:
    """The last failure is in the message and is the cause; nothing was sent."""
    left, _, carrier = ends
    reset = ConnectionResetError("reset by the test")
    carrier.lose(CloseInfo(1006, "lost", reset))
    with pytest.raises(SocketTimeout, match=r"waiting for a connection.*\(last failure: reset by the test\)") as raised:
        VERBS[verb](left)
    assert (raised.value.sent, raised.value.__cause__) == (False, reset)


@pytest.mark.parametrize("verb", ["call", "notify", "wait_open"])
def test_the_code_of_the_close_frame_is_a_failure_too(ends: Ends, verb: str) -> None:
    """Where the server closed the link in order, there is no other one."""
    left, _, carrier = ends
    carrier.lose(CloseInfo(1012, "restarting"))
    with pytest.raises(SocketTimeout, match=r"last failure: the link was closed: 1012 restarting\)"):
        VERBS[verb](left)


def test_a_call_that_waits_to_be_sent_again_was_sent(ends: Ends) -> None:
    """Once, on a link that is lost."""
    left, _, carrier = ends
    carrier.silent = True
    future = left.submit("echo", 1, timeout=0.05, retry=True)
    carrier.lose()
    left._core.run_timers(future.deadline.at)
    error = future.exception(5)
    assert isinstance(error, SocketTimeout)
    assert "waiting for a connection to be sent again" in str(error)
    assert error.sent is True


@pytest.fixture
def proxied() -> Iterator[tuple[Server, FaultProxy, Connection]]:
    """A client that reaches its server through a proxy that breaks."""

    released = threading.Event()

    def handler(conn: Connection, request: Any) -> None:
        conn.on_error(lambda error, context: None)
        conn.perform("echo", lambda value: value)
        conn.perform("never", lambda: released.wait(scaled(5)))

    with (
        serve(handler) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.url(), reconnect=Backoff(initial=0.01, cap=0.05), timeout=scaled(1)) as conn,
    ):
        yield server, proxy, conn
        released.set()


@pytest.mark.parametrize("attempt", range(3))
def test_over_a_socket_a_lost_link_leaves_no_doubt(
    proxied: tuple[Server, FaultProxy, Connection], call: Call, attempt: int
) -> None:
    """The call had been sent when the link broke; the one after it finds no link, and says why."""
    _, proxy, conn = proxied
    before = conn.stats.messages_out
    breaker = threading.Thread(
        target=lambda: (eventually(lambda: conn.stats.messages_out > before), proxy.refuse(), proxy.reset())
    )
    breaker.start()
    with pytest.raises(SocketConnectionError) as raised:
        call(conn, "never", timeout=scaled(5))
    breaker.join()
    assert raised.value.sent is True
    with pytest.raises(SocketTimeout, match=r"waiting for a connection \(last failure: ") as waited:
        call(conn, "echo", 1, timeout=0.2)
    assert waited.value.sent is False
    assert waited.value.__cause__ is not None


@pytest.mark.parametrize("wait", [True, False])
def test_a_server_that_is_not_there_is_named_as_the_reason(wait: bool) -> None:
    """By `connect`, and by a call that waits for it."""
    url = f"ws://127.0.0.1:{free_port()}"
    if wait:
        with pytest.raises(SocketConnectionError, match="refused") as refused:
            connect(url)
        assert refused.value.sent is False
        return
    with connect(url, wait=False, reconnect=Backoff(initial=0.01)) as conn:
        eventually(lambda: conn._core.carrier.last_failure)
        for verb in (lambda: conn.call("echo", 1, timeout=0.05), lambda: conn.wait_open(0.05)):
            with pytest.raises(SocketTimeout, match=r"last failure: .*refused") as raised:
                verb()
            assert isinstance(raised.value.__cause__, SocketConnectionError)


@pytest.mark.parametrize("size", [10, 10_000_000], ids=["not begun", "begun"])
def test_a_message_that_the_peer_does_not_take(size: int) -> None:
    """Nothing was sent of one that was not begun; of one that was begun it is unknown."""
    reading = threading.Event()

    def handler(conn: Connection, request: Any) -> None:
        reading.wait(scaled(10))  # nothing is read before it returns

    with serve(handler) as server, connect(server.url, heartbeat=None) as conn:
        try:
            if size < 1000:
                with pytest.raises(SocketTimeout), conn.deadline(0.2):
                    conn.notify("e", "x" * 15_000_000)
            with pytest.raises(SocketTimeout, match="send timed out") as raised, conn.deadline(0.2):
                conn.notify("e", "x" * size)
            assert raised.value.sent is (False if size < 1000 else None)
        finally:
            reading.set()
            conn.close(timeout=0.1)
