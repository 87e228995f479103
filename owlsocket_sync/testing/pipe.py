"""One proxied connection: a client, the target, and the two flows between them; on the thread of the loop alone."""

from __future__ import annotations

import errno
import math
import selectors
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from .flow import Direction, End, Faults, Flow

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
MAX_READ = 64 * 1024
LINGER_SECONDS = 1.0

Address = tuple[socket.AddressFamily, Any]
"""A family, and an address of that family."""


class SocketRegistration:
    """A socket, and the events for which it is registered with the selector."""

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, owner: object) -> None:
        self.sock = sock
        self._selector = selector
        self._owner = owner
        self._events = 0

    @property
    def writing(self) -> bool:
        """Return whether the selector waits for the socket to become writable."""
        return bool(self._events & WRITE)

    def set_events(self, events: int) -> None:
        """Wait for these events, and no others; 0 unregisters the socket."""
        # Registered for nothing, a socket would still report its end or failure, in every round of the loop.
        if events == self._events:
            return
        if not events:
            self._selector.unregister(self.sock)
        elif self._events:
            self._selector.modify(self.sock, events, self._owner)
        else:
            self._selector.register(self.sock, events, self._owner)
        self._events = events

    def close(self, *, reset: bool = False) -> None:
        """Unregister and close the socket; with a RST where the peer must not see a regular end."""
        with suppress(KeyError):  # a forked child has closed the selector before its sockets
            self.set_events(0)
        if reset:
            # A linger time of 0 makes the kernel send RST instead of FIN.
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class PipeEndpoint:
    """One of the two ends of a connection: the client, or the target.

    Args:
        registration: its socket.
        source: the flow of the bytes that it sends.
        sink: the flow of the bytes that are sent to it.
    """

    def __init__(self, registration: SocketRegistration, source: Flow, sink: Flow) -> None:
        self.registration = registration
        self._source = source
        self.sink = sink
        # Two flags for two directions, which end apart: nothing more is read from the socket, or none is taken by it.
        self._ended = False
        self._broken = False
        registration.sock.setblocking(False)
        with suppress(OSError):  # on some systems this fails when the peer has gone; reading will report it
            registration.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, now: float) -> None:
        """Read what has arrived, as far as the flow has room for it."""
        room = min(self._source.room(), MAX_READ)
        if self._ended or not room:
            return
        try:
            data = self.registration.sock.recv(room)
        except BlockingIOError:
            return
        except OSError:
            self._broken, data = True, b""
        if data:
            self._source.feed(data, now)
            return
        # A half-close: the other direction goes on until its own end (RFC 9293, section 3.6).
        self._ended = True
        self._source.end(End.RESET if self._broken else End.FIN, now)

    def write(self, now: float) -> None:
        """Send one piece, if one is due."""
        piece = self.sink.piece(now)
        if not piece:
            return
        try:
            self.sink.sent(self.registration.sock.send(piece))
        except BlockingIOError:
            return
        except OSError:
            self._break(now)

    def send_fin(self, now: float) -> None:
        """Pass on that the other end sends no more."""
        try:
            self.registration.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(now)

    def _break(self, now: float) -> None:
        # The socket takes no more, yet bytes that it sent may wait to be read. Those come first: the other end learns
        # of the reset from `read`, or here where reading is over.
        self._broken = True
        self.sink.discard()
        if self._ended:
            self._source.end(End.RESET, now)

    def update_events(self, now: float) -> None:
        """Wait for bytes if there is room for them, and for a chance to send if a piece is due."""
        reads = READ if not self._ended and self._source.room() else 0
        self.registration.set_events(reads | (WRITE if self.sink.piece(now) else 0))


class Pipe:
    """An accepted client, and its connection to the target.

    Args:
        number: of the connection, from 1 in the order of acceptance.
        client: the socket of the client.
        address: of the client.
        targets: addresses of the target, tried in this order.
        selector: of the loop.
        faults: of each direction.
        now: the time.

    Attributes:
        flows: of each direction.
        finished: whether the connection is over.
    """

    def __init__(
        self,
        number: int,
        client: socket.socket,
        address: tuple[str, int],
        targets: Sequence[Address],
        selector: selectors.BaseSelector,
        faults: Mapping[Direction, Faults],
        now: float,
    ) -> None:
        self.number = number
        self.address = address
        self.flows = {direction: Flow(faults[direction], number, direction, now) for direction in Direction}
        # Two flags: the loop drops what has finished, but sockets that were only shut down go on, and are not closed.
        self.finished = False
        self._closed = False
        self._upstream, self._downstream = self.flows[Direction.UPSTREAM], self.flows[Direction.DOWNSTREAM]
        self._selector = selector
        self._targets = list(targets)
        self._client = PipeEndpoint(SocketRegistration(selector, client, self), self._upstream, self._downstream)
        self._connecting: SocketRegistration | None = None
        self._target: PipeEndpoint | None = None

    def on_ready(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Move the bytes that can be moved; return when to be called next."""
        self._connect_target(now, sock)
        endpoints = self._endpoints()
        # Every read before any write: bytes that just arrived may leave in the same round.
        for endpoint in endpoints:
            if endpoint.registration.sock is sock and events & READ:
                endpoint.read(now)
        for endpoint in endpoints:
            # A socket that waits to become writable is full: it is tried when the selector reports it.
            if not endpoint.registration.writing or (endpoint.registration.sock is sock and events & WRITE):
                endpoint.write(now)
        self._pass_ends(now)
        if self.finished:
            return math.inf
        for endpoint in endpoints:
            endpoint.update_events(now)
        return min(
            math.inf if endpoint.registration.writing else endpoint.sink.next_wakeup(now) for endpoint in endpoints
        )

    def _endpoints(self) -> list[PipeEndpoint]:
        return [self._client] if self._target is None else [self._client, self._target]

    def _connect_target(self, now: float, sock: socket.socket | None) -> None:
        if self._target is not None:
            return
        if self._connecting is None:
            # Under a black hole the target must not see the client either.
            if self._targets and not self._upstream.faults.blackhole:
                self._connect_next(now)
        elif self._connecting.sock is sock:
            registration, self._connecting = self._connecting, None
            # Writable says only that the attempt is over; the option says how.
            if registration.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                registration.close()
                self._connect_next(now)
            else:
                self._target = PipeEndpoint(registration, self._downstream, self._upstream)

    def _connect_next(self, now: float) -> None:
        """Begin to connect to the next address; when none is left, reset the connection of the client."""
        while self._targets:
            family, address = self._targets.pop(0)
            sock = None
            with suppress(OSError):
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setblocking(False)
                if sock.connect_ex(address) in (0, errno.EINPROGRESS):
                    self._connecting = SocketRegistration(self._selector, sock, self)
                    self._connecting.set_events(WRITE)
                    return
            if sock is not None:
                sock.close()
        self._downstream.end(End.RESET, now)

    def _pass_ends(self, now: float) -> None:
        """End what must end: the whole connection at a byte limit, or a direction whose end is due."""
        forced_ends = [flow.forced_end() for flow in self.flows.values()]
        if End.RESET in forced_ends:
            self.close(reset=True)
        elif End.FIN in forced_ends:
            self.finished = True
        for endpoint in () if self.finished else self._endpoints():
            end = endpoint.sink.take_end(now)
            if end is End.RESET:
                # A reset ends both directions at once, for either end.
                return self.close(reset=True)
            if end is End.FIN:
                endpoint.send_fin(now)
        if not self.finished and all(flow.done for flow in self.flows.values()):
            self.close()
        return None

    def shutdown(self) -> list[socket.socket]:
        """Send FIN to both ends, unless they are closed; return their sockets, which the caller reads to the end."""
        self.finished = True
        if self._closed:
            return []
        if self._connecting is not None:
            self._connecting.close()
        for endpoint in self._endpoints():
            # The socket goes on under another registration, and a selector takes each descriptor once.
            endpoint.registration.set_events(0)
            with suppress(OSError):
                endpoint.registration.sock.shutdown(socket.SHUT_WR)
        return [endpoint.registration.sock for endpoint in self._endpoints()]

    def close(self, *, reset: bool = False) -> None:
        """Close both ends at once."""
        self.finished = self._closed = True
        if self._connecting is not None:
            self._connecting.close(reset=reset)
        for endpoint in self._endpoints():
            endpoint.registration.close(reset=reset)


class LingeringSocket:
    """A socket after its FIN, read to its end for a while."""

    # Closing a socket with unread bytes sends RST, and its peer may lose bytes that it has not read yet.

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, now: float) -> None:
        self.finished = False
        self._registration = SocketRegistration(selector, sock, self)
        self._until = now + LINGER_SECONDS
        self._registration.set_events(READ)

    def on_ready(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Discard what has arrived; return when to be called next."""
        try:
            ended = bool(events) and not self._registration.sock.recv(MAX_READ)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended or now >= self._until:
            self.close()
        return self._until

    def close(self, *, reset: bool = False) -> None:
        """Close the socket."""
        self.finished = True
        self._registration.close(reset=reset)
