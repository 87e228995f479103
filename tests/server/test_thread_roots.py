"""The root of each thread of a server: whatever is raised there becomes an ending, and other clients are served."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from owlsocket_sync import Connection, ConnectionState, connect
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.server import Request, serve
from owlsocket_sync.server.acceptor import Acceptor
from owlsocket_sync.server.peer import Peer
from owlsocket_sync.transport.frames import Close
from owlsocket_sync.transport.framing import ServerFraming
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.logs import raising_log
from support.sockets import UPGRADE, free_port, knock

EXITS: list[BaseException] = [SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()]


class Unspeakable(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("error", [*EXITS, Unspeakable()], ids=lambda error: type(error).__name__)
def test_a_handler_that_exits_closes_its_link(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """With 1011, as a handler that fails; the client is not left with a link that nothing reads."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        if "exit" in request.query:
            raise error

    with serve(handler) as server:
        conn = connect(server.url, query={"exit": "1"}, reconnect=None)
        info = conn.wait_closed(scaled(5))
        assert info.code == 1011
        assert type(error).__name__ in info.reason
        with connect(server.url) as other:
            assert other.call("echo", 1) == 1
        eventually(lambda: not server.connections)


@pytest.mark.parametrize("error", [*EXITS, ValueError("x")], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("words", ["the handler failed", "open"])
def test_a_log_handler_that_raises_does_not_leave_a_link_open(error: BaseException, words: str) -> None:
    """On the thread of the client: when the state is logged, and when the failure of the handler is."""

    def handler(conn: Connection, request: Request) -> None:
        raise LookupError("no such room")

    with raising_log(error, "server", words), serve(handler) as server:
        assert connect(server.url, reconnect=None).wait_closed(scaled(5)).code in (1006, 1011)
        eventually(lambda: not server._peers)


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_authenticate_that_exits_rejects_the_client(error: BaseException) -> None:
    """With 500."""

    def authenticate(request: Request) -> Any:
        raise error

    with serve(echo, authenticate=authenticate) as server:
        peer, answer = knock(server.port)
        with peer.sock:
            assert answer.startswith("HTTP/1.1 500 ")


def test_an_identity_that_raises_rejects_the_client() -> None:
    """Its expiry is asked for before the upgrade is accepted; nothing is left of the connection."""

    class Identity:
        @property
        def expires_at(self) -> None:
            raise SystemExit(1)

    with serve(echo, authenticate=lambda request: Identity()) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(UPGRADE.encode())
            sock.settimeout(scaled(5))
            assert sock.recv(100) == b""
        assert server.connections == []


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_a_reader_that_exits_ends_its_connection(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the server the connection is closed, and its waiting threads are free."""
    on_close_frame = Link._on_close_frame

    def fail(link: Link, close: Close) -> float:
        if isinstance(link._framing, ServerFraming):
            raise error
        return on_close_frame(link, close)

    monkeypatch.setattr(Link, "_on_close_frame", fail)
    with serve(echo) as server:
        conn = connect(server.url, reconnect=None)
        conn.call("echo", 1)
        (end,) = server.connections
        conn.close()
        end.wait_closed(scaled(5))
        assert end.state is ConnectionState.CLOSED
        eventually(lambda: not server._peers)


@pytest.mark.parametrize("error", [*EXITS, MemoryError(), OSError(24, "too many")], ids=lambda e: type(e).__name__)
def test_an_acceptor_goes_on_after_any_error(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One client is lost; the next one is served, and the stop is noticed."""
    accept_next, failures = Acceptor._accept_next, [error]

    def fail_once(acceptor: Acceptor) -> None:
        if failures:
            raise failures.pop()
        accept_next(acceptor)

    monkeypatch.setattr(Acceptor, "_accept_next", fail_once)
    with serve(echo) as server, connect(server.url) as conn:
        assert conn.call("echo", 1) == 1
    assert "cannot accept clients" in caplog.text


@pytest.mark.parametrize("error", [*EXITS, MemoryError()], ids=lambda error: type(error).__name__)
def test_a_thread_of_a_client_that_cannot_be_started_costs_that_client_alone(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is closed, and the server counts it no more."""
    start, failures = threading.Thread.start, [error]

    def fail_once(thread: threading.Thread) -> None:
        if "#" in thread.name and "server" in thread.name and "-" not in thread.name.partition("#")[2] and failures:
            raise failures.pop()
        start(thread)

    with serve(echo) as server:
        monkeypatch.setattr(threading.Thread, "start", fail_once)
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.settimeout(scaled(5))
            assert sock.recv(1) == b""
        with connect(server.url) as conn:
            assert conn.call("echo", 1) == 1
        eventually(lambda: server._clients_left <= 1)


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_closing_an_expired_link_survives_any_error(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is aborted then."""

    class Identity:
        def __init__(self) -> None:
            self.expires_at = datetime.now(timezone.utc) + timedelta(seconds=0.3)

    def fail(peer: Peer, *_: Any) -> None:
        raise error

    with serve(echo, authenticate=lambda request: Identity()) as server:
        conn = connect(server.url, reconnect=None)
        monkeypatch.setattr(Peer, "begin_closing", fail)
        assert conn.wait_closed(scaled(5)).code == 1006
        monkeypatch.undo()


@pytest.mark.parametrize("error", [*EXITS, RuntimeError("can't start new thread")], ids=lambda e: type(e).__name__)
def test_a_server_whose_thread_cannot_be_started_releases_its_port(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the caller keeps the error, as an interactive session does."""

    def fail(thread: threading.Thread) -> None:
        raise error

    port = free_port()
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(type(error)) as caught:
        serve(echo, port=port)
    monkeypatch.undo()
    with serve(echo, port=port) as server, connect(server.url) as conn:
        assert conn.call("echo", 1) == 1
    del caught


def test_a_server_whose_port_is_taken_leaves_no_descriptor() -> None:
    """Also while the caller keeps the error."""
    with serve(echo) as server:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError) as caught:
            serve(echo, port=server.port)
        assert len(os.listdir("/proc/self/fd")) == before
    del caught


def test_a_server_closes_without_threads_for_the_ends_of_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the exit of the interpreter, which starts no thread any more: the thread that closes does what is left."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.endswith("-end"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    with serve(echo) as server, connect(server.url, reconnect=None) as conn:
        assert conn.call("echo", 1) == 1
        monkeypatch.setattr(threading.Thread, "start", refuse)
        began = time.monotonic()
        server.close(timeout=scaled(5))
        assert time.monotonic() - began < scaled(2)
        assert server._clients_left == 0


def test_a_client_is_lost_when_there_is_a_thread_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection closes at once, and all else follows."""
    start, refused = threading.Thread.start, Collector()
    is_scarce = True

    def refuse(thread: threading.Thread) -> None:
        if is_scarce and thread.name.endswith("-end"):
            refused(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with serve(echo) as server:
        conn = connect(server.url, reconnect=None)
        assert conn.call("echo", 1) == 1
        (end,) = server.connections
        monkeypatch.setattr(threading.Thread, "start", refuse)
        conn.close()
        refused.wait(2)
        assert end.state is ConnectionState.CLOSED
        is_scarce = False
        eventually(lambda: server._clients_left == 0)
