"""The clients that are here: who they are, what is broadcast to them, and how all of them are bidden farewell.

Threads: ``_peers_lock`` (a condition) guards who is here, and is a leaf. `Hosting.wait` and `Hosting.close` wait under
deadlines; closing starts no thread, so that it works at exit too.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from ..connection import Connection
from ..deadline import Deadline, check_timeout
from ..errors import SocketError
from ..options import Heartbeat, Limits
from ..protocol.messages import EventMessage
from ..runtime.guards import release
from ..runtime.timer import Timer
from ..stages import ConnectionState
from .gate import Gate
from .peer import FAREWELL_SECONDS, Handler, Peer
from .upgrade import Request
from .wire import ServerWire

logger = logging.getLogger("owlsocket_sync")

BROADCAST_SECONDS = 15.0
LAST_GRACE = 0.2
LAST_SHARE = 0.2
MARGIN = 0.05

numbers = itertools.count(1)

Host = TypeVar("Host", bound="Hosting")


class Hosting:
    """Whoever has clients, until it is closed; a context manager. Whoever makes one has it guarded.

    Args:
        handler: called with each client's connection and request.
        options: those of `owlsocket_sync.server.serve`, checked.
        name: what logs call it.
    """

    def __init__(self, handler: Handler, options: dict[str, Any], name: str) -> None:
        self._handler = handler
        self._options = options
        self._gate = Gate(options["authenticate"])
        self._name = name
        self._peers_lock = threading.Condition(threading.Lock())
        self._peers: set[Peer] = set()
        self._visitors = 0
        self._closing = False
        self._closed = threading.Event()
        self._timer = Timer(f"{name}-timer")

    @property
    def connections(self) -> list[Connection]:
        """The connections of the clients that are here now."""
        return [peer.connection for peer in self._here()]

    def _here(self) -> list[Peer]:
        with self._peers_lock:
            return [peer for peer in self._peers if peer.state is not ConnectionState.CLOSED]

    def broadcast(self, event: str, payload: Any = None) -> None:
        """Send an event to every client, without waiting for them; each gets broadcasts in order.

        ``Limits.dispatch_messages`` and ``Limits.dispatch_bytes`` bound what waits for a client that takes them slowly;
        what finds no room is dropped, and counted and reported by its connection.

        Raises:
            SocketMessageMalformed: the payload cannot be sent as JSON.
        """
        common: bytes | None = None  # one copy for all whose messages nothing prepares
        for peer in self._here():
            connection = peer.connection
            data = common if connection.prepare is None else None
            if data is None:
                data = connection._encode(EventMessage(payload=payload, event=event))[1]
            if connection.prepare is None:
                common = data
            peer.outbox.put(len(data), partial(_send_quietly, connection, data))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is closed; whether it is, within the timeout (seconds; default: no limit)."""
        return self._closed.wait(timeout)

    # -- coming and going --------------------------------------------------------------------------------------------

    def _is_taking(self) -> bool:
        return not self._closing

    def _seat(
        self, wire: ServerWire, name: str, url: str, request: Request, who: Any, refuse: Callable[[], None]
    ) -> Peer | None:
        """Make room for a client, before it learns that it may talk: from here on no broadcast and no farewell passes
        it by. ``None`` where nobody is taken any more, and it was refused."""
        peer = Peer(wire, self._timer, name, url, self._options)
        peer.request = replace(request, auth=who)
        self._gate.attend(peer.connection, who, peer.end_at)
        with self._peers_lock:
            if not self._closing:
                self._peers.add(peer)
                return peer
        refuse()
        peer.give_up()
        return None

    def _bid_farewell(self, peer: Peer | None) -> None:
        with self._peers_lock:
            self._visitors -= 1
            if peer is not None:
                self._peers.discard(peer)
            self._peers_lock.notify_all()

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, timeout: float = 3.0) -> None:
        """Take no new clients, say goodbye to those that are here, and end; idempotent, from any thread.

        Args:
            timeout: seconds until it ends without the consent of clients, and of handlers that still run.
        """
        seconds = check_timeout(timeout)
        deadline = Deadline(max(0.0, seconds - MARGIN))  # whoever wakes up from the last wait is to be in time
        if self._closed.is_set():
            return
        with self._peers_lock:
            self._closing = True
        self._shut(deadline)
        self._say_farewell(deadline, max(LAST_GRACE, LAST_SHARE * min(seconds, FAREWELL_SECONDS)))
        self._timer.stop()
        release(self)
        self._closed.set()

    def _shut(self, deadline: Deadline) -> None:
        """Let nobody come any more."""

    def _say_farewell(self, deadline: Deadline, grace: float) -> None:
        """Tell all clients at once, leave them time to answer, and end those that did not, with time to die."""
        peers = self._here()
        for peer in peers:
            peer.begin_closing(1001, "")
        self._await_departures(Deadline(max(0.0, deadline.remaining() - grace)))
        for peer in peers:
            peer.end()
        self._await_departures(deadline)
        for peer in peers:
            peer.await_end(deadline)

    def _await_departures(self, deadline: Deadline) -> None:
        with self._peers_lock:
            self._peers_lock.wait_for(lambda: not self._visitors, deadline.wait_seconds())

    def say_goodbye(self, seconds: float) -> None:
        """At exit: tell the clients, within so many seconds."""
        self.close(seconds)

    def disown(self) -> None:
        """In a forked child: leave the links to the parent."""
        self._peers_lock = threading.Condition(threading.Lock())
        self._closed.set()
        release(self)
        for peer in self._peers:
            peer.disown()
        self._peers.clear()

    def __enter__(self: Host) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_hosting(
    handler: object, limits: object, heartbeat: object, workers: object, origins: object, call_timeout: float
) -> None:
    """Raise `ValueError` where one of these cannot be used; the message names it."""
    if not callable(handler):
        raise ValueError(f"handler must be callable, not {type(handler).__name__}")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number, 1 or more, not {workers!r}")
    if not isinstance(limits, Limits):
        raise ValueError(f"limits must be Limits, not {limits!r}")
    if not (heartbeat is None or isinstance(heartbeat, Heartbeat)):
        raise ValueError(f"heartbeat must be a Heartbeat or None, not {heartbeat!r}")
    if isinstance(origins, str):
        raise ValueError("origins must be a list of origins, not one text")
    check_timeout(call_timeout, "call_timeout")


def _send_quietly(connection: Connection, data: bytes) -> None:
    try:
        connection._transmit([data], Deadline(BROADCAST_SECONDS))
    except SocketError as error:
        logger.debug("%s: a broadcast did not reach it: %s", connection.name, error)
