"""The moments at which the poller calls links again, the earliest one first.

Threads: those that poll.
"""

from __future__ import annotations

import heapq
import itertools
import math

from .registration import PolledLink

PURGE_THRESHOLD = 64


class Moments:
    """One moment for each link, ``due_at``, on the clock of ``time.monotonic``."""

    def __init__(self) -> None:
        # A link has an entry for each moment that was earlier than those before: only the earliest one counts.
        self._entries: list[tuple[float, int, PolledLink]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def next_at(self) -> float:
        """Return the earliest moment, ``math.inf`` where there is none."""
        return self._entries[0][0] if self._entries else math.inf

    def add(self, at: float, registration: PolledLink, links: int) -> None:
        """Call a link at a moment, one that is earlier than its present one; ``links`` is the number of all."""
        registration.due_at = at
        heapq.heappush(self._entries, (at, next(self._numbers), registration))
        if len(self._entries) > 2 * links + PURGE_THRESHOLD:
            self._purge()

    def _purge(self) -> None:
        """Drop the moments of links that have ended, which would stay until they come."""
        self._entries[:] = [entry for entry in self._entries if entry[0] == entry[2].due_at]
        heapq.heapify(self._entries)

    def take(self, now: float) -> list[PolledLink]:
        """Remove and return the links whose moment has come."""
        due: list[PolledLink] = []
        while self._entries and self._entries[0][0] <= now:
            at, _, registration = heapq.heappop(self._entries)
            if at == registration.due_at:
                registration.due_at = math.inf
                due.append(registration)
        return due

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
