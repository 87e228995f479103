"""`ClientWire.upgrade`: what it asks for, and what may stand in place of a grant."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from helpers import scaled
from sockets import (
    TEXT,
    RawPeer,
    frame,
    granted,
    header_of,
)

from owlsocket_sync import urls
from owlsocket_sync.errors import (
    AuthError,
    ResilientError,
    SocketConnectionError,
    SocketUnauthorized,
)
from owlsocket_sync.transport.client_wire import ClientWire
from owlsocket_sync.transport.stream import DuplexStream

LIMIT = 1000
TARGET = urls.parse("ws://api.example.com:8080/ws?x=1")

Ends = tuple[ClientWire, RawPeer]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A wire, and the raw socket at its other end."""
    ours, theirs = socket.socketpair()
    wire = ClientWire(DuplexStream(ours), LIMIT)
    wire.stream.read_until = time.monotonic() + scaled(5)
    yield wire, RawPeer(theirs)
    wire.stream.close()
    theirs.close()


def _upgrade(ends: Ends, answer: Callable[[str], bytes], seconds: float = 5.0) -> str:
    """Ask for the upgrade and be given this answer; return the request."""
    wire, peer = ends
    requests: list[str] = []

    def serve() -> None:
        requests.append(peer.read_header())
        with contextlib.suppress(OSError):
            peer.send(answer(requests[0]))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wire.upgrade(TARGET, {"X-Own": "yes"}, time.monotonic() + scaled(seconds))
    finally:
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)
        thread.join(scaled(5))
    return requests[0]


def _refusal(status: str, body: bytes = b"", extra: str = "") -> Callable[[str], bytes]:
    head = f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return lambda request: head.encode() + body


def test_the_upgrade_is_asked_for_and_granted(ends: Ends) -> None:
    """The request names resource, host, and what the caller adds; no origin, for this is no browser."""
    request = _upgrade(ends, granted)
    assert request.startswith("GET /ws?x=1 HTTP/1.1\r\n")
    assert header_of(request, "Host") == "api.example.com:8080"
    assert header_of(request, "X-Own") == "yes"
    assert header_of(request, "Sec-WebSocket-Version") == "13"
    assert "origin:" not in request.lower()


def test_frames_right_behind_the_answer_are_read(ends: Ends) -> None:
    """A server may send in the very write that grants the upgrade."""
    _upgrade(ends, lambda request: granted(request) + frame(TEXT, b"early") + frame(TEXT, b"bird"))
    assert [ends[0].read(), ends[0].read()] == ["early", "bird"]


def test_a_limit_on_the_handshake_is_none_on_messages() -> None:
    """Messages larger than what an answer to the upgrade may be are read."""
    ours, theirs = socket.socketpair()
    wire, peer = ClientWire(DuplexStream(ours), 1_000_000), RawPeer(theirs)
    body = b"x" * 200_000
    _upgrade((wire, peer), lambda request: granted(request) + frame(TEXT, body))
    assert wire.read() == body.decode()
    wire.stream.close()
    theirs.close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "number", "code", "words"),
    [
        ("401 Unauthorized", b"", SocketUnauthorized, 401, "AUTH_FAILED", "HTTP 401"),
        ("401 Unauthorized", b"no such token", SocketUnauthorized, 401, "AUTH_FAILED", "no such token"),
        ("403 Forbidden", b"", SocketUnauthorized, 403, "AUTH_FAILED", "HTTP 403"),
        ("401 No", b"AuthError|||auth:token", AuthError, 401, "AUTH_FAILED", "auth:token"),
        ("401 No", b"AuthFailedError|||api:auth:error", ResilientError, 401, "AUTH_FAILED", "api:auth:error"),
        (
            "404 Not Found",
            b'{"message":"Route not found"}',
            SocketConnectionError,
            404,
            "CONNECTION_LOST",
            "Route",
        ),
        ("500 Oh", b"TypeError|||no token", ResilientError, 500, "ERROR", "no token"),
        ("503 Busy", b"", SocketConnectionError, 503, "CONNECTION_LOST", "HTTP 503"),
        ("302 Found", b"", SocketConnectionError, 302, "CONNECTION_LOST", "redirect"),
        ("200 OK", b"<html>", SocketConnectionError, 200, "CONNECTION_LOST", "HTTP 200"),
    ],
)
def test_a_refusal_says_why(
    ends: Ends, status: str, body: bytes, kind: type[ResilientError], number: int, code: str, words: str
) -> None:
    """An HTTP answer in place of the upgrade is an error with that status and that message."""
    with pytest.raises(kind) as caught:
        _upgrade(ends, _refusal(status, body, "Location: ws://elsewhere.example/\r\n"))
    assert getattr(caught.value, "status", None) == number
    assert caught.value.code == code
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Go\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Go\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 9999999\r\n\r\n" + b"a" * 100_000,
        b"\x00\xff\xfe garbage \r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Go\r\nno colon\r\n\r\n",
        b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 Go\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: many\r\n\r\n",
        b"\r\n\r\n",
    ],
    ids=["line", "lines", "body", "bytes", "ssh", "colon", "accept", "bare", "status", "length", "empty"],
)
def test_an_answer_that_is_no_handshake(ends: Ends, answer: bytes) -> None:
    """Whatever stands there is an error in our words, short enough to be logged."""
    with pytest.raises(SocketConnectionError) as caught:
        _upgrade(ends, lambda request: answer)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101", b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_server_that_ends_instead_of_answering(ends: Ends, answer: bytes) -> None:
    """The end of the stream in place of an answer is no timeout."""
    wire, peer = ends
    peer.send(answer)
    peer.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(OSError) as caught:
        wire.upgrade(TARGET, {}, time.monotonic() + scaled(5))
    assert not isinstance(caught.value, TimeoutError)


def test_a_slow_drip_fails_by_its_deadline(ends: Ends) -> None:
    """A byte now and then does not stretch the deadline of the upgrade."""
    wire, peer = ends
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 101 Go\r\n" + b"X: y\r\n" * 1000:
                peer.send(bytes([byte]))
                if over.wait(0.02):
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        wire.upgrade(TARGET, {}, began + 0.3)
    assert 0.3 <= time.monotonic() - began < scaled(1)
    over.set()
    thread.join(scaled(5))


def test_an_upgrade_that_is_wanted_no_more_ends(ends: Ends) -> None:
    """Whoever closes meanwhile need not wait for the server."""
    wire, _ = ends
    began = time.monotonic()
    with pytest.raises((TimeoutError, OSError)):
        wire.upgrade(TARGET, {}, began + scaled(5), lambda: False)
    assert time.monotonic() - began < scaled(1)


@pytest.mark.parametrize("status", ["101 Go", "401 No", "302 Go"])
def test_cookies_stay_on_their_connection(status: str) -> None:
    """What one server sets is not sent to the next one, nor to the same one by another connection."""
    cookie = "Set-Cookie: session=secret; Domain=owlsocket.invalid"
    requests: list[str] = []

    def answer(request: str) -> bytes:
        requests.append(request)
        return granted(request, cookie) if status[:3] == "101" else _refusal(status, b"", cookie + "\r\n")(request)

    for _ in range(2):
        ours, theirs = socket.socketpair()
        wire = ClientWire(DuplexStream(ours), LIMIT)
        with contextlib.suppress(SocketConnectionError):
            _upgrade((wire, RawPeer(theirs)), answer)
        wire.stream.close()
        theirs.close()
    assert [header_of(request, "Cookie") for request in requests] == ["", ""]


def test_cookies_of_the_caller_are_sent(ends: Ends) -> None:
    """A cookie among the headers travels like any other header."""
    wire, peer = ends
    requests: list[str] = []
    thread = threading.Thread(target=lambda: requests.append(peer.upgrade()))
    thread.start()
    wire.upgrade(TARGET, {"Cookie": "a=b"}, time.monotonic() + scaled(5))
    thread.join(scaled(5))
    assert header_of(requests[0], "Cookie") == "a=b"
