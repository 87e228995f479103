"""What was received for one consumer, until the consumer takes it, in its own thread.

Threads: one condition, ``_mail``, guards the queue and is a leaf. It is held for a few instructions only; whoever
waits on it is freed by mail, by `close`, or by its deadline.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ..deadline import Deadline

Item = TypeVar("Item")

RESERVE = 40 * 1024 * 1024
"""Bytes of memory for what is read beyond the limits; more than what the system holds of a link that nobody reads."""
MESSAGE_COST = 640
BYTE_COST = 2  # of a message both its text and what was read from it are kept


class Mailbox(Generic[Item]):
    """An unbounded queue between the reader, which calls it, and one consumer; what it holds counts as backlog.

    Args:
        hold: called with the messages and bytes that come in (positive) and go out (negative).
    """

    def __init__(self, hold: Callable[[int, int], None]) -> None:
        self._mail = threading.Condition(threading.Lock())
        self._items: deque[tuple[Item, int]] = deque()
        self._hold = hold
        self._closed = False
        self._error: Exception | None = None

    def __call__(self, item: Item, size: int) -> None:
        """Add an item; one that comes after `close` is passed over."""
        with self._mail:
            if self._closed:
                return
            self._items.append((item, size))
            self._mail.notify()
        self._hold(1, size)

    def take(self, deadline: Deadline) -> Item:
        """The next item.

        Raises:
            TimeoutError: none came within the deadline.
            EOFError: the mailbox was closed and is empty; its cause is the error it was closed with.
        """
        with self._mail:
            self._mail.wait_for(lambda: self._items or self._closed, deadline.wait_seconds())
            if not self._items:
                if self._closed:
                    raise EOFError("no more will come") from self._error
                raise TimeoutError("nothing came")
            item, size = self._items.popleft()
        self._hold(-1, -size)
        return item

    def close(self, error: Exception | None = None, *, discard: bool = False) -> None:
        """Let nothing more in, and free whoever waits; what is here can still be taken, unless discarded."""
        dropped: list[tuple[Item, int]] = []
        with self._mail:
            if not self._closed:
                self._closed, self._error = True, error
            if discard:
                dropped = list(self._items)
                self._items.clear()
            self._mail.notify_all()
        if dropped:
            self._hold(-len(dropped), -sum(size for _, size in dropped))

    def leave(self, error: Exception) -> None:
        """In a forked child: whoever takes from it here is told that it is the parent's."""
        self.renew_locks()
        self.close(error, discard=True)

    def renew_locks(self) -> None:
        """Forget a lock that another thread of the parent held when this process was forked."""
        self._mail = threading.Condition(threading.Lock())


class Backlog:
    """How much was read and not yet handled, on one connection.

    Threads: ``_backlog_lock`` guards the two counters and is a leaf.

    Args:
        messages: how many there may be.
        size: how many bytes, as they arrive.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._backlog_lock = threading.Lock()
        self._most = (messages, size)
        self._messages = 0
        self._size = 0

    def hold(self, messages: int, size: int) -> None:
        """Add to the counters, or take from them."""
        with self._backlog_lock:
            self._messages += messages
            self._size += size

    def has_room(self) -> bool:
        """Whether it is below its limits."""
        return self._messages < self._most[0] and self._size < self._most[1]

    def has_reserve(self) -> bool:
        """Whether what is beyond its limits takes less memory than is set aside for that."""
        messages, size = max(0, self._messages - self._most[0]), max(0, self._size - self._most[1])
        return messages * MESSAGE_COST + size * BYTE_COST < RESERVE

    def renew_locks(self) -> None:
        """Start anew in a forked child."""
        self._backlog_lock = threading.Lock()
        self._messages = self._size = 0
