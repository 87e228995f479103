"""Keys that change under way, by KeyUpdate (TLS 1.3) or renegotiation (TLS 1.2), cost no message (row 18)."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import cast

import pytest

from owlsocket_sync import Connection, ConnectionState, Heartbeat, connect
from owlsocket_sync.server import Request, serve
from support.helpers import VECTORS, Collector, eventually, scaled
from support.sockets import TEXT, UPGRADE, ByteServer, RawPeer, client_context, close_frame, frame, server_context
from support.tls_ends import NativeTLS

ROUNDS = 60
EVERY = 5
PADDING = "x" * 20_000
KEY_UPDATE = 24


class KeyUpdates:
    """Counts the KeyUpdate messages that a context sees, by direction."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.read = self.written = 0
        context._msg_callback = self._saw  # type: ignore[attr-defined]

    def _saw(self, sock: object, direction: str, version: object, kind: object, message: int, data: bytes) -> None:
        if message == KEY_UPDATE and getattr(kind, "name", "") == "HANDSHAKE":
            if direction == "read":
                self.read += 1
            else:
                self.written += 1


@contextlib.contextmanager
def native_end(peer: RawPeer, *, server: bool = True, newest: bool = True) -> Iterator[tuple[RawPeer, NativeTLS]]:
    """TLS over a raw end."""
    tls = NativeTLS(peer.sock, VECTORS / "tls" / "server.pem" if server else None, newest=newest)
    try:
        yield RawPeer(cast(socket.socket, tls)), tls
    finally:
        tls.close()


def _event(number: int) -> bytes:
    return json.dumps({"type": "event", "event": "tick", "payload": [number, PADDING]}).encode()


class Updating:
    """A server that sends events, and asks for new keys between them, while it reads what the client sends."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __call__(self, peer: RawPeer) -> None:
        with native_end(peer) as (secure, tls):
            secure.upgrade()
            for number in range(ROUNDS):
                self.numbers.append(json.loads(secure.read_frame().payload)["payload"][0])
                if number % EVERY == 0:
                    tls.update_keys()
                secure.send(frame(TEXT, _event(number)))
            secure.read_frame()
            secure.send(close_frame(1000))


def test_row_18_keys_change_during_traffic() -> None:
    """A dozen changes that the server asks for cost no message in either direction, and no link."""
    context = client_context()
    updates = KeyUpdates(context)
    updating, ticks, states = Updating(), Collector(), Collector()
    with ByteServer(updating) as server:
        url = server.url.replace("ws:", "wss:")
        with connect(url, ssl_context=context, heartbeat=Heartbeat(5, 5), reconnect=None) as conn:
            conn.on_state(states)
            conn.observe("tick", lambda event: ticks(event.payload))
            _notify_all(conn)
            assert ticks.wait(ROUNDS, 10) == [[number, PADDING] for number in range(ROUNDS)]
            assert conn.state is ConnectionState.OPEN
            assert states.items == []
    assert updating.numbers == list(range(ROUNDS))
    assert updates.read == updates.written == ROUNDS // EVERY


@pytest.mark.slow
def test_row_18_a_renegotiation_blocks_no_writer() -> None:
    """In TLS 1.2 a handler that writes while the reader shakes hands anew is on its way as soon as that is done."""
    took = Collector()

    def script(peer: RawPeer) -> None:
        with native_end(peer, newest=False) as (secure, tls):
            secure.upgrade()
            secure.read_frame()
            for number in range(ROUNDS // EVERY):
                began = time.monotonic()
                secure.send(frame(TEXT, _event(number)))
                tls.renegotiate()
                assert json.loads(secure.read_frame().payload)["payload"] == number
                took(time.monotonic() - began)
            secure.read_frame()
            secure.send(close_frame(1000))

    with ByteServer(script) as server:
        url = server.url.replace("ws:", "wss:")
        with connect(url, ssl_context=client_context(), heartbeat=None, reconnect=None) as conn:
            conn.observe("tick", lambda event: conn.notify("tock", event.payload[0]))
            conn.notify("ready")
            assert max(took.wait(ROUNDS // EVERY)) < scaled(1)
            assert conn.state is ConnectionState.OPEN


def _notify_all(conn: Connection) -> None:
    for number in range(ROUNDS):
        conn.notify("tock", [number, PADDING])


def test_row_18_the_embedded_server_accepts_key_updates_of_a_client() -> None:
    """A client that asks for new keys between its messages has them all arrive, and gets all of the server's."""
    context = server_context()
    updates = KeyUpdates(context)
    seen = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.observe("tick", lambda event: seen(event.payload))
        _notify_all(conn)

    with (
        serve(handler, ssl_context=context) as server,
        socket.create_connection(("127.0.0.1", server.port)) as sock,
        native_end(RawPeer(sock), server=False) as (secure, tls),
    ):
        secure.send(UPGRADE.encode())
        assert " 101 " in secure.read_header()
        for number in range(ROUNDS):
            if number % EVERY == 0:
                tls.update_keys()
            secure.send(frame(TEXT, _event(number), masked=True))
            assert _read_bare(secure) == [number, PADDING]
        assert seen.wait(ROUNDS) == [[number, PADDING] for number in range(ROUNDS)]
        server.broadcast("last")  # OpenSSL answers an update with whatever is said next
        eventually(lambda: updates.read == updates.written == ROUNDS // EVERY)


def _read_bare(peer: RawPeer) -> object:
    """The payload of the next message, as a server writes it."""
    head = peer.read(4)
    assert head[0] == 0x80 | TEXT
    assert head[1] == 126
    return json.loads(peer.read(int.from_bytes(head[2:], "big")))["payload"]
