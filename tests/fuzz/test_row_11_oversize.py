"""Messages beyond the limit: refused with 1009 before room is made for them; and large ones within it are cheap."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from fuzz.memory import Growth
from owlsocket_sync import EventMessage, Limits, SocketConnectionError, connect
from owlsocket_sync.server import serve
from support.figures import Figure
from support.helpers import Collector, eventually, scaled
from support.sockets import BINARY, CLOSE, CONTINUATION, TEXT, ByteServer, RawPeer, frame, knock

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
LIMIT = 16 * MIB
ROOMY = 32 * MIB
HEADER = bytes([0x81, 127]) + (2**40).to_bytes(8, "big")
MASKED_HEADER = bytes([0x81, 255]) + (2**40).to_bytes(8, "big") + b"\0" * 4

Send = Callable[[RawPeer, bool], None]


def announce(peer: RawPeer, masked: bool) -> None:
    """The header of a frame of 2^40 bytes, and the beginning of it."""
    peer.send(MASKED_HEADER if masked else HEADER)
    peer.send(b"x" * 1000)


def add_up(peer: RawPeer, masked: bool) -> None:
    """Fragments of 64 KiB, each of them small enough, until they are too many."""
    peer.send(frame(BINARY, b"", fin=False, masked=masked))
    fragment = frame(CONTINUATION, b"x" * 65_536, fin=False, masked=masked)
    for _ in range(LIMIT // 65_536 + 1):
        peer.send(fragment)


def crumble(peer: RawPeer, masked: bool) -> None:
    """20 000 fragments, the last of which is too much."""
    peer.send(frame(TEXT, b"", fin=False, masked=masked))
    few = frame(CONTINUATION, b"x" * (LIMIT // 19_999), fin=False, masked=masked) * 100
    for _ in range(200):
        peer.send(few)
    peer.send(frame(CONTINUATION, b"x" * (LIMIT // 100), masked=masked))


SENDS = [announce, add_up, crumble]


def _code_of(peer: RawPeer, masked: bool) -> int:
    """The code of the close frame that comes back."""
    while (came := peer.read_frame(masked=masked)).opcode != CLOSE:
        pass
    return came.code


def _send_quietly(send: Send, peer: RawPeer) -> None:
    with contextlib.suppress(OSError):
        send(peer, True)


@pytest.mark.parametrize("send", SENDS, ids=lambda send: send.__name__)
def test_row_11_a_client_refuses_what_is_too_large(send: Send, figure: Figure) -> None:
    """With 1009, and without making room for what was announced."""
    codes = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        send(peer, False)
        codes(_code_of(peer, True))

    with Growth() as growth, ByteServer(script) as server:
        with connect(server.url, limits=Limits(message_size=LIMIT), reconnect=None) as conn:
            with pytest.raises(SocketConnectionError):
                conn.call("echo", 1, timeout=scaled(10))
            eventually(lambda: conn.state.name == "CLOSED")
        assert codes.wait(1) == [1009]
    figure("growth of the resident memory, in limits", growth.bytes / LIMIT, 2, "")


@pytest.mark.parametrize("send", SENDS, ids=lambda send: send.__name__)
def test_row_11_a_server_refuses_what_is_too_large(send: Send, figure: Figure) -> None:
    """Likewise, and goes on with others."""
    with serve(lambda conn, request: None, limits=Limits(message_size=LIMIT)) as server:
        with Growth() as growth:
            peer, _ = knock(server.port)
            with peer.sock:
                sender = threading.Thread(target=_send_quietly, args=(send, peer))
                sender.start()  # a server need not read on once it has said 1009
                assert _code_of(peer, False) == 1009
                peer.sock.shutdown(socket.SHUT_RDWR)
                sender.join(scaled(10))
            eventually(lambda: not server.connections, 15)
        with connect(server.url) as conn:
            assert conn.ping(scaled(5)) >= 0
    figure("growth of the resident memory, in limits", growth.bytes / LIMIT, 2, "")


@pytest.mark.slow
@pytest.mark.timing
def test_row_11_many_fragments_within_the_limit_are_cheap(figure: Figure) -> None:
    """20 MB in 20 000 fragments reach a handler for less than a second of the client's CPU time."""
    text = b'{"type":"event","event":"large","payload":"' + b"x" * 20_000_000 + b'"}'
    pieces = [text[at : at + 1001] for at in range(0, len(text), 1001)]
    frames = [frame(CONTINUATION, piece, fin=False) for piece in pieces[1:-1]]
    frames = [frame(TEXT, pieces[0], fin=False), *frames, frame(CONTINUATION, pieces[-1])]
    assert len(frames) >= 19_980
    data = b"".join(frames)
    got = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(data)
        peer.consent()

    def take(message: EventMessage) -> None:
        got(len(message.payload))

    with ByteServer(script) as server, connect(server.url, limits=Limits(message_size=ROOMY)) as conn:
        conn.observe("large", take)
        began = time.process_time()
        conn.notify("go")
        assert got.wait(1, 30) == [20_000_000]
        figure("CPU time of the whole process, its raw server included", time.process_time() - began, 1.0, "s")
