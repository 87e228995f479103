"""Where a connection stands, which link it has, and who may send on it now.

Threads: ``_standing`` (a condition) guards the state, the link and its number, and is held for a few instructions.
``_move_lock`` puts the moves of the state in order, so that they are told in the order in which they happened; whoever
holds it may take ``_standing``, never the other way round. The state has one setter, `_move`. Who waits here is freed
by every move, and by its deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..stages import ConnectionState, Ending, StateChange
from .link import Link


class Hooks(NamedTuple):
    """What a supervisor tells, and whom; all are called on the reader, none may block.

    Attributes:
        opened: the link is open for everybody.
        lost: a link ended, with its number.
        over: the connection is closed for good; takes a maker of errors.
        moved: the state changed.
        discarded: so many handlers were not started before the end.
        tick: asked for now and then while there is no link, with the time.
        authenticate: says who we are on a new link, on a thread of its own; may raise. ``None``: nothing to say.
        renew: this is a forked child.
    """

    opened: Callable[[], None]
    lost: Callable[[int, Ending], None]
    over: Callable[[Callable[[], SocketConnectionError]], None]
    moved: Callable[[StateChange], None]
    discarded: Callable[[int], None]
    tick: Callable[[float], object]
    authenticate: Callable[[], object] | None
    renew: Callable[[], None]


class Standing:
    """The part of a supervisor that other threads look at; see `owlsocket_sync.protocol.carrier.Carrier`.

    Args:
        name: what errors call the connection.
        address: where it leads, fit to be shown.
    """

    def __init__(self, name: str, address: Callable[[], str]) -> None:
        self._name = name
        self._address = address
        self._moved: Callable[[StateChange], None]
        self._stand_anew()

    def _stand_anew(self) -> None:
        self._move_lock = threading.RLock()
        self._standing = threading.Condition(threading.Lock())
        self._state = ConnectionState.CONNECTING
        self._was_open = False
        self._current: tuple[Link | None, int] = (None, 0)  # one value, so that it can be read without a lock
        self._early_thread: int | None = None
        self._latency: float | None = None
        self._closing: Ending | None = None
        self._ending: Ending | None = None

    @property
    def _link(self) -> Link | None:
        return self._current[0]

    @property
    def _link_number(self) -> int:
        return self._current[1]

    def _awaken(self) -> None:
        """Begin to connect, where that waits for the first use."""

    def _move(self, state: ConnectionState, ending: Ending | None) -> None:
        """Enter a state, and tell, one move after the other; the one setter."""
        with self._move_lock:
            with self._standing:
                if self._state in (state, ConnectionState.CLOSED):
                    return
                if self._closing is not None and state not in (ConnectionState.CLOSING, ConnectionState.CLOSED):
                    return
                previous, self._state = self._state, state
                self._was_open = self._was_open or state is ConnectionState.OPEN
                self._standing.notify_all()
            if ending is None:
                self._moved(StateChange(state, previous))
            else:
                self._moved(StateChange(state, previous, ending.code, ending.reason, ending.error))

    def _wanted(self) -> bool:
        return self._closing is None

    @property
    def url(self) -> str:
        """Where it leads, without secrets."""
        return self._address()

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._state

    @property
    def links(self) -> int:
        """How many links there were so far."""
        return self._link_number

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        link = self._link
        return (link.latency if link else None) or self._latency

    def open_link(self) -> int | None:
        """The number of the link that this thread may send on now, or ``None``."""
        if self._state is not ConnectionState.OPEN:
            self._awaken()
            if self._early_thread != threading.get_ident():
                return None
        link, number = self._current
        return number if link is not None else None

    def await_link(self, deadline: Deadline) -> int:
        """Wait for such a link."""
        self._awaken()
        with self._standing:
            while True:
                if self._state is ConnectionState.CLOSED or self._closing is not None:
                    break
                number = self.open_link()
                if number is not None:
                    return number
                if not self._standing.wait(deadline.wait_seconds()) and deadline.expired():
                    raise SocketTimeout(f"no link to {self.url} within {deadline.seconds:g} s ({self._state.value})")
        raise self._closed_error()

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Send messages on this link; false when it is not open any more."""
        current, number = self._current
        if current is None or link != number:
            return False
        if self._state is not ConnectionState.OPEN and not answer and self.open_link() is None:
            return False
        if answered is None:
            current.write(frames, deadline)
        else:
            current.ask(frames, deadline, answered)
        return True

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Read in place of the reader for a while."""
        link = self._link
        if link is not None:
            link.read_for(answered, deadline)

    def ping(self, deadline: Deadline) -> float:
        """Seconds of one round trip."""
        link = self._link
        if link is None:
            raise SocketConnectionError(f"no link to {self.url} ({self._state.value})")
        return link.ping(deadline)

    def wake_at(self, at: float) -> None:
        """Have the reader look at the clock at this moment."""
        link = self._current[0]
        if link is not None:
            link.wake_at(at)

    def wait_open(self, deadline: Deadline) -> None:
        """Wait until everybody may send."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait until it is over for good."""
        with self._standing:
            self._standing.wait_for(lambda: self._state is ConnectionState.CLOSED, deadline.wait_seconds())
            return self._ending if self._state is ConnectionState.CLOSED else None

    def closing_error(self) -> SocketConnectionError | None:
        """A fresh error when it is over for good, else ``None``."""
        self._awaken()
        return self._closed_error() if self._closing is not None or self._ending is not None else None

    def _closed_error(self) -> SocketConnectionError:
        ending = self._ending
        if ending is None or self._closing is not None:
            return SocketConnectionError(f"{self._name} is closed")
        error = SocketConnectionError(f"{self._name} is closed: {ending.reason}")
        error.retryable = False
        error.__cause__ = ending.error
        return error

    @property
    def was_open(self) -> bool:
        """Whether it has been open, whatever became of it since."""
        return self._was_open

    @property
    def failure(self) -> Exception | None:
        """What ended the connection, when nobody asked for it."""
        return self._ending.error if self._ending else None
