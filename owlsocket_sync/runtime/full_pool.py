"""The warning of a pool whose workers are all busy for long while tasks wait: handlers of other messages wait, too.

Threads: any may begin to watch; the poller looks, with its timers. Nothing is watched while a worker is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors.safe_text import logger

BUSY_SECONDS = 1.0
INTERVAL = 0.25
QUIET_SECONDS = 10.0
"""An episode is over once no task has waited for so long behind busy workers."""


class FullPoolWarning:
    """Logs one line for each episode.

    Args:
        name: of the pool, for the log.
        size: the number of its workers.

    Attributes:
        at: when to look (``time.monotonic``), ``math.inf`` for never.
    """

    __slots__ = ("_name", "_quiet_until", "_since", "_size", "_turns", "at")

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self.at = math.inf
        self._since, self._turns = math.inf, -1
        self._quiet_until = -math.inf

    def begin(self, now: float, schedule: Callable[[float], object]) -> None:
        """Look soon, unless that is going to happen."""
        # Without a lock: of two threads that begin at once, both schedule the same look.
        if self.at == math.inf:
            self.at, self._turns = now + INTERVAL, -1
            schedule(self.at)

    def look(self, now: float, turns: int, waiting: int) -> float:
        """Log if it is time to, and return when to look again.

        Args:
            now: the time.
            turns: how many tasks the pool has begun.
            waiting: how many wait because all workers are busy; 0 if one is free.
        """
        if not waiting:
            self.at = math.inf
            return self.at
        if turns != self._turns:  # a worker became free meanwhile
            self._since, self._turns = now, turns
        elif now - self._since >= BUSY_SECONDS:
            if now >= self._quiet_until:
                workers = "the only worker" if self._size == 1 else f"all {self._size} workers"
                messages = "1 message waits" if waiting == 1 else f"{waiting} messages wait"
                has = "has" if self._size == 1 else "have"
                logger.warning(
                    "%s of %s %s been busy for %g s, and %s: raise workers=, or leave long work to threads of your own",
                    *(workers, self._name, has, BUSY_SECONDS, messages),
                )
            # Moved on while the episode lasts: one that ends for a moment does not fill the log.
            self._quiet_until = now + QUIET_SECONDS
        self.at = now + INTERVAL
        return self.at


NEVER_FULL = FullPoolWarning("", 0)
"""That of all pools without slow tasks; never begins."""
