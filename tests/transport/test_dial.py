"""`dial`: connecting through proxies and with TLS, under one deadline."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.transport import dial as dial_module
from owlsocket_sync.transport.dial import default_context, dial
from owlsocket_sync.transport.proxies import ProxyAddress, parse_proxy
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.urls import Target, parse
from support.helpers import scaled
from support.sockets import (
    ByteServer,
    ConnectProxy,
    RawPeer,
    client_context,
    free_port,
    full_port,
    header_of,
    server_context,
)
from support.streams import recv

HELLO = b"hello"


def _greet(peer: RawPeer) -> None:
    peer.send(HELLO)
    peer.at_end()


def _greeting(stream: DuplexStream) -> bytes:
    stream.read_deadline = time.monotonic() + scaled(5)
    data = b""
    while len(data) < len(HELLO):
        chunk = recv(stream, len(HELLO) - len(data))
        assert chunk
        data += chunk
    stream.close()
    return data


def _within() -> Deadline:
    return Deadline(scaled(5))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connects(host: str) -> None:
    """A host name leads to the first of its addresses that accepts."""
    with ByteServer(_greet) as server:
        assert _greeting(dial(parse(f"ws://{host}:{server.port}"), _within())) == HELLO


def test_a_refused_connection() -> None:
    """A refused connection is raised at once, and retryable."""
    began = time.monotonic()
    with pytest.raises(SocketConnectionError, match="cannot be reached") as caught:
        dial(parse(f"ws://127.0.0.1:{free_port()}"), _within())
    assert caught.value.retryable
    assert caught.value.code == "CONNECTION_LOST"
    assert time.monotonic() - began < scaled(1)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid"])
def test_unknown_hosts_are_named(host: str) -> None:
    """The message contains the host that cannot be resolved."""
    with pytest.raises(SocketConnectionError, match=host) as caught:
        dial(Target("ws", host, 80, "/"), _within())
    assert caught.value.retryable


def test_a_thread_that_loses_the_processor_times_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only address has the deadline itself, and no moment before it, at which nothing has timed out yet."""
    clock = time.monotonic
    lags = [0.05]  # between its first look at the clock and the next one
    monkeypatch.setattr(dial_module, "monotonic", lambda: clock() - (lags.pop() if lags else 0.0))
    with full_port() as port, pytest.raises(SocketTimeout):
        dial(parse(f"ws://127.0.0.1:{port}"), Deadline(0.2))


def test_a_port_that_does_not_answer() -> None:
    """Connecting times out at its deadline."""
    with full_port() as port:
        began = time.monotonic()
        with pytest.raises(SocketTimeout, match=r"0\.2 s"):
            dial(parse(f"ws://127.0.0.1:{port}"), Deadline(0.2))
        assert 0.2 <= time.monotonic() - began < scaled(1)


def test_an_attempt_that_should_not_continue_stops() -> None:
    """A connection that is closed meanwhile does not wait for a port that does not respond."""
    answers = iter([True, True])
    with full_port() as port:
        began = time.monotonic()
        with pytest.raises(SocketConnectionError, match="closed while connecting"):
            dial(parse(f"ws://127.0.0.1:{port}"), _within(), should_continue=lambda: next(answers, False))
        assert time.monotonic() - began < scaled(1)


def test_an_attempt_that_is_closed_tries_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that it was closed, not that the host cannot be reached."""
    answers = iter([True, True])
    asked: list[bool] = []
    with full_port() as port:
        (address,) = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 3)

        def should_continue() -> bool:
            asked.append(next(answers, False))
            return asked[-1]

        with pytest.raises(SocketConnectionError, match=r"^closed while connecting$"):
            dial(parse("ws://many.example"), _within(), should_continue=should_continue)
    assert asked == [True, True, False]


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "login"),
    [(None, ""), ("me:s3cret", "me:s3cret@"), ("a b:p@ss/ü", "a%20b:p%40ss%2F%C3%BC@")],
)
def test_through_a_proxy(credentials: str | None, login: str) -> None:
    """The proxy gets the host name and our credentials, and the server's first bytes are kept."""
    with ByteServer(_greet) as server, ConnectProxy(server.port, credentials) as proxy:
        address = parse_proxy(f"http://{login}127.0.0.1:{proxy.port}")
        assert _greeting(dial(parse("ws://far.example:81"), _within(), proxy=address)) == HELLO
    assert proxy.requests[0].startswith("CONNECT far.example:81 HTTP/1.1\r\n")
    assert header_of(proxy.requests[0], "Host") == "far.example:81"


def test_a_proxy_that_requires_credentials() -> None:
    """Not retryable; the message contains a hint, and no password."""
    with ConnectProxy(1, "me:right") as proxy:
        address = parse_proxy(f"http://me:wr0ng@127.0.0.1:{proxy.port}")
        with pytest.raises(SocketConnectionError, match=r"407.*URL of the proxy") as caught:
            dial(parse("ws://far.example"), _within(), proxy=address)
    assert caught.value.status == 407
    assert not caught.value.retryable
    assert "wr0ng" not in repr(caught.value) + repr(address)


def test_a_proxy_that_cannot_reach_the_host() -> None:
    """The error has its status, and is retryable."""
    with (
        ConnectProxy(1, status="502 Bad Gateway") as proxy,
        pytest.raises(SocketConnectionError, match="502 Bad Gateway") as caught,
    ):
        dial(parse("ws://far.example"), _within(), proxy=parse_proxy(proxy.url))
    assert caught.value.status == 502
    assert caught.value.retryable


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "401 Unauthorized"])
@pytest.mark.parametrize(
    ("login", "hint"), [("", "add user and password to"), ("me:no@", "check user and password in")]
)
def test_what_to_do_about_credentials(status: str, login: str, hint: str) -> None:
    """Which differs where some were sent, and a proxy did not like them."""
    with ConnectProxy(1, status=status) as proxy:
        address = parse_proxy(f"http://{login}127.0.0.1:{proxy.port}")
        with pytest.raises(SocketConnectionError, match=rf"{status} \({hint} the URL of the proxy\)"):
            dial(parse("ws://far.example"), _within(), proxy=address)


@pytest.mark.parametrize("status", ["301 Moved", "401 Unauthorized", "403 Forbidden", "405 Method Not Allowed"])
def test_a_proxy_that_refuses_for_good(status: str) -> None:
    """Not retryable: its rules do not change between two attempts."""
    with ConnectProxy(1, status=status) as proxy, pytest.raises(SocketConnectionError, match=status) as caught:
        dial(parse("ws://far.example"), _within(), proxy=parse_proxy(proxy.url))
    assert not caught.value.retryable


def test_text_of_a_proxy_steers_no_terminal() -> None:
    """Its control characters are escaped in the message."""
    with ConnectProxy(1, status="502 \x1b[31m") as proxy, pytest.raises(SocketConnectionError, match="31m") as caught:
        dial(parse("ws://far.example"), _within(), proxy=parse_proxy(proxy.url))
    assert str(caught.value).isprintable()


def test_a_proxy_that_is_not_there_is_named() -> None:
    """And not taken for the server, whose address the program knows."""
    with pytest.raises(SocketConnectionError, match=r"the proxy 127\.0\.0\.1:\d+ cannot be reached"):
        dial(parse("ws://far.example"), _within(), proxy=parse_proxy(f"127.0.0.1:{free_port()}"))


def test_interim_responses_of_a_proxy_are_passed_over() -> None:
    """They are not its answer."""
    with ByteServer(_greet) as server, ConnectProxy(server.port, interim=b"HTTP/1.1 100 Continue\r\n\r\n") as proxy:
        assert _greeting(dial(parse("ws://far.example"), _within(), proxy=parse_proxy(proxy.url))) == HELLO


def test_a_proxy_that_tells_when_to_come_back() -> None:
    """The error has the seconds of its ``Retry-After``."""
    with (
        ConnectProxy(1, status="503 Busy\r\nRetry-After: 60") as proxy,
        pytest.raises(SocketConnectionError) as caught,
    ):
        dial(parse("ws://far.example"), _within(), proxy=parse_proxy(proxy.url))
    assert (caught.value.retry_after, caught.value.retryable) == (60, True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"SSH-2.0\r\n\r\n", "HTTP"), (b"", "closed"), (b"HTTP/1.1 200", "closed"), (b"x" * 70_000, "longer")],
)
def test_a_proxy_that_does_not_respond_with_http(answer: bytes, words: str) -> None:
    """Garbage, an early end and an endless response have different messages."""

    def script(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(answer)

    with ByteServer(script) as proxy, pytest.raises(SocketConnectionError, match=words):
        dial(parse("ws://far.example"), _within(), proxy=ProxyAddress("127.0.0.1", proxy.port))


def test_a_silent_proxy() -> None:
    """The deadline holds for the proxy as well."""
    with ByteServer(lambda peer: peer.at_end()) as proxy:
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            dial(parse("ws://far.example"), Deadline(0.2), proxy=ProxyAddress("127.0.0.1", proxy.port))
        assert 0.2 <= time.monotonic() - began < scaled(1)


# -- certificates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxied", [False, True])
def test_a_valid_certificate(host: str, proxied: bool) -> None:
    """A trusted issuer and the right name: the stream is encrypted, through a proxy as well."""
    with ByteServer(_greet, server_context()) as server, ConnectProxy(server.port) as proxy:
        address = parse_proxy(proxy.url) if proxied else None
        stream = dial(parse(f"wss://{host}:{server.port}"), _within(), client_context(), address)
        assert _greeting(stream) == HELLO


def _wrong_host(server: ByteServer, proxy: ConnectProxy) -> DuplexStream:
    return dial(parse("wss://far.example"), _within(), client_context(), parse_proxy(proxy.url))


def _unknown_issuer(server: ByteServer, proxy: ConnectProxy) -> DuplexStream:
    return dial(parse(f"wss://localhost:{server.port}"), _within(), default_context())


@pytest.mark.parametrize(
    ("attempt", "words"),
    [(_wrong_host, "failed for far.example.*host name"), (_unknown_issuer, "certificate.*ssl_context=")],
)
def test_an_invalid_certificate(attempt: Callable[[ByteServer, ConnectProxy], DuplexStream], words: str) -> None:
    """Not retryable; the message contains a hint."""
    with (
        ByteServer(_greet, server_context()) as server,
        ConnectProxy(server.port) as proxy,
        pytest.raises(SocketConnectionError, match=words) as caught,
    ):
        attempt(server, proxy)
    assert not caught.value.retryable


def test_a_server_without_tls() -> None:
    """The error differs from that of an invalid certificate."""

    def script(peer: RawPeer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.at_end()

    with ByteServer(script) as server, pytest.raises(SocketConnectionError, match="TLS") as caught:
        dial(parse(f"wss://127.0.0.1:{server.port}"), _within(), client_context())
    assert caught.value.retryable


def test_a_server_that_does_not_answer_the_tls_handshake() -> None:
    """The deadline holds for TLS as well."""
    with ByteServer(lambda peer: peer.at_end()) as server:
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            dial(parse(f"wss://127.0.0.1:{server.port}"), Deadline(0.2), client_context())
        assert 0.2 <= time.monotonic() - began < scaled(1)


class _TooLate(ssl.SSLContext):
    """The connection is reset before TLS can begin."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        raise ConnectionResetError(104, "reset by peer")


def test_a_server_that_resets_before_tls_begins() -> None:
    """The same error as for a reset a moment later."""
    with (
        ByteServer(_greet) as server,
        pytest.raises(SocketConnectionError, match="TLS connection to localhost failed") as caught,
    ):
        dial(parse(f"wss://localhost:{server.port}"), _within(), _TooLate(ssl.PROTOCOL_TLS_CLIENT))
    assert caught.value.retryable
