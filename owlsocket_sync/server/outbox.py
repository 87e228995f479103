"""What one client has yet to take of what is broadcast; bounded, for there are clients that take nothing.

Threads: ``_outbox_lock`` guards the counters and is a leaf. What is sent is sent by a worker of the client's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from ..connection import Connection
from ..errors import SocketError
from ..options import Limits
from ..protocol.endpoint import ErrorContext

LANE = "broadcast"


class Outbox:
    """The broadcasts to one client, in order.

    Args:
        connection: the client's; told, and made to count, when a broadcast finds no room.
        run: has a function run on a worker, after those of its lane; false when there are no workers any more.
        limits: ``dispatch_messages`` and ``dispatch_bytes`` bound what waits here as well.
    """

    def __init__(
        self, connection: Connection, run: Callable[[Hashable, Callable[[], None]], bool], limits: Limits
    ) -> None:
        self._connection = connection
        self._run = run
        self._limits = limits
        self._outbox_lock = threading.Lock()
        self._messages = 0
        self._size = 0
        self._full = False

    def put(self, size: int, send: Callable[[], None]) -> None:
        """Have a broadcast sent, after those before it, or dropped where too many wait; from any thread."""
        with self._outbox_lock:
            told = self._full
            full = self._full = self._messages > 0 and not self._has_room(size)
            if not full:
                self._messages += 1
                self._size += size
        if full:
            self._drop(told)
            return

        def task() -> None:
            try:
                send()
            finally:
                self._give_back(size)

        if not self._run(LANE, task):
            self._give_back(size)

    def _has_room(self, size: int) -> bool:
        return self._messages < self._limits.dispatch_messages and self._size + size <= self._limits.dispatch_bytes

    def _give_back(self, size: int) -> None:
        with self._outbox_lock:
            self._messages -= 1
            self._size -= size

    def _drop(self, told: bool) -> None:
        self._connection._count("dropped")
        if not told:
            error = SocketError(
                "the client does not take its broadcasts (Limits.dispatch_messages, Limits.dispatch_bytes); "
                "more of them are dropped until there is room"
            )
            self._connection._report(error, ErrorContext(LANE))
