"""``serve()``: Connections over ``websockets.sync.server``, for tests, samples and small deployments.

Threads. websockets gives each link a thread of its own, which runs the user's handler and then reads; a handler that
waits or sends before it returns has begun its work, so a reader starts beside it at that moment. Messages are therefore
never read before the handler had its chance to register what it answers. ``_standing`` (a condition, one for each link)
guards its state and is a leaf. Writes hold the mutex of websockets, under a timeout on the socket.

Where a thread can block, and what frees it: a reader in ``recv`` (the end of the link) and in its pause for a full
backlog (slices); a writer in ``sendall`` (`SEND_SECONDS`, the end of the link); `Server.wait` and `Server.close` (their
deadlines); the timer in its wait (the next alarm, `Server.close`).
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import logging
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .connection import Connection, cut_reason
from .deadline import Deadline, check_timeout
from .errors import SocketConnectionError, SocketError, SocketInitializationError, SocketTimeout
from .options import Heartbeat, Limits
from .protocol.messages import CALL_TIMEOUT, EventMessage
from .runtime.workers import WorkerPool
from .stages import ConnectionState, Ending, StateChange

try:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import ServerConnection
    from websockets.sync.server import serve as websockets_serve
except ImportError as error:  # pragma: no cover - the extra is there in tests
    raise SocketInitializationError(
        "the embedded server needs the package websockets: python -m pip install 'owlsocket-sync[server]'"
    ) from error

logger = logging.getLogger("owlsocket_sync")

SEND_SECONDS = 15.0
PAUSE = 0.02
CLOSERS = 16
EXIT_SECONDS = 2.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Request:
    """The request with which a client came.

    Attributes:
        path: of the URL, without the query.
        query: the parameters of the URL; the last one where a name comes twice.
        headers: of the request, whatever the case of their names.
        remote: the address and port that it came from.
    """

    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    remote: tuple[str, int]


Handler = Callable[[Connection, Request], object]


class Peer:
    """The link to one client; see `owlsocket_sync.protocol.carrier.Carrier`. It does not come again once it is gone."""

    connection: Connection
    links = 1

    def __init__(self, ws: ServerConnection, server: Server, pool: WorkerPool, name: str) -> None:
        self._ws = ws
        self._server = server
        self._pool = pool
        self._name = name
        self._standing = threading.Condition(threading.Lock())
        self._ending: Ending | None = None
        self._closing: Ending | None = None
        self._state = ConnectionState.OPEN
        self._reader: threading.Thread | None = None
        self._handler_thread: int | None = None
        host, port = ws.remote_address[:2]
        self.url = f"{'wss' if server.secure else 'ws'}://{host}:{port}"

    # -- the handler and the reader ----------------------------------------------------------------------------------

    def run(self, handler: Handler, request: Request) -> None:
        """Run the handler, then read until the link ends; on the thread that websockets gave this link."""
        self._handler_thread = threading.get_ident()
        try:
            handler(self.connection, request)
        except SocketConnectionError as error:
            if self._ending is None:
                self._fail(error)
        except Exception as error:
            self._fail(error)
        finally:
            self._handler_thread = None
        if self._reader is None:
            self._read()
        else:
            self._reader.join()

    def _fail(self, error: Exception) -> None:
        logger.error("%s: the handler failed: %s", self._name, error, exc_info=error)
        self.close(1011, f"{type(error).__name__}: {error}", Deadline(SEND_SECONDS))

    def begin_work(self) -> None:
        """The handler, before it returned, sends or waits: read beside it from now on."""
        if self._handler_thread == threading.get_ident() and self._reader is None:
            self._reader = threading.Thread(target=self._read, name=f"{self._name}-reader", daemon=True)
            self._reader.start()

    def lend_place(self) -> AbstractContextManager[None]:
        """Around a wait."""
        self.begin_work()
        return self._pool.lend_place()

    def _read(self) -> None:
        error: Exception | None = None
        try:
            while self._has_room():
                self.connection.receive(self._ws.recv(), 1)
        except ConnectionClosed as closed:
            error = None if closed.rcvd is not None else closed
        except Exception as failure:
            logger.exception("%s: the reader failed", self._name)
            error = failure
            self._ws.close(1011)
        code = self._ws.close_code or 1006
        self._end(Ending(code, self._ws.close_reason or "", error))

    def _has_room(self) -> bool:
        """Wait while the backlog is full; always true, for the end of the link shows when it is read."""
        while not self.connection._has_room() and self._ws.close_code is None:
            time.sleep(PAUSE)
        return True

    def _end(self, ending: Ending) -> None:
        if self._closing is not None:
            self.connection._count("dropped", self._pool.discard())
        self._ending = ending
        self._move(ConnectionState.CLOSED, ending)
        self.connection._link_lost(1, ending)
        self.connection._over(self._closed_error)
        self._pool.end(Deadline(0.0))
        self._server._forget(self)

    def _move(self, state: ConnectionState, ending: Ending) -> None:
        with self._standing:
            if self._state in (state, ConnectionState.CLOSED):
                return
            previous, self._state = self._state, state
            self._standing.notify_all()
        self.connection._tell_state(StateChange(state, previous, ending.code, ending.reason, ending.error))

    # -- what the connection asks of its carrier ---------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._state

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        return self._ws.latency or None

    def open_link(self) -> int | None:
        """The number of the only link there is, while it is open."""
        return 1 if self._state is ConnectionState.OPEN else None

    def await_link(self, deadline: Deadline) -> int:
        """The same, or the error."""
        if self._state is ConnectionState.OPEN:
            return 1
        raise self._closed_error()

    def transmit(self, frames: Sequence[bytes], link: int, deadline: Deadline, *, answer: bool = False) -> bool:
        """Send messages; a peer that takes nothing for too long loses its link."""
        self.begin_work()
        try:
            with self._ws.send_context():
                self._ws.socket.settimeout(min(SEND_SECONDS, deadline.remaining()) or SEND_SECONDS)
                for frame in frames:
                    self._ws.protocol.send_text(frame)
                if len(frames) > 1:
                    self._ws.socket.sendall(b"".join(self._ws.protocol.data_to_send()))
        except ConnectionClosed as closed:
            if answer:
                return False
            raise SocketConnectionError(f"the link has ended: {closed}") from closed
        return True

    def ping(self, deadline: Deadline) -> float:
        """Seconds of one round trip."""
        began = time.monotonic()
        try:
            arrived = self._ws.ping()
        except ConnectionClosed as closed:
            raise self._closed_error() from closed
        if not arrived.wait(deadline.wait_seconds()):
            raise SocketTimeout(f"no pong came within {deadline.seconds:g} s")
        return time.monotonic() - began

    def reconnect(self) -> None:
        """Only the end that connected can."""
        raise SocketConnectionError("the end that was connected to cannot reconnect")

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End the link."""
        if self._closing is None:
            self._closing = Ending(code, reason)
        self._move(ConnectionState.CLOSING, self._closing)
        self.begin_work()
        if self._ws.protocol_mutex.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX)):
            self._ws.protocol_mutex.release()
            self._ws.close_timeout = deadline.remaining()
            self._ws.close(code, cut_reason(reason))
        else:
            self._ws.close_socket()
        self.wait_closed(deadline)
        self._pool.end(deadline)

    def wait_open(self, deadline: Deadline) -> None:
        """It is open from the beginning."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait until the link is gone."""
        with self._standing:
            self._standing.wait_for(lambda: self._state is ConnectionState.CLOSED, deadline.wait_seconds())
            return self._ending if self._state is ConnectionState.CLOSED else None

    def closing_error(self) -> SocketConnectionError | None:
        """A fresh error once the link is gone, else ``None``."""
        return None if self._state is ConnectionState.OPEN else self._closed_error()

    def _closed_error(self) -> SocketConnectionError:
        ending = self._ending or self._closing or Ending(1006)
        error = SocketConnectionError(f"{self._name} is closed: {ending.code} {ending.reason}".strip())
        error.retryable = False
        error.__cause__ = ending.error
        return error

    def wake_at(self, at: float) -> None:
        """Have the connection look at the clock at this moment."""
        self._server._timer.add(at, self.connection)


class Timer:
    """Has connections look at their clocks. Its thread lives while something is due."""

    def __init__(self, name: str) -> None:
        self._alarms = threading.Condition(threading.Lock())
        self._due: list[tuple[float, int, weakref.ref[Connection]]] = []
        self._running = False
        self._name = name

    def add(self, at: float, connection: Connection) -> None:
        """Have ``connection.expire`` called at this moment."""
        with self._alarms:
            heapq.heappush(self._due, (at, next(_numbers), weakref.ref(connection)))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._alarms.notify()

    def stop(self) -> None:
        """Let nothing be due any more."""
        with self._alarms:
            self._due.clear()
            self._alarms.notify()

    def _run(self) -> None:
        while True:
            with self._alarms:
                if not self._due:
                    self._running = False
                    return
                at, _, reference = self._due[0]
                if self._alarms.wait_for(lambda: not self._due or self._due[0][0] < at, max(0.0, at - time.monotonic())):
                    continue
                heapq.heappop(self._due)
            connection = reference()
            if connection is not None:
                connection.expire(time.monotonic())


class Server:
    """A server that serves, from the moment it is there until `close`; a context manager.

    Attributes:
        url: what a client on this machine connects to.
        port: the port it listens on.
    """

    def __init__(self, handler: Handler, host: str, port: int, options: dict[str, Any], name: str) -> None:
        self._handler = handler
        self._options = options
        self._name = name
        self._peers_lock = threading.Condition(threading.Lock())
        self._peers: set[Peer] = set()
        self._running = 0
        self._timer = Timer(f"{name}-timer")
        self._senders = WorkerPool(CLOSERS, f"{name}-sender")
        self._closed = threading.Event()
        self._listener = websockets_serve(self._serve_one, host, port, **self._listener_options())
        bound = self._listener.socket.getsockname()
        self.port: int = bound[1]
        self.url = f"{'wss' if self.secure else 'ws'}://{_reachable(bound[0])}:{self.port}"
        self._acceptor = threading.Thread(target=self._listener.serve_forever, name=f"{name}-acceptor", daemon=True)
        self._acceptor.start()
        _servers.add(self)

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
            "server_header": None,
            "logger": logging.getLogger("owlsocket_sync.server"),
        }

    @property
    def secure(self) -> bool:
        """Whether links are encrypted."""
        return self._options["ssl_context"] is not None

    @property
    def connections(self) -> list[Connection]:
        """The connections of the clients that are here now."""
        with self._peers_lock:
            return [peer.connection for peer in self._peers]

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
        stopper = threading.Thread(target=self._stop_listening, name=f"{self._name}-stopper", daemon=True)
        stopper.start()
        for connection in self.connections:
            self._senders.submit(None, partial(connection.close, 1001, "", deadline.remaining()))
        with self._peers_lock:
            self._peers_lock.wait_for(lambda: not self._running, deadline.wait_seconds())
        self._timer.stop()
        self._senders.end(deadline)
        stopper.join(deadline.wait_seconds())
        self._acceptor.join(deadline.wait_seconds())
        _servers.discard(self)
        self._closed.set()

    def _stop_listening(self) -> None:
        self._listener.shutdown()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {self.url}, {len(self._peers)} connections>"

    def _serve_one(self, ws: ServerConnection) -> None:
        with self._peers_lock:
            self._running += 1
        try:
            peer = self._make_peer(ws)
            peer.run(self._handler, read_request(ws))
        finally:
            with self._peers_lock:
                self._running -= 1
                self._peers_lock.notify_all()

    def _make_peer(self, ws: ServerConnection) -> Peer:
        name = f"{self._name}#{next(_numbers)}"
        pool = WorkerPool(self._options["workers"], name)
        peer = Peer(ws, self, pool, name)
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
        with self._peers_lock:
            self._peers.add(peer)
        return peer

    def _forget(self, peer: Peer) -> None:
        with self._peers_lock:
            self._peers.discard(peer)


def serve(
    handler: Handler,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
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
    if isinstance(origins, str):
        raise ValueError("origins must be a list of origins, not one text")
    options = {
        "ssl_context": ssl_context,
        "origins": origins,
        "limits": limits,
        "heartbeat": heartbeat,
        "workers": workers,
        "timeout": check_timeout(timeout),
        "call_timeout": check_timeout(call_timeout, "call_timeout"),
        "expose_tracebacks": expose_tracebacks,
    }
    return Server(handler, host, port, options, name or f"owlsocket-server-{next(_numbers)}")


def read_request(ws: ServerConnection) -> Request:
    """The request behind a link, in our words."""
    assert ws.request is not None
    parts = urlsplit(ws.request.path)
    host, port = ws.remote_address[:2]
    return Request(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), ws.request.headers, (host, port))


def _send_quietly(connection: Connection, data: bytes) -> None:
    try:
        connection._transmit([data], Deadline(SEND_SECONDS))
    except SocketError as error:
        logger.info("%s: a broadcast did not reach it: %s", connection.name, error)


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _close_all() -> None:
    for server in list(_servers):
        server.close(EXIT_SECONDS)


atexit.register(_close_all)
