"""websocket-client as it is, beside our framing on top of it: what the contract tests compare."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import websocket

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.transport.client_handshake import ClientHandshake
from owlsocket_sync.transport.dial import dial
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.urls import parse
from support.helpers import scaled
from support.linked import aside, tcp_pair
from support.sockets import ByteServer, RawPeer, client_context, server_context

__all__ = [
    "ClientFraming",
    "LIMIT",
    "NotingSocket",
    "Upstream",
    "VERSION",
    "connect_upstream",
    "granting",
    "hears_nothing",
    "our_framing",
    "our_handshake",
    "ours_and_peer",
    "upstream_and_peer",
]

VERSION = tuple(int(part) for part in websocket.__version__.split(".")[:3])
"""Which websocket-client is installed; where versions differ, tests name the one from which on it is so."""

LIMIT = 1_000_000

Upstream: Any = websocket.WebSocket
"""The class that ours is made from, as a caller without types sees it."""


def connect_upstream(url: str, **options: Any) -> Any:
    """A connection of websocket-client, which does not wait for ever."""
    return websocket.create_connection(url, **{"timeout": scaled(5), **options})


class NotingSocket(socket.socket):
    """Notes how much each read asks for, and what each write is given."""

    def __init__(self, sock: socket.socket, at_most: int | None = None) -> None:
        super().__init__(fileno=sock.detach())
        self.asked: list[int] = []
        self.written: list[tuple[type, int]] = []
        self.at_most = at_most

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read, and note it."""
        self.asked.append(size)
        return super().recv(size, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """Write no more than there is room for, and note it."""
        self.written.append((type(data), len(data)))
        return super().send(data[: self.at_most], flags)


@contextmanager
def ours_and_peer(limit: int = LIMIT) -> Iterator[tuple[ClientFraming, RawPeer]]:
    """Our framing, past its upgrade, and the raw socket at its other end."""
    sock, theirs = tcp_pair()
    peer = RawPeer(theirs)
    framing = ClientFraming(DuplexStream(sock), limit)
    framing.stream.read_deadline = framing.stream.write_deadline = time.monotonic() + scaled(5)
    try:
        yield framing, peer
    finally:
        framing.stream.close()
        peer.sock.close()


@contextmanager
def upstream_and_peer(**options: Any) -> Iterator[tuple[Any, RawPeer]]:
    """websocket-client, past its upgrade, and the raw socket at its other end."""
    sock, theirs = tcp_pair()
    peer = RawPeer(theirs)
    sock.settimeout(scaled(5))
    upgrade = aside(peer.upgrade)
    ws = Upstream(**options)
    ws.connect("ws://localhost/", socket=sock)
    upgrade.wait(1)
    try:
        yield ws, peer
    finally:
        peer.sock.close()
        sock.close()


@contextmanager
def granting(script: Callable[[RawPeer], object], *, secure: bool = False, extra: str = "") -> Iterator[ByteServer]:
    """A server that grants every upgrade, and then plays a script."""

    def play(peer: RawPeer) -> None:
        peer.upgrade(extra)
        script(peer)

    with ByteServer(play, server_context() if secure else None) as server:
        yield server


@contextmanager
def our_framing(server: ByteServer, context: ssl.SSLContext | None = None) -> Iterator[ClientFraming]:
    """Our framing on a stream to a server, after its upgrade."""
    with our_handshake(server, context) as (framing, _):
        yield framing


@contextmanager
def our_handshake(
    server: ByteServer, context: ssl.SSLContext | None = None
) -> Iterator[tuple[ClientFraming, ClientHandshake]]:
    """Our framing on a stream to a server, and the handshake that upgraded it."""
    target, deadline = parse(server.url), Deadline(scaled(5))
    framing = ClientFraming(dial(target, deadline, context or client_context()), LIMIT)
    handshake = ClientHandshake(framing)
    try:
        handshake.upgrade(target, {}, deadline.at)
        yield framing, handshake
    finally:
        framing.stream.close()


def hears_nothing(peer: RawPeer, seconds: float = 0.1) -> bool:
    """Whether nothing comes for a while, and the stream is open."""
    peer.sock.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        return peer.sock.recv(1) is None
    return True
