"""Clients whose sockets another server accepted, and whose hands somebody else shook: ``lodge()``.

Web servers hand the socket of an upgraded request to the thread that serves it. Here that thread serves the link as
`owlsocket_sync.server.serve` does its own, with the same deadlines, limits and heartbeat, and gives the socket back
when the link has ended: shut down, and for its owner to close.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from ..options import Heartbeat, Limits
from ..protocol.messages import CALL_TIMEOUT
from ..runtime.guards import guard
from ..transport.stream import DuplexStream
from .gate import CHALLENGE, Authenticate, Gate, Refused
from .hosting import Hosting, check_hosting, numbers
from .peer import Around, Handler
from .upgrade import Request
from .wire import ServerWire

logger = logging.getLogger("owlsocket_sync")


class LentStream(DuplexStream):
    """A stream over a socket that stays its owner's: it is shut down at the end, and not closed."""

    def close(self) -> None:
        """Leave the socket to its owner; by the reader only, once nobody writes."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._end = OSError(errno.EBADF, "the stream is closed")
            self.gate.close()
        with contextlib.suppress(OSError):
            # That of a `ssl.SSLSocket`, too: what its owner writes from now on meets a broken pipe, and not TLS.
            self._sock.shutdown(socket.SHUT_RDWR)


class Lodging(Hosting):
    """Serves the clients that others accepted, each on the thread that brings it; belongs to one process."""

    def __init__(self, handler: Handler, options: dict[str, Any], name: str) -> None:
        super().__init__(handler, options, name)
        guard(self)

    def admit(self, request: Request) -> Any:
        """Who comes, before the upgrade.

        Raises:
            Refused: it may not, with the HTTP status and the text to answer.
        """
        origins, origin = self._options["origins"], request.headers.get("Origin")
        if origins is not None and origin is not None and origin not in origins:
            raise Refused(HTTPStatus.FORBIDDEN, "Pages of this origin may not connect.\n")
        if not self._is_taking():
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The server is closing.\n")
        return self._gate.admit(request)

    @staticmethod
    def headers_for(refused: Refused) -> dict[str, str]:
        """What the answer to a refused client says beside its text."""
        return dict(CHALLENGE) if refused.status is HTTPStatus.UNAUTHORIZED else {}

    def host(self, sock: socket.socket, request: Request, who: Any) -> None:
        """Serve a client after its upgrade until its link ends; on the thread that brings it.

        Args:
            sock: where it is; its owner does not touch it meanwhile, and closes it afterwards.
            request: with which it came.
            who: what `admit` returned.
        """
        with self._peers_lock:
            self._visitors += 1
        peer = None
        try:
            stream = LentStream(sock)
            host, port = request.remote
            scheme = "wss" if stream.secure else "ws"
            wire = ServerWire(stream, self._options["limits"].message_size, b"")
            url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            peer = self._seat(wire, f"{self._name}#{next(numbers)}", url, request, who, lambda: _go_away(wire))
            if peer is not None:
                peer.run(self._handler)
        finally:
            self._bid_farewell(peer)

    def __repr__(self) -> str:
        return f"<Lodging {self._name!r}, {len(self.connections)} connections>"


def _go_away(wire: ServerWire) -> None:
    """The server began to close between the upgrade and now: say so, as far as that needs no waiting."""
    try:
        wire.stream.write_until = 0.0
        wire.stream.send(wire.close_frame_of(1001, ""))
    except OSError:
        logger.debug("a client left before it was told to")


def lodge(
    handler: Handler,
    *,
    authenticate: Authenticate | None = None,
    origins: Sequence[str] | None = None,
    limits: Limits = Limits(),
    heartbeat: Heartbeat | None = Heartbeat(),
    workers: int = 4,
    call_timeout: float = CALL_TIMEOUT,
    expose_tracebacks: bool = False,
    around: Around | None = None,
    name: str | None = None,
) -> Callable[[], Lodging]:
    """Check these once, and return what makes the `Lodging` of a process.

    Args:
        handler: as `owlsocket_sync.server.serve` has it, and so are the others that it has as well.
        authenticate: who may come.
        origins: whose pages may.
        limits: how much may pile up, for each client.
        heartbeat: when to ask a silent client for a sign of life.
        workers: how many handlers run at once for each client.
        call_timeout: seconds that a call to a client waits for its answer.
        expose_tracebacks: send tracebacks of handlers to clients.
        around: makes the context manager within which each handler of a client runs.
        name: what logs call it.

    Raises:
        ValueError: an option cannot be used; the message names it.
    """
    check_hosting(handler, limits, heartbeat, workers, origins, call_timeout)
    options = {
        "authenticate": authenticate,
        "origins": origins,
        "limits": limits,
        "heartbeat": heartbeat,
        "workers": workers,
        "call_timeout": call_timeout,
        "expose_tracebacks": expose_tracebacks,
        "around": around,
    }
    Gate(authenticate)
    return lambda: Lodging(handler, options, name or f"owlsocket-lodging-{next(numbers)}")
