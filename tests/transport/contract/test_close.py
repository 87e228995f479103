"""How websocket-client ends a connection, row by row, and how ours ends under the same conditions."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest
import websocket

from owlsocket_sync import connect
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.handshake_socket import HandshakeSocket
from owlsocket_sync.transport.stream import DuplexStream
from support.helpers import eventually, scaled
from support.linked import Run, aside, tcp_pair
from support.sockets import CLOSE, TEXT, Frame, RawPeer, close_frame, frame
from support.upstream import LIMIT, VERSION, Upstream, granting, hears_nothing, ours_and_peer, upstream_and_peer


def test_row_d07_closing_beside_a_reader_hangs_upstream() -> None:
    """Its close waits for the lock of the reader, whatever its timeout; and then abort does nothing any more."""
    with upstream_and_peer() as (ws, peer):
        ws.settimeout(None)
        reading = aside(ws.recv_frame)
        eventually(ws.frame_buffer.lock.locked)
        closing = aside(lambda: ws.close(timeout=0.05))
        assert peer.read_frame() == Frame(CLOSE, b"\x03\xe8")
        ws.abort()
        with pytest.raises(AssertionError):
            closing.wait(1, 0.3)
        assert not reading.items
        peer.sock.close()
        assert isinstance(reading.wait(1)[0], websocket.WebSocketConnectionClosedException)
        assert closing.wait(1) == [None]


def test_row_d07_closing_beside_our_reader_ends_by_its_timeout() -> None:
    """A peer that never answers the close frame holds nobody longer than that."""
    with granting(lambda peer: peer.at_end()) as server:
        connection = connect(server.url)
        began = time.monotonic()
        connection.close(timeout=0.3)
        assert time.monotonic() - began < 0.3 + scaled(0.5)
        assert connection.wait_closed(scaled(5)) is not None


def test_row_d08_shutdown_takes_the_descriptor_from_under_a_reader() -> None:
    """Upstream closes it in whatever thread asks, at once, though a reader is about to use its number."""
    with upstream_and_peer() as (ws, peer):
        ws.settimeout(None)
        sock = ws.sock
        reading = aside(ws.recv_frame)
        eventually(ws.frame_buffer.lock.locked)
        ws.shutdown()
        assert sock.fileno() == -1
        peer.sock.close()
        assert reading.wait(1)


def test_row_d08_only_our_reader_closes_the_descriptor() -> None:
    """Whoever ends a stream frees the reader, and the number stays taken until that one lets go of it."""
    with ours_and_peer() as (framing, _):
        number = framing.stream.fileno()
        reading = aside(framing.read)
        framing.stream.interrupt()
        assert isinstance(reading.wait(1)[0], EOFError)
        assert os.fstat(number)
        framing.stream.close()
        with pytest.raises(OSError):
            os.fstat(number)


@pytest.mark.parametrize("code", [1000, 1001, 3999])
def test_row_d10_a_close_frame_is_answered(code: int) -> None:
    """Upstream says 1000 whatever it was told; ours says what the peer said (RFC 6455, section 5.5.1)."""
    with upstream_and_peer() as (ws, peer):
        peer.send(close_frame(code, "bye"))
        ws.recv_data_frame()
        assert peer.read_frame().code == 1000
    run = Run()
    run.peer.send(close_frame(code, "bye"))
    assert run.peer.read_frame().code == code
    assert run.ended().code == code
    run.stop()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(3), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * 2_000_000)[:10], 1009),
    ],
    ids=["rsv", "opcode", "text", "size"],
)
def test_row_d10_a_breach_of_the_protocol(sent: bytes, code: int) -> None:
    """Upstream raises, where it notices at all, and leaves the link open in silence; ours says why and ends it."""
    with upstream_and_peer() as (ws, peer):
        ws.settimeout(0.1)
        peer.send(sent)
        with pytest.raises((websocket.WebSocketException, UnicodeDecodeError)):
            ws.recv()
        assert ws.connected
        assert hears_nothing(peer)
    run = Run()
    run.peer.send(sent)
    assert run.peer.read_frame().code == code
    assert run.peer.at_end()
    assert run.ended().code == code
    run.stop()


class Adapter:
    """The least that looks like a socket, without the private name that newer versions look at."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def close(self) -> None:
        """Close it."""
        self.sock.close()


def test_row_d21_an_adapter_without_a_private_name_is_not_closed() -> None:
    """From 1.9.1 on upstream asks for ``_closed`` before it closes, and takes its absence for closed."""
    ours, theirs = tcp_pair()
    ws = Upstream()
    ws.sock = Adapter(ours)
    ws.shutdown()
    assert ws.sock is None
    assert (ours.fileno() == -1) is (VERSION < (1, 9, 1))
    ours.close()
    theirs.close()


@pytest.mark.parametrize("end", ["shutdown", "close"])
def test_row_d21_what_we_hand_over_is_closed_by_every_version(end: str) -> None:
    """It has all that is asked of a socket, by whatever way upstream gets there."""
    ours, theirs = tcp_pair()
    stream = DuplexStream(ours)
    stream.read_deadline = stream.write_deadline = time.monotonic() + scaled(5)
    peer = RawPeer(theirs)
    upgrade = aside(peer.upgrade)
    ws: Any = Upstream()
    sock = HandshakeSocket(ClientFraming(stream, LIMIT), 65_536)
    ws.connect("ws://localhost/", socket=sock)
    assert upgrade.wait(1)
    assert (sock.gettimeout(), ws.fileno()) == (0.0, ours.fileno())
    peer.send(close_frame(1000))
    getattr(ws, end)()
    assert ours.fileno() == -1
    assert ws.sock is None
    theirs.close()


def test_row_d21_a_refused_upgrade_leaves_no_descriptor() -> None:
    """Upstream closes what it was handed over when a handshake fails, ours included."""
    ours, theirs = tcp_pair()
    stream = DuplexStream(ours)
    peer = RawPeer(theirs)
    refusal = aside(lambda: (peer.read_header(), peer.send(b"HTTP/1.1 403 No\r\n\r\n")))
    with pytest.raises(websocket.WebSocketBadStatusException):
        Upstream().connect("ws://localhost/", socket=HandshakeSocket(ClientFraming(stream, LIMIT), 65_536))
    assert refusal.wait(1)
    assert ours.fileno() == -1
    theirs.close()


def test_row_d07_the_end_of_a_link_waits_for_no_dead_peer() -> None:
    """A peer that takes nothing and says nothing does not keep a close from returning."""
    run = Run()
    stuck = aside(lambda: run.link.write([b"x" * 8_000_000], Deadline(60)))
    eventually(lambda: run.link._writer._writing)
    began = time.monotonic()
    run.link.close(1000, "", Deadline(0.3))
    assert time.monotonic() - began < 0.3 + scaled(0.5)
    assert isinstance(stuck.wait(1)[0], ConnectionError)
    run.stop()
