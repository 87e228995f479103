"""Clients whose sockets another server accepted and upgraded: `AdoptedServer`.

Web servers hand the socket of an upgraded request to the thread that serves it. Here the link is served as by
`owlsocket_sync.server.serve`, with the same deadlines, limits and heartbeat. That thread runs the handler, waits while
the poller reads, and returns the socket when the link has ended: shut down, and for its owner to close.
"""

from __future__ import annotations

import contextlib
import socket
from http import HTTPStatus
from typing import Any

from ..errors.safe_text import logger
from ..handshake_fields import SUBPROTOCOLS, UpgradeAnswer
from ..runtime.at_exit import EXIT_REGISTRY
from ..transport.deflate import EXTENSIONS, Compression, negotiate
from ..transport.framing import ServerFraming
from ..transport.socket_options import set_options
from ..transport.stream import DuplexStream
from ..urls import is_loopback
from .admission import HandshakeRejected
from .base import BaseServer, numbers
from .options import Handler, ServerOptions
from .request import Request
from .subprotocols import NoCommonSubprotocol, select_subprotocol


class BorrowedStream(DuplexStream):
    """A stream over a socket that belongs to another server: it is shut down at the end, and not closed."""

    __slots__ = ()

    def _close_socket(self) -> None:
        # Not `close`: the owner closes the descriptor too, and by then its number may be another connection's.
        with contextlib.suppress(OSError):
            # The shutdown of a `ssl.SSLSocket` too, which drops its TLS object: what the owner writes from now on
            # meets a broken pipe instead of a TLS record.
            self._sock.shutdown(socket.SHUT_RDWR)


class AdoptedServer(BaseServer):
    """Serves clients that another server accepted, each on the thread of its request; belongs to one process.

    Args:
        handler: called as ``handler(connection, request)`` for each client.
        options: ``ssl_context``, ``timeout``, ``health``, ``trusted_proxies``, ``proxy_protocol`` and ``handshakes`` do
            not apply: the other server does the handshakes, answers plain requests, and knows the address of clients.

    Raises:
        ValueError: the handler is not callable.
    """

    def __init__(self, handler: Handler, options: ServerOptions) -> None:
        super().__init__(handler, options, options.name or f"owlsocket-adopted-{next(numbers)}")
        self._join_hub()
        EXIT_REGISTRY.add(self)

    def admit(self, request: Request, host: str = "") -> Any:
        """Return the identity of a client, before the upgrade.

        Args:
            request: the upgrade request.
            host: the address on which the other server listens, if that is known.

        Raises:
            HandshakeRejected: with the HTTP status, the text and the headers of the response.
        """
        if not self._accepting():
            raise HandshakeRejected(HTTPStatus.SERVICE_UNAVAILABLE, "The server is closing.\n")
        return self._authenticate(request, on_loopback=is_loopback(host))

    def negotiate(self, request: Request) -> tuple[str, Compression | None]:
        """Return the extensions with which the upgrade answers those of a client, empty for none, and the compression.

        Args:
            request: the upgrade request.
        """
        deflate = self._options.deflate
        return ("", None) if deflate is None else negotiate(request.headers.get(EXTENSIONS, ""), deflate)

    def select_subprotocol(self, request: Request) -> str | None:
        """Return the subprotocol that the upgrade selects, ``None`` for none.

        Raises:
            HandshakeRejected: the client offers none that the server has.
        """
        offers = request.headers.get(SUBPROTOCOLS, "").split(",")
        try:
            return select_subprotocol(self._options.subprotocols, list(filter(None, map(str.strip, offers))))
        except NoCommonSubprotocol as error:
            raise HandshakeRejected(HTTPStatus.BAD_REQUEST, f"Not accepted: {error}.\n") from error

    def serve_socket(
        self,
        sock: socket.socket,
        request: Request,
        identity: Any,
        compression: Compression | None = None,
        subprotocol: str | None = None,
    ) -> None:
        """Serve a client after its upgrade, until its link ends; on the thread of the request.

        Args:
            sock: connected; its owner must not use it meanwhile, and closes it afterwards.
            request: the upgrade request.
            identity: the value that `admit` returned.
            compression: the one that `negotiate` returned.
            subprotocol: the one that the upgrade selected.
        """
        with self._peers_lock:
            self._clients_left += 1
        peer = None
        try:
            set_options(sock)
            framing = ServerFraming(BorrowedStream(sock), self._options.limits.message_size)
            if compression is not None:
                framing.agree(compression)
            peer = self._make_peer(framing, request, identity, f"{self._name}#{next(numbers)}")
            peer.core.facade.answer = UpgradeAnswer(subprotocol)
            if self._add_peer(peer):
                try:
                    peer.run(self._handler)
                finally:
                    peer.wait_over()
            else:
                _send_going_away(framing)
                peer.abort_handshake()
        finally:
            self._client_finished(peer)

    def __repr__(self) -> str:
        return f"<AdoptedServer {self._name!r}, {len(self.connections)} connections>"


def _send_going_away(framing: ServerFraming) -> None:
    """Send a close frame if that needs no waiting: the server began to close after it had admitted the client."""
    # The client has its 101 already, so no HTTP status can reject it any more (RFC 6455, section 7.4.1: 1001).
    try:
        framing.stream.write_deadline = 0.0
        framing.stream.send(framing.close_frame(1001, ""))
    except OSError:
        logger.debug("a client disconnected before the close frame was sent")
