"""``serve()``: a port, the clients that come to it, and what they are given.

Threads: ``_peers_lock`` (a condition) guards who is here, and is a leaf. The acceptor, and a thread for each client,
come from websockets; broadcasts and farewells are sent by a small pool. `Server.wait` and `Server.close` wait under
deadlines.
"""

from __future__ import annotations

import itertools
import logging
import os
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any

from websockets.http11 import Response
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as listen

from ..connection import Connection
from ..deadline import Deadline, check_timeout
from ..errors import SocketError
from ..options import Heartbeat, Limits
from ..protocol.messages import CALL_TIMEOUT, EventMessage
from ..runtime.guards import guard, release
from ..runtime.timer import Timer
from ..runtime.workers import WorkerPool
from ..stages import ConnectionState
from .accepted import SEND_SECONDS, AcceptedLink
from .gate import CHALLENGE, Authenticate, Gate, Refused
from .peer import Handler, Peer

logger = logging.getLogger("owlsocket_sync")

SENDERS = 16

_numbers = itertools.count(1)

# At DEBUG, websockets logs whole requests, the tokens in their queries included.
_library_logger = logging.getLogger("owlsocket_sync.server.websockets")
_library_logger.setLevel(logging.INFO)


class Server:
    """A server that serves, from the moment it is there until `close`; a context manager.

    Attributes:
        url: what a client on this machine connects to.
        port: the port it listens on.
    """

    def __init__(self, handler: Handler, host: str, port: int, options: dict[str, Any], name: str) -> None:
        self._handler = handler
        self._options = options
        self._gate = Gate(options["authenticate"])
        self._name = name
        self._peers_lock = threading.Condition(threading.Lock())
        self._peers: dict[AcceptedLink, Peer] = {}
        self._closing = False
        self._timer = Timer(f"{name}-timer")
        self._senders = WorkerPool(SENDERS, f"{name}-sender")
        self._closed = threading.Event()
        self._listener = listen(_too_late, host, port, **self._listener_options())
        bound = self._listener.socket.getsockname()
        self.port: int = bound[1]
        self.url = f"{'wss' if self.secure else 'ws'}://{_reachable(bound[0])}:{self.port}"
        self._acceptor = threading.Thread(target=self._listener.serve_forever, name=f"{name}-acceptor", daemon=True)
        self._acceptor.start()
        guard(self)

    def _listener_options(self) -> dict[str, Any]:
        heartbeat: Heartbeat | None = self._options["heartbeat"]
        origins = self._options["origins"]
        return {
            "ssl": self._options["ssl_context"],
            "origins": None if origins is None else [*origins, None],
            "open_timeout": self._options["timeout"],
            "ping_interval": heartbeat.interval if heartbeat else None,
            "ping_timeout": heartbeat.timeout if heartbeat else None,
            "max_size": self._options["limits"].message_size,
            "compression": None,
            "create_connection": partial(AcceptedLink, serve=self._serve_link),
            "process_response": self._admit,
            "server_header": None,
            "logger": _library_logger,
        }

    @property
    def secure(self) -> bool:
        """Whether links are encrypted."""
        return self._options["ssl_context"] is not None

    @property
    def connections(self) -> list[Connection]:
        """The connections of the clients that are here now."""
        with self._peers_lock:
            return [peer.connection for peer in self._peers.values() if peer.state is not ConnectionState.CLOSED]

    def broadcast(self, event: str, payload: Any = None) -> None:
        """Send an event to every client, without waiting for them; each gets broadcasts in order.

        Raises:
            SocketMessageMalformed: the payload cannot be sent as JSON.
        """
        for connection in self.connections:
            data = connection._encode(EventMessage(payload=payload, event=event))[1]
            self._senders.submit(id(connection), partial(_send_quietly, connection, data))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed; whether it is, within the timeout (seconds; default: no limit)."""
        return self._closed.wait(timeout)

    def close(self, timeout: float = 3.0) -> None:
        """Take no new clients, say goodbye to those that are here, and end; idempotent, from any thread."""
        deadline = Deadline(check_timeout(timeout))
        if self._closed.is_set():
            return
        with self._peers_lock:
            self._closing = True
        stopper = threading.Thread(target=self._stop_listening, name=f"{self._name}-stopper", daemon=True)
        stopper.start()
        for connection in self.connections:
            self._senders.submit(None, partial(connection.close, 1001, "", deadline.remaining()))
        with self._peers_lock:
            self._peers_lock.wait_for(lambda: not self._peers, deadline.wait_seconds())
        self._timer.stop()
        self._senders.end(deadline)
        stopper.join(deadline.wait_seconds())
        self._acceptor.join(deadline.wait_seconds())
        release(self)
        with self._peers_lock:
            first = not self._closed.is_set()
            self._closed.set()
        if first and not self._acceptor.is_alive():
            close_pipe(self._listener)

    def say_goodbye(self, seconds: float) -> None:
        """At exit, when no thread can be started any more: tell the clients, one after another."""
        deadline = Deadline(seconds)
        self._listener.socket.close()
        for connection in self.connections:
            connection.close(1001, "the process ends", deadline.remaining())

    def disown(self) -> None:
        """In a forked child: leave the port and the links to the parent."""
        self._peers_lock = threading.Condition(threading.Lock())
        self._closed.set()
        self._listener.socket.close()
        release(self)
        for peer in self._peers.values():
            peer.disown()
        self._peers.clear()

    def _stop_listening(self) -> None:
        with suppress(OSError):  # somebody else was first
            self._listener.shutdown()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {self.url}, {len(self.connections)} connections>"

    def _admit(self, ws: ServerConnection, request: object, response: Response) -> Response | None:
        """Before a client learns that it may talk: from here on no broadcast and no farewell passes it by."""
        assert isinstance(ws, AcceptedLink)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        knock = ws.read_request()
        try:
            who = self._gate.admit(knock)
        except Refused as refused:
            return _refusal(ws, refused)
        peer = self._make_peer(ws)
        peer.request = replace(knock, auth=who)
        self._gate.attend(peer.connection, who, peer.end_at)
        with self._peers_lock:
            if not self._closing:
                self._peers[ws] = peer
                return None
        return ws.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The server is closing.\n")

    def _serve_link(self, ws: AcceptedLink, shake_hands: Callable[[], None]) -> None:
        try:
            shake_hands()
        finally:
            with self._peers_lock:
                peer = self._peers.get(ws)
            if peer is not None:
                self._serve_peer(peer, ws)

    def _serve_peer(self, peer: Peer, ws: AcceptedLink) -> None:
        try:
            if ws.granted:
                ws.start_keepalive()
                peer.run(self._handler)
            else:
                peer.give_up()
        finally:
            with self._peers_lock:
                del self._peers[ws]
                self._peers_lock.notify_all()

    def _make_peer(self, ws: AcceptedLink) -> Peer:
        name = f"{self._name}#{next(_numbers)}"
        pool = WorkerPool(self._options["workers"], name)
        peer = Peer(ws, pool, self._timer, self.secure, name)
        peer.connection = Connection(
            peer,
            pool.submit,
            peer.lend_place,
            pool.settle,
            name=name,
            limits=self._options["limits"],
            call_timeout=self._options["call_timeout"],
        )
        peer.connection.expose_tracebacks = self._options["expose_tracebacks"]
        return peer


def serve(
    handler: Handler,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
    authenticate: Authenticate | None = None,
    origins: Sequence[str] | None = None,
    limits: Limits = Limits(),
    heartbeat: Heartbeat | None = Heartbeat(),
    workers: int = 4,
    timeout: float = 10.0,
    call_timeout: float = CALL_TIMEOUT,
    expose_tracebacks: bool = False,
    name: str | None = None,
) -> Server:
    """Serve clients on a socket of this machine; the server serves once this returns.

    Args:
        handler: called as ``handler(connection, request)`` for each client, on a thread of its own. It registers what
            it answers and may return; the link lives until either side closes it. What it raises closes the link, 1011.
        host: the address to listen on.
        port: the port; 0 takes a free one, which ``Server.port`` tells.
        ssl_context: with a certificate, for ``wss://``.
        authenticate: an `owlsocket_sync.auth.Guard`, or a callable ``(request) -> who``, asked before the upgrade; what
            it raises refuses the client, with HTTP 401 or 403 for errors of authentication. Who it is, is in
            ``request.auth`` and ``connection.auth_info``; when their ``expires_at`` comes, the link is closed (1008).
        origins: the web sites whose pages may connect; ``None`` lets all. Clients that are no browsers always may.
        limits: how much may pile up, for each client.
        heartbeat: when to ask a silent client for a sign of life; ``None`` never.
        workers: how many handlers run at once for each client.
        timeout: seconds for a client's handshake.
        call_timeout: seconds that a call to a client waits for its answer when it does not say.
        expose_tracebacks: send tracebacks of handlers to clients.
        name: what logs call the server.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: an option cannot be used; the message names it.
    """
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
    options = {
        "ssl_context": ssl_context,
        "authenticate": authenticate,
        "origins": origins,
        "limits": limits,
        "heartbeat": heartbeat,
        "workers": workers,
        "timeout": check_timeout(timeout),
        "call_timeout": check_timeout(call_timeout, "call_timeout"),
        "expose_tracebacks": expose_tracebacks,
    }
    return Server(handler, host, port, options, name or f"owlsocket-server-{next(_numbers)}")


def _refusal(ws: AcceptedLink, refused: Refused) -> Response:
    response = ws.respond(refused.status, refused.text)
    if refused.status is HTTPStatus.UNAUTHORIZED:
        response.headers.update(CHALLENGE)
    return response


def close_pipe(listener: object) -> None:
    """Close the pipe that woke the acceptor of websockets; before 17 it stays open."""
    for end in ("shutdown_watcher", "shutdown_notifier"):
        descriptor = getattr(listener, end, None)
        if isinstance(descriptor, int):
            os.close(descriptor)


def _too_late(ws: ServerConnection) -> None:
    """The handler that websockets would call once a link was served."""


def _send_quietly(connection: Connection, data: bytes) -> None:
    try:
        connection._transmit([data], Deadline(SEND_SECONDS))
    except SocketError as error:
        logger.info("%s: a broadcast did not reach it: %s", connection.name, error)


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host
