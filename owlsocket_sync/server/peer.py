"""The carrier of the connection to one client: first the user's handler, then the link until it ends.

Threads. The user's handler runs on the thread of the client. The poller reads once it has returned; or from the moment
on at which it sends or waits. When the link ends, the poller fails its calls, and a thread does all else: one that
waits for the end, or one that starts for it. Both are decided once, under ``_state_lock``. Everything else is as on the
client's side; see `owlsocket_sync.runtime.carrier_state` and `owlsocket_sync.runtime.link`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import MINYEAR, datetime
from typing import Any, NoReturn

from .. import fork
from ..clock import monotonic
from ..connection import Connection, cut_reason
from ..core.core import Core, CoreOptions
from ..core.deferred_calls import TimedFuture, submit_now
from ..core.tasks import task_name
from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..errors.safe_text import logger, safe_str
from ..inherited import closed_core
from ..locks import MAX_WAIT
from ..protocol.carrier import BlockFlag, CarrierEvents
from ..protocol.settings import Settings
from ..runtime.endings import is_interrupt
from ..runtime.inline_pool import InlinePool
from ..runtime.link import Link
from ..runtime.timer import Timer
from ..states import CloseInfo, ConnectionState
from ..transport.framing import ServerFraming
from ..values import escape_for_log
from .options import Handler, ServerOptions
from .outbox import Outbox
from .peer_phase import PeerPhase
from .polled_peer import PolledPeer
from .request import Request, url_host

CLOSE_TIMEOUT = 15.0
POLICY_VIOLATION = 1008


class Peer(PolledPeer):
    """The link to one client; see `owlsocket_sync.protocol.carrier.Carrier`. It never reconnects.

    Args:
        framing: of the client's stream.
        request: the upgrade request, with the identity of the client.
        options: of the server.
        core: of the connection, with its name in logs and in the names of threads.
        timer: of the server, for the expiry of the identity.

    Attributes:
        connection: the argument of the handler.
        outbox: sends broadcasts to the client.
    """

    __slots__ = ("_expires_at", "_handler_thread", "_request", "_timer", "connection", "core")

    def __init__(
        self, framing: ServerFraming, request: Request, options: ServerOptions, *, core: CoreOptions, timer: Timer
    ) -> None:
        host, port = request.remote
        url = f"{'wss' if framing.stream.secure else 'ws'}://{url_host(host)}:{port}"
        super().__init__(name := core.name, url)
        self._request: Request | None = request
        self._timer = timer
        self._pool = InlinePool(options.workers, name, task_name)
        self._pool.starts.schedule = self.schedule_wakeup
        self._handler_thread: int | None = None
        self._expires_at = math.inf
        settings = Settings(options.call_timeout, expose_tracebacks=options.expose_tracebacks)
        self.core = Core(self, self, core, settings)
        self.connection = Connection(self.core, closed_core)
        if options.contract is not None:
            from ..contracts.description import answer_questions  # where nothing is described, it is not loaded

            answer_questions(self.core, options.contract)
        self._only_link = Link(framing, 1, self.core, options.heartbeat, self._run_link_timers)
        self.outbox = Outbox(self.core, self, self._only_link.writer, options.limits)
        self.start(self.core)

    def start(self, events: CarrierEvents) -> None:
        """Make the link available to the connection."""
        self._events = events
        self._current = self._only_link, 1

    # -- the workers of the connection: see `owlsocket_sync.protocol.carrier.Workers` --------------------------------

    @property
    def submit(self) -> Callable[..., bool]:
        """The method that runs a function on a worker; false after the end."""
        return self._pool.submit

    @property
    def blocks(self) -> BlockFlag:
        """The flag of the thread that looks."""
        return self._pool.blocks

    def is_worker(self) -> bool:
        """Return whether this thread is a worker."""
        return self._pool.is_worker()

    def wait_idle(self, deadline: Deadline) -> bool:
        """Wait until nothing is left to run; return whether that was within the deadline."""
        return self._pool.wait_idle(deadline)

    # -- the handler and the poller ----------------------------------------------------------------------------------

    def run(self, handler: Handler) -> None:
        """Run the handler, and have the link read from then on; on the client's thread."""
        try:
            self._run(handler)
        except BaseException:
            # A link that nothing reads must not stay open.
            self.abort()
            self._read()
            raise

    def _run(self, handler: Handler) -> None:
        # In one step with the state: a server that closes meanwhile keeps it from opening, and its close frame is sent
        # here; or it finds the peer accepted, and sends the frame itself.
        with self._state_lock:
            self._advance(PeerPhase.ACCEPTED)
            opened = self._enter(ConnectionState.OPEN)
        self._deliver_changes()
        if opened:
            self.outbox.accept()
            # Calls of threads that found this client in `Server.connections`.
            if self._events.awaits_link():
                self._pool.submit("opened", self._events.link_opened)
            self._run_handler(handler)
        elif self._closing is not None:
            self._start_close(self._closing)
        fork.ensure_process()  # a handler may fork: the child reads nothing of its parent's link
        self._read()

    def _run_handler(self, handler: Handler) -> None:
        self._handler_thread = threading.get_ident()
        blocks = self._pool.blocks
        before, blocks.matter = blocks.matter, True  # its first wait begins to read
        try:
            handler(self.connection, self._take_request())
        except SocketConnectionError as error:
            # The link may end while the handler waits for the client: that is not a failure of the handler.
            if self._close_info is None and self._closing is None:
                self._handler_failed(error)
        except BaseException as error:
            # Also SystemExit and CancelledError, which end a thread without a word: the client would be left with a
            # link that nothing reads.
            self._handler_failed(error)
            if is_interrupt(error):
                raise
        finally:
            self._handler_thread = None
            blocks.matter = before

    def _take_request(self) -> Request:
        """Return the request for the handler, and keep it no longer: it is larger than much else of a client."""
        request, self._request = self._request, None
        assert request is not None
        return request

    def _handler_failed(self, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {safe_str(error)}"
        try:
            logger.error("%s: the handler failed: %s", self._name, escape_for_log(reason), exc_info=error)
        finally:  # whatever a log handler raises
            self.close(1011, cut_reason(reason), Deadline(CLOSE_TIMEOUT))

    def _ensure_reading(self) -> None:
        """Have the link read if the handler sends or waits before it has returned."""
        # Not earlier: a message that is read before the handler has registered its handlers would find none.
        if self._handler_thread == threading.get_ident():
            self._start_reading()

    # -- what the connection asks of its carrier ---------------------------------------------------------------------

    def managed_block(self) -> AbstractContextManager[None]:
        """Return the context manager around a wait of a handler."""
        self._ensure_reading()
        return self._pool.managed_block()

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        is_answer: bool = False,
        is_done: Callable[[], bool] | None = None,
    ) -> bool:
        """Send messages; false when the link is closed."""
        self._ensure_reading()
        return super().transmit(frames, link, deadline, is_answer=is_answer, is_done=is_done)

    def submit_now(
        self, method: str, payload: tuple[Any, ...], timeout: float | None, extra: dict[str, str] | None
    ) -> TimedFuture:
        """Call a method of the client without waiting for it: where it lags, the call is queued as a broadcast is."""
        self._ensure_reading()
        return submit_now(self.core, self.outbox.send_text, method, payload, timeout, extra)

    def reconnect(self, deadline: Deadline) -> NoReturn:
        """Raise, because only a client can reconnect."""
        raise SocketConnectionError("server-side connections cannot reconnect")

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close the link, and wait for the end of it and of the workers."""
        self.begin_closing(code, reason)
        # The response to the upgrade goes before any frame.
        with self._state_lock:
            deadline.wait_for(self._state_changed, lambda: self._phase is not PeerPhase.HANDSHAKE)
        self._only_link.close(code, reason, deadline)
        self.wait_closed(deadline)
        self._end_workers(self._pool, deadline)

    def begin_closing(self, code: int, reason: str) -> None:
        """Send a close frame without waiting; during the handshake, `run` sends it afterwards."""
        # In one step, as in `run`: one of the two threads sees what the other did, so the close frame is sent.
        with self._state_lock:
            self._enter(ConnectionState.CLOSING, CloseInfo(code, reason))
            closing = None if self._phase is PeerPhase.HANDSHAKE else self._closing
        self._deliver_changes()
        # Now, and not when the link ends: a client that ignores the close frame keeps it open until it is aborted.
        self._discarded += self._pool.discard()
        if closing is not None:
            self._start_close(closing)

    def _start_close(self, closing: CloseInfo) -> None:
        self._only_link.send_close(closing.code, closing.reason)
        self._start_reading()

    def abort(self) -> None:
        """Abort the link."""
        self._only_link.abort(self._closing or CloseInfo(1006, "the server is closed"))

    def wait_end(self, deadline: Deadline) -> None:
        """Wait for the end of the link, and then of its workers."""
        self._wait_ended(deadline)
        self._end_workers(self._pool, deadline)

    def close_in_child(self) -> None:
        """Close the copy of the socket, without a byte to the client; in a forked child."""
        # Not by `_advance`: a thread of the parent may have held its lock at the fork.
        self._phase = PeerPhase.ABANDONED
        self._only_link.close_in_child()
        self._pool.abandon()

    def expire_at(self, moment: datetime | None) -> None:
        """Close the link at this moment, unless a later call sets another; ``None`` for never."""
        self._expires_at = math.inf
        if moment is not None:
            # The timer runs on the monotonic clock: a step of the wall clock must not end links.
            self._expires_at = monotonic() + _seconds_until(moment)
            self._timer.add(self._expires_at, self)
            self._only_link.schedule_wakeup(self._expires_at)

    def run_timers(self, now: float) -> float:
        """Close the link when the identity has expired; return when to be called again; on the timer's thread."""
        if now >= self._expires_at and self._state is not ConnectionState.CLOSED:
            self._expires_at = math.inf
            self.core.dispatcher.stop()  # at once: the thread that closes may start late
            # On a thread of its own: `close` waits for the client, and neither the timer of all clients nor a worker,
            # which a handler may occupy for long, may wait with it.
            try:
                threading.Thread(target=self._close_expired, name=f"{self._name}-close", daemon=True).start()
            except Exception:  # out of threads: without the closing handshake, rather than not at all
                self.abort()
        return self._expires_at

    def _close_expired(self) -> None:
        try:
            self.close(POLICY_VIOLATION, "the token has expired", Deadline(CLOSE_TIMEOUT))
        except BaseException:  # such as SystemExit of a logging handler, before the close frame was sent
            logger.exception("%s: closing the link of an expired token failed", self._name)
            self.abort()

    def _run_link_timers(self, now: float) -> float:
        """Run the timers of the connection, and check the expiry; by the poller, before it reads on."""
        # The poller asks as well: what a client sends after its time is dropped, even if the timer thread is late.
        due = min(self.core.run_timers(now), self.run_timers(now), self._pool.retry(now), self.outbox.expire(now))
        return min(due, now + MAX_WAIT)


def _seconds_until(moment: datetime) -> float:
    try:
        return moment.timestamp() - time.time()
    except (OverflowError, ValueError, OSError):  # a naive moment at either end of the calendar
        return math.inf if moment.year > MINYEAR + 1 else -math.inf
