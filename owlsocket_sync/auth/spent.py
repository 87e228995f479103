"""What may be used once: challenges and one-time tokens, remembered until their time is over.

Threads: ``_spent_lock`` guards the table and is a leaf.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ..errors import AuthError

LIMIT = 1_000_000


class SpentStore(Protocol):
    """Remembers what was used; one of your own may share this between processes."""

    def spend(self, mark: str, until: float) -> bool:
        """Use something up; false when it was used before. It may be forgotten after ``until``, in epoch seconds."""
        ...


class Spent:
    """The memory of this process.

    Args:
        limit: how many marks it holds at once; beyond it nothing is taken, for what was used must not be forgotten.
        now: seconds since the epoch.
    """

    def __init__(self, limit: int = LIMIT, now: Callable[[], float] = time.time) -> None:
        self._spent_lock = threading.Lock()
        self._marks: set[str] = set()
        self._ends: list[tuple[float, str]] = []
        self._limit = limit
        self._now = now

    def spend(self, mark: str, until: float) -> bool:
        """Use something up; false when it was used before.

        Raises:
            AuthError: there is no room for more.
        """
        with self._spent_lock:
            while self._ends and self._ends[0][0] < self._now():
                self._marks.discard(heapq.heappop(self._ends)[1])
            if mark in self._marks:
                return False
            if len(self._marks) >= self._limit:
                raise AuthError(f"{self._limit} one-time tokens are remembered already: try again later")
            self._marks.add(mark)
            heapq.heappush(self._ends, (until, mark))
            return True
