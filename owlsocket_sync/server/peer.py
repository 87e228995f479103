"""The carrier of the connection to one client.

Threads. websockets gives each link a thread of its own, which runs the user's handler and then reads; a handler that
waits or sends before it returns has begun its work, so a reader starts beside it at that moment. Messages are therefore
never read before the handler had its chance to register what it answers. ``_standing`` (a condition) guards the state
and is a leaf. Writes hold the mutex of websockets, for `SEND_SECONDS` at most.

Where a thread can block, and what frees it: the reader in ``recv`` (the end of the link) and in its pause for a full
backlog (slices); a writer in ``sendall`` (`SEND_SECONDS`, the end of the link); `Peer.wait_closed` and `Peer.ping`
(their deadlines).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

from websockets.exceptions import ConnectionClosed

from ..connection import Connection, cut_reason
from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..runtime.timer import Timer
from ..runtime.workers import WorkerPool
from ..stages import ConnectionState, Ending, StateChange
from .accepted import SEND_SECONDS, AcceptedLink, Request

logger = logging.getLogger("owlsocket_sync")

PAUSE = 0.02
POLICY = 1008


Handler = Callable[[Connection, Request], object]


class Peer:
    """The link to one client; see `owlsocket_sync.protocol.carrier.Carrier`. It does not come again once it is gone."""

    connection: Connection
    request: Request
    links = 1

    def __init__(
        self,
        ws: AcceptedLink,
        pool: WorkerPool,
        timer: Timer,
        secure: bool,
        name: str,
    ) -> None:
        self._ws = ws
        self._pool = pool
        self._timer = timer
        self._name = name
        self._standing = threading.Condition(threading.Lock())
        self._ending: Ending | None = None
        self._closing: Ending | None = None
        self._state = ConnectionState.CONNECTING
        self._reader: threading.Thread | None = None
        self._handler_thread: int | None = None
        self._ends = math.inf
        host, port = ws.came_from
        self.url = f"{'wss' if secure else 'ws'}://{host}:{port}"

    # -- the handler and the reader ----------------------------------------------------------------------------------

    def run(self, handler: Handler) -> None:
        """Run the handler, then read until the link ends; on the thread that websockets gave this link."""
        self._move(ConnectionState.OPEN, None)
        self._handler_thread = threading.get_ident()
        try:
            handler(self.connection, self.request)
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

    def give_up(self) -> None:
        """The client left, or was refused, before it was told that it may talk; instead of `run`."""
        self._end(Ending(1006, "the handshake failed"))

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

    def _move(self, state: ConnectionState, ending: Ending | None) -> None:
        with self._standing:
            if self._state in (state, ConnectionState.CLOSED):
                return
            previous, self._state = self._state, state
            self._standing.notify_all()
        change = StateChange(state, previous)
        if ending is not None:
            change = StateChange(state, previous, ending.code, ending.reason, ending.error)
        self.connection._tell_state(change)

    def _await_handshake(self, deadline: Deadline) -> None:
        """Wait until the client has its answer, or the deadline."""
        with self._standing:
            self._standing.wait_for(lambda: self._state is not ConnectionState.CONNECTING, deadline.wait_seconds())

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
        """The same, once the client has its answer, or the error."""
        self._await_handshake(deadline)
        if self._state is ConnectionState.OPEN:
            return 1
        if self._state is ConnectionState.CONNECTING:
            raise SocketTimeout(f"{self._name} was not open within {deadline.seconds:g} s")
        raise self._closed_error()

    def transmit(self, frames: Sequence[bytes], link: int, deadline: Deadline, *, answer: bool = False) -> bool:
        """Send messages; a peer that takes nothing for too long loses its link."""
        self.begin_work()
        try:
            with self._ws.send_context():
                for frame in frames:
                    self._ws.protocol.send_text(frame)
                failure = self._write(b"".join(self._ws.protocol.data_to_send()))
        except ConnectionClosed as closed:
            failure = closed
        if failure is None:
            return True
        self._ws.close_socket()
        if answer:
            return False
        raise SocketConnectionError(f"the link has ended: {failure}") from failure

    def _write(self, data: bytes) -> OSError | ConnectionClosed | None:
        """Write, and return what went wrong; with the mutex of websockets."""
        try:
            self._ws.stream.sendall(data)
        except OSError as failure:
            return failure
        return None

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
        self._await_handshake(deadline)
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
        """Wait until the client has its answer."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait until the link is gone."""
        with self._standing:
            self._standing.wait_for(lambda: self._state is ConnectionState.CLOSED, deadline.wait_seconds())
            return self._ending if self._state is ConnectionState.CLOSED else None

    def closing_error(self) -> SocketConnectionError | None:
        """A fresh error once the link is gone, else ``None``."""
        here = (ConnectionState.CONNECTING, ConnectionState.OPEN)
        return None if self._state in here else self._closed_error()

    def _closed_error(self) -> SocketConnectionError:
        ending = self._ending or self._closing or Ending(1006)
        error = SocketConnectionError(f"{self._name} is closed: {ending.code} {ending.reason}".strip())
        error.retryable = False
        error.__cause__ = ending.error
        return error

    def disown(self) -> None:
        """In a forked child: leave the link to the parent."""
        self._standing = threading.Condition(threading.Lock())
        self._state, self._ending = ConnectionState.CLOSED, Ending(1006, "it belongs to the parent process")
        self._ws.stream.abandon()
        self._pool.renew()
        self.connection._renew_after_fork()

    def end_at(self, moment: datetime | None) -> None:
        """Close the link at this moment, unless another one is named before; ``None`` for never."""
        self._ends = math.inf
        if moment is not None:
            self._ends = time.monotonic() + moment.timestamp() - time.time()
            self._timer.add(self._ends, self)

    def expire(self, now: float) -> float:
        """Close the link when its time is over; on a thread of its own, for neither timer nor workers may be kept."""
        if now >= self._ends and self._state is not ConnectionState.CLOSED:
            self._ends = math.inf
            farewell = partial(self.close, POLICY, "the token has expired", Deadline(SEND_SECONDS))
            threading.Thread(target=farewell, name=f"{self._name}-farewell", daemon=True).start()
        return self._ends

    def wake_at(self, at: float) -> None:
        """Have the connection look at the clock at this moment."""
        self._timer.add(at, self.connection)
