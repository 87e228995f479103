"""`dial`: from an address to a stream, past proxies and certificates, under one deadline."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import scaled
from sockets import (
    ByteServer,
    ConnectProxy,
    RawPeer,
    client_context,
    free_port,
    full_port,
    header_of,
    server_context,
)

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError, SocketTimeout
from owlsocket_sync.transport.dial import ProxyAddress, default_context, dial, parse_proxy, proxy_for
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.urls import Target, parse

HELLO = b"hello"


def _greet(peer: RawPeer) -> None:
    peer.send(HELLO)
    peer.at_end()


def _greeting(stream: DuplexStream) -> bytes:
    stream.read_until = time.monotonic() + scaled(5)
    data = b""
    while len(data) < len(HELLO):
        chunk = stream.recv(len(HELLO) - len(data))
        assert chunk
        data += chunk
    stream.close()
    return data


def _within() -> Deadline:
    return Deadline(scaled(5))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connects(host: str) -> None:
    """A name leads to the first of its addresses that answers."""
    with ByteServer(_greet) as server:
        assert _greeting(dial(parse(f"ws://{host}:{server.port}"), _within())) == HELLO


def test_nobody_listens() -> None:
    """A refused connection is told at once, and may succeed later."""
    began = time.monotonic()
    with pytest.raises(SocketConnectionError, match="cannot be reached") as caught:
        dial(parse(f"ws://127.0.0.1:{free_port()}"), _within())
    assert caught.value.retryable
    assert caught.value.code == "CONNECTION_LOST"
    assert time.monotonic() - began < scaled(1)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid"])
def test_unknown_hosts_are_named(host: str) -> None:
    """A host that nobody knows is in the message."""
    with pytest.raises(SocketConnectionError, match=host) as caught:
        dial(Target("ws", host, 80, "/"), _within())
    assert caught.value.retryable


def test_a_port_that_does_not_answer() -> None:
    """Connecting gives up at its deadline."""
    with full_port() as port:
        began = time.monotonic()
        with pytest.raises(SocketTimeout, match=r"0\.2 s"):
            dial(parse(f"ws://127.0.0.1:{port}"), Deadline(0.2))
        assert 0.2 <= time.monotonic() - began < scaled(1)


def test_who_is_wanted_no_more_stops_dialling() -> None:
    """A connection that is closed meanwhile does not wait for a port that does not answer."""
    answers = iter([True, True])
    with full_port() as port:
        began = time.monotonic()
        with pytest.raises(SocketConnectionError, match="closed while connecting"):
            dial(parse(f"ws://127.0.0.1:{port}"), _within(), wanted=lambda: next(answers, False))
        assert time.monotonic() - began < scaled(1)


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "login"),
    [(None, ""), ("me:s3cret", "me:s3cret@"), ("a b:p@ss/ü", "a%20b:p%40ss%2F%C3%BC@")],
)
def test_through_a_proxy(credentials: str | None, login: str) -> None:
    """The proxy is asked for the host by name, with our credentials, and the server's first bytes are kept."""
    with ByteServer(_greet) as server, ConnectProxy(server.port, credentials) as proxy:
        address = parse_proxy(f"http://{login}127.0.0.1:{proxy.port}")
        assert _greeting(dial(parse("ws://far.example:81"), _within(), proxy=address)) == HELLO
    assert proxy.requests[0].startswith("CONNECT far.example:81 HTTP/1.1\r\n")
    assert header_of(proxy.requests[0], "Host") == "far.example:81"


def test_a_proxy_that_wants_credentials() -> None:
    """Asking again would be refused again; the message says what to do, and no password."""
    with ConnectProxy(1, "me:right") as proxy:
        address = parse_proxy(f"http://me:wr0ng@127.0.0.1:{proxy.port}")
        with pytest.raises(SocketConnectionError, match=r"407.*proxy=") as caught:
            dial(parse("ws://far.example"), _within(), proxy=address)
    assert caught.value.status == 407
    assert not caught.value.retryable
    assert "wr0ng" not in repr(caught.value) + repr(address)


def test_a_proxy_that_cannot_reach_the_host() -> None:
    """Its status is told, and it may do better later."""
    with (
        ConnectProxy(1, status="502 Bad Gateway") as proxy,
        pytest.raises(SocketConnectionError, match="502 Bad Gateway") as caught,
    ):
        dial(parse("ws://far.example"), _within(), proxy=parse_proxy(proxy.url))
    assert caught.value.status == 502
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"SSH-2.0\r\n\r\n", "HTTP"), (b"", "closed"), (b"HTTP/1.1 200", "closed"), (b"x" * 70_000, "longer")],
)
def test_a_proxy_that_speaks_no_http(answer: bytes, words: str) -> None:
    """Garbage, an early end and too much are told apart."""

    def script(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(answer)

    with ByteServer(script) as proxy, pytest.raises(SocketConnectionError, match=words):
        dial(parse("ws://far.example"), _within(), proxy=ProxyAddress("127.0.0.1", proxy.port))


def test_a_proxy_that_says_nothing() -> None:
    """The deadline holds for the proxy too."""
    with ByteServer(lambda peer: peer.at_end()) as proxy:
        began = time.monotonic()
        with pytest.raises(SocketTimeout):
            dial(parse("ws://far.example"), Deadline(0.2), proxy=ProxyAddress("127.0.0.1", proxy.port))
        assert 0.2 <= time.monotonic() - began < scaled(1)


def test_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``"env"`` follows ``http_proxy``, ``https_proxy`` and ``no_proxy``; by default nothing does."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://plain:1")
    monkeypatch.setenv("https_proxy", "http://secure:2")
    monkeypatch.setenv("no_proxy", "near.example")
    plain, secure, near = parse("ws://far.example"), parse("wss://far.example"), parse("ws://near.example")
    assert proxy_for(plain, "env") == ProxyAddress("plain", 1)
    assert proxy_for(secure, "env") == ProxyAddress("secure", 2)
    assert proxy_for(near, "env") is None
    assert proxy_for(plain, None) is None


@pytest.mark.parametrize("proxy", ["socks5://u:pass@h:1", "http://", "h:80", "http://u:pass@h:99999999"])
def test_proxies_that_cannot_be_used(proxy: str) -> None:
    """The message names the option, and holds no password."""
    with pytest.raises(ValueError, match="proxy") as caught:
        parse_proxy(proxy)
    assert "pass@" not in str(caught.value)


# -- certificates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxied", [False, True])
def test_a_good_certificate(host: str, proxied: bool) -> None:
    """An issuer that we trust and a name that fits: the stream is encrypted, through a proxy too."""
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
    [(_wrong_host, "certificate of far.example.*connect by a name"), (_unknown_issuer, "certificate.*ssl_context=")],
)
def test_a_certificate_that_does_not_hold(
    attempt: Callable[[ByteServer, ConnectProxy], DuplexStream], words: str
) -> None:
    """No second attempt would trust it more; the message says what to do."""
    with (
        ByteServer(_greet, server_context()) as server,
        ConnectProxy(server.port) as proxy,
        pytest.raises(SocketConnectionError, match=words) as caught,
    ):
        attempt(server, proxy)
    assert not caught.value.retryable


def test_a_server_that_speaks_no_tls() -> None:
    """It is told apart from a certificate that does not hold."""

    def script(peer: RawPeer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.at_end()

    with ByteServer(script) as server, pytest.raises(SocketConnectionError, match="TLS") as caught:
        dial(parse(f"wss://127.0.0.1:{server.port}"), _within(), client_context())
    assert caught.value.retryable


def test_a_server_that_shakes_no_hands() -> None:
    """The deadline holds for TLS too."""
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
    """It is a typed error like one that resets a moment later."""
    with (
        ByteServer(_greet) as server,
        pytest.raises(SocketConnectionError, match="TLS with localhost failed") as caught,
    ):
        dial(parse(f"wss://localhost:{server.port}"), _within(), _TooLate(ssl.PROTOCOL_TLS_CLIENT))
    assert caught.value.retryable
