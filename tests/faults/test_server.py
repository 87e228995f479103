"""Clients that the embedded server would rather not have: slow, many, silent, rude; and its end under all of them."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from owlsocket_sync import Connection, Heartbeat, Limits, SocketError, connect
from owlsocket_sync.server import Request, serve
from support.figures import Figure
from support.handlers import echo
from support.helpers import Collector, eventually, scaled, whole
from support.loads import MIB, memory, program
from support.sockets import CLOSE, TEXT, RawPeer, frame, knock

CROWD = 1000
CLOSING = 3.0


@contextmanager
def many_descriptors() -> Iterator[None]:
    """Raise the limit of descriptors for the crowd, three for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 4 * CROWD + 500
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), max(hard, needed)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, needed)))


def call_once(url: str) -> float:
    """Seconds that a new client needs to come, call and leave."""
    began = time.monotonic()
    with connect(url, reconnect=None) as conn:
        assert conn.call("echo", "here", timeout=scaled(10)) == "here"
    return time.monotonic() - began


# -- those who do not come in ------------------------------------------------------------------------------------------


def test_row_34_it_listens_on_localhost_only() -> None:
    """Unless told otherwise, it listens on 127.0.0.1."""
    with serve(echo) as server:
        assert server._acceptor.address[0] == "127.0.0.1"
        assert server.url == f"ws://127.0.0.1:{server.port}"


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(120)
def test_row_34_slowloris(figure: Figure) -> None:
    """Clients that drip their header end at the timeout, with 408; others are served meanwhile."""
    timeout, count = scaled(1.0), whole(50, 200)
    with serve(echo, timeout=timeout) as server, ExitStack() as stack:
        began = time.monotonic()
        drips = [RawPeer(socket.create_connection(("127.0.0.1", server.port))) for _ in range(count)]
        for peer in drips:
            stack.callback(peer.sock.close)
            peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        while time.monotonic() - began < 0.7 * timeout:
            for peer in drips:
                peer.send(b"X")
            figure("a client beside many that drip their header", call_once(server.url), scaled(0.7), "s")
        for peer in drips:
            assert peer.read_header().startswith("HTTP/1.1 408 ")
            assert peer.at_end()
        figure("the last slow header is given up", time.monotonic() - began - timeout, scaled(1), "s beyond")


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://good.example", 101), ("https://bad.example", 403), ("null", 403), (None, 101)],
)
def test_row_34_origins(origin: str | None, status: int) -> None:
    """Pages of other sites are refused with 403; clients that are no pages are not."""
    with serve(echo, origins=["https://good.example"]) as server:
        peer, header = knock(server.port, headers="" if origin is None else f"Origin: {origin}")
        assert header.startswith(f"HTTP/1.1 {status} ")
        peer.sock.close()


@pytest.mark.parametrize("fragments", [1, 10])
def test_row_34_oversize(fragments: int) -> None:
    """1009, for one frame or the sum of fragments; the error is reported, and no other client is affected."""
    reported: Collector = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: reported((error, conn.stats.malformed)))
        echo(conn, request)

    with serve(handler, limits=Limits(message_size=10_000)) as server, connect(server.url) as conn:
        peer, _ = knock(server.port)
        for number in range(fragments):
            part = b"x" * (12_000 // fragments)
            peer.send(frame(0 if number else TEXT, part, fin=number == fragments - 1, masked=True))
        closing = read_bare(peer)
        assert (closing[0], int.from_bytes(closing[1][:2], "big")) == (CLOSE, 1009)
        error, malformed = reported.wait(1)[0]
        assert "message_size" in str(error)
        assert malformed == 1
        assert conn.call("echo", 1, timeout=scaled(5)) == 1
        peer.sock.close()


def read_bare(peer: RawPeer) -> tuple[int, bytes]:
    """Return opcode and payload of the next frame of a server, which is not masked."""
    first, size = peer.read(2)
    return first & 0x0F, peer.read(size)


# -- a crowd -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["live", "mute"])
def test_row_34_a_thousand_idle_clients(kind: str, figure: Figure) -> None:
    """One more is served at once; the end comes in time, and everybody who listens is told."""
    threads = threading.active_count()
    with many_descriptors(), serve(echo, timeout=30.0) as server:
        call_once(server.url)
        before = memory()
        with program("crowd", str(server.port), str(CROWD), kind) as crowd:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "ready\n"
            eventually(lambda: len(server.connections) == CROWD)
            figure("memory of an idle client of the server", (memory() - before) / CROWD / 1024, 256, "KiB")
            figure("a client beside 1000 that idle", min(call_once(server.url) for _ in range(5)), scaled(0.5), "s")
            began = time.monotonic()
            server.close()
            figure(f"the end of a server with 1000 {kind} clients", time.monotonic() - began, CLOSING, "s")
            goodbyes = int(crowd.communicate(timeout=scaled(20))[0])
            assert goodbyes == (CROWD if kind == "live" else 0)
        eventually(lambda: threading.active_count() <= threads)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("hangs", ["handler", "performer"])
def test_row_34_closing_with_hanging_handlers(hangs: str, figure: Figure) -> None:
    """It does not wait for them any longer than it may, and their clients are told at once."""
    gate, begun, count = threading.Event(), Collector(), 50

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("hang", lambda: begun(1) or gate.wait())
        if hangs == "handler":
            begun(1)
            gate.wait()

    with ExitStack() as stack:
        server = stack.enter_context(serve(handler))
        clients = [stack.enter_context(connect(server.url, reconnect=None)) for _ in range(count)]
        stack.callback(gate.set)
        futures = [conn.submit("hang") for conn in clients] if hangs == "performer" else []
        begun.wait(count, 10)
        began = time.monotonic()
        server.close()
        figure(f"the end of a server each {hangs} of which hangs", time.monotonic() - began, CLOSING, "s")
        for conn in clients:
            assert conn.wait_closed(scaled(5)).code == 1001
        assert all(future.exception(scaled(1)) is not None for future in futures)


# -- those who are in --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_row_34_a_client_that_never_reads(figure: Figure) -> None:
    """Its broadcasts are bounded, counted and reported once; no other client waits, and it is closed in time."""
    reported, seen, count = Collector(), Collector(), 400
    beat = Heartbeat(scaled(0.5), scaled(0.5))
    stuck_stats: list[int] = []

    def handler(conn: Connection, request: Request) -> None:
        echo(conn, request)
        if request.path == "/stuck":
            conn.on_error(lambda error, context: reported((error, context.source)))

    with serve(handler, heartbeat=beat, limits=Limits(dispatch_bytes=8 * MIB)) as server:
        stuck, _ = knock(server.port, "/stuck")
        came = time.monotonic()
        theirs = server.connections[0]
        with connect(server.url) as conn:
            conn.observe("all", lambda message: seen(message.payload[0]))
            eventually(lambda: len(server.connections) == 2)
            before = memory()
            for number in range(count):
                server.broadcast("all", [number, "x" * 250_000])
                seen.wait(number + 1)
            grown = memory() - before
            stuck_stats.append(theirs.stats.dropped)
            assert seen.items == list(range(count))
            theirs.wait_closed(scaled(5))
            figure("a client that reads nothing is given up", time.monotonic() - came, scaled(1.0) + 1.0, "s")
            assert conn.call("echo", 1, timeout=scaled(5)) == 1
        error, source = reported.wait(1)[0]
        assert isinstance(error, SocketError)
        assert source == "broadcast"
        assert stuck_stats[0] > 0
        figure("memory of a server while a client reads nothing", grown / MIB, 64, "MiB")
        stuck.sock.close()


@pytest.mark.timing
def test_row_34_a_client_that_never_replies_to_a_close(figure: Figure) -> None:
    """`Connection.close` at the server ends in time, and the client sees the end of the stream."""
    with serve(echo) as server:
        peer, _ = knock(server.port)
        eventually(lambda: server.connections)
        began = time.monotonic()
        server.connections[0].close(4000, "go", timeout=0.5)
        figure("closing a client that does not answer, beyond the timeout", time.monotonic() - began - 0.5, 0.1, "s")
        assert read_bare(peer)[0] == CLOSE
        assert peer.at_end()
        peer.sock.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("spare", [0, 1, 2, 4])
def test_row_34_no_more_descriptors(spare: int) -> None:
    """While there are none, or too few, nobody who is in is lost; afterwards everybody is let in again."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serve(echo) as server, connect(server.url, reconnect=None) as conn:
        waiting = [socket.socket() for _ in range(20)]
        with used_up(limit, spare):
            for sock in waiting:
                sock.connect(("127.0.0.1", server.port))
            assert conn.call("echo", 1, timeout=scaled(5)) == 1
            threading.Event().wait(0.3)
            assert conn.call("echo", 2, timeout=scaled(5)) == 2
        assert call_once(server.url) < scaled(5)
        for sock in waiting:
            sock.close()


@contextmanager
def used_up(limit: tuple[int, int], spare: int) -> Iterator[None]:
    """No more than so many descriptors are to be had any more."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()).fileno() for _ in range(spare + 1)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1], limit[1]))
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
