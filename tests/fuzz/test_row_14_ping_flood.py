"""A server that floods its client with pings: calls go on, and pongs do not pile up."""

from __future__ import annotations

import socket
import threading

from figures import Figure
from fuzz.flooder import frames_of
from fuzz.memory import Growth
from helpers import eventually, scaled
from sockets import PING, PONG, ByteServer, RawPeer, frame

from owlsocket_sync import connect

MIB = 1024 * 1024


def test_row_14_pongs_do_not_pile_up_for_who_does_not_read(figure: Figure) -> None:
    """While nothing can be written, one pong waits, the latest; it is sent once there is room."""
    count = 60_000
    payloads = [b"%0125d" % number for number in range(count)]
    sound = threading.Event()
    pongs: list[bytes] = []

    def script(peer: RawPeer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        peer.upgrade()
        for start in range(0, count, 1000):
            peer.send(b"".join(frame(PING, payload) for payload in payloads[start : start + 1000]))
        sound.set()
        pongs.extend(payload for opcode, payload in frames_of(peer.sock) if opcode == PONG)

    with ByteServer(script) as server, Growth() as growth, connect(server.url) as conn:
        assert sound.wait(scaled(60))
        eventually(lambda: pongs[-1:] == payloads[-1:], 30)
        conn.notify("done")
    assert pongs == sorted(pongs)
    assert len(pongs) < count
    figure("growth of the resident memory", growth.bytes / MIB, 64, "MiB")
