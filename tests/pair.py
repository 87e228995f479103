"""Two connections whose sends are crossed: a whole conversation in one thread, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from typing import Any

from owlsocket_sync.connection import Connection
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError
from owlsocket_sync.options import Limits
from owlsocket_sync.stages import ConnectionState, Ending, StateChange


class CrossedCarrier:
    """Hands what one end sends to the other, at once, and keeps a record of it."""

    url = "crossed://"
    latency: float | None = None

    def __init__(self) -> None:
        self.peer: Connection
        self.own: Connection
        self.sent: list[bytes] = []
        self.writes = 0
        self.budgets: list[Deadline] = []
        self.links = 1
        self.up = True
        self.silent = False
        self.alarms: list[float] = []
        self.ending: Ending | None = None

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        if self.ending is not None:
            return ConnectionState.CLOSED
        return ConnectionState.OPEN if self.up else ConnectionState.RECONNECTING

    def open_link(self) -> int | None:
        """The link, while it is up."""
        return self.links if self.up and self.ending is None else None

    def await_link(self, deadline: Deadline) -> int:
        """The link; nobody could bring it up while we wait."""
        self.budgets.append(deadline)
        if not self.up or self.ending is not None:
            raise self._error()
        return self.links

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Let the peer receive these frames."""
        if link != self.links or self.open_link() is None:
            return False
        self.writes += 1
        self.budgets.append(deadline)
        self.sent.extend(frames)
        if not self.silent:
            for frame in frames:
                self.peer.receive(frame.decode())
        return True

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Nothing: what was sent was read at once."""

    def lose(self, ending: Ending = Ending(1006, "lost")) -> None:
        """The link goes down; a new one may come up."""
        self.up = False
        self.own._link_lost(self.links, ending)

    def restore(self) -> None:
        """A new link comes up."""
        self.links += 1
        self.up = True
        self.own._link_opened()

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End for good."""
        if self.ending is not None:
            return
        previous = self.state
        self.ending = Ending(code, reason)
        self.own._link_lost(self.links, self.ending)
        self.own._over(self._error)
        self.own._tell_state(StateChange(ConnectionState.CLOSED, previous, code, reason))

    def ping(self, deadline: Deadline) -> float:
        """No time passes here."""
        return 0.0

    def reconnect(self) -> None:
        """A new link in place of the old one."""
        self.lose()
        self.restore()

    def wait_open(self, deadline: Deadline) -> None:
        """Open, or never."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Closed, or not yet."""
        return self.ending

    def closing_error(self) -> SocketConnectionError | None:
        """An error once it is closed."""
        return None if self.ending is None else self._error()

    def wake_at(self, at: float) -> None:
        """Take note."""
        self.alarms.append(at)

    @staticmethod
    def _error() -> SocketConnectionError:
        return SocketConnectionError("crossed connection is closed")


def inline(lane: Hashable, task: Callable[..., object], *arguments: Any) -> bool:
    """Run a handler here and now."""
    task(*arguments)
    return True


def make_pair(**options: Any) -> tuple[Connection, Connection, CrossedCarrier, CrossedCarrier]:
    """Two ends, and what carries the messages of each."""
    carriers = CrossedCarrier(), CrossedCarrier()
    options = {"limits": Limits(), **options}
    left, right = (
        Connection(carrier, inline, nullcontext, lambda deadline: True, name=name, **options)
        for carrier, name in zip(carriers, ("left", "right"), strict=True)
    )
    carriers[0].own, carriers[0].peer = left, right
    carriers[1].own, carriers[1].peer = right, left
    return left, right, *carriers
