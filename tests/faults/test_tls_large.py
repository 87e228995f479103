"""Large messages over TLS: linear in time, and none torn by a peer that takes them slowly or not at all for a while."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from owlsocket_sync import Connection, ConnectionState, Heartbeat, Limits, SocketTimeout, connect
from owlsocket_sync.server import serve
from owlsocket_sync.transport import dial
from support.figures import Figure
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.linked import aside
from support.sockets import TEXT, ByteServer, RawPeer, client_context, close_frame, frame, server_context

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
LIMITS = Limits(message_size=20 * MIB)
BIG = "x" * (12 * MIB)
SMALL_BUFFER = 4_096
RECEIVE_BUFFER = 131_072
GENEROUS = 4.0


def _seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


@pytest.mark.timeout(240)
def test_messages_of_16_mib_cost_four_times_those_of_4(figure: Figure) -> None:
    """There and back, through the embedded server: time grows with the size, and every byte is what it was."""
    with (
        serve(echo, ssl_context=server_context(), limits=LIMITS) as server,
        connect(server.url, ssl_context=client_context(), limits=LIMITS) as conn,
    ):

        def round_trip(size: int) -> None:
            value = "0123456789abcdef" * (size // 16)
            assert conn.call("echo", value, timeout=scaled(60)) == value

        round_trip(MIB)
        small = min(_seconds(partial(round_trip, 4 * MIB)) for _ in range(3))
        large = min(_seconds(partial(round_trip, 16 * MIB)) for _ in range(2))
        figure("16 MiB against 4 MiB, each byte", large / small / 4, GENEROUS, "times")


class SlowTaker:
    """A server that takes nothing until it is told to, and then all that was sent, message by message."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.came = Collector()

    def __call__(self, peer: RawPeer) -> None:
        peer.upgrade()
        assert self.go.wait(scaled(10))
        while (came := peer.read_frame()).opcode == TEXT:
            self.came(json.loads(came.payload))
        peer.send(close_frame(1000))


@pytest.mark.parametrize("small", [False, True], ids=["usual-buffers", "small-buffers"])
def test_a_write_that_times_out_within_a_record_is_finished_later(monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    """What was begun is tried again with the same bytes, by whoever comes next; the messages behind it come whole."""
    if small:
        options = (*dial._OPTIONS, ("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER))
        monkeypatch.setattr(dial, "_OPTIONS", options)
    taker = SlowTaker()
    with (
        ByteServer(taker, server_context()) as server,
        connect(server.url, ssl_context=client_context(), heartbeat=Heartbeat(30, 30), reconnect=None) as conn,
    ):
        with pytest.raises(SocketTimeout):
            conn.call("big", BIG, timeout=scaled(1.5))
        for number in range(3):
            with pytest.raises(SocketTimeout):
                conn.call("hasty", number, timeout=0.02)
        writers = [aside(partial(conn.notify, "behind", [number, "y" * 50_000])) for number in range(4)]
        taker.go.set()
        for writer in writers:
            assert writer.wait(1, 20) == [None]
        conn.notify("last")
        eventually(lambda: [message for message in taker.came.items if message.get("event") == "last"], 20)
        assert taker.came.items[0]["payload"] == [BIG]
        assert all(message.get("method") in (None, "big", "hasty") for message in taker.came.items)
        behind = sorted(message["payload"] for message in taker.came.items if message.get("event") == "behind")
        assert behind == [[number, "y" * 50_000] for number in range(4)]
        assert conn.state is ConnectionState.OPEN


@pytest.mark.parametrize("size", [10_000, 16_000, 40_000])
def test_a_record_that_was_not_taken_at_all_goes_first(size: int) -> None:
    """OpenSSL has begun a record though not a byte of it left: it is tried again before anything else is said."""
    taker = SlowTaker()
    with (
        ByteServer(taker, server_context()) as server,
        connect(server.url, ssl_context=client_context(), heartbeat=Heartbeat(30, 30), reconnect=None) as conn,
    ):
        teller = Teller(conn)
        teller.tell("x" * size, until=1)
        teller.tell("shorter", until=4)
        taker.go.set()
        conn.notify("last")
        eventually(lambda: taker.came.items and taker.came.items[-1].get("event") == "last", 20)
        came = [tuple(message["payload"]) for message in taker.came.items[:-1]]
        assert came == sorted(came)
        assert teller.taken <= set(came) <= teller.tried
        assert conn.state is ConnectionState.OPEN


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_sends_that_time_out_do_not_pile_up(size: int) -> None:
    """What follows the record that was tried is dropped, as without TLS: it takes no memory, and is never sent."""
    taker = SlowTaker()
    with (
        ByteServer(taker, server_context()) as server,
        connect(server.url, ssl_context=client_context(), heartbeat=Heartbeat(30, 30), reconnect=None) as conn,
    ):
        with pytest.raises(SocketTimeout), conn.deadline(0.3):
            conn.notify("tick", [0, BIG])
        for number in range(1, 21):
            with pytest.raises(SocketTimeout), conn.deadline(0.02):
                conn.notify("tick", [number, "x" * size])
        taker.go.set()
        conn.notify("last")
        eventually(lambda: taker.came.items and taker.came.items[-1].get("event") == "last", 20)
        assert [message["payload"][0] for message in taker.came.items[:-1]] == [0]
        assert conn.state is ConnectionState.OPEN


class Teller:
    """Sends events in a hurry, and keeps which were tried and which were taken in time."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._late = 0
        self.tried: set[tuple[int, str]] = set()
        self.taken: set[tuple[int, str]] = set()

    def tell(self, text: str, until: int) -> None:
        """Go on until so many were not taken in time."""
        while self._late < until:
            event = len(self.tried), text
            self.tried.add(event)
            try:
                with self._conn.deadline(0.05):
                    self._conn.notify("tick", event)
                self.taken.add(event)
            except SocketTimeout:
                self._late += 1


@pytest.mark.timing
def test_a_peer_that_takes_little_at_a_time_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record that leaves is a sign of life, though nothing comes back before the whole message was taken."""
    monkeypatch.setattr(dial, "_OPTIONS", (*dial._OPTIONS, ("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)))
    beat = Heartbeat(interval=0.6, timeout=0.6)
    size = 384 * 1024
    taken = Collector()

    def take_slowly(peer: RawPeer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        peer.upgrade()
        pause = threading.Event()
        count = 0
        while count < size:
            count += len(peer.sock.recv(8_192))
            pause.wait(0.05)
        taken(count)
        peer.send(frame(TEXT, b"{}"))
        peer.at_end()

    with (
        ByteServer(take_slowly, server_context()) as server,
        connect(server.url, ssl_context=client_context(), heartbeat=beat, reconnect=None) as conn,
    ):
        began = time.monotonic()
        conn.notify("slow", "x" * size)
        assert time.monotonic() - began > beat.interval + beat.timeout
        taken.wait(1)
        assert conn.state is ConnectionState.OPEN
        conn.close(timeout=0.3)
