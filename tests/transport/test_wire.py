"""`Wire`: the upgrade and what may stand in its place, and frames held to RFC 6455 and to limits."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from helpers import scaled
from sockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawPeer,
    close_frame,
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
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.transport.wire import Close, Ping, Pong, Wire, WireError

LIMIT = 1000
TARGET = urls.parse("ws://api.example.com:8080/ws?x=1")

Ends = tuple[Wire, RawPeer]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A wire, and the raw socket at its other end."""
    ours, theirs = socket.socketpair()
    wire = Wire(DuplexStream(ours), LIMIT)
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
    wire, peer = Wire(DuplexStream(ours), 1_000_000), RawPeer(theirs)
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
        ("404 Not Found", b'{"message":"Route not found"}', SocketConnectionError, 404, "CONNECTION_LOST", "Route"),
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
    requests = []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        wire = Wire(DuplexStream(ours), LIMIT)
        cookie = "Set-Cookie: session=secret; Domain=owlsocket.invalid"

        def answer(request: str, cookie: str = cookie) -> bytes:
            return granted(request, cookie) if status[:3] == "101" else _refusal(status, b"", cookie + "\r\n")(request)

        with contextlib.suppress(SocketConnectionError):
            requests.append(_upgrade((wire, RawPeer(theirs)), answer))
        wire.stream.close()
        theirs.close()
    assert not any("cookie" in request.lower() for request in requests)


def test_cookies_of_the_caller_are_sent(ends: Ends) -> None:
    """A cookie among the headers travels like any other header."""
    wire, peer = ends
    requests: list[str] = []
    thread = threading.Thread(target=lambda: requests.append(peer.upgrade()))
    thread.start()
    wire.upgrade(TARGET, {"Cookie": "a=b"}, time.monotonic() + scaled(5))
    thread.join(scaled(5))
    assert header_of(requests[0], "Cookie") == "a=b"


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (frame(TEXT, "höhö".encode()), ["höhö"]),
        (frame(TEXT), [""]),
        (frame(BINARY, b"\xff\x00"), [b"\xff\x00"]),
        (frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) + frame(CONTINUATION, b"c"), ["abc"]),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xa4"), ["ä"]),
        (frame(BINARY, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"), [b"\xc3\x28"]),
        (
            frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(PONG, b"q") + frame(CONTINUATION, b"b"),
            [Ping(b"p"), Pong(b"q"), "ab"],
        ),
        (frame(TEXT, b"x" * 126) + frame(TEXT, b"y" * LIMIT), ["x" * 126, "y" * LIMIT]),
        (close_frame(1001, "tschüß"), [Close(1001, "tschüß")]),
        (close_frame(4999), [Close(4999, "")]),
        (frame(CLOSE), [Close(1005, "")]),
        (frame(PING, b"z" * 125), [Ping(b"z" * 125)]),
    ],
)
def test_what_is_read(ends: Ends, sent: bytes, read: list[object]) -> None:
    """Messages come whole and control frames at once, however the bytes are cut."""
    wire, peer = ends
    peer.send(sent)
    assert [wire.read() for _ in read] == read
    cut = threading.Thread(target=lambda: [peer.send(sent[at : at + 1]) for at in range(len(sent))])
    cut.start()
    assert [wire.read() for _ in read] == read
    cut.join(scaled(5))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x", masked=True), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(TEXT, b"x", rsv=1), 1002),
        (frame(3, b"x"), 1002),
        (frame(11), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PONG, b"x", fin=False), 1002),
        (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close_frame(1005), 1002),
        (close_frame(1006), 1002),
        (close_frame(999), 1002),
        (close_frame(5000), 1002),
        (close_frame(1000)[:-2] + b"\x03\xe8\xff"[:2], 0),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"x"), 1007),
        (frame(TEXT, b"x" * (LIMIT + 1)), 1009),
        (bytes([0x81, 127]) + (2**62).to_bytes(8, "big"), 1009),
        (frame(TEXT, b"x" * LIMIT, fin=False) + frame(CONTINUATION, b"y"), 1009),
    ],
)
def test_what_breaks_the_protocol(ends: Ends, sent: bytes, code: int) -> None:
    """Each breach has its close code; the last bytes of a sound close frame have none."""
    wire, peer = ends
    peer.send(sent)
    if not code:
        assert wire.read() == Close(1000, "")
        return
    with pytest.raises(WireError) as caught:
        for _ in range(3):
            wire.read()
    assert caught.value.code == code


def test_an_oversize_frame_is_refused_before_its_bytes_come(ends: Ends) -> None:
    """The announced length is enough: nothing is waited for, and no room is made."""
    wire, peer = ends
    peer.send(bytes([0x81, 126]) + (LIMIT + 1).to_bytes(2, "big"))
    began = time.monotonic()
    with pytest.raises(WireError, match="1001 bytes"):
        wire.read()
    assert time.monotonic() - began < scaled(1)


def test_fragments_without_end_are_bounded(ends: Ends) -> None:
    """Empty fragments add up to nothing, and still do not pile up for ever."""
    wire, peer = ends
    peer.send(frame(TEXT, b"", fin=False))
    sender = threading.Thread(target=lambda: _send_quietly(peer, frame(CONTINUATION, b"", fin=False) * 20_000))
    sender.start()
    wire.stream.read_until = time.monotonic() + 0.5
    with contextlib.suppress(TimeoutError, WireError):
        wire.read()
    assert len(wire._fragments) < 10_000
    wire.stream.close()
    sender.join(scaled(5))


def _send_quietly(peer: RawPeer, data: bytes) -> None:
    with contextlib.suppress(OSError):
        peer.send(data)


def test_half_a_frame_is_kept_for_the_next_read(ends: Ends) -> None:
    """A deadline in the middle of a frame loses nothing of it."""
    wire, peer = ends
    data = frame(TEXT, b"hello world")
    for cut in (1, 2, 5):
        peer.send(data[:cut])
        wire.stream.read_until = time.monotonic() + 0.02
        with pytest.raises(TimeoutError):
            wire.read()
        peer.send(data[cut:])
        wire.stream.read_until = time.monotonic() + scaled(5)
        assert wire.read() == "hello world"


def test_the_end_without_a_close_frame(ends: Ends) -> None:
    """The end of the stream is an end, in the middle of a frame too."""
    wire, peer = ends
    peer.send(b"\x81")
    peer.sock.close()
    with pytest.raises(EOFError):
        wire.read()


@pytest.mark.parametrize(("code", "reason", "body"), [(1000, "bye", b"\x03\xe8bye"), (1005, "", b"")])
def test_frames_that_are_written(ends: Ends, code: int, reason: str, body: bytes) -> None:
    """What is written is masked, and reads as what it was."""
    wire, peer = ends
    frames = [wire.text_frame(b"t"), wire.ping_frame(b"p"), wire.pong_frame(b"q"), wire.close_frame_of(code, reason)]
    wire.stream.write_until = time.monotonic() + scaled(5)
    wire.stream.send(b"".join(frames))
    assert [peer.read_frame() for _ in frames] == [(TEXT, b"t"), (PING, b"p"), (PONG, b"q"), (CLOSE, body)]
