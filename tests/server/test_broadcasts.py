"""Broadcasts to all clients of a server: at once, on the caller's thread, in order, and in spite of those that lag."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from owlsocket_sync import Connection, Instrument, Limits, connect, instrument
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.protocol import codec
from owlsocket_sync.server import Request, Server, base, serve
from owlsocket_sync.server.base import BaseServer
from owlsocket_sync.server.options import Handler
from owlsocket_sync.transport.framing import ServerFraming
from support.child_processes import run
from support.handlers import echo, keep_payload
from support.helpers import Collector, eventually, scaled
from support.linked import aside
from support.sockets import RawPeer, client_context, frame, knock, server_context
from support.strikes import struck

CROWD = 200
LARGE = "x" * 500_000


def idle(conn: Connection, request: Request) -> None:
    """Answer nothing."""


@contextmanager
def crowd(count: int, handler: Handler = idle, limits: Limits | None = None) -> Iterator[tuple[Server, list[RawPeer]]]:
    """Serve raw clients, which read when the test does."""
    with serve(handler, limits=limits or Limits()) as server, ExitStack() as stack:
        peers = []
        for _ in range(count):
            peer, answer = knock(server.port)
            stack.callback(peer.sock.close)
            assert answer.startswith("HTTP/1.1 101 ")
            peers.append(peer)
        eventually(lambda: all(peer.is_reading for peer in server._peers))
        yield server, peers


def payloads(peer: RawPeer, count: int) -> list[Any]:
    """Return the payloads of the next events of a raw client."""
    return [orjson.loads(peer.read_frame(masked=False).payload)["payload"] for _ in range(count)]


def threads_without_clients() -> int:
    """Return the number of threads once those of the clients, whose handlers have returned, have ended."""
    eventually(lambda: not any("#" in thread.name for thread in threading.enumerate()))
    return threading.active_count()


@pytest.mark.slow
def test_a_broadcast_starts_no_thread() -> None:
    """However many clients there are: nothing but one document and one frame for all of them."""
    with crowd(CROWD) as (server, peers):
        before = threads_without_clients()
        documents, frames = [], []
        with pytest.MonkeyPatch.context() as patch:
            encode, make_frame = codec.encode_event, ServerFraming.frame
            patch.setattr(base, "encode_event", lambda *all: (documents.append(all), encode(*all))[1])
            patch.setattr(ServerFraming, "frame", lambda *all: (frames.append(all), make_frame(*all))[1])
            for number in range(20):
                server.broadcast("all", number)
        assert threading.active_count() == before
        assert (len(documents), len(frames)) == (20, 20)
        for peer in peers:
            assert payloads(peer, 20) == list(range(20))
        assert threading.active_count() == before
        assert [conn.stats.messages_out for conn in server.connections] == [20] * CROWD


def test_a_client_that_lags_costs_no_thread() -> None:
    """Its reader sends the rest once it reads."""
    with crowd(1) as (server, [peer]):
        before = threads_without_clients()
        for number in range(30):
            server.broadcast("all", [number, LARGE])
        assert threading.active_count() == before
        assert server.connections[0].stats.messages_out < 30
        assert payloads(peer, 30) == [[number, LARGE] for number in range(30)]
        assert threading.active_count() == before
        eventually(lambda: server.connections[0].stats.messages_out == 30)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("lags", [False, True], ids=["reads", "lags"])
def test_broadcasts_and_events_of_a_thread_keep_their_order(secure: bool, lags: bool) -> None:
    """Whatever of it had to be queued."""
    context = server_context() if secure else None
    with serve(idle, ssl_context=context) as server:
        sock = socket.create_connection(("127.0.0.1", server.port), scaled(5))
        peer = RawPeer(client_context().wrap_socket(sock, server_hostname="localhost") if secure else sock)
        peer.send(_upgrade())
        peer.read_header()
        eventually(lambda: all(each.is_reading for each in server._peers))
        conn = server.connections[0]

        def send() -> None:
            for number in range(0, 60, 3):
                server.broadcast("all", [number, LARGE if lags else ""])
                conn.notify("one", [number + 1, ""])
                with conn.batch():
                    conn.notify("one", [number + 2, ""])

        outcome = aside(send)
        if not lags:
            assert outcome.wait(1) == [None]
        assert [payload[0] for payload in payloads(peer, 60)] == list(range(60))
        assert outcome.wait(1) == [None]
        peer.sock.close()


def _upgrade() -> bytes:
    return (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )


def test_a_client_that_lags_gets_its_answers_in_order_too() -> None:
    """Behind the broadcasts that were sent before."""
    with crowd(1, echo) as (server, [peer]):
        for number in range(20):
            server.broadcast("all", [number, LARGE])
        call = {"type": "call", "method": "echo", "payload": ["answer"], "id": "1"}
        peer.send(frame(1, orjson.dumps(call), masked=True))
        assert [payload[0] for payload in payloads(peer, 20)] == list(range(20))
        assert payloads(peer, 1) == ["answer"]


def test_all_see_what_is_sent() -> None:
    """Instruments of the process see each broadcast to each client, on the thread that writes it."""
    seen, threads = [], set()

    class Watching(Instrument):
        def on_message(self, connection: Connection, direction: str, size: int) -> None:
            if connection.accepted and direction == "out":
                seen.append(size)
                threads.add(threading.get_ident())

    collectors = [Collector(), Collector()]
    with serve(idle) as server, ExitStack() as stack:
        for collector in collectors:
            conn = stack.enter_context(connect(server.url))
            conn.observe("all", partial(keep_payload, collector))
        eventually(lambda: all(peer.is_reading for peer in server._peers))
        with instrument(Watching()):
            server.broadcast("all", "payload")
        assert len(seen) == 2
        assert seen == [each.stats.bytes_out for each in server.connections]
        assert threads == {threading.get_ident()}
        assert [collector.wait(1) for collector in collectors] == [["payload"]] * 2


def test_a_client_that_is_gone_disturbs_nobody() -> None:
    """Whether or not its server noticed: nothing raises, and the others get all of it."""
    with crowd(2) as (server, [gone, here]):
        gone.reset()
        for number in range(100):
            server.broadcast("all", number)
        assert payloads(here, 100) == list(range(100))
        eventually(lambda: len(server.connections) == 1)


@pytest.mark.parametrize("waits", [False, True], ids=["returns", "waits"])
def test_a_handler_broadcasts(waits: bool) -> None:
    """To its own client as well; what that sent meanwhile is not read before the handler has registered its own."""
    sent, registered = threading.Event(), threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        server.broadcast("joined", LARGE)
        server.broadcast("joined", "again")
        assert sent.wait(scaled(5))
        if waits:  # longer than its client takes to read
            registered.wait(scaled(5))
        conn.observe("hello", partial(keep_payload, seen))

    seen = Collector()
    with serve(handler) as server:
        peer, _ = knock(server.port)
        hello = {"type": "event", "event": "hello", "payload": "hello"}
        peer.send(frame(1, orjson.dumps(hello), masked=True))
        sent.set()
        assert payloads(peer, 2) == [LARGE, "again"]
        registered.set()
        assert seen.wait(1) == ["hello"]
        peer.sock.close()


def test_a_client_that_lags_while_its_handler_has_not_returned() -> None:
    """Nothing reads yet, and a worker sends what its client does not take at once."""
    over, began = threading.Event(), threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        began.set()
        over.wait(scaled(10))

    with serve(handler) as server:
        peer, _ = knock(server.port)
        assert began.wait(scaled(5))
        for number in range(20):
            server.broadcast("all", [number, LARGE])
        assert [payload[0] for payload in payloads(peer, 20)] == list(range(20))
        over.set()
        peer.sock.close()


def test_a_broadcast_before_the_response_to_an_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets the response, then the broadcast, then what its handler sends."""
    add = BaseServer._add_peer

    def add_peer(self: BaseServer, peer: Any) -> bool:
        added = add(self, peer)
        self.broadcast("all", "early")
        return added

    monkeypatch.setattr(BaseServer, "_add_peer", add_peer)
    with serve(lambda conn, request: conn.notify("all", "handler")) as server:
        peer, answer = knock(server.port)
        assert answer.startswith("HTTP/1.1 101 ")
        assert payloads(peer, 2) == ["early", "handler"]
        peer.sock.close()


def test_each_thread_broadcasts_in_its_order() -> None:
    """Several at once, to clients of which one lags."""
    with crowd(2, limits=Limits(dispatch_messages=1000)) as (server, [reads, lags]):

        def send(name: str) -> None:
            for number in range(40):
                server.broadcast(name, [name, number, LARGE[:50_000]])

        senders = [aside(partial(send, name)) for name in "abc"]
        for peer in (reads, lags):
            got = [payload[:2] for payload in payloads(peer, 120)]
            for name in "abc":
                assert [number for sender, number in got if sender == name] == list(range(40))
        for sender in senders:
            assert sender.wait(1) == [None]


def test_a_server_that_closes_meanwhile() -> None:
    """No broadcast raises, and it closes in time; what a client gets is whole, and without a gap."""
    over = threading.Event()
    with serve(idle) as server, connect(server.url, reconnect=None) as conn:
        seen = Collector()
        conn.observe("all", partial(keep_payload, seen))
        stuck, _ = knock(server.port)
        eventually(lambda: len(server.connections) == 2)

        def send() -> None:
            for number in itertools.count():
                if over.is_set():
                    return
                server.broadcast("all", number)
                server.broadcast("large", LARGE[:20_000])

        senders = [aside(send) for _ in range(2)]
        seen.wait(50)
        server.close(2.0)
        over.set()
        assert [sender.wait(1) for sender in senders] == [[None], [None]]
        assert conn.wait_closed(scaled(5)).code == 1001
        stuck.sock.close()


def test_a_broadcast_while_the_hub_of_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody left to send to: it is no error, at whatever moment it comes."""
    close = MemoryHub.close

    def close_and_broadcast(hub: MemoryHub) -> None:
        close(hub)
        server.broadcast("all", 1)

    monkeypatch.setattr(MemoryHub, "close", close_and_broadcast)
    with serve(idle) as server:
        server.close()
    server.broadcast("all", 2)


def test_the_last_broadcast_before_the_end_arrives() -> None:
    """Where the client reads, even if another thread was just writing to it."""
    with crowd(2) as (server, peers):
        (first,) = {peer for peer in server._peers if peer.connection is server.connections[0]}
        with first._only_link.writer._write_lock:
            assert aside(lambda: server.broadcast("all", "bye")).wait(1) == [None]
            assert aside(lambda: first.begin_closing(1001, "")).wait(1) == [None]
        first._only_link.writer.flush_or_wake()
        assert [payloads(peer, 1) for peer in peers] == [["bye"], ["bye"]]


# -- interrupts and forks ----------------------------------------------------------------------------------------------


def test_a_signal_handler_broadcasts_within_a_broadcast() -> None:
    """Wherever it interrupts the thread: both reach every client, whole, and those of the handler in order."""
    with crowd(2) as (server, peers):
        number, came_to_it = 0, True

        def handle() -> None:
            server.broadcast("handler", [number, 1])
            for conn in server.connections:
                conn.notify("handler", [number, 2])

        while came_to_it:
            came_to_it = struck(number, partial(server.broadcast, "thread", [number, 0]), handle)
            for peer in peers:
                got = payloads(peer, 3 if came_to_it else 1)
                assert [number, 0] in got
                handled = [[number, 1], [number, 2]] if came_to_it else []
                assert [payload for payload in got if payload[1]] == handled
            number += 1
        assert number > 30


def test_an_interrupt_anywhere_leaves_a_server_as_it_was() -> None:
    """Each client gets the broadcast whole or not at all, and the next one."""
    with crowd(2) as (server, peers):
        number, came_to_it = 0, True
        while came_to_it:
            came_to_it = struck(number, partial(server.broadcast, "all", number))
            assert aside(partial(server.broadcast, "all", "next")).wait(1) == [None]
            for peer in peers:
                got = payloads(peer, 1)
                while got[-1] != "next":
                    got += payloads(peer, 1)
                assert got in ([number, "next"], ["next"])
            number += 1
        assert number > 30


@pytest.mark.slow
def test_a_forked_child_leaves_a_client_that_lags_to_its_parent() -> None:
    """Nothing of the queue is sent by the child, whose server has no clients; the parent sends all of it."""
    done = run(
        """
        import pathlib
        sys.path.insert(0, str(pathlib.Path(owlsocket_sync.__file__).parents[1] / 'tests'))
        from owlsocket_sync.server import serve
        from support.sockets import knock
        with serve(lambda conn, request: None) as server:
            peer, _ = knock(server.port)
            while not server.connections: time.sleep(0.01)
            for number in range(20): server.broadcast('all', [number, 'x' * 500_000])
            child = os.fork()
            if child == 0:
                server.broadcast('child')
                server.close()
                os._exit(0 if server.connections == [] else 1)
            assert os.waitpid(child, 0)[1] == 0
            server.broadcast('all', [20, ''])
            for number in range(21):
                text = peer.read_frame(masked=False).payload
                assert b'"all"' in text and b'[%d,' % number in text, text[:100]
            peer.sock.close()
        """,
        "ws://unused",
    )
    assert (done.code, done.complaints) == (0, "")
