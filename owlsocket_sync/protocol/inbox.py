"""Messages in order, from which any may be taken while others walk along them.

Threads: it has no lock; its owner's is held around every method. Entries are walked along without it: what follows an
entry never leads backwards, passes over nothing that can still be taken, and ends at the last entry, also from one that
is no part of the inbox any more.
"""

from __future__ import annotations

from .messages import Message


class Entry:
    """A place in the order.

    Attributes:
        message: what is there, ``None`` once it was taken.
        following: the entry behind it, ``None`` for the last one.
    """

    __slots__ = ("following", "message")

    def __init__(self, message: Message | None) -> None:
        self.message = message
        self.following: Entry | None = None


class Inbox:
    """Messages that wait, in order.

    Attributes:
        front: an empty entry, which the first message follows.
        returns: how many messages were put back so far; who walks along does not come by those.
    """

    __slots__ = ("_count", "_last", "front", "returns")

    def __init__(self) -> None:
        self.returns = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.front = self._last = Entry(None)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, message: Message) -> None:
        """Add a message behind all others."""
        entry = Entry(message)
        self._last.following = entry
        self._last = entry
        self._count += 1

    def put_back(self, message: Message) -> None:
        """Put a message before all others."""
        entry = Entry(message)
        entry.following = self.front.following
        self.front.following = entry
        if self._last is self.front:
            self._last = entry
        self._count += 1
        self.returns += 1

    def take(self, entry: Entry, before: Entry) -> Message | None:
        """Take the message of the entry that was found behind this one; ``None`` when somebody else did."""
        message, entry.message = entry.message, None
        if message is not None:
            self._count -= 1
            self.leave_out(entry, before)
            self._advance()
        return message

    def leave_out(self, entry: Entry, before: Entry) -> None:
        """Have an empty entry passed over from now on, unless it is the last: what comes will follow that."""
        if before.following is entry and entry.following is not None:
            before.following = entry.following

    def _advance(self) -> None:
        while self.front.following is not None and self.front.following.message is None:
            self.front = self.front.following
