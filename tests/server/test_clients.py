"""All clients of a server at once, and its end."""

from __future__ import annotations

import socket
import threading
import time
from functools import partial
from typing import Any

import pytest
from handlers import echo, keep_payload
from helpers import Collector, eventually, scaled
from sockets import UPGRADE, RawPeer, knock

from owlsocket_sync import (
    Connection,
    ConnectionState,
    connect,
)
from owlsocket_sync.server import serve


def test_connections_and_broadcasts() -> None:
    """Everybody who is here gets each broadcast, in order; who left is not there any more."""
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


def test_a_broadcast_passes_nobody_by() -> None:
    """Once `connect` has returned, a client is among those who get it."""
    with serve(echo) as server:
        for number in range(20):
            seen = Collector()
            with connect(server.url) as conn:
                conn.observe("all", partial(keep_payload, seen))
                server.broadcast("all", number)
                assert seen.wait(1) == [number]


def test_a_broadcast_does_not_wait_for_a_client_that_reads_nothing() -> None:
    """One stuck client holds up neither the caller nor the others."""
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
    """It is told as the system tells it, and nothing is left behind."""
    with serve(echo) as server, pytest.raises(OSError, match="in use"):
        serve(echo, port=server.port)


@pytest.mark.parametrize("kind", ["live", "idle", "mute", "no handshake", "stuck"])
def test_closing_a_server(kind: str) -> None:
    """Within its deadline, whatever its clients do; those that listen are told 1001."""
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
            eventually(lambda: any(peer._only_link._writer._writing for peer in server._peers))
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


def test_a_client_that_comes_while_the_server_closes() -> None:
    """It is told so, and does not hold up the end."""
    server = serve(echo)
    before = threading.active_count()
    late = RawPeer(socket.create_connection(("127.0.0.1", server.port)))
    eventually(lambda: threading.active_count() > before)
    closer = threading.Thread(target=server.close)
    closer.start()
    eventually(lambda: server._closing)
    late.send(UPGRADE.encode())
    assert late.read_header().startswith("HTTP/1.1 503 ")
    closer.join(scaled(5))
    assert not closer.is_alive()
    late.sock.close()


def test_a_client_sees_the_servers_farewell() -> None:
    """1001, and a client that reconnects comes back to the next server on that port."""
    server = serve(echo)
    with connect(server.url) as conn:
        states = Collector()
        conn.on_state(states)
        server.close()
        change = states.wait(1)[0]
        assert (change.state, change.code) == (ConnectionState.RECONNECTING, 1001)


def test_waiting_for_a_server() -> None:
    """`wait` holds until somebody closes, or for its timeout; closing from a handler's thread works."""
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
def test_options_that_cannot_be_used(options: dict[str, Any], name: str) -> None:
    """`ValueError`, and the message names the option."""
    with pytest.raises(ValueError, match=name):
        serve(**{"handler": echo, **options})
