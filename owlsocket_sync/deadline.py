"""One budget of time across many steps."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable


class Deadline:
    """A moment on a clock, and how far away it is.

    Args:
        seconds: how long from now; ``math.inf`` for no limit.
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "at", "seconds")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self.at = clock() + seconds

    def remaining(self) -> float:
        """Seconds that are left, never below zero; ``math.inf`` without a limit."""
        return max(0.0, self.at - self._clock())

    def wait_seconds(self) -> float | None:
        """What a ``wait(timeout)`` of the standard library takes for `remaining`: ``None`` without a limit."""
        return None if self.at == math.inf else min(self.remaining(), threading.TIMEOUT_MAX)

    def expired(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self.at

    def sooner(self, other: Deadline | None) -> Deadline:
        """The nearer one of the two."""
        return other if other is not None and other.at < self.at else self


def check_timeout(timeout: float, name: str = "timeout") -> float:
    """Return ``timeout`` when it is a number of seconds that can be waited for.

    Raises:
        ValueError: it is negative, NaN, or no number; the message names the option.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ValueError(f"{name} must be a number of seconds, 0 or more (math.inf for no limit), not {timeout!r}")
    return timeout if timeout <= sys.float_info.max else math.inf
