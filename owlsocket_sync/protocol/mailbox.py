"""What was received for one consumer, until the consumer takes it, in its own thread.

Threads: the condition ``_mail`` is a leaf, for those who wait; it is held for a few instructions only. Whoever waits on
it is freed by mail, by `close`, or by its deadline. Items are put in and taken in one step each, without it. Whoever
puts one in looks afterwards whether somebody waits, or closed the mailbox; whoever waits, or closes it, says so first
and looks into it afterwards: one of the two sees the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from ..deadline import Deadline

Item = TypeVar("Item")

RESERVE = 40 * 1024 * 1024
"""Bytes of memory for what is read beyond the limits; more than what the system holds of a link that nobody reads."""
MESSAGE_COST = 640
BYTE_COST = 2  # of a message both its text and what was read from it are kept
UNCOUNTED = 64
"""How many messages that were handled may wait for being counted."""


class Mailbox(Generic[Item]):
    """An unbounded queue between the reader, which calls it, and one consumer; what it holds counts as backlog.

    Args:
        hold: called with the messages and bytes that come in (positive) and go out (negative).
    """

    def __init__(self, hold: Callable[[int, int], None]) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._hold = hold
        self._closed = self._discards = False
        self._error: Exception | None = None
        self.renew_locks()

    def renew_locks(self) -> None:
        """Forget a lock that another thread of the parent held when this process was forked."""
        self._mail = threading.Condition(threading.Lock())
        self._takers = 0

    def __call__(self, item: Item, size: int) -> None:
        """Add an item; one that comes after `close` is passed over."""
        if self._closed:
            return
        self._hold(1, size)
        self._items.append((item, size))
        if self._takers:
            with self._mail:
                self._mail.notify()
        if self._discards:
            self._discard()

    def take_now(self) -> Item:
        """The next item, without waiting; `LookupError` where there is none."""
        item, size = self._items.popleft()
        self._hold(-1, -size)
        return item

    def take(self, deadline: Deadline) -> Item:
        """The next item.

        Raises:
            TimeoutError: none came within the deadline.
            EOFError: the mailbox was closed and is empty; its cause is the error it was closed with.
        """
        while True:
            with suppress(LookupError):
                return self.take_now()
            came = self._await_mail(deadline)
            if not self._items:  # else it came, and another one may be as quick
                if self._closed:
                    raise EOFError("no more will come") from self._error
                if not came:
                    raise TimeoutError("nothing came")

    def _await_mail(self, deadline: Deadline) -> bool:
        """Whether there is something, or nothing will come, before the time is over."""
        mail = self._mail
        with mail:
            self._takers += 1
            try:
                return mail.wait_for(lambda: bool(self._items) or self._closed, deadline.wait_seconds())
            finally:
                if mail is self._mail:  # else a fork forgot whoever waited
                    self._takers -= 1

    def close(self, error: Exception | None = None, *, discard: bool = False) -> None:
        """Let nothing more in, and free whoever waits; what is here can still be taken, unless discarded."""
        with self._mail:
            if not self._closed:
                self._error = error
                self._closed = True
            self._discards = self._discards or discard
            self._mail.notify_all()
        if discard:
            self._discard()

    def _discard(self) -> None:
        with suppress(LookupError):
            while True:
                self.take_now()

    def leave(self, error: Exception) -> None:
        """In a forked child: whoever takes from it here is told that it is the parent's."""
        self.renew_locks()
        self.close(error, discard=True)


class Backlog:
    """How much was read and not yet handled, on one connection.

    Threads: ``_backlog_lock`` guards the two counters and is a leaf. What was handled one by one is put on a list, in
    one step, and subtracted by whoever comes by with the lock; until then the counters are too high, never too low.

    Args:
        messages: how many there may be.
        size: how many bytes, as they arrive.
    """

    __slots__ = ("_backlog_lock", "_handled", "_held", "_held_size", "_most", "_most_size")

    def __init__(self, messages: int, size: int) -> None:
        self._most, self._most_size = messages, size
        self.renew_locks()

    def renew_locks(self) -> None:
        """Start anew in a forked child."""
        self._backlog_lock = threading.Lock()
        self._handled: list[int] = []
        self._held = self._held_size = 0

    def hold(self, messages: int, size: int) -> None:
        """Add to the counters, or take from them."""
        with self._backlog_lock:
            self._held += messages
            self._held_size += size

    def give_back(self, size: int) -> None:
        """Take one message of this size from the counters; nearly for nothing."""
        handled = self._handled
        handled.append(size)
        if len(handled) > UNCOUNTED:
            self._count()

    def _count(self) -> None:
        """Take from the counters what is on the list; what others append meanwhile stays on it."""
        with self._backlog_lock:
            sizes = self._handled[:]
            del self._handled[: len(sizes)]
            self._held -= len(sizes)
            self._held_size -= sum(sizes)

    @property
    def _messages(self) -> int:
        self._count()
        return self._held

    @property
    def _size(self) -> int:
        self._count()
        return self._held_size

    def has_room(self) -> bool:
        """Whether it is below its limits."""
        if self._held < self._most and self._held_size < self._most_size:
            return True
        return self._messages < self._most and self._size < self._most_size

    def has_reserve(self) -> bool:
        """Whether what is beyond its limits takes less memory than is set aside for that."""
        messages, size = max(0, self._messages - self._most), max(0, self._size - self._most_size)
        return messages * MESSAGE_COST + size * BYTE_COST < RESERVE
