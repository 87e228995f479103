"""Two connections that pass messages to each other in memory: a conversation without a socket, for tests.

A message has been received when the send returns; its handlers run on the thread that sends. Messages are encoded and
decoded as on a socket, so a payload that JSON cannot carry fails here too.

Threads: ``_link_changed`` (a condition) guards the state and the number of the link; it is not held while a message is
passed on. The only thread is a timer, for the timeouts of submitted calls; closing cancels it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..clock import monotonic
from ..connection import Connection
from ..core.core import Core, CoreOptions
from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..errors.marshalled import unsent
from ..inherited import closed_core
from ..locks import MAX_WAIT, Condition
from ..options import Limits
from ..protocol.carrier import BlockFlag, CarrierEvents, failure_of, no_link_error
from ..protocol.settings import Settings
from ..protocol.state_changes import CHANGE_NUMBERS, StateChanges
from ..reentrant import make_lock
from ..states import STATE_TRANSITIONS, CloseInfo, ConnectionState
from .strict import StrictEnd

CALL_TIMEOUT = 60.0
_NO_BLOCKS = BlockFlag()


def pair(
    *,
    name: str = "memory",
    limits: Limits = Limits(),
    call_timeout: float = CALL_TIMEOUT,
    sender: str | None = None,
    strict: bool = True,
) -> tuple[Connection, Connection]:
    """Return two open connections, ours and the peer's; closing either closes both.

    What the peer sends must have a handler on our end, which must not raise: otherwise the method of the peer that sent
    it raises `AssertionError`.

    Args:
        name: of our connection, in logs.
        limits: of both connections.
        call_timeout: seconds that a call of either end waits for its result when the call sets no timeout.
        sender: the sender in each message of ours.
        strict: false to send whether or not our end observes an event, and whatever a handler raises, as on a socket.
    """
    ends = MemoryPair(name=name, limits=limits, call_timeout=call_timeout, sender=sender, strict=strict)
    return ends.connection, ends.remote


class MemoryPair:
    """Two connected ends and the carrier of ours; the arguments are those of `pair`.

    Attributes:
        connection: our end.
        remote: the peer's end.
        carrier: of our end; it can lose and restore the link.
        strict_end: our end for the peer's, ``None`` if it is not strict.
    """

    def __init__(
        self,
        *,
        name: str = "memory",
        limits: Limits = Limits(),
        call_timeout: float = CALL_TIMEOUT,
        sender: str | None = None,
        strict: bool = True,
    ) -> None:
        link = SharedLink()
        self.carrier, other = MemoryCarrier(link), MemoryCarrier(link)
        self.carrier.other, other.other = other, self.carrier
        self.connection = _connect(self.carrier, CoreOptions(name, limits, sender), call_timeout)
        self.remote = _connect(other, CoreOptions(f"{name}-peer", limits, accepted=True), call_timeout)
        self.strict_end = other.receiver = StrictEnd(self.connection, "strict=False allows it") if strict else None


def _connect(carrier: MemoryCarrier, options: CoreOptions, call_timeout: float) -> Connection:
    core = Core(carrier, InlineWorkers(), options, Settings(call_timeout))
    carrier.start(core)
    return Connection(core, closed_core)


class InlineWorkers:
    """Workers without threads: each task runs at once, on the thread that submits it."""

    # Handlers on the sending thread make a test deterministic: the answer is there when its call begins to wait.

    def submit(self, key: Hashable, function: Callable[..., object], *arguments: Any) -> bool:
        """Run a function."""
        function(*arguments)
        return True

    @property
    def blocks(self) -> BlockFlag:
        """A flag that is never set."""
        return _NO_BLOCKS

    def is_worker(self) -> None:
        """Return ``None``: each thread runs the tasks that it submits."""

    def managed_block(self) -> AbstractContextManager[None]:
        """Return a context manager that does nothing."""
        return nullcontext()

    def wait_idle(self, deadline: Deadline) -> bool:
        """Return at once: nothing is left to run."""
        return True


class SharedLink:
    """The link that both ends share, its state, and how it ended."""

    def __init__(self) -> None:
        self.lock = make_lock()
        self.changed = Condition(self.lock)
        self.links = 1
        self.state = ConnectionState.OPEN
        self.ending: CloseInfo | None = None
        self.last_failure: Exception | None = None
        self.ends: list[MemoryCarrier] = []

    def enter(self, state: ConnectionState, ending: CloseInfo | None = None) -> ConnectionState | None:
        """Change the state if the table allows it, and queue the change for both ends.

        Returns:
            The state before, or ``None`` if it was not changed.
        """
        with self.changed:
            if state not in STATE_TRANSITIONS[self.state]:
                return None
            if state is ConnectionState.CLOSED:
                self.ending = ending
            self.last_failure = None if ending is None else failure_of(ending)
            self.links += state is ConnectionState.OPEN
            number, previous, self.state = next(CHANGE_NUMBERS), self.state, state
            for end in self.ends:
                end.latest_change = number
                end.changes.queue.append((state, previous, ending, number))
            self.changed.notify_all()
            return previous


class MemoryCarrier:
    """Passes the messages of one end to the other; see `owlsocket_sync.protocol.carrier.Carrier`.

    Args:
        link: the link that both ends share.

    Attributes:
        events: the core of this end's connection.
        other: the other end.
        message_filter: called with each message if it is set; the other end receives it if the result is true.
        receiver: the other end, if it must handle each message.
        changes, latest_change: of the state; set by the link.
    """

    url = "memory://"
    events: CarrierEvents
    other: MemoryCarrier

    def __init__(self, link: SharedLink) -> None:
        self._shared = link
        self._link_changed = link.changed
        self.changes, self.latest_change = StateChanges(link.changed, link.lock), 0
        link.ends.append(self)
        self.message_filter: Callable[[bytes], bool] | None = None
        self.receiver: StrictEnd | None = None
        self.latency: float | None = None
        self._timer: threading.Timer | None = None
        self._due = math.inf

    def start(self, events: CarrierEvents) -> None:
        """Report to ``events`` from now on."""
        self.events = events

    def close_in_child(self) -> None:
        """Forget the timer, without the lock: a thread of the parent may have held it at the fork."""
        self._timer = None

    @property
    def links(self) -> int:
        """The number of links so far."""
        return self._shared.links

    @property
    def last_failure(self) -> Exception | None:
        """The error with which the last link ended, ``None`` while it is open."""
        return self._shared.last_failure

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._shared.state

    def current_link_id(self) -> int | None:
        """Return the number of the link while it is up."""
        return self.links if self.state is ConnectionState.OPEN else None

    def await_link(self, deadline: Deadline) -> int:
        """Wait for the link to come back."""
        with self._link_changed:
            deadline.wait_for(self._link_changed, lambda: self.state is not ConnectionState.RECONNECTING)
        link = self.current_link_id()
        if link is None:
            raise self.closing_error() or no_link_error(
                f"timed out after {deadline.seconds:g} s waiting for a connection to {self.url}", self.last_failure
            )
        return link

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        is_answer: bool = False,
        is_done: Callable[[], bool] | None = None,
    ) -> bool:
        """Have the other end receive these messages."""
        if link != self.current_link_id():
            return False
        # No lock is held here: `receive` runs handlers of the other end, and those send to this one.
        for frame in frames:
            if self.message_filter is None or self.message_filter(frame):
                with nullcontext() if self.receiver is None else self.receiver.delivery(frame):
                    # As before each read of a socket: the core uses the question to clean up what was forgotten.
                    self.other.events.has_room()
                    self.other.events.receive(frame.decode(), link)
        return True

    def read_for(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Do nothing: an answer was received before the send returned."""

    def is_reader(self) -> bool:
        """Return false: no thread reads."""
        return False

    def step_aside(self) -> Sequence[threading.RLock]:
        """Return the lock of the link."""
        return (self._shared.lock,)

    def ping(self, deadline: Deadline) -> float:
        """Return 0 for the round trip."""
        if self.current_link_id() is None:
            raise unsent(SocketConnectionError(f"not connected to {self.url} (state: {self.state.value})"))
        self.latency = 0.0
        return self.latency

    def reconnect(self, deadline: Deadline) -> None:
        """Replace the link by a new one."""
        self.lose(CloseInfo(1000, "reconnect() was called"))
        self.restore()

    def lose(self, ending: CloseInfo) -> None:
        """End the link, for both ends."""
        with self._link_changed:
            entered, link = self._shared.enter(ConnectionState.RECONNECTING, ending), self._shared.links
        if entered is None:
            return
        # Pending calls fail before the state is reported: a handler of the state finds none of the lost link.
        for end in (self, self.other):
            end.events.link_lost(link, ending)
            end.deliver_changes()

    def restore(self) -> None:
        """Open a new link, for both ends."""
        if self._shared.enter(ConnectionState.OPEN) is None:
            return
        for end in (self, self.other):
            end.deliver_changes()
            end.events.link_opened()

    def deliver_changes(self) -> None:
        """Report the changes of the state to the connection."""
        # Queued in the step that changes the state: a handler of one change may make the next one.
        self.changes.deliver(self.events.state_changed)

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close both ends."""
        ending = CloseInfo(code, reason)
        with self._link_changed:
            previous, link = self._shared.enter(ConnectionState.CLOSED, ending), self._shared.links
        if previous is None:
            return
        # Outside of the lock: callbacks of calls that fail now may call `close` again, which returns at once.
        for end in (self, self.other):
            if previous is ConnectionState.OPEN:  # else the link was lost before
                end.events.link_lost(link, ending)
            end.events.closed(end.closed_error)
            end.deliver_changes()
            end.cancel_timer()

    def wait_open(self, deadline: Deadline) -> None:
        """Wait for the link."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> CloseInfo | None:
        """Wait until the connection is closed."""
        with self._link_changed:
            deadline.wait_for(self._link_changed, lambda: self._shared.ending is not None)
            return self._shared.ending

    def closing_error(self) -> SocketConnectionError | None:
        """Return a new error when the connection is closed, else ``None``."""
        return None if self._shared.ending is None else self.closed_error()

    def closed_error(self) -> SocketConnectionError:
        """Return the error of a closed connection."""
        return unsent(SocketConnectionError("the connection in memory is closed"))

    # -- timers ------------------------------------------------------------------------------------------------------

    def schedule_wakeup(self, at: float) -> None:
        """Have the connection's timers run at this moment (``time.monotonic``)."""
        with self._link_changed:
            # A wakeup that is already due earlier covers this one: it schedules the next.
            if at >= self._due or self._shared.ending is not None:
                return
            superseded, self._due = self._timer, at
            self._timer = timer = threading.Timer(min(max(0.0, at - monotonic()), MAX_WAIT), self._run_timers)
            timer.daemon = True
        if superseded is not None:
            superseded.cancel()
        timer.start()

    def _run_timers(self) -> None:
        with self._link_changed:
            self._timer, self._due = None, math.inf
        next_at = self.events.run_timers(monotonic())
        if next_at < math.inf:
            self.schedule_wakeup(next_at)

    def cancel_timer(self) -> None:
        """Cancel the timer."""
        with self._link_changed:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
