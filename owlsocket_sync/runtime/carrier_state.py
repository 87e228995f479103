"""The state of a connection, its current link, and which thread may send on it.

Threads: the condition ``_state_changed`` guards the state, the link and its number; held for a few instructions, a
leaf. `_enter` is the only setter of the state: it changes the state as `STATE_TRANSITIONS` allows, and queues the
change, under the condition. The change is delivered after the release. One thread at a time delivers, so changes arrive
in their order, and neither logs nor hooks run under a lock. Each change frees all threads that wait here; so does their
deadline.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..errors.marshalled import unsent
from ..locks import Condition
from ..protocol.carrier import CarrierEvents, failure_of, no_link_error
from ..protocol.oversize import refused_frame
from ..protocol.state_changes import CHANGE_NUMBERS, StateChanges
from ..reentrant import make_lock
from ..states import ENDING_STATES, STATE_TRANSITIONS, CloseInfo, ConnectionState
from .chunks import CHUNK_SIZE
from .link import Link
from .registration import POLLING
from .workers import WorkerPool


class CarrierState:
    """The state of a carrier, for all threads; see `owlsocket_sync.protocol.carrier.Carrier`.

    Args:
        name: the name of the connection in errors.
        address: the URL of the peer, without secrets, or what returns it.
        state: the first state.
    """

    __slots__ = (
        "__weakref__", "_address", "_auth_thread", "_awaited_until", "_changes", "_close_info", "_closing",
        "_current", "_events", "_last_failure", "_latency", "_name", "_pool", "_state", "_state_changed",
        "_state_lock", "_thread", "_was_open", "latest_change",
    )  # fmt: skip

    _events: CarrierEvents
    _pool: WorkerPool

    def __init__(
        self, name: str, address: str | Callable[[], str], state: ConnectionState = ConnectionState.CONNECTING
    ) -> None:
        self._name, self._address = name, address
        self._thread: threading.Thread | None = None
        # Reentrant: a signal handler may close the connection on the thread that it interrupted under this lock.
        lock = make_lock()
        self._state_changed = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        self._state_lock = lock
        self._changes = StateChanges(self._state_changed, lock)
        self.latest_change = 0
        self._state = state
        self._was_open = False
        # One tuple: the link and its number are read together, without the lock.
        self._current: tuple[Link | None, int] = (None, 0)
        self._auth_thread: int | None = None
        self._awaited_until = -math.inf
        self._latency: float | None = None
        self._closing: CloseInfo | None = None
        self._close_info: CloseInfo | None = None
        self._last_failure: Exception | CloseInfo | None = None

    @property
    def _link(self) -> Link | None:
        return self._current[0]

    @property
    def _link_number(self) -> int:
        return self._current[1]

    def _start_if_dormant(self) -> None:
        """Connect if that was postponed to the first use."""

    def _set_state(self, state: ConnectionState, info: CloseInfo | None = None) -> bool:
        """Do what `_enter` does, and deliver the change."""
        entered = self._enter(state, info)
        self._deliver_changes()
        return entered

    def _enter(self, state: ConnectionState, info: CloseInfo | None = None) -> bool:
        """Change the state if the table allows it, and return whether it did; `_deliver_changes` has to follow.

        Args:
            state: the new state.
            info: the reason, required for CLOSING and CLOSED.
        """
        with self._state_lock:
            if state not in STATE_TRANSITIONS[self._state]:
                return False
            number, was_open = next(CHANGE_NUMBERS), state is ConnectionState.OPEN
            change = state, self._state, info, number
            if was_open:
                self._awaited_until = -math.inf
            # Before the state: threads without the lock that see CLOSING or CLOSED find the reason.
            if state is ConnectionState.CLOSING:
                self._closing = info
            elif state is ConnectionState.CLOSED:
                self._close_info = info
            self._last_failure = None if was_open else info
            # No call among these, and so no interrupt: a state that is entered is delivered.
            self._was_open = self._was_open or was_open
            self._state, self.latest_change = state, number
            self._changes.queue += (change,)
            self._state_changed.notify_all()
            return True

    def _deliver_changes(self) -> None:
        self._changes.deliver(self._events.state_changed)

    def _leave_link(self) -> None:
        """Release the link that ended, once its calls have failed; not by the poller."""
        link, number = self._current
        if link is not None:
            link.release()
            with self._state_lock:
                self._latency = link.latency
                # Not earlier: a forked child closes the descriptors of the link that it finds here.
                self._current = None, number

    def _end_workers(self, pool: WorkerPool, deadline: Deadline) -> None:
        """End the workers within the deadline, and not before the last change was handed to them."""
        if self._changes.wait_delivered(deadline):
            pool.end(deadline)
            return
        # A log handler, on another thread or further up on this one, takes its time: the workers end after it.
        self._changes.put_action(partial(pool.end, Deadline(0.0)))
        self._deliver_changes()

    def _should_run(self) -> bool:
        return self._state not in ENDING_STATES

    @property
    def url(self) -> str:
        """The URL of the peer, without secrets."""
        return self._address if isinstance(self._address, str) else self._address()

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._state

    @property
    def last_failure(self) -> Exception | None:
        """The reason why there is no link, ``None`` if unknown."""
        failure = self._last_failure
        return failure_of(failure) if isinstance(failure, CloseInfo) else failure

    @property
    def links(self) -> int:
        """The number of links so far."""
        return self._link_number

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        link = self._link
        return (link.latency if link else None) or self._latency

    def current_link_id(self) -> int | None:
        """Return the number of the link that this thread may send on now, or ``None``."""
        if self._state is not ConnectionState.OPEN:
            self._start_if_dormant()
            # Until the link is authenticated, only the thread that authenticates may send on it.
            if self._auth_thread != threading.get_ident():
                return None
            # Even a link that has ended: authentication fails with its own link, and does not wait for the next one.
            link, number = self._current
            return number if link is not None else None
        link, number = self._current
        # A link that has ended is lost, although its reader has not changed the state yet: wait for the next one.
        return number if link is not None and link.is_open else None

    def await_link(self, deadline: Deadline) -> int:
        """Wait for a link that this thread may send on, and return its number."""
        self._start_if_dormant()
        with self._state_lock:
            if self._should_run() and self.current_link_id() is None:
                if self.is_reader():
                    # Code of the user's on the reader, such as a logging handler: it would wait for itself.
                    raise unsent(SocketConnectionError("the thread that connects cannot wait for a link"))
                # A deadline, not a number of threads: an interrupt leaves nothing behind that has to be taken back.
                self._awaited_until = max(self._awaited_until, deadline.at)
            deadline.wait_for(self._state_changed, lambda: not self._should_run() or self.current_link_id() is not None)
            if not self._should_run():
                raise self._closed_error()
            number = self.current_link_id()
        if number is None:
            raise no_link_error(
                f"timed out after {deadline.seconds:g} s waiting for a connection to {self.url}"
                f" (state: {self._state.value})",
                self.last_failure,
            )
        return number

    def _is_awaited(self) -> bool:
        """Return whether a thread or a call waits for a link."""
        return monotonic() < self._awaited_until or self._events.awaits_link()

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        is_answer: bool = False,
        is_done: Callable[[], bool] | None = None,
    ) -> bool:
        """Send messages on a link, and return false if it is not open any more."""
        # The number, not the state, decides: the next link may have opened since the caller asked for one.
        current, number = self._current
        if current is None or link != number:
            return False
        if self._state is not ConnectionState.OPEN and not is_answer and self.current_link_id() is None:
            return False
        try:
            if is_done is None:
                current.write(frames, deadline)
            elif len(frames[0]) <= CHUNK_SIZE:
                current.send_and_read(frames, deadline, is_done)
            else:
                # The reader reads while a large message is written: two ends that only write would wait for each other.
                current.write(frames, deadline)
                current.read_for(is_done, deadline)
        except SocketConnectionError as error:
            refusal = refused_frame(frames, current.close_info, error)
            if refusal is None:
                raise
            raise refusal from error
        return True

    def read_for(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Read in place of the reader for a while; see `owlsocket_sync.runtime.reader`."""
        link = self._link
        if link is not None:
            link.read_for(is_done, deadline)

    def is_reader(self) -> bool:
        """Return whether this thread reads, this link or any other, or connects."""
        thread, me = self._thread, threading.get_ident()
        # The number of a thread that has ended is that of another one later.
        return me in POLLING or (thread is not None and thread.ident == me and thread.is_alive())

    def step_aside(self) -> Sequence[threading.RLock]:
        """Get ready for a wait of this thread; see `owlsocket_sync.protocol.carrier.Carrier`."""
        link = self._link
        pool: WorkerPool | None = getattr(self, "_pool", None)  # a carrier that is closed from the start has none
        own_locks = (self._state_lock,) if pool is None else (self._state_lock, pool.lock)
        return own_locks if link is None else (*link.step_aside(), *own_locks)

    def ping(self, deadline: Deadline) -> float:
        """Return the seconds of one round trip."""
        link = self._link
        if link is None:
            raise unsent(SocketConnectionError(f"not connected to {self.url} (state: {self._state.value})"))
        return link.ping(deadline)

    def schedule_wakeup(self, at: float) -> None:
        """Make the reader run its timers at a moment (``time.monotonic``)."""
        link = self._current[0]
        if link is not None:
            link.schedule_wakeup(at)

    def wait_open(self, deadline: Deadline) -> None:
        """Wait until all threads may send."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> CloseInfo | None:
        """Wait until the connection is closed, and return the reason; ``None`` at the deadline."""
        with self._state_lock:
            deadline.wait_for(self._state_changed, lambda: self._state is ConnectionState.CLOSED)
            return self._close_info if self._state is ConnectionState.CLOSED else None

    def closing_error(self) -> SocketConnectionError | None:
        """Return a new error if the connection is closed or closing, else ``None``."""
        return None if self._should_run() else self._closed_error()

    def _closed_error(self) -> SocketConnectionError:
        info = self._close_info
        if info is None or self._closing is not None:
            why = f" ({self._closing.code} {self._closing.reason})" if self._closing and self._closing.reason else ""
            error = SocketConnectionError(f"{self._name} is closed: this end closed it{why}")
            error.closed_here = True
        else:
            # An error of ours says why by itself; of a peer's close frame, the code may be all there is.
            reason = info.reason if info.error is not None else info.summary
            error = SocketConnectionError(f"{self._name} is closed: {reason}")
            error.__cause__ = info.error
        error.retryable = False  # a connection that is closed stays closed
        return unsent(error)

    @property
    def was_open(self) -> bool:
        """True once the connection has been open, even if it is closed now."""
        return self._was_open

    @property
    def failure(self) -> Exception | None:
        """The error that ended the connection, ``None`` if it was closed."""
        return self._close_info.error if self._close_info else None


class ClosedCarrier(CarrierState):
    """A carrier that is closed from the start, for a connection that a forked child cannot use.

    Args:
        name: the name of the connection in errors.
        url: the URL of the parent's peer.
        reason: the reason in errors.
    """

    __slots__ = ()

    def __init__(self, name: str, url: str, reason: str) -> None:
        super().__init__(name, url, ConnectionState.CLOSED)
        self._close_info = CloseInfo(1006, reason)

    def start(self, events: CarrierEvents) -> None:
        """Fail all threads and futures that wait."""
        events.closed(self._closed_error)

    def reconnect(self, deadline: Deadline) -> None:
        """Raise: there is no way to connect."""
        raise self._closed_error()

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Do nothing: it is closed."""

    def close_in_child(self) -> None:
        """Do nothing: there are no descriptors."""
