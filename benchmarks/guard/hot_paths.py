"""The guarded paths: each is a piece of work that is repeated, and counted from a moment at which all threads wait."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from owlsocket_sync import Connection, EventMessage, connect
from owlsocket_sync.server import serve

from ..audience import READ_SIZE
from ..audience import connect as connect_raw
from ..load import CALL

PAYLOAD = "x" * 32
BROADCAST = "x" * 200
LARGE = "x" * 65_536
IN_FLIGHT = 25
BURST = 25
CLIENTS = 20
TIMEOUT = 30.0


@dataclass
class HotPath:
    """A path of the library.

    Attributes:
        name: its name in the budgets.
        run: does the work; counted until all threads wait again.
        pieces: how many times one run passes the path.
        prepare: called before each run, not counted.
    """

    name: str
    run: Callable[[], object]
    pieces: int = 1
    prepare: Callable[[], object] = lambda: None


def open_paths(url: str, stack: ExitStack) -> Iterator[HotPath]:
    """Open what the paths need, and yield them.

    Args:
        url: of a `benchmarks.guard.peer`.
        stack: closes what was opened.
    """
    connection = stack.enter_context(connect(url, heartbeat=None))
    yield HotPath("a blocking call", lambda: connection.call("echo", PAYLOAD))
    yield HotPath("a call in flight", lambda: _have_in_flight(connection), IN_FLIGHT)
    yield HotPath("notify", lambda: connection.notify("tick", PAYLOAD))
    yield HotPath("notify, 64 KiB", lambda: connection.notify("tick", LARGE))
    yield HotPath("notify in a batch()", lambda: _notify_together(connection), IN_FLIGHT)
    events = EventPath(connection)
    yield HotPath("an event in, alone", events.wait, 1, lambda: events.ask(1))
    yield HotPath("an event in, of many", events.wait, BURST, lambda: events.ask(BURST))
    yield from _open_server(stack)


def _have_in_flight(connection: Connection) -> None:
    futures = [connection.submit("held", IN_FLIGHT) for _ in range(IN_FLIGHT)]
    for future in futures:
        future.result(TIMEOUT)


def _notify_together(connection: Connection) -> None:
    with connection.batch():
        for _ in range(IN_FLIGHT):
            connection.notify("tick", PAYLOAD)


class EventPath:
    """Events that the peer sends on request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = 0
        self._handled = threading.Event()
        connection.observe("tick", self._handle)

    def ask(self, count: int) -> None:
        """Have so many events sent soon."""
        self._left = count
        self._handled.clear()
        self._connection.call("event", count)

    def wait(self) -> None:
        """Wait until all of them were handled."""
        if not self._handled.wait(TIMEOUT):
            raise RuntimeError("the events did not arrive")

    def _handle(self, message: EventMessage) -> None:
        self._left -= 1
        if not self._left:
            self._handled.set()


def _open_server(stack: ExitStack) -> Iterator[HotPath]:
    def handle(connection: Connection, request: object) -> None:
        connection.perform("echo", lambda value: value)

    server = stack.enter_context(serve(handle, heartbeat=None))
    clients = [stack.enter_context(connect_raw(server.port)) for _ in range(CLIENTS)]

    def drain() -> None:
        # What one run sends fits into the buffers of the system: the server never waits for these clients.
        for client in clients:
            _drain(client)

    yield HotPath("a broadcast, for each client", lambda: server.broadcast("tick", BROADCAST), CLIENTS, prepare=drain)
    caller = stack.enter_context(connect_raw(server.port))
    yield HotPath("a call that a server answers", lambda: _call_by_hand(caller))


def _call_by_hand(caller: socket.socket) -> None:
    # Not by the methods of the socket, which are counted.
    os.write(caller.fileno(), CALL)
    os.read(caller.fileno(), READ_SIZE)


def _drain(client: socket.socket) -> None:
    client.setblocking(False)
    try:
        while client.recv(READ_SIZE):
            pass
    except BlockingIOError:
        pass
