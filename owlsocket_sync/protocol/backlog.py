"""Backlog of one connection: messages that were read and not yet handled, which decide whether more is read.

Threads: ``_counters_lock``, which the counters of the connection share, guards the totals and is a leaf. Sizes that
come and go are appended to lists, in one step, and added up in bulk by the thread that finds a list long, or has to
know the exact totals.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..locks import make_process_lock
from .counters import UNCOUNTED

RESERVE = 64 * 1024 * 1024
"""Bytes of memory for what is read beyond the limits; more than what the system holds of a link that is not read."""
MESSAGE_COST = 640
"""Bytes of a message itself, without what it carries."""

SHORT, MEDIUM, FEW = 256, 4096, 100
"""Messages of so many characters count as their text: always, and while fewer than so many wait."""
LARGE = 65_536
"""Bytes of a message that is counted at once."""


def memory_of(text: str) -> int:
    """Return the memory that a message takes, in bytes, estimated from its text: for the text and what it holds."""
    # Empty lists and objects take twenty times the memory of their text, and nested ones forty times.
    parts = 144 * text.count("{") + 80 * text.count("[") + 24 * (text.count(",") + text.count('"'))
    return 2 * text.__sizeof__() + parts


class SharedMemory:
    """The memory of the messages that several connections hold together, such as those of a server.

    Args:
        size: the bytes from which on a connection takes in no more than its part of them.

    Attributes:
        is_full: so many are held.
    """

    def __init__(self, size: int) -> None:
        self._shares_lock = make_process_lock()
        self._max_size = size
        self._held = self._members = 0
        self.is_full = False

    def join(self) -> Share:
        """Return the share of one more connection."""
        with self._shares_lock:
            self._members += 1
        return Share(self)

    def change(self, share: Share, by: int) -> None:
        """Add to the memory of a connection."""
        with self._shares_lock:
            if not share.has_left:
                share.held += by
                self._held += by
                self.is_full = self._held >= self._max_size

    def leave(self, share: Share) -> None:
        """Forget a connection that has ended, and what it holds; idempotent."""
        with self._shares_lock:
            if not share.has_left:
                self._held -= share.held
                self._members -= 1
                share.held, share.has_left = 0, True
                self.is_full = self._held >= self._max_size

    def is_exceeded_by(self, share: Share) -> bool:
        """Return whether there is no room, and a connection holds its part or more; takes no lock."""
        # A client that fills the memory of all stops its own link, and not that of a client with little in it.
        return self.is_full and share.held * max(1, self._members) >= self._max_size


class Share:
    """Part of a `SharedMemory` that one connection holds.

    Attributes:
        memory: that of all.
        held: the bytes of its messages.
        has_left: it has ended, and is not counted any more.
    """

    __slots__ = ("has_left", "held", "memory")

    def __init__(self, memory: SharedMemory) -> None:
        self.memory = memory
        self.held = 0
        self.has_left = False

    def change(self, by: int) -> None:
        """Add to the memory of the connection."""
        self.memory.change(self, by)

    def leave(self) -> None:
        """Stop counting: the connection has ended."""
        self.memory.leave(self)

    def is_exceeded(self) -> bool:
        """Return whether the connection is to take in nothing more for now; takes no lock."""
        return self.memory.is_exceeded_by(self)


class Backlog:
    """Messages that hold room, and their memory in bytes.

    Args:
        messages: the number of messages from which on reading pauses.
        size: the memory from which on reading pauses.
        counters_lock: guards the totals; the counters of the connection share it.
        share: of the memory of a server, if there is one.
    """

    __slots__ = (
        "_counters_lock",
        "_held",
        "_held_size",
        "_largest",
        "_max_messages",
        "_max_size",
        "_released",
        "_sums",
        "_taken",
        "share",
    )

    def __init__(
        self,
        messages: int,
        size: int,
        counters_lock: AbstractContextManager[object],
        share: Share | None = None,
    ) -> None:
        self.share = share
        self._max_messages, self._max_size = messages, size
        self._counters_lock = counters_lock
        self._taken: list[int] = []
        self._released: list[int] = []
        self._held = self._held_size = self._largest = self._sums = 0

    def weigh(self, text: str | None) -> int:
        """Return the bytes that a message with this text counts."""
        if text is None:
            return 0
        size = len(text)
        # The estimate costs a quarter of what parsing does. Where few messages wait, and where the number of messages
        # is the narrower limit, it makes no difference.
        if size <= SHORT or (size <= MEDIUM and self._held < FEW):
            return size
        return memory_of(text)

    def take(self, size: int) -> None:
        """Add one message of so many bytes."""
        if size > self._largest:
            with self._counters_lock:
                if size > self._largest:
                    self._largest = size
        taken = self._taken
        taken.append(size)
        if len(taken) > UNCOUNTED or size > LARGE:
            self.totals()

    def release(self, size: int) -> None:
        """Remove one message of so many bytes."""
        released = self._released
        released.append(size)
        if len(released) > UNCOUNTED or size > LARGE:
            self.totals()

    def totals(self) -> tuple[int, int]:
        """Return the number of messages that hold room, and their bytes."""
        change = 0
        with self._counters_lock:
            for sizes, sign in ((self._released, -1), (self._taken, 1)):
                while sizes:
                    sums, count = self._sums, len(sizes)
                    front, total = slice(count), sum(sizes[:count])
                    # No call from here on, and so no interrupt: a signal handler or a finalizer may add up as well.
                    if sums == self._sums:
                        self._held += sign * count
                        self._held_size += sign * total
                        change += sign * total
                        # Removed last, so that a look without the lock sees too many, never too few.
                        del sizes[front]
                        self._sums = sums + 1
            totals = self._held, self._held_size
        # Without the lock, which is a leaf. What interrupted the lines above has changed the share by its own sums.
        if change and self.share is not None:
            self.share.change(change)
        return totals

    def has_room(self) -> bool:
        """Return whether the backlog is below its limits, and the memory of the server below its own."""
        # Totals first: released messages may not be counted yet. The queue must not pause reading: a program that never
        # consumes it would stop the link.
        share = self.share
        if (
            share is not None
            and share.memory.is_full  # no call, for most messages
            and share.is_exceeded()
            and self.totals()[1] > 0
            and share.is_exceeded()
        ):
            return False
        uncounted = len(self._taken)
        # Without the lock: nothing that was released is counted, and all that was taken as if it were the largest.
        if self._held + uncounted < self._max_messages and self._held_size + uncounted * self._largest < self._max_size:
            return True
        messages, size = self.totals()
        return messages < self._max_messages and size < self._max_size

    def leave(self) -> None:
        """Give the share of the memory of a server back: the connection has ended."""
        if self.share is not None:
            self.share.leave()

    def has_reserve(self) -> bool:
        """Return whether what is beyond the limits takes less memory than `RESERVE`."""
        messages, size = self.totals()
        # One message may be larger than the limit: its handler, too, gets an answer that it waits for.
        limit = max(self._max_size, self._largest)
        return max(0, messages - self._max_messages) * MESSAGE_COST + max(0, size - limit) < RESERVE
