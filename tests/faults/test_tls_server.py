"""The embedded server behind TLS: clients that are slow, speak something else, or have no certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from owlsocket_sync import Backoff, ConnectionState, SocketConnectionError, connect
from owlsocket_sync.server import Server, serve
from support.certificates import Authority, serving
from support.figures import Figure
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.sockets import PATIENCE, RawPeer, client_context, server_context

TIMEOUT = 0.4


@pytest.fixture
def server() -> Iterator[Server]:
    """A server behind TLS that waits a short time for handshakes."""
    with serve(echo, ssl_context=server_context(), timeout=scaled(TIMEOUT)) as running:
        yield running


@contextlib.contextmanager
def _raw(server: Server) -> Iterator[RawPeer]:
    with socket.create_connection(("127.0.0.1", server.port), scaled(PATIENCE)) as sock:
        yield RawPeer(sock)


def _hello() -> bytes:
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.slow
@pytest.mark.parametrize("pace", [None, 0.02], ids=["silent", "a-byte-at-a-time"])
@pytest.mark.parametrize("first", [0, 1, 100])
def test_row_34_an_unfinished_tls_handshake_is_disconnected(
    server: Server, figure: Figure, first: int, pace: float | None
) -> None:
    """However many bytes it dripped, its time is over at the server's timeout, and others are served meanwhile."""
    hello = _hello()
    began = time.monotonic()
    with _raw(server) as peer:
        peer.send(hello[:first])
        with connect(server.url, ssl_context=client_context()) as conn:
            assert conn.call("echo", "meanwhile") == "meanwhile"
        if pace is None:
            assert peer.at_end()
        else:
            _drip(peer, hello[first:-1], pace)
        took = time.monotonic() - began
    assert took >= scaled(TIMEOUT)
    figure("a slow TLS handshake ends after", took, scaled(TIMEOUT + 0.5), "s")
    eventually(lambda: not server.connections)


def _drip(peer: RawPeer, data: bytes, pace: float) -> None:
    """Send byte after byte until the other end has had enough."""
    peer.sock.settimeout(pace)
    for byte in data:
        with contextlib.suppress(TimeoutError):
            try:
                peer.send(bytes([byte]))
                if peer.sock.recv(1) == b"":
                    return
            except ConnectionError:
                return
    raise AssertionError("it was let drip to the end")


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\0" * 500])
def test_what_is_no_tls_is_sent_away_at_once(server: Server, words: bytes) -> None:
    """Plain HTTP or garbage on a TLS port costs its sender the connection, and nobody else anything."""
    began = time.monotonic()
    with _raw(server) as peer:
        peer.send(words)
        assert peer.at_end()
    assert time.monotonic() - began < scaled(TIMEOUT + 0.5)
    with connect(server.url, ssl_context=client_context()) as conn:
        assert conn.call("echo", 1) == 1


def test_a_plain_client_of_a_tls_port_is_told(server: Server) -> None:
    """A ws:// URL where wss:// is served fails at once, and by name."""
    with pytest.raises(SocketConnectionError):
        connect(f"ws://127.0.0.1:{server.port}")


# -- client certificates -----------------------------------------------------------------------------------------------

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom both ends trust."""
    return Authority(tmp_path)


@pytest.fixture
def choosy(authority: Authority) -> Iterator[Server]:
    """A server that wants a certificate of its clients."""
    context = serving(authority.issue("server"))
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    with serve(echo, ssl_context=context) as running:
        yield running


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_with_a_certificate_is_let_in(choosy: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    """A certificate that the server's authority signed opens the door."""
    context = authority.trusting()
    context.load_cert_chain(authority.issue("client"))
    context.maximum_version = version
    with connect(choosy.url, ssl_context=context) as conn:
        assert conn.call("echo", "in") == "in"


@pytest.mark.slow
@pytest.mark.parametrize("stranger", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_row_18_a_client_without_a_certificate_gets_an_error(
    choosy: Server, authority: Authority, tmp_path: Path, version: ssl.TLSVersion, stranger: bool
) -> None:
    """No certificate, or one that nobody knows: the client learns that it is about its certificate, and stops."""
    context = authority.trusting()
    context.maximum_version = version
    if stranger:
        context.load_cert_chain(Authority(tmp_path, "stranger").issue("client"))
    for _ in range(20):  # the refusal may overtake the request for the upgrade, or be overtaken by it
        with pytest.raises(SocketConnectionError, match=r"certificate.*ssl_context=") as caught:
            connect(choosy.url, ssl_context=context)
        assert not caught.value.retryable
        assert "127.0.0.1" in str(caught.value)
    assert choosy.connections == []


def test_row_18_a_refused_client_certificate_ends_reconnecting(choosy: Server, authority: Authority) -> None:
    """A client that connects behind, without the certificate that is wanted, gives up and says why."""
    states = Collector()
    conn = connect(choosy.url, ssl_context=authority.trusting(), wait=False, reconnect=Backoff(initial=0.01, cap=0.02))
    conn.on_state(states)
    eventually(lambda: conn.state is ConnectionState.CLOSED)
    with pytest.raises(SocketConnectionError, match="client certificate"):
        conn.call("echo", 1)
    conn.close()
