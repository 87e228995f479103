"""`ClientFraming.upgrade`: the request, and every kind of response."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from owlsocket_sync import urls
from owlsocket_sync.errors import (
    AuthError,
    ResilientError,
    SocketConnectionError,
    SocketUnauthorized,
)
from owlsocket_sync.transport.client_handshake import ClientHandshake
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.stream import DuplexStream
from support.framing_ends import LIMIT, Ends
from support.helpers import scaled
from support.sockets import (
    TEXT,
    RawPeer,
    frame,
    granted,
    header_of,
)

TARGET = urls.parse("ws://api.example.com:8080/ws?x=1")


def _upgrade(ends: Ends, answer: Callable[[str], bytes], seconds: float = 5.0) -> str:
    """Perform the handshake with this response, and return the request."""
    framing, peer = ends
    requests: list[str] = []

    def serve() -> None:
        requests.append(peer.read_header())
        with contextlib.suppress(OSError):
            peer.send(answer(requests[0]))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ClientHandshake(framing).upgrade(TARGET, {"X-Own": "yes"}, time.monotonic() + scaled(seconds))
    finally:
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)
        thread.join(scaled(5))
    return requests[0]


def _refusal(status: str, body: bytes = b"", extra: str = "") -> Callable[[str], bytes]:
    head = f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return lambda request: head.encode() + body


def test_the_request_of_a_successful_handshake(ends: Ends) -> None:
    """It has the resource, the host and the caller's headers, and no Origin, which only browsers send."""
    request = _upgrade(ends, granted)
    assert request.startswith("GET /ws?x=1 HTTP/1.1\r\n")
    assert header_of(request, "Host") == "api.example.com:8080"
    assert header_of(request, "X-Own") == "yes"
    assert header_of(request, "Sec-WebSocket-Version") == "13"
    assert "origin:" not in request.lower()


def test_frames_right_after_the_response_are_read(ends: Ends) -> None:
    """A server may send messages in the same write as its response."""
    _upgrade(ends, lambda request: granted(request) + frame(TEXT, b"early") + frame(TEXT, b"bird"))
    assert [ends[0].read(), ends[0].read()] == ["early", "bird"]


def test_the_limit_on_the_handshake_does_not_apply_to_messages() -> None:
    """Messages larger than the largest response are read."""
    ours, theirs = socket.socketpair()
    framing, peer = ClientFraming(DuplexStream(ours), 1_000_000), RawPeer(theirs)
    body = b"x" * 200_000
    _upgrade((framing, peer), lambda request: granted(request) + frame(TEXT, body))
    assert framing.read() == body.decode()
    framing.stream.close()
    theirs.close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "number", "code", "words"),
    [
        ("401 Unauthorized", b"", SocketUnauthorized, 401, "AUTH_FAILED", "HTTP 401"),
        ("401 Unauthorized", b"no such token", SocketUnauthorized, 401, "AUTH_FAILED", "no such token"),
        ("403 Forbidden", b"", SocketUnauthorized, 403, "AUTH_FAILED", "HTTP 403"),
        ("401 No", b"AuthError|||auth:token", AuthError, 401, "AUTH_FAILED", "token"),
        ("401 No", b"AuthFailedError|||api:auth:error", ResilientError, 401, "AUTH_FAILED", "AuthFailedError: error"),
        (
            "404 Not Found",
            b'{"message":"Route not found"}',
            SocketConnectionError,
            404,
            "CONNECTION_LOST",
            "Route",
        ),
        ("500 Oh", b"TypeError|||no token", SocketConnectionError, 500, "CONNECTION_LOST", "TypeError: no token"),
        ("500 Oh", b"boom|||Error: boom\n    at x", SocketConnectionError, 500, "CONNECTION_LOST", "HTTP 500: boom"),
        ("500 Oh", b"SocketErrorTimeout|||x", SocketConnectionError, 500, "CONNECTION_LOST", "HTTP 500: x"),
        ("403 No", b"TypeError|||no token", SocketUnauthorized, 403, "AUTH_FAILED", "TypeError: no token"),
        ("503 Busy", b"", SocketConnectionError, 503, "CONNECTION_LOST", "HTTP 503"),
        ("302 Found", b"", SocketConnectionError, 302, "CONNECTION_LOST", "redirect"),
        ("200 OK", b"<html>", SocketConnectionError, 200, "CONNECTION_LOST", "HTTP 200"),
    ],
)
def test_a_refusal_has_status_and_message(
    ends: Ends, status: str, body: bytes, kind: type[ResilientError], number: int, code: str, words: str
) -> None:
    """An HTTP response other than 101 is an error with its status and its body."""
    with pytest.raises(kind) as caught:
        _upgrade(ends, _refusal(status, body, "Location: ws://elsewhere.example/\r\n"))
    assert getattr(caught.value, "status", None) == number
    assert caught.value.code == code
    assert words in str(caught.value)


MARSHALLED = b"AuthFailedError|||api:auth:error"
CHUNKED = (
    b"Transfer-Encoding: chunked\r\n\r\n9\r\n" + MARSHALLED[:9] + b"\r\n17\r\n" + MARSHALLED[9:] + b"\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.parametrize(
    ("rest", "ends_stream"),
    [(CHUNKED, False), (CHUNKED, True), (b"Connection: close\r\n\r\n" + MARSHALLED, True)],
    ids=["chunked", "chunked and closed", "closed"],
)
def test_a_body_without_a_length_is_read(ends: Ends, status: int, rest: bytes, ends_stream: bool) -> None:
    """As a proxy passes it on: what it marshals decides about the next attempt."""

    def answer(request: str) -> bytes:
        ends[1].send(f"HTTP/1.1 {status} No\r\n".encode())
        ends[1].send(rest)
        if ends_stream:
            ends[1].sock.shutdown(socket.SHUT_WR)
        return b""

    with pytest.raises(AuthError, match="AuthFailedError: error") as caught:
        _upgrade(ends, answer)
    assert (caught.value.status, caught.value.retryable) == (status, False)


def test_a_body_that_never_ends_is_awaited_for_a_moment(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not up to the deadline of the handshake."""
    monkeypatch.setattr("owlsocket_sync.transport.handshake_socket.REFUSAL_PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(SocketConnectionError, match="HTTP 503: busy"):
        _upgrade(ends, lambda request: b"HTTP/1.1 503 No\r\n\r\nbusy", seconds=30)
    assert 0.2 <= time.monotonic() - began < scaled(2)


@pytest.mark.parametrize("value", ["café".encode("latin-1"), "café".encode(), b"\xff\xfe"], ids=repr)
@pytest.mark.parametrize("name", ["Server", "Set-Cookie", "auth-token-refresh"])
def test_bytes_beyond_ascii_in_a_header_are_read(ends: Ends, name: str, value: bytes) -> None:
    """Headers are Latin-1, or bytes without a meaning (RFC 9110, section 5.5): they decide about nothing."""
    extra = f"{name}: a=@\r\n".encode().replace(b"@", value).decode("latin-1")
    _upgrade(ends, lambda request: granted(request, extra.rstrip()).decode().encode("latin-1") + frame(TEXT, b"hi"))
    assert ends[0].read() == "hi"


def test_bytes_beyond_ascii_in_a_refusal_do_not_hide_its_status(ends: Ends) -> None:
    """In its headers and in its reason phrase."""
    with pytest.raises(SocketConnectionError) as caught:
        _upgrade(ends, lambda request: "HTTP/1.1 404 Für\r\nX: é\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    assert caught.value.status == 404


@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints\r\nLink: </a.css>", "102 Processing"])
@pytest.mark.parametrize("times", [1, 3])
def test_interim_responses_are_passed_over(ends: Ends, interim: str, times: int) -> None:
    """Any number of them may come before the response (RFC 9110, section 15.2)."""
    _upgrade(
        ends, lambda request: f"HTTP/1.1 {interim}\r\n\r\n".encode() * times + granted(request) + frame(TEXT, b"hi")
    )
    assert ends[0].read() == "hi"


def test_a_refusal_after_an_interim_response_has_its_own_status(ends: Ends) -> None:
    """And its own body."""
    with pytest.raises(SocketConnectionError, match="HTTP 503: busy") as caught:
        _upgrade(ends, lambda request: b"HTTP/1.1 100 Continue\r\n\r\n" + _refusal("503 No", b"busy")(request))
    assert caught.value.status == 503


@pytest.mark.parametrize(
    "header", ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat, superchat"]
)
def test_what_was_not_offered_is_refused(ends: Ends, header: str) -> None:
    """An extension changes the meaning of frames, a subprotocol that of messages (RFC 6455, section 4.1)."""
    with pytest.raises(SocketConnectionError, match="which was not offered"):
        _upgrade(ends, lambda request: granted(request, header))


@pytest.mark.parametrize("body", [b"", b"TypeError|||no", b"SocketErrorConnection|||no"], ids=str)
@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *[(status, False) for status in (301, 302, 400, 401, 403, 404, 405, 410, 426, 501, 505)],
        *[(status, True) for status in (408, 425, 429, 500, 502, 503, 504)],
    ],
)
def test_only_a_refusal_that_may_heal_is_retried(ends: Ends, status: int, retryable: bool, body: bytes) -> None:
    """The status decides, whatever the body says."""
    with pytest.raises(SocketConnectionError) as caught:
        _upgrade(ends, _refusal(f"{status} No", body))
    assert (caught.value.status, caught.value.retryable) == (status, retryable)


def test_an_identity_that_a_reference_service_refuses_with_500_is_not_retried(ends: Ends) -> None:
    """The marshalled error tells it from a service that is broken."""
    with pytest.raises(AuthError) as caught:
        _upgrade(ends, _refusal("500 No", b"AuthErrorUnknown|||auth:unknown:nope"))
    assert (caught.value.status, caught.value.retryable) == (500, False)


@pytest.mark.parametrize(
    ("value", "seconds"), [("60", 60), ("0", 0), ("9" * 5000, 3600), ("soon", None), ("-5", None), ("", None)]
)
@pytest.mark.parametrize("body", [b"", b"AuthError|||auth:wait"], ids=str)
def test_a_refusal_tells_when_to_come_back(ends: Ends, value: str, seconds: float | None, body: bytes) -> None:
    """``Retry-After`` in seconds, an hour at most; what cannot be read counts as absent."""
    with pytest.raises((SocketConnectionError, AuthError)) as caught:
        _upgrade(ends, _refusal("429 Slow Down", body, f"Retry-After: {value}\r\n"))
    error = caught.value
    assert isinstance(error, (SocketConnectionError, AuthError))
    assert (error.retry_after, error.retryable) == (seconds, True)
    assert ("retry after" in str(error)) is (seconds is not None)


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
def test_an_invalid_handshake_response(ends: Ends, answer: bytes) -> None:
    """It is a `SocketConnectionError`, short enough to be logged."""
    with pytest.raises(SocketConnectionError) as caught:
        _upgrade(ends, lambda request: answer)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101", b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_server_that_closes_without_a_response(ends: Ends, answer: bytes) -> None:
    """The end of the stream is not reported as a timeout."""
    framing, peer = ends
    peer.send(answer)
    peer.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(OSError) as caught:
        ClientHandshake(framing).upgrade(TARGET, {}, time.monotonic() + scaled(5))
    assert not isinstance(caught.value, TimeoutError)


def test_a_slow_drip_fails_by_its_deadline(ends: Ends) -> None:
    """A byte now and then does not extend the deadline of the handshake."""
    framing, peer = ends
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
        ClientHandshake(framing).upgrade(TARGET, {}, began + 0.3)
    assert 0.3 <= time.monotonic() - began < scaled(1)
    over.set()
    thread.join(scaled(5))


def test_a_handshake_that_should_not_continue_ends(ends: Ends) -> None:
    """A thread that closes meanwhile need not wait for the server."""
    framing, _ = ends
    began = time.monotonic()
    with pytest.raises((TimeoutError, OSError)):
        ClientHandshake(framing).upgrade(TARGET, {}, began + scaled(5), lambda: False)
    assert time.monotonic() - began < scaled(1)


@pytest.mark.parametrize("status", ["101 Go", "401 No", "302 Go"])
def test_cookies_stay_on_their_connection(status: str) -> None:
    """A cookie of one server is not sent to another server, nor on another connection."""
    cookie = "Set-Cookie: session=secret; Domain=owlsocket.invalid"
    requests: list[str] = []

    def answer(request: str) -> bytes:
        requests.append(request)
        return granted(request, cookie) if status[:3] == "101" else _refusal(status, b"", cookie + "\r\n")(request)

    for _ in range(2):
        ours, theirs = socket.socketpair()
        framing = ClientFraming(DuplexStream(ours), LIMIT)
        with contextlib.suppress(SocketConnectionError):
            _upgrade((framing, RawPeer(theirs)), answer)
        framing.stream.close()
        theirs.close()
    assert [header_of(request, "Cookie") for request in requests] == ["", ""]


def test_cookies_of_the_caller_are_sent(ends: Ends) -> None:
    """A cookie among the headers is sent like any other header."""
    framing, peer = ends
    requests: list[str] = []
    thread = threading.Thread(target=lambda: requests.append(peer.upgrade()))
    thread.start()
    ClientHandshake(framing).upgrade(TARGET, {"Cookie": "a=b"}, time.monotonic() + scaled(5))
    thread.join(scaled(5))
    assert header_of(requests[0], "Cookie") == "a=b"
