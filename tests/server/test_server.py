"""`serve()`: what a handler gets, what becomes of a link, and how a server ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from owlsocket_sync import (
    Connection,
    EventMessage,
    Limits,
    SocketMessageError,
    SocketTimeout,
    connect,
)
from owlsocket_sync.server import Request, serve
from support.handlers import echo, keep_payload
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, TEXT, RawPeer, frame, knock


def _read(peer: RawPeer) -> tuple[int, bytes]:
    """A small frame of a server."""
    first, second = peer.read(2)
    return first & 0x0F, peer.read(second & 0x7F)


# -- what a handler gets -----------------------------------------------------------------------------------------------


def test_the_request() -> None:
    """It has path, query, headers and the address of the client; its repr shows no secret."""
    requests = Collector()
    with serve(lambda conn, request: requests(request)) as server:
        conn = connect(
            f"{server.url}/a%20b/c?x=1&x=2&y=&z=%C3%BC", token="s3cret", headers={"X-Own": "yes", "X-City": "Zürich"}
        )
        request = requests.wait(1)[0]
        assert conn.url.startswith(server.url)
        conn.close()
    assert request.path == "/a%20b/c"
    assert dict(request.query) == {"x": "2", "y": "", "z": "ü", "token": "s3cret"}
    assert request.headers["x-own"] == request.headers["X-OWN"] == "yes"
    assert request.headers["x-city"] == "Zürich"
    assert request.remote[0] == "127.0.0.1"
    assert request.remote[1] > 0
    assert "s3cret" not in repr(request)


def _returns(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value: value)


def _blocks(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value: value)
    conn.wait_closed()


def _loops(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value: value)
    for message in conn.events("*"):
        conn.notify("seen", message.payload)


@pytest.mark.parametrize("handler", [_returns, _blocks, _loops])
def test_a_handler_may_return_wait_or_run_on(handler: Callable[[Connection, Request], None]) -> None:
    """It may return, wait, or run on; calls are answered meanwhile, until the link ends."""
    with serve(handler) as server:
        with connect(server.url) as conn:
            seen = Collector()
            conn.observe("seen", lambda message: seen(message.payload))
            assert conn.call("echo", 1) == 1
            conn.notify("e", 5)
            if handler is _loops:
                assert seen.wait(1) == [5]
            assert conn.call("echo", 2) == 2
        eventually(lambda: not server.connections)
        eventually(lambda: not server._peers)


def test_early_messages_wait_for_the_handler() -> None:
    """Messages that arrive before the handler has registered its handlers are not lost."""
    registered = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        assert registered.wait(scaled(5))
        conn.perform("echo", lambda value: value)

    with serve(handler) as server, connect(server.url) as conn:
        future = conn.submit("echo", 1)
        registered.set()
        assert future.result(scaled(5)) == 1


def test_the_server_calls_its_client() -> None:
    """From the handler, before it returns; another thread reads the answer."""
    answers = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("begin", lambda: answers(conn.call("name")))

    with serve(handler) as server, connect(server.url) as conn:
        conn.perform("name", lambda: "me")
        conn.call("begin")
        assert answers.wait(1) == ["me"]
        eventually(lambda: server.connections)
        assert server.connections[0].call("name", timeout=scaled(5)) == "me"


def test_a_client_that_sends_and_leaves(caplog: pytest.LogCaptureFixture) -> None:
    """Its messages reach the handler however soon it leaves, and no failure is logged."""
    seen = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.observe("e", lambda message: seen(message.payload))

    with serve(handler) as server:
        for number in range(30):
            with connect(server.url) as conn:
                conn.notify("e", number)
        assert sorted(seen.wait(30)) == list(range(30))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_client_that_left_before_its_handler_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine starts the handler late; the messages until then are handled all the same."""
    seen = Collector()
    shake_hands = ServerConnection.handshake

    def shake_hands_and_dally(ws: ServerConnection, *arguments: Any, **options: Any) -> None:
        shake_hands(ws, *arguments, **options)
        ws.recv_events_thread.join(scaled(5))

    monkeypatch.setattr(ServerConnection, "handshake", shake_hands_and_dally)
    with serve(lambda conn, request: conn.observe("e", partial(keep_payload, seen))) as server:
        with connect(server.url) as conn:
            conn.notify("e", 1)
        assert seen.wait(1) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["short", "x" * 500, "ü" * 100])
@pytest.mark.parametrize("used", [False, True])
def test_a_handler_that_raises(words: str, used: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The link is closed with 1011 and a reason that fits into its frame; the server goes on."""

    def handler(conn: Connection, request: Request) -> None:
        if used:
            conn.notify("begin")
        raise KeyError(words)

    with serve(handler) as server:
        ending = connect(server.url, reconnect=None, wait=False).wait_closed(scaled(5))
        assert ending.code == 1011
        assert ending.reason == f"KeyError: {words!r}".encode()[:123].decode("utf-8", "ignore")
        assert connect(server.url, reconnect=None).wait_closed(scaled(5)).code == 1011
    assert "the handler failed" in caplog.text


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("Origin: https://good.example", 101),
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
        ("", 101),
    ],
)
def test_origins(origin: str, status: int) -> None:
    """Pages of other sites are rejected; clients without an Origin header are accepted."""
    with serve(echo, origins=["https://good.example"]) as server:
        peer, answer = knock(server.port, headers=origin)
        assert answer.startswith(f"HTTP/1.1 {status} ")
        peer.sock.close()


def test_a_message_that_is_too_large() -> None:
    """The link of that client alone is closed with 1009."""
    with serve(echo, limits=Limits(message_size=1000)) as server, connect(server.url) as other:
        conn = connect(server.url, reconnect=None)
        future = conn.submit("echo", "x" * 2000)
        ending = conn.wait_closed(scaled(5))
        assert ending.code == 1009
        assert isinstance(future.exception(0), SocketMessageError)
        assert other.call("echo", 1) == 1


def test_a_message_that_is_too_large_for_the_client() -> None:
    """The client closes with 1009, and the handler of the server sees the code."""
    endings = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.notify("big", "x" * 2000)
        endings(conn.wait_closed(scaled(5)))

    with serve(handler) as server:
        conn = connect(server.url, limits=Limits(message_size=1000), reconnect=None)
        assert conn.wait_closed(scaled(5)).code == 1009
        assert endings.wait(1)[0].code == 1009


@pytest.mark.timing
def test_timeouts_of_the_server() -> None:
    """A call of the server to a client times out, whether a thread waits for it or not."""
    results, ready = Collector(), threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        ready.wait(scaled(5))
        began = time.monotonic()
        conn.submit("never", timeout=0.2).add_done_callback(
            lambda done: results("submit", type(done.exception()), time.monotonic() - began)
        )
        try:
            conn.call("never", timeout=0.2)
        except SocketTimeout as error:
            results("call", type(error), time.monotonic() - began)

    go = threading.Event()
    with serve(handler) as server, connect(server.url) as conn:
        conn.perform("never", lambda: go.wait(scaled(5)))
        ready.set()
        ended = results.wait(2)
        go.set()
    assert {name for name, _, _ in ended} == {"call", "submit"}
    assert all(kind is SocketTimeout and 0.2 <= seconds < scaled(0.7) for _, kind, seconds in ended)


@pytest.mark.slow
def test_a_slow_handler_slows_the_client_down() -> None:
    """With a full backlog the server stops reading, and no message is lost."""
    go, handled = threading.Event(), Collector()

    def handler(conn: Connection, request: Request) -> None:
        @conn.observe("e")
        def handle(message: EventMessage) -> None:
            assert go.wait(scaled(10))
            handled(message.payload[0])

    with serve(handler, limits=Limits(dispatch_messages=5)) as server, connect(server.url) as conn:
        eventually(lambda: server.connections)
        peer = server.connections[0]
        sent, stalled = 0, False
        while not stalled and sent < 1000:
            try:
                with conn.deadline(0.3):
                    conn.notify("e", [sent, "x" * 100_000])
                sent += 1
            except SocketTimeout:
                stalled = True
        assert stalled
        assert peer.stats.messages_in <= 8
        go.set()
        assert handled.wait(sent, 10.0) == list(range(sent))


def test_a_client_that_breaks_the_protocol() -> None:
    """An unmasked frame closes its own link with 1002, and no other."""
    with serve(echo) as server, connect(server.url) as conn:
        peer, _ = knock(server.port)
        peer.send(frame(TEXT, b"{}"))
        opcode, body = _read(peer)
        assert (opcode, body[:2]) == (CLOSE, b"\x03\xea")
        peer.sock.close()
        assert conn.call("echo", 1) == 1
