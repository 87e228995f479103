"""One proxied connection: a client, the target, and the two flows between them; used on the loop's thread alone."""

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
LONGEST_READ = 64 * 1024
FAREWELL_SECONDS = 1.0

Address = tuple[socket.AddressFamily, Any]
"""A family, and an address of that family."""


class Watch:
    """A socket, and what the selector is asked about it."""

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, owner: object) -> None:
        self.sock = sock
        self._selector = selector
        self._owner = owner
        self._events = 0

    @property
    def writing(self) -> bool:
        """Whether it is waited for until it can be written to."""
        return bool(self._events & WRITE)

    def ask(self, events: int) -> None:
        """Ask about these events, and no others; an end or a failure is not told where none is asked about."""
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
        """Close it; with a reset where the other end must not take it for an end."""
        with suppress(KeyError):  # a forked child has closed its selector, which shares its watches with the parent's
            self.ask(0)
        if reset:
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Side:
    """One of the two ends of a connection.

    Args:
        watch: its socket.
        source: what it sends.
        sink: what it is sent.
    """

    def __init__(self, watch: Watch, source: Flow, sink: Flow) -> None:
        self.watch = watch
        self._source = source
        self.sink = sink
        self._ended = False
        self._broken = False
        watch.sock.setblocking(False)
        with suppress(OSError):  # some systems say here that the other end has gone; reading will tell it
            watch.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, now: float) -> None:
        """Take in what came, as far as there is room for it."""
        room = min(self._source.room(), LONGEST_READ)
        if self._ended or not room:
            return
        try:
            data = self.watch.sock.recv(room)
        except BlockingIOError:
            return
        except OSError:
            self._broken, data = True, b""
        if data:
            self._source.arrive(data, now)
            return
        self._ended = True
        self._source.end(End.RESET if self._broken else End.FIN, now)

    def write(self, now: float) -> None:
        """Let one piece out, if one is due."""
        piece = self.sink.piece(now)
        if not piece:
            return
        try:
            self.sink.sent(self.watch.sock.send(piece))
        except BlockingIOError:
            return
        except OSError:
            self._break(now)

    def pass_end(self, now: float) -> None:
        """Tell it that the other side sends no more."""
        try:
            self.watch.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(now)

    def _break(self, now: float) -> None:
        """It takes no more; what it still sent is read before the other side hears of it."""
        self._broken = True
        self.sink.void()
        if self._ended:
            self._source.end(End.RESET, now)

    def ask(self, now: float) -> None:
        """Ask for what there is room for, and for a chance to send what is due."""
        reads = READ if not self._ended and self._source.room() else 0
        self.watch.ask(reads | (WRITE if self.sink.piece(now) else 0))


class Pipe:
    """A client that was accepted, and its way to the target.

    Args:
        number: of the connection, from 1 in the order of acceptance.
        client: its socket.
        address: the client's.
        targets: addresses of the target, tried in this order.
        selector: of the loop.
        faults: of each direction.
        now: the time.
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
        self.flows = {way: Flow(faults[way], number, way, now) for way in Direction}
        self.over = False
        self._closed = False
        self._upstream, self._downstream = self.flows[Direction.UPSTREAM], self.flows[Direction.DOWNSTREAM]
        self._selector = selector
        self._targets = list(targets)
        self._client = Side(Watch(selector, client, self), self._upstream, self._downstream)
        self._dialled: Watch | None = None
        self._target: Side | None = None

    def turn(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Do what can be done now that a socket is ready, or time has passed; when to come back unasked."""
        self._reach_target(now, sock)
        sides = self._sides()
        for side in sides:
            if side.watch.sock is sock and events & READ:
                side.read(now)
        for side in sides:
            if not side.watch.writing or (side.watch.sock is sock and events & WRITE):
                side.write(now)
        self._end_what_is_over(now)
        if self.over:
            return math.inf
        for side in sides:
            side.ask(now)
        return min(math.inf if side.watch.writing else side.sink.wakes_at(now) for side in sides)

    def _sides(self) -> list[Side]:
        return [self._client] if self._target is None else [self._client, self._target]

    def _reach_target(self, now: float, sock: socket.socket | None) -> None:
        if self._target is not None:
            return
        if self._dialled is None:
            if self._targets and not self._upstream.faults.blackhole:
                self._dial(now)
        elif self._dialled.sock is sock:
            watch, self._dialled = self._dialled, None
            if watch.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                watch.close()
                self._dial(now)
            else:
                self._target = Side(watch, self._downstream, self._upstream)

    def _dial(self, now: float) -> None:
        """Begin to connect to the next address; when none is left, the client finds its connection reset."""
        while self._targets:
            family, address = self._targets.pop(0)
            sock = None
            with suppress(OSError):
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setblocking(False)
                if sock.connect_ex(address) in (0, errno.EINPROGRESS):
                    self._dialled = Watch(self._selector, sock, self)
                    self._dialled.ask(WRITE)
                    return
            if sock is not None:
                sock.close()
        self._downstream.end(End.RESET, now)

    def _end_what_is_over(self, now: float) -> None:
        verdicts = [flow.verdict() for flow in self.flows.values()]
        if End.RESET in verdicts:
            self.close(reset=True)
        elif End.FIN in verdicts:
            self.over = True
        for side in () if self.over else self._sides():
            end = side.sink.take_end(now)
            if end is End.RESET:
                return self.close(reset=True)
            if end is End.FIN:
                side.pass_end(now)
        if not self.over and all(flow.done for flow in self.flows.values()):
            self.close()
        return None

    def part(self) -> list[socket.socket]:
        """End both sides politely, unless they are closed; their sockets are given to who reads them to their end."""
        self.over = True
        if self._closed:
            return []
        if self._dialled is not None:
            self._dialled.close()
        for side in self._sides():
            side.watch.ask(0)
            with suppress(OSError):
                side.watch.sock.shutdown(socket.SHUT_WR)
        return [side.watch.sock for side in self._sides()]

    def close(self, *, reset: bool = False) -> None:
        """End both sides at once, and give their sockets up."""
        self.over = self._closed = True
        if self._dialled is not None:
            self._dialled.close(reset=reset)
        for side in self._sides():
            side.watch.close(reset=reset)


class Farewell:
    """A socket to which all was said: read to its end, for a while, since closing it sooner would reset it."""

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, now: float) -> None:
        self.over = False
        self._watch = Watch(selector, sock, self)
        self._until = now + FAREWELL_SECONDS
        self._watch.ask(READ)

    def turn(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Forget what came; when to come back unasked."""
        try:
            gone = bool(events) and not self._watch.sock.recv(LONGEST_READ)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone or now >= self._until:
            self.close()
        return self._until

    def close(self, *, reset: bool = False) -> None:
        """Give the socket up."""
        self.over = True
        self._watch.close(reset=reset)
