"""Garbage frames against a real client: each ends its link with the right close code, and the client comes back."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from fuzz.complaints import watched
from fuzz.drive import seeds
from fuzz.garbage import KINDS, Garbage, garbage
from fuzz.oracle import ENDED
from fuzz.peers import AT_ONCE, Talker
from owlsocket_sync import ConnectionState, Limits, SocketError, StateChange, connect
from support.figures import Figure
from support.helpers import Collector, scaled, whole
from support.sockets import CLOSE, ByteServer, RawPeer

LIMIT = 100_000


class Thrower:
    """A server that throws one piece of garbage at each link, then serves.

    Attributes:
        wrong: the pieces that were answered otherwise than they should have been, and how.
    """

    def __init__(self, pieces: list[Garbage]) -> None:
        self._pieces = iter(pieces)
        self._turn = threading.Lock()
        self.thrown = 0
        self.wrong: list[tuple[Garbage, object]] = []
        self.serving = threading.Event()

    def __call__(self, peer: RawPeer) -> None:
        """Play one link."""
        peer.upgrade()
        with self._turn:
            piece = next(self._pieces, None)
        if piece is None:
            self.serving.set()
            Talker(peer, masked=False).serve()
            return
        self.thrown += 1
        answer = self._throw(peer, piece)
        if answer not in piece.verdict.codes:
            self.wrong.append((piece, answer))

    @staticmethod
    def _throw(peer: RawPeer, piece: Garbage) -> object:
        """Send it; the code of the close frame that comes back, `ENDED` where the link ended otherwise."""
        said_goodbye = any(kind == "close" for kind, _ in piece.verdict.events)
        try:
            peer.send(piece.data)
            if not piece.breach:
                peer.sock.shutdown(socket.SHUT_WR)
            while (came := peer.read_frame()).opcode != CLOSE:
                pass
        except TimeoutError:
            return "nothing at all"
        except (EOFError, OSError):
            return ENDED
        return ENDED if said_goodbye else came.code


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(600)
def test_row_10_the_client_survives_any_garbage(figure: Figure) -> None:
    """10 000 pieces in the whole form: the code that each deserves, a new link after each, and a call that works."""
    number = next(seeds())
    pieces = garbage(whole(450, 10_000), LIMIT, number)
    print(f"seed {number}")
    thrower, errors, changes = Thrower(pieces), Collector(), Collector()
    began = time.monotonic()
    with (
        watched() as complaints,
        ByteServer(thrower) as server,
        connect(server.url, reconnect=AT_ONCE, limits=Limits(message_size=LIMIT), wait=False) as conn,
    ):
        conn.on_error(errors)
        conn.on_state(changes)
        assert thrower.serving.wait(scaled(30 + len(pieces) * 0.05)), f"it hangs after {thrower.thrown}"
        conn.wait_open(scaled(5))
        assert conn.call("echo", "alive", timeout=scaled(5)) == "alive"
        assert conn.stats.reconnects >= len(pieces)
    print(f"{len(pieces)} in {time.monotonic() - began:.1f} s")
    figure("pieces of garbage that were not answered as is due", len(thrower.wrong), 0, "pieces")
    figure("complaints of our own about garbage", len(complaints), 0, "lines")
    assert thrower.thrown == len(pieces)
    assert all(isinstance(error, SocketError) for error, _ in errors.items)
    assert all(_is_documented(change) for change in changes.items)


def _is_documented(change: StateChange) -> bool:
    states = (ConnectionState.OPEN, ConnectionState.RECONNECTING, ConnectionState.CLOSING, ConnectionState.CLOSED)
    return change.state in states and not isinstance(change.reason, Exception)


def test_row_10_every_kind_of_garbage_is_a_protocol_error() -> None:
    """What is thrown above deserves a close frame, but for bits that were flipped where it does not matter."""
    pieces = garbage(300, LIMIT, 1)
    assert {piece.kind for piece in pieces} == set(KINDS)
    for piece in pieces:
        assert piece.breach or piece.kind == "bits flipped", piece
    assert sum(piece.breach for piece in pieces if piece.kind == "bits flipped") > 20
