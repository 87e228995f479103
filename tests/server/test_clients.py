"""All clients of a server at once, and its end."""

from __future__ import annotations

import socket
import threading
import time
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import (
    Connection,
    ConnectionState,
    Message,
    connect,
)
from owlsocket_sync.server import Request, serve
from owlsocket_sync.server.peer import Peer
from support.handlers import echo, keep_payload
from support.helpers import Collector, eventually, scaled
from support.sockets import UPGRADE, RawPeer, knock


def test_connections_and_broadcasts() -> None:
    """Every connected client receives each broadcast, in order; a client that left is removed."""
    with serve(echo) as server:
        seen = [Collector() for _ in range(3)]
        clients = []
        for collector in seen:
            conn = connect(server.url)
            conn.observe("all", partial(keep_payload, collector))
            conn.call("echo")
            clients.append(conn)
        assert len(server.connections) == 3
        for number in range(20):
            server.broadcast("all", number)
        for collector in seen:
            assert collector.wait(20) == list(range(20))
        clients[0].close()
        eventually(lambda: len(server.connections) == 2)
        server.broadcast("all", "two")
        assert seen[1].wait(21)[-1] == "two"
        assert len(seen[0].items) == 20
        for conn in clients:
            conn.close()


def test_connections_are_in_the_order_of_arrival() -> None:
    """The last one is the client that came last, also after others left."""
    with serve(echo) as server:
        clients = [connect(server.url) for _ in range(12)]
        for number in (0, 5, 7):
            clients[number].close()
        eventually(lambda: len(server.connections) == 9)
        clients.append(connect(server.url))
        numbers = [int(conn.name.rpartition("#")[2]) for conn in server.connections]
        assert len(numbers) == 10
        assert numbers == sorted(numbers)
        for conn in clients:
            conn.close()


def test_a_broadcast_reaches_every_connected_client() -> None:
    """A client whose `connect` has returned receives it."""
    with serve(echo) as server:
        for number in range(20):
            seen = Collector()
            with connect(server.url) as conn:
                conn.observe("all", partial(keep_payload, seen))
                server.broadcast("all", number)
                assert seen.wait(1) == [number]


def test_a_hook_of_a_client_that_raises_ends_no_broadcast() -> None:
    """Its error reaches the `on_error` of that client, and the others get the event."""
    errors, seen = Collector(), [Collector() for _ in range(3)]

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("ready", lambda: None)
        if request.query.get("who") == "broken":
            conn.on_error(lambda error, context: errors((type(error), str(context))))
            conn.prepare = _fail_outward

    with serve(handler) as server:
        clients = []
        for collector, who in zip(seen, ("first", "broken", "last"), strict=True):
            conn = connect(server.url, query={"who": who}, setup=partial(_observe_all, collector))
            clients.append(conn)
        eventually(lambda: len(server.connections) == 3)
        server.broadcast("all", 1)
        assert [collector.wait(1) for collector in (seen[0], seen[2])] == [[1], [1]]
        assert errors.wait(1) == [(KeyError, "broadcast all")]
        assert seen[1].items == []
        for conn in clients:
            conn.close()


def _fail_outward(message: Message, is_request: bool) -> Message:
    if not is_request:
        raise KeyError("missing")
    return message


def _observe_all(seen: Collector, conn: Connection) -> None:
    conn.observe("all", partial(keep_payload, seen))


def test_a_broadcast_does_not_wait_for_a_client_that_reads_nothing() -> None:
    """A stuck client delays neither the caller nor the other clients."""
    seen: Collector = Collector()
    with serve(echo) as server, connect(server.url) as conn:
        stuck, _ = knock(server.port)
        conn.observe("all", lambda message: seen(message.payload["n"]))
        eventually(lambda: len(server.connections) == 2)
        began = time.monotonic()
        for number in range(20):
            server.broadcast("all", {"n": number, "x": "x" * 500_000})
        assert time.monotonic() - began < scaled(2)
        assert seen.wait(20) == list(range(20))
        stuck.reset()


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_port_in_use() -> None:
    """The error of the system is raised, and no socket is left open."""
    with serve(echo) as server, pytest.raises(OSError, match="in use"):
        serve(echo, port=server.port)


@pytest.mark.timing
@pytest.mark.parametrize("kind", ["live", "idle", "mute", "no handshake", "stuck"])
def test_closing_a_server(kind: str) -> None:
    """It closes within its deadline, whatever the clients do; those that read get 1001."""
    server = serve(echo, timeout=1.0)
    ours: Any = None
    if kind in ("live", "idle"):
        ours = connect(server.url, reconnect=None)
        future = ours.submit("echo") if kind == "idle" else None
        if future is not None:
            future.result(scaled(5))
    elif kind == "no handshake":
        before = threading.active_count()
        ours = RawPeer(socket.create_connection(("127.0.0.1", server.port)))
        eventually(lambda: threading.active_count() > before)
    else:
        ours, _ = knock(server.port)
        eventually(lambda: server.connections)
        if kind == "stuck":
            server.broadcast("all", "x" * 8_000_000)
            eventually(lambda: any(peer._only_link.writer.has_unsent for peer in server._peers))
    began = time.monotonic()
    server.close(0.6)
    assert time.monotonic() - began < 0.6 + scaled(0.3)
    assert server.wait(0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), scaled(1))
    if isinstance(ours, Connection):
        assert ours.wait_closed(scaled(5)).code == 1001
    else:
        ours.sock.close()
    eventually(lambda: not server.connections, 1.0)
    server.close(0.1)


def test_a_client_that_connects_while_the_server_closes() -> None:
    """It gets 503, and does not delay the closing."""
    server = serve(echo)
    before = threading.active_count()
    late = RawPeer(socket.create_connection(("127.0.0.1", server.port)))
    eventually(lambda: threading.active_count() > before)
    closer = threading.Thread(target=server.close)
    closer.start()
    eventually(lambda: not server._accepting())
    late.send(UPGRADE.encode())
    assert late.read_header().startswith("HTTP/1.1 503 ")
    closer.join(scaled(5))
    assert not closer.is_alive()
    late.sock.close()


def test_a_client_receives_the_servers_close_frame() -> None:
    """The code is 1001, and a client with reconnect goes on to the next server on that port."""
    server = serve(echo)
    with connect(server.url) as conn:
        states = Collector()
        conn.on_state(states)
        server.close()
        change = states.wait(1)[0]
        assert (change.state, change.code) == (ConnectionState.RECONNECTING, 1001)


def test_waiting_for_a_server() -> None:
    """`wait` blocks until the server is closed, or for its timeout."""
    server = serve(echo)
    assert server.wait(0.05) is False
    closer = threading.Thread(target=server.close)
    closer.start()
    assert server.wait(scaled(5)) is True
    closer.join(scaled(5))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"origins": "https://a"}, "origins"),
        ({"timeout": -1}, "timeout"),
        ({"call_timeout": float("nan")}, "call_timeout"),
        ({"handler": None}, "handler"),
        ({"limits": 5}, "limits"),
        ({"heartbeat": 5}, "heartbeat"),
    ],
)
def test_invalid_options(options: dict[str, Any], name: str) -> None:
    """`ValueError`, and the message names the option."""
    with pytest.raises(ValueError, match=name):
        serve(**{"handler": echo, **options})


def test_a_call_to_a_client_that_is_about_to_open_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may find a client in `Server.connections` before its link is open: the call waits for that."""
    run, titles = Peer.run, Collector()

    def run_late(peer: Peer, handler: Any) -> None:
        future = peer.connection.submit("title", timeout=scaled(5))
        future.add_done_callback(lambda done: titles(done.exception() or done.result()))
        run(peer, handler)

    monkeypatch.setattr(Peer, "run", run_late)
    with serve(echo) as server, connect(server.url, setup=lambda conn: conn.perform("title", lambda: "owl")):
        assert titles.wait(1) == ["owl"]
