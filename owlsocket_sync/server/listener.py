"""``serve()``: a port, the clients that come to it, and what they are given.

Threads: ``_peers_lock`` (a condition) guards who is here, and is a leaf. One thread accepts, and each client has one of
its own. `Server.wait` and `Server.close` wait under deadlines; closing starts no thread, so that it works at exit too.
"""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any

from ..connection import Connection
from ..deadline import Deadline, check_timeout
from ..errors import SocketError
from ..options import Heartbeat, Limits
from ..protocol.messages import CALL_TIMEOUT, EventMessage
from ..runtime.guards import guard, release
from ..runtime.timer import Timer
from ..stages import ConnectionState
from .acceptor import Acceptor
from .gate import CHALLENGE, Authenticate, Gate, Refused
from .peer import FAREWELL_SECONDS, Handler, Peer
from .upgrade import Upgrade, encrypt

logger = logging.getLogger("owlsocket_sync")

BROADCAST_SECONDS = 15.0
LAST_GRACE = 0.2
LAST_SHARE = 0.2
MARGIN = 0.05

_numbers = itertools.count(1)

# At DEBUG, websockets logs whole requests, the tokens in their queries included.
_library_logger = logging.getLogger("owlsocket_sync.server.websockets")
_library_logger.setLevel(logging.WARNING)


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
        self._peers: set[Peer] = set()
        self._visitors = 0
        self._closing = False
        self._closed = threading.Event()
        self._timer = Timer(f"{name}-timer")
        self._acceptor = Acceptor(host, port, self._welcome, name)
        bound, self.port = self._acceptor.address
        self.url = f"{'wss' if self.secure else 'ws'}://{_reachable(bound)}:{self.port}"
        guard(self)
        self._acceptor.start()

    @property
    def secure(self) -> bool:
        """Whether links are encrypted."""
        return self._options["ssl_context"] is not None

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
        """Wait until the server is closed; whether it is, within the timeout (seconds; default: no limit)."""
        return self._closed.wait(timeout)

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
        self._acceptor.stop(deadline.remaining())
        self._say_farewell(deadline, max(LAST_GRACE, LAST_SHARE * min(seconds, FAREWELL_SECONDS)))
        self._timer.stop()
        release(self)
        self._closed.set()

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
        """In a forked child: leave the port and the links to the parent."""
        self._peers_lock = threading.Condition(threading.Lock())
        self._closed.set()
        self._acceptor.abandon()
        release(self)
        for peer in self._peers:
            peer.disown()
        self._peers.clear()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {self.url}, {len(self.connections)} connections>"

    # -- one client --------------------------------------------------------------------------------------------------

    def _welcome(self, sock: socket.socket) -> None:
        """Give who was accepted a thread; on the acceptor's."""
        with self._peers_lock:
            self._visitors += 1
        name = f"{self._name}#{next(_numbers)}"
        try:
            threading.Thread(target=self._attend, args=(sock, name), name=name, daemon=True).start()
        except RuntimeError as error:  # no more threads to be had
            logger.error("%s: no thread for a client: %s", self._name, error)
            sock.close()
            self._bid_farewell(None)

    def _attend(self, sock: socket.socket, name: str) -> None:
        """Serve a client, from its first byte to its last; on its own thread."""
        peer = None
        try:
            peer = self._let_in(sock, name)
            if peer is not None:
                peer.run(self._handler)
        except OSError as error:
            logger.debug("%s: left before it could talk: %s", name, error)
        except Exception:
            logger.exception("%s: could not be served", name)
        finally:
            self._bid_farewell(peer)

    def _bid_farewell(self, peer: Peer | None) -> None:
        with self._peers_lock:
            self._visitors -= 1
            if peer is not None:
                self._peers.discard(peer)
            self._peers_lock.notify_all()

    def _let_in(self, sock: socket.socket, name: str) -> Peer | None:
        """Shake hands; ``None`` when the client was refused. Raises `OSError` when it left."""
        deadline = Deadline(self._options["timeout"])
        try:
            remote = sock.getpeername()[:2]
            stream = encrypt(sock, self._options["ssl_context"], deadline, self._is_taking)
        except BaseException:
            sock.close()
            raise
        peer = None
        try:
            upgrade = Upgrade(
                stream,
                remote,
                self._options["origins"],
                self._options["limits"].message_size,
                deadline,
                self._is_taking,
                _library_logger,
            )
            peer = self._admit(upgrade, name)
            if peer is not None:
                upgrade.grant()
        except BaseException:
            if peer is not None:
                peer.give_up()
                with self._peers_lock:
                    self._peers.discard(peer)
            raise
        finally:
            if peer is None:
                stream.close()
        return peer

    def _is_taking(self) -> bool:
        return not self._closing

    def _admit(self, upgrade: Upgrade, name: str) -> Peer | None:
        """Before a client learns that it may talk: from here on no broadcast and no farewell passes it by."""
        knock = upgrade.read_request()
        if knock is None:
            return None
        try:
            who = self._gate.admit(knock)
        except Refused as refused:
            headers = CHALLENGE if refused.status is HTTPStatus.UNAUTHORIZED else None
            upgrade.refuse(refused.status, refused.text, headers)
            return None
        host, port = knock.remote
        url = f"{'wss' if self.secure else 'ws'}://{_reachable(host)}:{port}"
        peer = Peer(upgrade.wire(), self._timer, name, url, self._options)
        peer.request = replace(knock, auth=who)
        self._gate.attend(peer.connection, who, peer.end_at)
        with self._peers_lock:
            if not self._closing:
                self._peers.add(peer)
                return peer
        upgrade.refuse_for_good()
        peer.give_up()
        return None


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


def _send_quietly(connection: Connection, data: bytes) -> None:
    try:
        connection._transmit([data], Deadline(BROADCAST_SECONDS))
    except SocketError as error:
        logger.debug("%s: a broadcast did not reach it: %s", connection.name, error)


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host
