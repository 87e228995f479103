"""What was received for one consumer, until the consumer takes it, in its own thread.

Threads: the condition ``_mail`` is a leaf, for those who wait; it is held for a few instructions only. Whoever waits on
it is freed by mail, by `close`, or by its deadline. Items are put in and taken in one step each, without it. Whoever
puts one in looks afterwards whether somebody waits, or closed the mailbox; whoever waits, or closes it, says so first
and looks into it afterwards: one of the two sees the other.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from ..deadline import Deadline

Item = TypeVar("Item")


class Room(Protocol):
    """What a mailbox has to know of a `owlsocket_sync.protocol.backlog.Backlog`."""

    def take(self, size: int) -> None:
        """One message more, of so many bytes."""

    def give_back(self, size: int) -> None:
        """One message less."""


class Mailbox(Generic[Item]):
    """An unbounded queue between the reader, which calls it, and one consumer; what it holds counts as backlog.

    Args:
        backlog: where its items take room until they are taken.
    """

    def __init__(self, backlog: Room) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._backlog = backlog
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
        self._backlog.take(size)
        self._items.append((item, size))
        if self._takers:
            with self._mail:
                self._mail.notify()
        if self._discards:
            self._discard()

    def take_now(self) -> Item:
        """The next item, without waiting; `LookupError` where there is none."""
        item, size = self._items.popleft()
        self._backlog.give_back(size)
        return item

    def take(self, deadline: Deadline) -> Item:
        """The next item.

        Raises:
            TimeoutError: none came within the deadline.
            EOFError: the mailbox was closed and is empty; its cause is the error it was closed with.
        """
        while True:
            try:
                return self.take_now()
            except LookupError:
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
