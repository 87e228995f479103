"""The carrier of the connection to one client: the handler's turn, then the link, until it ends.

Threads. Each client has one thread, which runs the user's handler and then reads. A handler that waits or sends before
it returns has begun its work, so a reader starts beside it at that moment: messages are never read before the handler
had its chance to register what it answers. Who reads is decided once, under ``_standing``. Everything else is as at the
other end; see `owlsocket_sync.runtime.standing` and `owlsocket_sync.runtime.link`.
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
from typing import Any

from ..connection import Connection, cut_reason
from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..runtime.link import Link
from ..runtime.standing import Standing
from ..runtime.timer import Timer
from ..runtime.workers import WorkerPool
from ..stages import ConnectionState, Ending
from .outbox import Outbox
from .upgrade import Request
from .wire import ServerWire

logger = logging.getLogger("owlsocket_sync")

FAREWELL_SECONDS = 15.0
POLICY = 1008

Handler = Callable[[Connection, Request], object]


class Peer(Standing):
    """The link to one client; see `owlsocket_sync.protocol.carrier.Carrier`. It does not come again once it is gone.

    Args:
        wire: where the client is.
        timer: tells when the client's time is over.
        name: what logs and threads call it.
        url: the client's address, fit to be shown.
        options: those of `owlsocket_sync.server.serve`.

    Attributes:
        connection: what the handler gets.
        outbox: what is broadcast to the client.
        request: the request with which the client came.
    """

    request: Request

    def __init__(self, wire: ServerWire, timer: Timer, name: str, url: str, options: dict[str, Any]) -> None:
        super().__init__(name, lambda: url)
        self._timer = timer
        self._pool = self._make_pool(options["workers"], name)
        self._granted = False
        self._reading = False
        self._gone = threading.Event()
        self._handler_thread: int | None = None
        self._ends = math.inf
        self.connection = Connection(
            self,
            self._pool.submit,
            self.lend_place,
            self._pool.settle,
            name=name,
            limits=options["limits"],
            call_timeout=options["call_timeout"],
            accepted=True,
        )
        self.connection.expose_tracebacks = options["expose_tracebacks"]
        self.outbox = Outbox(self.connection, self._pool.submit, options["limits"])
        self._moved = self.connection._tell_state
        self._only_link = Link(
            wire,
            deliver=partial(self.connection.receive, link=1),
            answer=self.connection._take_answer,
            has_room=self.connection._has_room,
            tick=self.connection.expire,
            heartbeat=options["heartbeat"],
        )
        self._current = self._only_link, 1

    def _make_pool(self, workers: int, name: str) -> WorkerPool:
        """Who runs its handlers."""
        return WorkerPool(workers, name)

    # -- the handler and the reader ----------------------------------------------------------------------------------

    def run(self, handler: Handler) -> None:
        """Run the handler, then read until the link ends; on the client's thread."""
        with self._standing:
            self._granted = True
            self._standing.notify_all()
        if self._closing is None:
            self._move(ConnectionState.OPEN, None)
            self._handle(handler)
        else:
            self._say_farewell(self._closing)
        if self._claim_reading():
            self._read()
        self._gone.wait()

    def _handle(self, handler: Handler) -> None:
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

    def give_up(self) -> None:
        """The client left, or was refused, before it was told that it may talk; instead of `run`."""
        self._only_link.die(Ending(1006, "the handshake failed"))
        self._read()

    def _fail(self, error: Exception) -> None:
        logger.error("%s: the handler failed: %s", self._name, error, exc_info=error)
        self.close(1011, cut_reason(f"{type(error).__name__}: {error}"), Deadline(FAREWELL_SECONDS))

    def _begin_work(self) -> None:
        """The handler, before it returned, sends or waits: read beside it from now on."""
        if self._handler_thread == threading.get_ident():
            self._read_beside()

    def _read_beside(self) -> None:
        if not self._claim_reading():
            return
        try:
            threading.Thread(target=self._read, name=f"{self._name}-reader", daemon=True).start()
        except RuntimeError:  # no more threads to be had: the client's own reads once the handler has returned
            with self._standing:
                self._reading = False

    def _claim_reading(self) -> bool:
        """Whether it falls to whoever asks to read; true once."""
        with self._standing:
            claimed, self._reading = not self._reading, True
        return claimed

    def _read(self) -> None:
        """Read until the link ends, and end with it."""
        ending = self._only_link.pump()
        if self._closing is not None:
            self.connection._count("dropped", self._pool.discard())
            ending = self._closing if ending.code == 1006 else ending
        with self._standing:
            self._current = None, 1
            self._latency = self._only_link.latency
            self._ending = ending
        self._move(ConnectionState.CLOSED, ending)
        self.connection._link_lost(1, ending)
        self.connection._over(self._closed_error)
        self._pool.end(Deadline(0.0))
        self._gone.set()

    # -- what the connection asks of its carrier ---------------------------------------------------------------------

    def lend_place(self) -> AbstractContextManager[None]:
        """Around a wait."""
        self._begin_work()
        return self._pool.lend_place()

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Send messages; false when the link is not open any more."""
        self._begin_work()
        return super().transmit(frames, link, deadline, answer=answer, answered=answered)

    def reconnect(self) -> None:
        """Only the end that connected can."""
        raise SocketConnectionError("the end that was connected to cannot reconnect")

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End the link."""
        self.begin_closing(code, reason)
        with self._standing:  # the answer to its upgrade comes before a farewell
            self._standing.wait_for(self._may_be_told, deadline.wait_seconds())
        self._only_link.close(code, reason, deadline)
        self.wait_closed(deadline)
        self._pool.end(deadline)

    def _may_be_told(self) -> bool:
        return self._granted or self._state is ConnectionState.CLOSED

    def begin_closing(self, code: int, reason: str) -> None:
        """Say goodbye without waiting for anything, or have it said as soon as the client has its answer."""
        with self._standing:
            if self._closing is None and self._ending is None:
                self._closing = Ending(code, reason)
            closing = self._closing if self._granted else None
        if closing is not None:
            self._say_farewell(closing)

    def _say_farewell(self, closing: Ending) -> None:
        self._move(ConnectionState.CLOSING, closing)
        self._only_link.say_goodbye(closing.code, closing.reason)
        self._read_beside()

    def end(self) -> None:
        """End the link at once."""
        self._only_link.die(self._closing or Ending(1006, "the server is closed"))

    def await_end(self, deadline: Deadline) -> None:
        """Wait for the link, and then for its workers, to end."""
        self._gone.wait(deadline.wait_seconds())
        self._pool.end(deadline)

    def disown(self) -> None:
        """In a forked child: leave the link to the parent."""
        self._only_link.abandon()
        self._stand_anew()
        self._state, self._ending = ConnectionState.CLOSED, Ending(1006, "it belongs to the parent process")
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
            farewell = partial(self.close, POLICY, "the token has expired", Deadline(FAREWELL_SECONDS))
            threading.Thread(target=farewell, name=f"{self._name}-farewell", daemon=True).start()
        return self._ends
