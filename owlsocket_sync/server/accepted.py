"""What websockets accepts for us: the link to a client, its socket, and the request with which it came.

Threads: the thread of websockets that reads calls `AcceptedSocket.recv`; whoever holds its mutex calls
`AcceptedSocket.sendall`, which gives up after `SEND_SECONDS`. A limit that is set on a socket counts for both
directions, and turns a read that is under way into a failure; so the two directions wait by themselves, in
`DuplexStream`. Any thread may end the socket, which frees both; its descriptor is closed by the reader alone, once it
has gone and nobody writes (``_sending``).
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from websockets.protocol import State
from websockets.sync.server import ServerConnection

from ..transport.stream import DuplexStream

SEND_SECONDS = 15.0


@dataclass(frozen=True)
class Request:
    """The request with which a client came.

    Attributes:
        path: of the URL, without the query.
        query: the parameters of the URL; the last one where a name comes twice.
        headers: of the request, whatever the case of their names.
        remote: the address and port that it came from.
        auth: who sent it, as the guard of the server verified it; ``None`` for nobody in particular.
    """

    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    remote: tuple[str, int]
    auth: Any = None


class AcceptedSocket:
    """The stream to a client, in the words that websockets has for a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = DuplexStream(sock)
        self._sending = threading.Lock()
        self._limit = SEND_SECONDS

    def fileno(self) -> int:
        """The descriptor."""
        return self._stream.fileno()

    def recv(self, size: int) -> bytes:
        """What came, ``b""`` at the end."""
        return self._stream.recv(size)

    def sendall(self, data: bytes) -> None:
        """Send all of it, or raise `TimeoutError` when the client does not take it in time."""
        with self._sending:
            self._stream.write_until = time.monotonic() + self._limit
            self._stream.send(data)

    def settimeout(self, seconds: float | None) -> None:
        """How long either direction may wait from now on; writes never wait longer than `SEND_SECONDS`."""
        self._limit = SEND_SECONDS if seconds is None else min(seconds, SEND_SECONDS)
        self._stream.read_until = math.inf if seconds is None else time.monotonic() + seconds

    def shutdown(self, how: int) -> None:
        """End our direction, or both."""
        if how == socket.SHUT_WR:
            self._stream.end_writing()
        else:
            self._stream.interrupt()

    def close(self) -> None:
        """End both directions; the reader closes the descriptor."""
        self._stream.interrupt()

    def release(self) -> None:
        """Close the descriptor; by the reader, as the last thing it does."""
        self._stream.interrupt()
        with self._sending:
            self._stream.close()

    def abandon(self) -> None:
        """In a forked child: let go of the descriptor; the parent's link goes on untouched."""
        self._stream.abandon()


class AcceptedLink(ServerConnection):
    """A link whose directions do not disturb each other, and which is served as soon as it is granted.

    Args:
        sock: what was accepted.
        serve: called on the thread of the link with the link, and with what shakes hands on it; once that has returned,
            the client has its answer. The link has ended when ``serve`` returns.
    """

    def __init__(
        self,
        sock: socket.socket,
        *arguments: Any,
        serve: Callable[[AcceptedLink, Callable[[], None]], None],
        **options: Any,
    ) -> None:
        try:
            self.came_from: tuple[str, int] = sock.getpeername()[:2]
        except OSError:  # its client has left already
            self.came_from = ("?", 0)
        self.stream = AcceptedSocket(sock)
        self._serve = serve
        super().__init__(cast(socket.socket, self.stream), *arguments, **options)

    def handshake(self, *arguments: Any, **options: Any) -> None:
        """Shake hands, and serve the client; on the thread of the link.

        websockets calls its handler afterwards, but only when the client is still there, and so loses what somebody
        said who left at once.
        """
        self._serve(self, partial(super().handshake, *arguments, **options))

    @property
    def granted(self) -> bool:
        """Whether the client was told that it may talk."""
        return (
            self.response is not None
            and self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
            and self.protocol.state is not State.CONNECTING
        )

    def recv_events(self) -> None:
        """Read until the link ends; on the thread that websockets keeps for this."""
        try:
            super().recv_events()
        finally:
            self.stream.release()

    def read_request(self) -> Request:
        """The request behind the link, in our words."""
        assert self.request is not None
        parts = urlsplit(self.request.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(parts.path, query, self.request.headers, self.came_from)
