"""The state of one link, and the reason of its end. It ends once, for one reason: the first one holds.

Threads: ``changed`` is a condition on the ``state_lock`` of the stream, held for a few instructions; a leaf. The state
may be read without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from ..deadline import Deadline
from ..errors import SocketConnectionError
from ..locks import Condition
from ..states import CloseInfo


class LinkState(Enum):
    """The stages of a link, in order."""

    OPEN = "open"
    CLOSING = "closing"
    """Our close frame has been written; nothing follows it (RFC 6455, section 5.5.1)."""
    ENDED = "ended"
    """The reason is known, and both directions are shut down."""
    RELEASED = "released"
    """The descriptor is closed, and no thread reads or writes."""


_TRANSITIONS: dict[LinkState, frozenset[LinkState]] = {
    LinkState.OPEN: frozenset({LinkState.CLOSING, LinkState.ENDED}),
    LinkState.CLOSING: frozenset({LinkState.ENDED}),
    LinkState.ENDED: frozenset({LinkState.RELEASED}),
    LinkState.RELEASED: frozenset(),
}


class LinkStatus:
    """The state of one link.

    Args:
        lock: the ``state_lock`` of the stream.

    Attributes:
        state: the current state; read without the lock.
        info: the reason why the link ended, ``None`` before it has.
        changed: notified of each change, and of each pong.
    """

    __slots__ = ("changed", "info", "lock", "state")

    def __init__(self, lock: threading.RLock) -> None:
        self.changed = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        self.lock = lock
        self.state = LinkState.OPEN
        self.info: CloseInfo | None = None

    def enter(self, state: LinkState, info: CloseInfo | None = None) -> bool:
        """Change the state if the table allows it, and return whether it did.

        Args:
            state: the new state.
            info: the reason, for `LinkState.ENDED`.
        """
        with self.lock:
            if state not in _TRANSITIONS[self.state]:
                return False
            if info is not None:
                # Before the state: readers without the lock that see ENDED find the reason.
                self.info = info
            self.state = state
            self.changed.notify_all()
            return True

    def wait(self, done: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until ``done`` returns true after a change, and return whether it did within the deadline."""
        with self.lock:
            return deadline.wait_for(self.changed, done)

    def wait_released(self, deadline: Deadline) -> None:
        """Wait until the link is released, or the deadline passes."""
        self.wait(lambda: self.state is LinkState.RELEASED, deadline)

    def error(self) -> SocketConnectionError | None:
        """Return a new error if the link takes no more messages, else ``None``."""
        if self.state is LinkState.OPEN:
            return None
        info = self.info
        if info is None:
            return SocketConnectionError("the link is closing")
        error = SocketConnectionError(f"the link is closed: {info.summary}")
        error.__cause__ = info.error
        return error
