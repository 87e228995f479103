"""What websocket-client does with TLS, row by row, and what ours does on a real encrypted socket."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import SocketConnectionError, connect
from owlsocket_sync.transport.dial import default_context
from owlsocket_sync.transport.stream import DuplexStream
from support.helpers import VECTORS, eventually, scaled
from support.linked import aside
from support.sockets import BINARY, TEXT, ByteServer, RawPeer, client_context, frame, server_context
from support.streams import recv
from support.upstream import connect_upstream, granting, our_framing
from support.watched import Watch

AUTHORITY = str(VECTORS / "tls" / "authority.pem")
MEGABYTE = bytes(1_000_000)


class Overlap:
    """How many threads were inside one client's TLS object at once, at most."""

    def __init__(self) -> None:
        self.most = self.inside = 0
        self._lock = threading.Lock()

    def watch(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, counted; servers are not."""

        def watched(sock: ssl.SSLSocket, *arguments: Any) -> Any:
            if sock.server_side:
                return method(sock, *arguments)
            with self._lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            try:
                return method(sock, *arguments)
            finally:
                with self._lock:
                    self.inside -= 1

        return watched


@pytest.fixture
def overlap(monkeypatch: pytest.MonkeyPatch) -> Overlap:
    """Watches the reads and writes of every TLS client."""
    seen = Overlap()
    for name in ("recv", "send"):
        monkeypatch.setattr(ssl.SSLSocket, name, seen.watch(getattr(ssl.SSLSocket, name)))
    return seen


def _read_then_send(peer: RawPeer) -> None:
    assert len(peer.read_frame().payload) == len(MEGABYTE)
    peer.send(frame(BINARY, MEGABYTE))
    peer.at_end()


def test_row_d06_upstream_reads_and_writes_one_tls_object_at_once(overlap: Overlap) -> None:
    """It has a lock for either direction, and none for what both share."""
    with granting(_read_then_send, secure=True) as server:
        ws = connect_upstream(server.url, sslopt={"context": client_context()})
        assert ws.lock is not ws.readlock
        reading = aside(ws.recv)
        eventually(lambda: overlap.inside == 1 and ws.readlock.locked())
        ws.send_binary(MEGABYTE)
        assert reading.wait(1) == [MEGABYTE]
        ws.shutdown()
    assert overlap.most == 2


def test_row_d06_we_are_in_a_tls_object_once() -> None:
    """A megabyte each way at the same time, and never two threads inside."""
    context = client_context()
    watch = Watch(context)

    def talk_and_listen(peer: RawPeer) -> None:
        for _ in range(3):
            peer.send(frame(BINARY, MEGABYTE))
            assert len(peer.read_frame().payload) == len(MEGABYTE)
        peer.at_end()

    with granting(talk_and_listen, secure=True) as server, our_framing(server, context) as framing:
        reading = aside(lambda: [framing.read() for _ in range(3)])
        for _ in range(3):
            assert framing.stream.send(framing.frame(TEXT, MEGABYTE)) > len(MEGABYTE)
        assert reading.wait(1, 20) == [[MEGABYTE] * 3]
    assert watch.overlaps == []
    assert min(watch.entered["recv"], watch.entered["send"]) > 100
    assert len(watch.threads) == 2


SECRET = b"marked-secret"


@contextmanager
def _telling() -> Iterator[ByteServer]:
    def tell(peer: RawPeer) -> None:
        peer.read(1)
        peer.send(SECRET)
        peer.at_end()

    with ByteServer(tell, server_context()) as server:
        yield server


def test_row_d08_shutting_a_tls_socket_down_unmasks_what_comes() -> None:
    """CPython lets go of the TLS object, and the next read gives the records as they travel."""
    with _telling() as server, ssl_client(server) as sock:
        sock.send(b"?")
        sock.shutdown(socket.SHUT_WR)
        raw = sock.recv(65_536)
        assert raw[:1] == b"\x17"
        assert SECRET not in raw


@contextmanager
def ssl_client(server: ByteServer) -> Iterator[ssl.SSLSocket]:
    """A plain TLS client of a server."""
    sock = socket.create_connection(("127.0.0.1", server.port), scaled(5))
    with client_context().wrap_socket(sock, server_hostname="localhost") as secure:
        yield secure


def _read_to_the_end(stream: DuplexStream) -> bytes:
    try:
        return recv(stream, 65_536)
    except ConnectionResetError:
        return b""  # by a peer that has not read everything


def test_row_d08_our_reader_sees_the_end_and_no_records() -> None:
    """However a stream ends under its reader, nothing encrypted is taken for data."""
    with granting(lambda peer: peer.at_end(), secure=True) as server, our_framing(server) as framing:
        reading = aside(lambda: _read_to_the_end(framing.stream))
        framing.stream.interrupt()
        assert reading.wait(1) == [b""]
        assert _read_to_the_end(framing.stream) == b""


# -- certificates ------------------------------------------------------------------------------------------------------


def _nothing(peer: RawPeer) -> None:
    peer.at_end()


@pytest.mark.parametrize(
    "sslopt",
    [{}, {"context": ssl.create_default_context(), "cert_reqs": ssl.CERT_NONE, "check_hostname": False}],
    ids=["default", "context"],
)
def test_row_d17_upstream_checks_certificates(sslopt: dict[str, Any]) -> None:
    """By default it does; and a context that is handed over makes every other option idle."""
    with granting(_nothing, secure=True) as server, pytest.raises(ssl.SSLCertVerificationError):
        connect_upstream(server.url, sslopt=sslopt)


def test_row_d17_the_environment_can_widen_the_trust_of_upstream_and_not_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A variable of its own names authorities, another one writes its keys down; ours trusts what it was given."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", AUTHORITY)
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with granting(_nothing, secure=True) as server:
        connect_upstream(server.url).shutdown()
        assert "TRAFFIC_SECRET" in keys.read_text(encoding="ascii")
        with pytest.raises(SocketConnectionError, match="certificate") as caught:
            connect(server.url, timeout=scaled(5))
    assert not caught.value.retryable


def test_row_d17_our_own_context_is_strict() -> None:
    """Certificates and names are checked, and nothing older than TLS 1.2 is spoken."""
    context = default_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_row_d17_a_context_of_the_caller_is_used_as_it_is() -> None:
    """Who trusts the issuer is connected; no option beside the context has a say."""
    with granting(_nothing, secure=True) as server:
        connect(server.url, ssl_context=client_context(), timeout=scaled(5)).close(timeout=0.1)
