"""Servers that broadcast an event to all of their clients, each in the process that is measured."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from .clients import OURS, PICOWS, WEBSOCKETS

EVENT = "tick"


class Broadcaster(NamedTuple):
    """A server that runs.

    Attributes:
        port: its port on 127.0.0.1.
        broadcast: sends an event with this payload to all clients; may return before they have it.
        connected: returns how many clients it knows: a client is upgraded some moments before.
    """

    port: int
    broadcast: Callable[[Any], object]
    connected: Callable[[], int]


def start(name: str, compression: str | None) -> Broadcaster:
    """Start the server of a contestant; picows does not compress."""
    return {OURS: _start_ours, WEBSOCKETS: _start_websockets, PICOWS: _start_picows}[name](compression)


def _encode(payload: Any) -> bytes:
    return orjson.dumps({"event": EVENT, "payload": payload, "type": "event"})


def _start_ours(compression: str | None) -> Broadcaster:
    """Start `owlsocket_sync.server`, without pings: the clients answer none."""
    from owlsocket_sync.server import serve

    server = serve(lambda conn, request: None, heartbeat=None, compression=compression)
    return Broadcaster(server.port, lambda payload: server.broadcast(EVENT, payload), lambda: len(server.connections))


def _start_websockets(compression: str | None) -> Broadcaster:
    """Start the threaded server of `websockets`, which has no broadcast: one send after another."""
    from websockets.sync.server import ServerConnection, serve

    clients: set[ServerConnection] = set()

    def handle(client: ServerConnection) -> None:
        clients.add(client)
        for _ in client:
            pass

    def broadcast(payload: Any) -> None:
        message = _encode(payload)
        for client in tuple(clients):
            client.send(message, text=True)

    server = serve(handle, "127.0.0.1", 0, compression=compression, ping_interval=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return Broadcaster(server.socket.getsockname()[1], broadcast, lambda: len(clients))


def _start_picows(compression: str | None) -> Broadcaster:
    """Start `picows` on `uvloop`, on a thread that the caller hands its message to."""
    import uvloop
    from picows import WSListener, WSMsgType, WSTransport, ws_create_server

    clients: set[WSTransport] = set()

    class Client(WSListener):  # type: ignore[misc]
        """One client."""

        def on_ws_connected(self, transport: WSTransport) -> None:
            """Keep it."""
            clients.add(transport)

    def send_all(message: bytes) -> None:
        for client in clients:
            client.send(WSMsgType.TEXT, message)

    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    created = asyncio.run_coroutine_threadsafe(ws_create_server(lambda request: Client(), "127.0.0.1", 0), loop)
    port = created.result().sockets[0].getsockname()[1]

    def broadcast(payload: Any) -> None:
        loop.call_soon_threadsafe(send_all, _encode(payload))

    return Broadcaster(port, broadcast, lambda: len(clients))
