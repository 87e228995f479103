"""`serve`: a listening port, and a thread for each client that connects to it, until its handler has returned.

Threads: one accepts, and each client has one of its own for its handshake and its handler; see
`owlsocket_sync.server.base` for the rest.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

from ..contracts.contract import Contract
from ..deadline import Deadline, check_timeout
from ..errors.safe_text import logger
from ..hub import Hub
from ..options import MIB, Deflate, Heartbeat, Limits, check_type, refuse_unknown
from ..protocol.log_throttle import LogThrottle, omission
from ..protocol.messages import CALL_TIMEOUT
from ..runtime.at_exit import EXIT_REGISTRY
from ..urls import is_loopback
from .acceptor import Acceptor
from .admission import Authenticate, HandshakeRejected
from .base import BaseServer, numbers
from .forwarded import TrustedProxy
from .handshakes import Handshake, HandshakesInFlight
from .health import HealthCheck
from .options import Handler, ServerOptions, check_port
from .peer import Peer
from .proxy_header import ProxyHeaderError
from .request import Request, url_host
from .upgrade import Upgrade

if TYPE_CHECKING:
    from ..stores.queue import Queue

CHECKS_RESERVE = 0.3
"""Of the timeout of `close`, the seconds that are kept for the last health checks to be answered in."""


class Server(BaseServer):
    """A server that accepts clients from its construction until `close`; a context manager.

    Args:
        handler: called as ``handler(connection, request)`` for each client, on a thread of its own.
        host: the address to listen on, or a name for it; ``""`` or ``"::"`` for all addresses of IPv4 and IPv6.
        port: the port; 0 picks a free one.
        options: everything else.

    Attributes:
        url: the URL for clients on this machine.
        port: the port that it listens on.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: the handler is not callable, or an argument is not valid.
    """

    def __init__(
        self, handler: Handler, host: str = "127.0.0.1", port: int = 0, options: ServerOptions = ServerOptions()
    ) -> None:
        check_type("host", host, str)
        check_port(port)
        check_type("options", options, ServerOptions)
        # The options were validated before, the port is bound before the thread starts, and without a thread it is
        # released: a failure leaves nothing, also where the caller keeps its error.
        super().__init__(handler, options, options.name or f"owlsocket-server-{next(numbers)}")
        self._health = None
        if options.health is not None:
            self._health = HealthCheck(options.health, self._accepting, lambda: len(self.connections))
        self._checks_left = 0
        self._throttle = LogThrottle()
        self._handshakes = HandshakesInFlight(self._name, options.handshakes, self._is_shared)
        self._acceptor = Acceptor(host, port, self._on_accept, self._handshakes.make_room, self._name)
        listen_host, self.port = self._acceptor.address
        self._on_loopback = is_loopback(listen_host)
        # A socket of both families is reached by a loopback address of IPv4 on each machine, by ``::1`` on most.
        reachable = "0.0.0.0" if self._acceptor.has_both_families else listen_host
        self.url = f"{'wss' if self.secure else 'ws'}://{url_host(reachable)}:{self.port}"
        self._join_hub()
        self._acceptor.start()
        EXIT_REGISTRY.add(self)

    @property
    def secure(self) -> bool:
        """Return whether links are encrypted."""
        return self._options.ssl_context is not None

    def _stop_accepting(self, deadline: Deadline) -> None:
        # With health checks the port stays open, so that a load balancer learns why no client is accepted.
        if self._health is None:
            self._acceptor.stop(deadline.remaining())

    def _close_clients(self, deadline: Deadline, grace: float) -> None:
        if self._health is None:
            super()._close_clients(deadline, grace)
            return
        reserve = min(CHECKS_RESERVE, deadline.remaining() / 4)
        super()._close_clients(Deadline(deadline.remaining() - reserve), grace)
        self._acceptor.stop(deadline.remaining())
        with self._peers_lock:
            deadline.wait_for(self._peers_changed, lambda: not self._checks_left)

    def __repr__(self) -> str:
        return f"<Server {self.url}, {len(self.connections)} connections>"

    def _is_shared(self, host: str) -> bool:
        """Return whether an address is that of a proxy, from which many clients come."""
        proxies = self._options.proxies
        # With the PROXY protocol, and without a list, all that connects is a proxy.
        return self._options.proxy_protocol if proxies is None else host in proxies

    # -- one client --------------------------------------------------------------------------------------------------

    def _on_accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """Start the thread of an accepted client; on the acceptor's thread."""
        # Counted here, not on the client's thread: `close` must wait for threads that have not begun to run. Those that
        # come while it waits are counted apart, or health checks and rejected clients would prolong that wait.
        with self._peers_lock:
            is_late = self._health is not None and not self._accepting()
            self._checks_left += is_late
            self._clients_left += not is_late
        name = f"{self._name}#{next(numbers)}"
        handshake = Handshake(sock, address)
        try:
            self._handshakes.enter(handshake)
            threading.Thread(target=self._serve_client, args=(handshake, name, is_late), name=name, daemon=True).start()
        except Exception as error:  # the process has reached its limit of threads
            logger.error("%s: cannot start a thread for a client, closing its connection: %s", self._name, error)
            self._handshake_failed(handshake, is_late)
            self._handshakes.make_room()
        except BaseException:
            self._handshake_failed(handshake, is_late)
            raise

    def _handshake_failed(self, handshake: Handshake, is_late: bool) -> None:
        """Close the socket of a client that got no thread."""
        self._handshakes.leave(handshake)
        handshake.sock.close()
        self._client_left(is_late)

    def _client_left(self, is_late: bool) -> None:
        """Note that a client is gone that got no link."""
        if not is_late:
            self._client_finished(None)
            return
        with self._peers_lock:
            self._checks_left -= 1
            self._peers_changed.notify_all()

    def _serve_client(self, handshake: Handshake, name: str, is_late: bool) -> None:
        """Do the handshakes with a client, and run its handler; on the client's thread."""
        peer = None
        try:
            peer = self._handshake(handshake, name, self._acceptor.is_running if is_late else self._accepting)
            if peer is not None:
                # The end of the link follows when the poller has read it, long after this thread has ended.
                peer.on_end, peer.on_stranded = self._on_client_end
                peer.run(self._handler)
        except ProxyHeaderError as error:
            # A proxy that does not send the header, or is not trusted, keeps all clients out: the log has to say so.
            omitted = self._throttle.admit("proxy_protocol")
            if omitted is not None:
                logger.warning("%s: %s (option proxy_protocol)%s", self._name, error, omission(omitted))
        except OSError as error:
            # Port scanners and health checks do this all day: not worth a line above DEBUG.
            logger.debug("%s: disconnected during the handshake: %s", name, error)
        except BaseException:
            # The last place to catch an error of our own: past it, `threading` would print it to stderr, or discard it
            # without a word, as it does a SystemExit. By now the link has ended.
            logger.exception("%s: serving the client failed", name)
        finally:
            if peer is None:
                self._client_left(is_late)

    def _handshake(self, handshake: Handshake, name: str, should_continue: Callable[[], bool]) -> Peer | None:
        """Perform the handshakes; ``None`` when the client was rejected. Raises `OSError` when it disconnected."""
        try:
            upgrade = Upgrade(handshake, self._options, should_continue, self._health)
        except BaseException:
            self._handshakes.leave(handshake)
            handshake.sock.close()
            raise
        peer = None
        try:
            try:
                upgrade.open_stream()
                request = upgrade.read_request()
            finally:
                # Before the socket is closed: its number may belong to another file afterwards.
                self._handshakes.leave(handshake)
            if request is not None:
                peer = self._admit(upgrade, request, name)
            if peer is not None:
                upgrade.accept()
        except BaseException:
            if peer is not None:
                # The link owns the stream by now, and `run` will not be reached to close it.
                peer.abort_handshake()
                with self._peers_lock:
                    self._peers.pop(peer, None)
            raise
        finally:
            if peer is None:
                upgrade.close()
        return peer

    def _admit(self, upgrade: Upgrade, request: Request, name: str) -> Peer | None:
        """Authenticate the client and add its peer; ``None`` when it was rejected."""
        if not self._accepting():
            upgrade.reject_closing()
            return None
        try:
            on_loopback = self._on_loopback and not upgrade.is_forwarded
            identity = self._authenticate(request, on_loopback=on_loopback, target=upgrade.target)
        except HandshakeRejected as rejected:
            upgrade.reject(rejected.status, rejected.text, rejected.headers)
            return None
        except BaseException:  # such as SystemExit, on a thread that is ours: the client gets a response all the same
            logger.exception("%s: authenticate did not return; the client is rejected", name)
            upgrade.reject(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed to authenticate the client.\n")
            return None
        peer = self._make_peer(upgrade.make_framing(), request, identity, name)
        peer.core.facade.answer = upgrade.answer()
        if self._add_peer(peer):
            return peer
        upgrade.reject_closing()
        peer.abort_handshake()
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
    total_bytes: int = 1024 * MIB,
    heartbeat: Heartbeat | None = Heartbeat(),
    workers: int = 4,
    timeout: float | None = 10.0,
    call_timeout: float | None = CALL_TIMEOUT,
    expose_tracebacks: bool = False,
    name: str | None = None,
    compression: Deflate | str | None = None,
    inbox: Queue | None = None,
    outbox: Callable[[Request], Queue | None] | None = None,
    hub: Hub | None = None,
    subprotocols: Sequence[str] | None = None,
    health: str | None = None,
    trusted_proxies: Sequence[TrustedProxy] | None = None,
    proxy_protocol: bool = False,
    handshakes: int = 256,
    describe: bool | Contract = False,
    **unknown: NoReturn,
) -> Server:
    """Serve clients on a port of this machine; the server accepts them when this returns.

    Args:
        handler: called as ``handler(connection, request)`` for each client, on a thread of its own. It registers what
            it answers and may return; the link lives until either side closes it. An exception closes it with 1011.
        host: the address to listen on, or a name for it; ``""`` or ``"::"`` for all addresses of IPv4 and IPv6, where
            the system has both.
        port: the port; 0 picks a free one, see ``Server.port``.
        ssl_context: with a certificate, for ``wss://``.
        authenticate: an `owlsocket_sync.auth.Guard`, or a callable ``(request) -> identity``, called before the
            upgrade. An exception rejects the client, with HTTP 401 or 403 for authentication errors; so do ``None`` and
            ``False``, with 401. ``ANONYMOUS`` admits it without an identity. The identity is ``request.auth`` and
            ``connection.auth_info``; at its ``expires_at`` the link is closed (1008).
        origins: the origins of web pages that may connect, ``"*"`` for all. ``None`` for the origin of the server
            itself, as the ``Host`` header names it; a server on a loopback address then accepts loopback names only.
            Clients other than browsers send no origin, and always may.
        limits: the bounds of queues and message sizes, for each client.
        total_bytes: the memory of the messages of all clients that were not yet handled or consumed. Above it, nothing
            more is read from a client that holds its part of it, and what it queues is dropped and reported.
        heartbeat: when a silent client is pinged; ``None`` for never.
        workers: the number of handlers that run at once for each client.
        timeout: seconds for a client's handshakes.
        call_timeout: seconds that a call to a client waits for its result when the call sets no timeout.
        expose_tracebacks: send tracebacks of handlers to clients.
        name: of the server, in logs and in the names of its threads.
        compression: ``"deflate"`` or a `Deflate` compresses messages for clients that offer it; ``None`` for none.
        inbox: a queue of a store, in which messages of all clients are kept until they are acknowledged; ``None`` for
            the memory of each connection. See `owlsocket_sync.stores`.
        outbox: called with the request of each client; returns the queue from which messages are sent to it until it
            has acknowledged them, or ``None`` to send at once. If it raises, the client is not accepted.
        hub: the server is one of the servers of this hub; ``None`` for a `owlsocket_sync.hub.MemoryHub` of its own.
        subprotocols: the subprotocols of the server, the preferred one first: the first that a client offers is
            selected, and is `Connection.subprotocol`. A client that offers others only is rejected (400); one that
            offers none has none. ``None`` takes the first of any client.
        health: the path, such as ``"/health"``, at which plain HTTP requests are answered with the status of the server
            as one line of JSON; ``None`` for none.
        trusted_proxies: the addresses and networks, such as ``"10.0.0.0/8"``, of the proxies of which the server
            believes the headers ``Forwarded``, ``X-Forwarded-For`` and ``X-Forwarded-Host``; ``None`` for none.
        proxy_protocol: each connection has to begin with a header of the PROXY protocol, version 1 or 2; from
            ``trusted_proxies``, if these are named, and otherwise from any address.
        handshakes: the number of clients that connected and did not finish their handshakes, and half of it those of
            one address. Above it, the one that is waited for longest is closed.
        describe: ``True`` answers clients that ask for the methods and types of the server (``owlsocket describe``),
            and a `owlsocket_sync.contracts.Contract` tells them the events, too.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: an option is not valid; the message names it.
        TypeError: there is no such option; the message has the nearest name.
    """
    refuse_unknown("serve", unknown, serve)
    options = ServerOptions(
        ssl_context=ssl_context,
        authenticate=authenticate,
        origins=origins,
        limits=limits,
        total_bytes=total_bytes,
        heartbeat=heartbeat,
        workers=workers,
        timeout=check_timeout(timeout, default=ServerOptions.timeout),
        call_timeout=check_timeout(call_timeout, "call_timeout", CALL_TIMEOUT),
        expose_tracebacks=expose_tracebacks,
        name=name,
        compression=compression,
        inbox=inbox,
        outbox=outbox,
        hub=hub,
        subprotocols=subprotocols,
        health=health,
        trusted_proxies=trusted_proxies,
        proxy_protocol=proxy_protocol,
        handshakes=handshakes,
        describe=describe,
    )
    return Server(handler, host, port, options)
