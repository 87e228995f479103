"""Replay protection: challenges and one-time tokens are accepted once.

Threads: ``_replay_lock`` guards the table of each class and is a leaf.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..clock import wall_time
from ..errors import AuthError
from ..fork import PerProcess

MAX_KEYS = 1_000_000
MAX_FAILED = 10_000


class ReplayStore(Protocol):
    """Storage for used one-time values; implement this protocol to share it between processes."""

    def use_once(self, key: str, expires_at: float) -> bool:
        """Record a key, atomically; return false if it was recorded before.

        Args:
            key: identifies the one-time value.
            expires_at: seconds since the epoch; the key may be forgotten afterwards.
        """
        ...


class MemoryReplayStore:
    """A replay store in the memory of this process.

    Args:
        limit: maximum number of keys held at once.
        now: clock, seconds since the epoch.

    Attributes:
        limit: as passed.
    """

    def __init__(self, limit: int = MAX_KEYS, now: Callable[[], float] = wall_time) -> None:
        # New in each process: a thread of the parent may have held it at the fork. The keys are kept.
        self._replay_lock = PerProcess(threading.Lock)
        self._keys: set[str] = set()
        self._expiry_heap: list[tuple[float, str]] = []
        self.limit = limit
        self._now = now

    def use_once(self, key: str, expires_at: float) -> bool:
        """Record a key; return false if it was recorded before. Any thread.

        Raises:
            AuthError: the store is full.
        """
        # Lookup and insertion under one lock: two threads that present the same token must not both succeed.
        with self._replay_lock.get():
            # Expired keys first: the full check below must count only keys that can still be replayed. Strictly
            # less, because an envelope is valid at its very last millisecond.
            while self._expiry_heap and self._expiry_heap[0][0] < self._now():
                self._keys.discard(heapq.heappop(self._expiry_heap)[1])
            if key in self._keys:
                return False
            # Refuse rather than evict: an evicted key could be replayed.
            if len(self._keys) >= self.limit:
                raise AuthError(f"replay store is full ({self.limit} unexpired one-time tokens): try again later")
            self._keys.add(key)
            heapq.heappush(self._expiry_heap, (expires_at, key))
            return True


class FailedChallenges:
    """The challenges of failed attempts, of which the newest are remembered.

    Clients without credentials fill this table, so it forgets the oldest ones instead of refusing new ones. To forget
    one does no harm: an attempt with a valid signature is recorded in the replay store.

    Args:
        limit: maximum number of challenges held at once.
    """

    def __init__(self, limit: int = MAX_FAILED) -> None:
        self._replay_lock = PerProcess(threading.Lock)  # as in `MemoryReplayStore`
        self._keys: dict[str, None] = {}  # in the order of insertion
        self._limit = limit

    def add(self, key: str) -> None:
        """Remember a challenge. Any thread."""
        with self._replay_lock.get():
            self._keys[key] = None
            if len(self._keys) > self._limit:
                del self._keys[next(iter(self._keys))]

    def __contains__(self, key: str) -> bool:
        return key in self._keys


class Shares:
    """The number of unexpired keys that each owner has in a replay store.

    Args:
        share: maximum of each owner.
        now: clock, seconds since the epoch.
    """

    def __init__(self, share: int, now: Callable[[], float]) -> None:
        self._replay_lock = PerProcess(threading.Lock)  # as in `MemoryReplayStore`
        self._expiries: dict[str, deque[float]] = {}
        self._share = share
        self._now = now

    def take(self, owner: str, expires_at: float) -> bool:
        """Count a key of an owner; return false if the share of the owner is used up. Any thread."""
        with self._replay_lock.get():
            expiries = self._expiries.setdefault(owner, deque())
            while expiries and expiries[0] < self._now():
                expiries.popleft()
            if len(expiries) >= self._share:
                return False
            expiries.append(expires_at)
            return True
