"""Much at once: both ends send and neither reads, ten thousand calls wait, and many threads do everything."""

from __future__ import annotations

import contextlib
import random
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future, wait

import pytest

from owlsocket_sync import Connection, SocketConnectionError, connect
from owlsocket_sync.server import Request, serve
from support.figures import Figure
from support.helpers import Collector, eventually, scaled, whole
from support.loads import heard, said, talking
from support.sockets import PING, PONG, ByteServer, RawPeer, client_context, frame, server_context

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
PIECE = "x" * 65_400
PENDING = 10_000


def pieces() -> int:
    """How many messages of 64 KiB go each way."""
    return whole(8, 64) * MIB // 65_536


@contextlib.contextmanager
def raw_server(context: ssl.SSLContext | None, outcome: Collector) -> Iterator[str]:
    """Writes until it is done, and only then reads."""

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.sock.settimeout(scaled(60))
        heard(peer)
        peer.send(frame(PING, b"alive?"))
        for number in range(pieces()):
            peer.send(said("event", event="down", payload=[number, PIECE]))
        pongs: list[bytes] = []
        numbers: list[int] = []
        while len(numbers) < pieces():
            came = peer.read_frame()
            if came.opcode == PONG:
                pongs.append(came.payload)
            else:
                numbers.append(int(came.payload.split(b"[", 1)[1].split(b",", 1)[0]))
        outcome((numbers, pongs))
        peer.at_end()

    with ByteServer(script, context) as server:
        yield server.url


@contextlib.contextmanager
def embedded_server(context: ssl.SSLContext | None, outcome: Collector) -> Iterator[str]:
    """Sends all that it has to send, and only then looks at what came."""

    def handler(conn: Connection, request: Request) -> None:
        started, coming = conn.events("go"), conn.events("up")
        next(started)
        for number in range(pieces()):
            conn.notify("down", [number, PIECE])
        outcome(([next(coming).payload[0] for _ in range(pieces())], [b"alive?"]))
        coming.close()
        started.close()

    with serve(handler, ssl_context=context) as server:
        yield server.url


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("peer", [raw_server, embedded_server], ids=["raw", "embedded"])
def test_row_05_both_ends_send_and_neither_reads(
    peer: contextlib.AbstractContextManager[str], secure: bool, figure: Figure
) -> None:
    """64 MiB each way are all delivered, in order, and a ping that came among them is answered."""
    outcome = Collector()
    context = server_context() if secure else None
    began = time.monotonic()
    with (
        peer(context, outcome) as url,  # type: ignore[operator]
        connect(url, ssl_context=client_context() if secure else None, reconnect=None) as conn,
        conn.events("down", timeout=scaled(60)) as coming,
    ):
        conn.notify("go")
        for number in range(pieces()):
            conn.notify("up", [number, PIECE])
        assert [next(coming).payload[0] for _ in range(pieces())] == list(range(pieces()))
        numbers, pongs = outcome.wait(1, 60)[0]
    assert numbers == list(range(pieces()))
    assert pongs == [b"alive?"]
    figure("both ends send 64 MiB and read nothing meanwhile", time.monotonic() - began, scaled(60), "s")


def test_both_ends_call_with_large_arguments_at_once() -> None:
    """Each reads what the other end writes while it writes itself, so both calls are answered."""
    large, together, outcomes = "x" * 15_000_000, threading.Barrier(2), Collector()

    def call(conn: Connection) -> None:
        together.wait(scaled(10))
        outcomes(conn.call("length", large, timeout=scaled(20)))

    def prepare(conn: Connection) -> None:
        conn.perform("length", len)

    def handler(conn: Connection, request: Request) -> None:
        prepare(conn)
        call(conn)

    with serve(handler) as server, connect(server.url, setup=prepare, reconnect=None) as conn:
        call(conn)
        assert outcomes.wait(2, 20) == [len(large)] * 2


# -- many calls --------------------------------------------------------------------------------------------------------


def test_row_21_ten_thousand_pending_calls(figure: Figure) -> None:
    """100 threads have 100 futures each; the peer answers when it has them all, shuffled, and each gets its own."""
    wrong: list[object] = []

    def ask(number: int) -> None:
        futures = [conn.submit("echo", [number, k]) for k in range(PENDING // 100)]
        wait(futures, scaled(30))
        wrong.extend(future for k, future in enumerate(futures) if future.result(0) != [number, k])

    with talking() as (conn, peer):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        calls = [heard(peer) for _ in range(PENDING)]
        assert conn.stats.pending == PENDING
        random.Random(21).shuffle(calls)
        answers = [said("result", id=call["id"], payload=call["payload"][0]) for call in calls]
        peer.send(b"".join(answers))
        for thread in threads:
            thread.join(scaled(30))
        seconds = time.monotonic() - began
        assert wrong == []
        assert (conn.stats.pending, conn.stats.unmatched) == (0, 0)
    figure("10 000 pending calls made and answered", seconds, scaled(10), "s")


def test_row_21_memory_of_a_pending_call(figure: Figure) -> None:
    """Memory per call that a silent peer does not answer; all of them are told when the connection ends."""
    with talking() as (conn, peer):
        conn.submit("warm", 0)
        reader = threading.Thread(target=peer.at_end)
        reader.start()
        futures: list[Future[object]] = []
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            futures.extend(conn.submit("silence", number) for number in range(PENDING))
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert conn.stats.pending == PENDING + 1
        conn.close(timeout=0.5)
        for future in futures:
            assert isinstance(future.exception(scaled(5)), SocketConnectionError)
        assert conn.stats.pending == 0
        reader.join(scaled(5))
    figure("memory of a pending call", taken / PENDING, 4096, "bytes")


@pytest.mark.timing
def test_row_21_pending_calls_end_with_the_link(figure: Figure) -> None:
    """Ten thousand of them are told of its loss at once."""
    with talking() as (conn, peer):
        futures = [conn.submit("echo", number) for number in range(PENDING)]
        for _ in range(PENDING):
            heard(peer)
        began = time.monotonic()
        peer.reset()
        eventually(lambda: not conn.stats.pending)
        assert not wait(futures, scaled(5)).not_done
        figure("10 000 pending calls fail after a loss", time.monotonic() - began, scaled(1), "s")
        assert all(isinstance(future.exception(scaled(5)), SocketConnectionError) for future in futures)
