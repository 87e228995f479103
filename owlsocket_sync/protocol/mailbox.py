"""A queue between the reader and one consumer, which takes from it in its own thread.

Threads: the condition ``_available`` is a leaf, for those who wait; it is held for a few instructions only. A consumer
that waits on it is freed by an item, by `close`, or by its deadline. Items are put in and taken in one step each,
without it. The producer looks afterwards whether a consumer waits, or closed the mailbox; a consumer that waits or
closes notes that first and looks at the items afterwards: one of the two sees the other.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Generic, TypeVar

from ..deadline import Deadline
from ..locks import Condition
from ..reentrant import make_lock
from .backlog import Backlog

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """An unbounded queue; what it holds counts as backlog.

    Args:
        backlog: where its items take room until they are taken.
        mailbox_lock: of all mailboxes of the connection; reentrant.
    """

    def __init__(self, backlog: Backlog, mailbox_lock: threading.RLock | None = None) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._backlog = backlog
        self._closed = self._discards = False
        self._error: Exception | None = None
        self._use_lock(mailbox_lock or make_lock())

    def _use_lock(self, lock: threading.RLock) -> None:
        self._available = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        # Reentrant: an interrupt of a wait, which has released it, must not release it for another thread.
        self._mailbox_lock = lock
        self._waiting = 0

    def __call__(self, item: Item, size: int) -> None:
        """Add an item; it is dropped after `close`."""
        if self._closed:
            return
        self._backlog.take(size)
        self._items.append((item, size))
        # Looked at after the item is there: see the module's docstring.
        if self._waiting:
            with self._mailbox_lock:
                # All: a consumer that is interrupted after it was notified would leave the item without another one.
                self._available.notify_all()
        if self._discards:
            self._discard()

    def get_nowait(self) -> Item:
        """Return the next item without waiting; raise `LookupError` where there is none."""
        item, size = self._items.popleft()
        self._backlog.release(size)
        return item

    def get(self, deadline: Deadline) -> Item:
        """Return the next item.

        Raises:
            TimeoutError: there was none within the deadline.
            EOFError: the mailbox was closed and is empty; its cause is the error it was closed with.
        """
        while True:
            try:
                return self.get_nowait()
            except LookupError:
                pass  # and wait outside: the traceback of an interrupt would show this error too
            available = self._wait_available(deadline)
            # Where items are left, another consumer was as quick: look again.
            if not self._items:
                if self._closed:
                    raise EOFError("no more will come") from self._error
                if not available:
                    raise TimeoutError("nothing came")

    def _wait_available(self, deadline: Deadline) -> bool:
        """Return whether there is an item, or the mailbox is closed, before the deadline."""
        available, lock = self._available, self._mailbox_lock
        with lock:
            self._waiting += 1
            try:
                return deadline.wait_for(available, lambda: bool(self._items) or self._closed)
            finally:
                # A fork replaces the condition, and forgets the consumers of the parent with it.
                if available is self._available:
                    self._waiting -= 1

    def close(self, error: Exception | None = None, *, discard: bool = False) -> None:
        """Let nothing more in, and free all who wait; what is here can still be taken, unless discarded."""
        with self._mailbox_lock:
            if not self._closed:
                self._error = error
                self._closed = True
            self._discards = self._discards or discard
            self._available.notify_all()
        if discard:
            self._discard()

    def _discard(self) -> None:
        with suppress(LookupError):
            while True:
                self.get_nowait()

    def orphan(self, error: Exception) -> None:
        """Fail the consumer, since what it waits for belongs to the parent; in a forked child."""
        self._use_lock(make_lock())
        self.close(error, discard=True)

    def adopt(self, backlog: Backlog, mailbox_lock: threading.RLock | None = None) -> None:
        """Go on with another backlog, and without the parent's lock; in a forked child."""
        self._use_lock(mailbox_lock or make_lock())
        self._backlog = backlog
        for _, size in list(self._items):
            backlog.take(size)
