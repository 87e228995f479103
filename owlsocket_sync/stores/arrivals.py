"""`Arrivals`: threads that wait for a message, and are woken by one that this process puts.

Threads: ``_arrivals_lock``, under ``_arrived``, is a leaf, held for a few instructions and during waits. A thread that
waits is freed by `Arrivals.notify`, or by its deadline.
"""

from __future__ import annotations

from collections.abc import Callable

from ..deadline import Deadline
from ..locks import Condition, make_process_lock

SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.02
"""Seconds between two looks into the file of a thread that waits: from the first to the last ones."""


class Arrivals:
    """The number of times at which a message may have become free, by what this process did.

    Attributes:
        count: that number.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with a lock that no other thread holds."""
        lock = make_process_lock()
        self._arrived = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        self._arrivals_lock = lock
        self.count = 0

    def notify(self) -> None:
        """Wake the threads that wait."""
        with self._arrivals_lock:
            self.count += 1
            self._arrived.notify_all()

    def watch(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until a condition holds, which another process may bring about; return whether it does, in time."""
        pause = SHORTEST_PAUSE
        while True:
            count = self.count
            if condition():
                return True
            if deadline.expired():
                return False
            woken = self.wait(count, deadline.sooner(Deadline(pause)))
            pause = SHORTEST_PAUSE if woken else min(1.5 * pause, LONGEST_PAUSE)

    def wait(self, count: int, deadline: Deadline) -> bool:
        """Wait until the number is another one than this, which was read before; return whether it is, in time."""
        with self._arrivals_lock:
            return deadline.wait_for(self._arrived, lambda: self.count != count)
