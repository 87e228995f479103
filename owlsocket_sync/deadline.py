"""One deadline over many steps that each may wait."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from .clock import monotonic
from .locks import MAX_WAIT, Condition, longest_wait, look_out

if TYPE_CHECKING:
    from queue import SimpleQueue

Value = TypeVar("Value")


class Lock(Protocol):
    """A lock, reentrant or not."""

    def acquire(self, blocking: bool = True, timeout: float = -1, /) -> bool:
        """Acquire it; return whether that was within ``timeout`` seconds, -1 for no limit."""
        ...


class Deadline:
    """A point in time, and the time that is left until then.

    Args:
        seconds: the time from now on; ``math.inf`` for no limit.
        clock: returns monotonic seconds; tests pass a fake.
    """

    __slots__ = ("_clock", "at", "seconds")

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self.at = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, 0 or more; ``math.inf`` without a limit."""
        return max(0.0, self.at - self._clock())

    def wait_seconds(self) -> float | None:
        """Return `remaining` as the argument of one wait, ``None`` for no limit; `MAX_WAIT` at most.

        In the main thread `wait` is the better choice: a single wait may hold back signals.
        """
        return None if self.at == math.inf else min(self.remaining(), MAX_WAIT)

    def wait(self, wait_once: Callable[[float], object]) -> bool:
        """Wait until the deadline, in single waits of `longest_wait`; return whether one of them ended in time.

        Args:
            wait_once: waits for so many seconds, and returns whether it has ended in time.
        """
        longest = longest_wait()
        while not wait_once(min(self.remaining(), longest)):
            if self.expired():
                return False
            look_out()
        return True

    def wait_for(self, changed: Condition, predicate: Callable[[], object]) -> bool:
        """Wait under a condition until a predicate holds; return whether it does, within the deadline."""
        return self.wait(partial(changed.wait_for, predicate))

    def acquire(self, lock: Lock) -> bool:
        """Acquire a lock; return whether it is acquired, within the deadline."""
        return self.wait(lambda seconds: lock.acquire(True, seconds))

    def join(self, thread: threading.Thread) -> None:
        """Wait for the end of a thread, or for the deadline."""
        # join() raises for a thread that was not started in time.
        self.wait(lambda seconds: not thread.is_alive() or thread.join(seconds) or not thread.is_alive())

    def expired(self) -> bool:
        """Return whether no time is left."""
        return self._clock() >= self.at

    def sooner(self, other: Deadline | None) -> Deadline:
        """Return the earlier of the two deadlines."""
        return other if other is not None and other.at < self.at else self


def next_item(queue: SimpleQueue[Value]) -> Value:
    """Remove an item from a queue, and return it, once there is one."""
    from queue import Empty  # few processes wait for a queue, and each imports this module

    longest = longest_wait()
    while True:
        with suppress(Empty):
            return queue.get(timeout=longest)


def check_timeout(timeout: float | None, name: str = "timeout", default: float | None = None) -> float:
    """Return the timeout if it is valid, and ``math.inf`` for one that no clock can represent.

    Args:
        timeout: seconds.
        name: the option, for the error.
        default: what ``None`` stands for, where it stands for something.

    Raises:
        ValueError: the timeout is negative, NaN, or not a number.
    """
    if timeout is None and default is not None:
        return default
    # NaN fails every comparison, so `not >= 0` refuses it and `< 0` would not.
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ValueError(f"{name} must be a number of seconds, 0 or more (math.inf for no limit), not {timeout!r}")
    # An integer of any size is a number, but monotonic() + 10**400 overflows.
    return timeout if timeout <= sys.float_info.max else math.inf
