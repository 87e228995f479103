"""``serve()``: a port, the clients that come to it, and what they are given.

Threads: one thread accepts, and each client has one of its own; see `owlsocket_sync.server.hosting` for the rest.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from ..deadline import Deadline, check_timeout
from ..options import Heartbeat, Limits
from ..protocol.messages import CALL_TIMEOUT
from ..runtime.guards import guard
from .acceptor import Acceptor
from .gate import CHALLENGE, Authenticate, Refused
from .hosting import Hosting, check_hosting, numbers
from .peer import Handler, Peer
from .upgrade import Upgrade, encrypt

logger = logging.getLogger("owlsocket_sync")

# At DEBUG, websockets logs whole requests, the tokens in their queries included.
_library_logger = logging.getLogger("owlsocket_sync.server.websockets")
_library_logger.setLevel(logging.WARNING)


class Server(Hosting):
    """A server that serves, from the moment it is there until `close`; a context manager.

    Attributes:
        url: what a client on this machine connects to.
        port: the port it listens on.
    """

    def __init__(self, handler: Handler, host: str, port: int, options: dict[str, Any], name: str) -> None:
        super().__init__(handler, options, name)
        self._acceptor = Acceptor(host, port, self._welcome, name)
        bound, self.port = self._acceptor.address
        self.url = f"{'wss' if self.secure else 'ws'}://{_reachable(bound)}:{self.port}"
        guard(self)
        self._acceptor.start()

    @property
    def secure(self) -> bool:
        """Whether links are encrypted."""
        return self._options["ssl_context"] is not None

    def _shut(self, deadline: Deadline) -> None:
        self._acceptor.stop(deadline.remaining())

    def disown(self) -> None:
        """In a forked child: leave the port and the links to the parent."""
        self._acceptor.abandon()
        super().disown()

    def __repr__(self) -> str:
        return f"<Server {self.url}, {len(self.connections)} connections>"

    # -- one client --------------------------------------------------------------------------------------------------

    def _welcome(self, sock: socket.socket) -> None:
        """Give who was accepted a thread; on the acceptor's."""
        with self._peers_lock:
            self._visitors += 1
        name = f"{self._name}#{next(numbers)}"
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
        return self._seat(upgrade.wire(), name, url, knock, who, upgrade.refuse_for_good)


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
    check_hosting(handler, limits, heartbeat, workers, origins, call_timeout)
    options = {
        "ssl_context": ssl_context,
        "authenticate": authenticate,
        "origins": origins,
        "limits": limits,
        "heartbeat": heartbeat,
        "workers": workers,
        "timeout": check_timeout(timeout),
        "call_timeout": call_timeout,
        "expose_tracebacks": expose_tracebacks,
    }
    return Server(handler, host, port, options, name or f"owlsocket-server-{next(numbers)}")


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host
