"""How much was read and not yet handled, on one connection: what decides whether more is read.

Threads: ``_backlog_lock`` guards the counters and is a leaf. What comes and goes is put on a list, in one step, and
counted in bulk, under the lock, by whoever finds a list long, or has to know exactly. What is on a list is never lost:
others append behind what is being counted.
"""

from __future__ import annotations

import threading

RESERVE = 40 * 1024 * 1024
"""Bytes of memory for what is read beyond the limits; more than what the system holds of a link that nobody reads."""
MESSAGE_COST = 640
BYTE_COST = 2  # of a message both its text and what was read from it are kept
UNCOUNTED = 64
"""How many messages may wait on a list for being counted."""


class Backlog:
    """The messages that hold room, and their bytes.

    Args:
        messages: how many there may be.
        size: how many bytes, as they arrive.
    """

    __slots__ = ("_backlog_lock", "_given_back", "_held", "_held_size", "_largest", "_most", "_most_size", "_taken")

    def __init__(self, messages: int, size: int) -> None:
        self._most, self._most_size = messages, size
        self.renew_locks()

    def renew_locks(self) -> None:
        """Start anew in a forked child."""
        self._backlog_lock = threading.Lock()
        self._taken: list[int] = []
        self._given_back: list[int] = []
        self._held = self._held_size = self._largest = 0

    def take(self, size: int) -> None:
        """One message more, of so many bytes."""
        if size > self._largest:
            with self._backlog_lock:
                self._largest = max(size, self._largest)
        taken = self._taken
        taken.append(size)
        if len(taken) > UNCOUNTED:
            self.count()

    def give_back(self, size: int) -> None:
        """One message less."""
        given_back = self._given_back
        given_back.append(size)
        if len(given_back) > UNCOUNTED:
            self.count()

    def count(self) -> tuple[int, int]:
        """The messages that hold room, and their bytes."""
        with self._backlog_lock:
            for sizes, sign in ((self._given_back, -1), (self._taken, 1)):
                counted = sizes[:]
                self._held += sign * len(counted)
                self._held_size += sign * sum(counted)
                del sizes[: len(counted)]  # last, so that whoever looks without the lock sees too many, never too few
            return self._held, self._held_size

    def has_room(self) -> bool:
        """Whether it is below its limits."""
        uncounted = len(self._taken)
        if self._held + uncounted < self._most and self._held_size + uncounted * self._largest < self._most_size:
            return True  # though nothing of what was given back is counted, and all that was taken as if it were large
        messages, size = self.count()
        return messages < self._most and size < self._most_size

    def has_reserve(self) -> bool:
        """Whether what is beyond its limits takes less memory than is set aside for that."""
        messages, size = self.count()
        messages, size = max(0, messages - self._most), max(0, size - self._most_size)
        return messages * MESSAGE_COST + size * BYTE_COST < RESERVE
