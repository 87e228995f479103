"""Health checks: plain HTTP requests at one path, answered with a line of JSON; everything else is as without them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from owlsocket_sync import Connection, __version__, connect
from owlsocket_sync.server import Request, ServerOptions, serve
from support.handlers import echo
from support.helpers import eventually, scaled
from support.sockets import PATIENCE, UPGRADE, RawPeer, client_context, header_of, knock, server_context


class Answer(NamedTuple):
    """A response, and whether the stream ended after it."""

    header: str
    body: str

    @property
    def status(self) -> int:
        """The status."""
        return int(self.header.split()[1])

    @property
    def facts(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(port: int, *pieces: bytes, secure: bool = False) -> Answer:
    """Send a request piece by piece, and read the response up to the end of the stream."""
    sock = socket.create_connection(("127.0.0.1", port), scaled(PATIENCE))
    if secure:
        sock = client_context().wrap_socket(sock, server_hostname="localhost")
    peer = RawPeer(sock)
    with peer.sock:
        for piece in pieces:
            peer.send(piece)
        header = peer.read_header()
        return Answer(header, peer.read(100_000).decode())


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /health?full=1 HTTP/1.1\r\nHost: api.example\r\nOrigin: https://evil.example\r\n\r\n",
        b"GET http://10.0.0.1/health HTTP/1.1\r\nHost: 10.0.0.1\r\nUpgrade: h2c\r\n\r\n",
        b"OPTIONS /health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=["1.1", "1.0 without a host", "query", "absolute", "haproxy's default", "odd headers"],
)
def test_a_health_check_is_answered(request_bytes: bytes) -> None:
    """With a status, the version and the number of connections; whatever authentication and origins say."""

    def reject(request: Request) -> None:
        raise AssertionError("a health check is not authenticated")

    with serve(echo, health="/health", authenticate=reject, origins=["https://a.example"]) as server:
        answer = ask(server.port, request_bytes)
    assert answer.header.startswith("HTTP/1.1 200 OK\r\n")
    assert answer.facts == {"status": "ok", "version": __version__, "connections": 0}
    assert answer.body.count("\n") == 1
    assert answer.body.endswith("\n")
    assert header_of(answer.header, "Content-Length") == str(len(answer.body))
    assert header_of(answer.header, "Content-Type") == "application/json"
    assert header_of(answer.header, "Cache-Control") == "no-store"
    assert header_of(answer.header, "Connection") == "close"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_gets_the_same_header_alone(version: str) -> None:
    """With the length that the body of GET has."""
    with serve(echo, health="/health") as server:
        answer = ask(server.port, f"HEAD /health HTTP/{version}\r\n\r\n".encode())
        length = len(ask(server.port, b"GET /health HTTP/1.0\r\n\r\n").body)
    assert (answer.status, answer.body) == (200, "")
    assert header_of(answer.header, "Content-Length") == str(length)


def test_connections_are_counted() -> None:
    """Those that are open."""
    with serve(echo, health="/") as server, connect(server.url) as first, connect(server.url):
        assert ask(server.port, b"GET / HTTP/1.0\r\n\r\n").facts["connections"] == 2
        first.close()
        eventually(lambda: ask(server.port, b"GET / HTTP/1.0\r\n\r\n").facts["connections"] == 1)


def test_a_health_check_may_come_in_pieces_and_over_tls() -> None:
    """Also byte by byte."""
    whole = b"GET /health HTTP/1.0\r\nX: y\r\n\r\n"
    pieces = [bytes([byte]) for byte in whole]
    with serve(echo, health="/health") as server, serve(echo, health="/h", ssl_context=server_context()) as secure:
        assert ask(server.port, *pieces).status == 200
        assert ask(secure.port, b"HEAD /h ", b"HTTP/1.1\r\n\r", b"\n", secure=True).status == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431),
        (b"GET /health?" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /health HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_every_other_request_is_answered_as_without_the_option(request_bytes: bytes, status: int) -> None:
    """An option for one path changes no other."""
    with serve(echo, health="/health") as server, serve(echo) as plain:
        with_option = ask(server.port, request_bytes)
        assert with_option.status in (status, 400)
        assert with_option.status == ask(plain.port, request_bytes).status


def test_without_the_option_there_is_no_health_check() -> None:
    """It is off by default, and each server has its own path."""
    with serve(echo) as server:
        assert ask(server.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status == 426


@pytest.mark.parametrize("resource", ["/", "/health", "/health?a=1"])
def test_a_websocket_client_may_connect_at_any_path(resource: str) -> None:
    """At that of health checks, too; so one path serves both."""
    with serve(echo, health="/health") as server:
        peer, answer = knock(server.port, resource)
        with peer.sock:
            assert answer.startswith("HTTP/1.1 101 ")
        with connect(f"{server.url}{resource}") as conn:
            assert conn.call("echo", 1) == 1


def test_a_check_that_is_not_finished_in_time() -> None:
    """It gets 408, as any request."""
    with serve(echo, health="/health", timeout=0.05) as server:
        assert ask(server.port, b"GET /health HTTP/1.1\r\n").status == 408


@pytest.fixture
def closing() -> Any:
    """Return a server that waits for a handler while it closes, and what ends that wait."""
    entered, hold = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        hold.wait(scaled(10))

    return lambda conn, request: conn.perform("work", work), entered, hold


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_while_the_server_closes_health_checks_get_503(
    secure: bool, closing: tuple[Callable[[Connection, Request], None], threading.Event, threading.Event]
) -> None:
    """So a load balancer takes it out; clients are rejected, and the port is free when `close` returns."""
    handler, entered, hold = closing
    context = server_context() if secure else None
    server = serve(handler, health="/health", ssl_context=context)
    with connect(server.url, ssl_context=client_context() if secure else None, reconnect=None) as conn:
        conn.submit("work")
        assert entered.wait(scaled(5))
        closer = threading.Thread(target=server.close, args=(scaled(10),))
        closer.start()
        eventually(lambda: not server._accepting())
        # The request comes after the connection was accepted, as over any network.
        answer = ask(server.port, b"GET /health", b" HTTP/1.0\r\n", b"\r\n", secure=secure)
        assert (answer.status, answer.facts["status"]) == (503, "closing")
        assert ask(server.port, UPGRADE.encode(), secure=secure).status == 503
        hold.set()
        closer.join(scaled(10))
        assert not closer.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), scaled(5))


def test_silent_clients_do_not_hold_up_a_server_that_closes(
    closing: tuple[Callable[[Connection, Request], None], threading.Event, threading.Event],
) -> None:
    """Those that came while it closed are rejected when the last client has left."""
    handler, entered, hold = closing
    server = serve(handler, health="/health", timeout=scaled(60))
    with connect(server.url, reconnect=None) as conn:
        conn.submit("work")
        assert entered.wait(scaled(5))
        closer = threading.Thread(target=server.close, args=(scaled(30),))
        closer.start()
        eventually(lambda: not server._accepting())
        silent = RawPeer(socket.create_connection(("127.0.0.1", server.port), scaled(PATIENCE)))
        eventually(lambda: server._checks_left == 1)
        hold.set()
        closer.join(scaled(5))
        assert not closer.is_alive()
        assert silent.read_header().startswith("HTTP/1.1 503 ")
        silent.sock.close()


@pytest.mark.parametrize("path", ["health", "", "/a b", "/a?b", "/a#b", "//a", "/ä", "/a\n", True, 5, b"/health"])
def test_a_path_that_is_not_valid_is_refused(path: Any) -> None:
    """Where the server is made, by name."""
    with pytest.raises(ValueError, match="health must be a path such as '/health'"):
        ServerOptions(health=path)
