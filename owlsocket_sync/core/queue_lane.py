"""The worker of an exchange without an outbox: it works on the connection's workers when something arrives, or is due.

Threads: any; no lock. The lane of the workers runs one task at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..clock import monotonic
from ..errors.safe_text import logger
from .queue_exchange import QueueExchange

LANE = "queue"
RETRY_DELAY = 1.0


class QueueLane:
    """Has an exchange work on workers.

    Args:
        exchange: does the work.
        run: has a function run on a worker, in order within its lane.
        schedule_wakeup: have `run_timers` called at a moment.
    """

    def __init__(
        self, exchange: QueueExchange, run: Callable[..., bool], schedule_wakeup: Callable[[float], object]
    ) -> None:
        self._exchange = exchange
        self._run = run
        self._schedule_wakeup = schedule_wakeup
        self._is_scheduled = False
        self._due = math.inf

    def wake(self) -> None:
        """Have the exchange work soon."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._run(LANE, self._work)

    def _work(self) -> None:
        while True:
            try:
                self._due = self._exchange.work()
            except BaseException:  # the lane goes on, whatever a hook or a log handler raises
                logger.exception("%s: the work on the queues failed", LANE)
                self._due = monotonic() + RETRY_DELAY
                self._is_scheduled = False
                break
            self._is_scheduled = False
            # What arrives from here on schedules another task; what arrived before may have found one.
            if not self._exchange.has_inputs():
                break
            self._is_scheduled = True
        if self._due < math.inf:
            self._schedule_wakeup(self._due)

    def run_timers(self, now: float) -> float:
        """Wake the exchange if that is due; return when it is due again; on the reader."""
        if now >= self._due:
            self._due = math.inf
            self.wake()
        return self._due
