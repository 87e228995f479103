"""Two connections that hand messages to one another in memory: a conversation without a socket, for doubles in tests.

What one end sends, the other one has received when the send returns; handlers run on the thread that sends. Messages
are encoded and decoded as they are on a wire, so what JSON cannot carry fails here too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from typing import Any

from ..connection import Connection
from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..options import Limits
from ..stages import ConnectionState, Ending, StateChange


def pair(*, name: str = "double", limits: Limits = Limits()) -> tuple[Connection, Connection]:
    """Our end and the peer's, open; closing one of them closes the other.

    Args:
        name: what logs call ours.
        limits: of both.
    """
    ours, theirs = MemoryCarrier(), MemoryCarrier()
    ends = [
        Connection(carrier, _run_here, nullcontext, lambda deadline: True, name=label, limits=limits)
        for carrier, label in ((ours, name), (theirs, f"{name}-peer"))
    ]
    ours.join(ends[0], ends[1], theirs)
    theirs.join(ends[1], ends[0], ours)
    return ends[0], ends[1]


def _run_here(lane: Hashable, task: Callable[..., object], *arguments: Any) -> bool:
    task(*arguments)
    return True


class MemoryCarrier:
    """Hands what one end sends to the other; see `owlsocket_sync.protocol.carrier.Carrier`."""

    url = "memory://"
    links = 1
    latency: float | None = None

    def __init__(self) -> None:
        self._ending: Ending | None = None

    def join(self, own: Connection, peer: Connection, other: MemoryCarrier) -> None:
        """Say whose carrier this is, and who is at the other end."""
        self._own, self._peer, self._other = own, peer, other

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return ConnectionState.OPEN if self._ending is None else ConnectionState.CLOSED

    def open_link(self) -> int | None:
        """The link, until it is closed."""
        return 1 if self._ending is None else None

    def await_link(self, deadline: Deadline) -> int:
        """The link; raises `SocketConnectionError` once it is closed."""
        error = self.closing_error()
        if error is not None:
            raise error
        return 1

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Let the peer receive these messages."""
        if self._ending is not None:
            return False
        for frame in frames:
            self._peer.receive(frame.decode())
        return True

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Nothing: what was sent was received at once."""

    def ping(self, deadline: Deadline) -> float:
        """No time passes in memory."""
        self.await_link(deadline)
        return 0.0

    def reconnect(self) -> None:
        """There is nothing to connect to."""
        raise SocketConnectionError("a connection in memory cannot reconnect")

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End both ends."""
        for carrier in (self, self._other):
            carrier.end(Ending(code, reason))

    def end(self, ending: Ending) -> None:
        """End this one."""
        if self._ending is not None:
            return
        self._ending = ending
        self._own._link_lost(1, ending)
        self._own._over(self._error)
        self._own._tell_state(StateChange(ConnectionState.CLOSED, ConnectionState.OPEN, ending.code, ending.reason))

    def wait_open(self, deadline: Deadline) -> None:
        """It is open, or never will be."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """How it ended, ``None`` while it has not."""
        return self._ending

    def closing_error(self) -> SocketConnectionError | None:
        """An error once it is closed."""
        return None if self._ending is None else self._error()

    def wake_at(self, at: float) -> None:
        """Nothing: nobody looks at a clock here, and nothing is waited for."""

    def _error(self) -> SocketConnectionError:
        return SocketConnectionError(f"{self._own.name} is closed")
