"""Two connections that hand messages to one another in memory: a conversation without a socket, for doubles in tests.

What one end sends, the other one has received when the send returns; handlers run on the thread that sends. Messages
are encoded and decoded as they are on a wire, so what JSON cannot carry fails here too.

Threads: ``_line`` (a condition) guards whether there is a link, and its number, and is free while anything is handed
over. A timer, where a submitted call may run out of time, is the one thread here; closing ends it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from typing import Any

from ..connection import Connection
from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..options import Limits
from ..stages import ConnectionState, Ending, StateChange

CALL_TIMEOUT = 60.0


def pair(
    *, name: str = "double", limits: Limits = Limits(), call_timeout: float = CALL_TIMEOUT, sender: str | None = None
) -> tuple[Connection, Connection]:
    """Our end and the peer's, open; closing one of them closes the other.

    Args:
        name: what logs call ours.
        limits: of both.
        call_timeout: seconds that a call of either end waits for its answer when it does not say.
        sender: named in each message of ours as the one who speaks.
    """
    line = Line()
    ours, theirs = MemoryCarrier(line), MemoryCarrier(line)
    ours.own, theirs.own = (
        Connection(
            carrier,
            _run_here,
            nullcontext,
            lambda deadline: True,
            name=label,
            limits=limits,
            call_timeout=call_timeout,
            sender=speaker,
        )
        for carrier, label, speaker in ((ours, name, sender), (theirs, f"{name}-peer", None))
    )
    ours.other, theirs.other = theirs, ours
    return ours.own, theirs.own


def _run_here(lane: Hashable, task: Callable[..., object], *arguments: Any) -> bool:
    task(*arguments)
    return True


class Line:
    """What both ends share: the link, and how it ended."""

    def __init__(self) -> None:
        self.line = threading.Condition(threading.Lock())
        self.links = 1
        self.up = True
        self.ending: Ending | None = None


class MemoryCarrier:
    """Hands what one end sends to the other; see `owlsocket_sync.protocol.carrier.Carrier`.

    Args:
        line: what both ends share.

    Attributes:
        own: the connection of this end.
        other: the other end.
        passes: asked about each message, where it is set: whether the other end gets it.
    """

    url = "memory://"
    own: Connection
    other: MemoryCarrier

    def __init__(self, line: Line) -> None:
        self._shared = line
        self._line = line.line
        self.passes: Callable[[bytes], bool] | None = None
        self.latency: float | None = None
        self._timer: threading.Timer | None = None
        self._due = math.inf

    @property
    def links(self) -> int:
        """How many links there were so far."""
        return self._shared.links

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        if self._shared.ending is not None:
            return ConnectionState.CLOSED
        return ConnectionState.OPEN if self._shared.up else ConnectionState.RECONNECTING

    def open_link(self) -> int | None:
        """The link, while it is up."""
        return self.links if self.state is ConnectionState.OPEN else None

    def await_link(self, deadline: Deadline) -> int:
        """Wait for the link to come back."""
        shared = self._shared
        with self._line:
            self._line.wait_for(lambda: shared.up or shared.ending is not None, deadline.wait_seconds())
        link = self.open_link()
        if link is None:
            raise self.closing_error() or SocketTimeout(f"no link to {self.url} within {deadline.seconds:g} s")
        return link

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Let the other end receive these messages."""
        if link != self.open_link():
            return False
        for frame in frames:
            if self.passes is None or self.passes(frame):
                self.other.own.receive(frame.decode())
        return True

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Nothing: what was sent was received at once."""

    def ping(self, deadline: Deadline) -> float:
        """No way is shorter."""
        if self.open_link() is None:
            raise SocketConnectionError(f"no link to {self.url} ({self.state.value})")
        self.latency = 0.0
        return self.latency

    def reconnect(self) -> None:
        """A new link in place of the one that there is."""
        self.lose(Ending(1000, "asked to reconnect"))
        self.restore()

    def lose(self, ending: Ending) -> None:
        """The link goes down, for both ends."""
        with self._line:
            if not self._shared.up:
                return
            self._shared.up, link = False, self._shared.links
        for end in (self, self.other):
            end.own._link_lost(link, ending)
            end.tell(ConnectionState.RECONNECTING, ConnectionState.OPEN, ending)

    def restore(self) -> None:
        """A new link comes up, for both ends."""
        with self._line:
            if self._shared.up or self._shared.ending is not None:
                return
            self._shared.up = True
            self._shared.links += 1
            self._line.notify_all()
        for end in (self, self.other):
            end.tell(ConnectionState.OPEN, ConnectionState.RECONNECTING, None)
            end.own._link_opened()

    def tell(self, state: ConnectionState, previous: ConnectionState, ending: Ending | None) -> None:
        """Tell of a change of the state."""
        told = () if ending is None else (ending.code, ending.reason, ending.error)
        self.own._tell_state(StateChange(state, previous, *told))

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End for good, both ends."""
        with self._line:
            if self._shared.ending is not None:
                return
            previous, link = self.state, self._shared.links
            self._shared.ending = ending = Ending(code, reason)
            self._line.notify_all()
        for end in (self, self.other):
            end.own._link_lost(link, ending)
            end.own._over(end._closed_error)
            end.tell(ConnectionState.CLOSED, previous, ending)
            end.rest()

    def wait_open(self, deadline: Deadline) -> None:
        """Wait for the link."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait for the end."""
        with self._line:
            self._line.wait_for(lambda: self._shared.ending is not None, deadline.wait_seconds())
            return self._shared.ending

    def closing_error(self) -> SocketConnectionError | None:
        """An error once it is closed."""
        return None if self._shared.ending is None else self._closed_error()

    def _closed_error(self) -> SocketConnectionError:
        return SocketConnectionError(f"{self.own.name} is closed")

    # -- the clock ---------------------------------------------------------------------------------------------------

    def wake_at(self, at: float) -> None:
        """Have the connection look at its clock at this moment."""
        with self._line:
            if at >= self._due or self._shared.ending is not None:
                return
            before, self._due = self._timer, at
            self._timer = timer = threading.Timer(max(0.0, at - time.monotonic()), self._look_at_clock)
            timer.daemon = True
        if before is not None:
            before.cancel()
        timer.start()

    def _look_at_clock(self) -> None:
        with self._line:
            self._timer, self._due = None, math.inf
        following = self.own.expire(time.monotonic())
        if following < math.inf:
            self.wake_at(following)

    def rest(self) -> None:
        """No clock is looked at any more."""
        with self._line:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
