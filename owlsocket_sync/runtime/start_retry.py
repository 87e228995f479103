"""Threads that the system refused to start: when to try again, and one line in the log for a row of failures."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..clock import monotonic
from ..errors.safe_text import logger

RETRY_DELAY = 0.05


def _never(at: float) -> None:
    """Do nothing, for a pool without a carrier."""


class StartRetry:
    """The attempts of one pool to start a thread.

    Args:
        name: of the pool, for the log.

    Attributes:
        at: when to try again (``time.monotonic``), ``math.inf`` where the last attempt did not fail.
        failing: whether it failed.
        schedule: have another thread call `owlsocket_sync.runtime.workers.WorkerPool.retry` at a moment.
    """

    __slots__ = ("_name", "at", "failing", "schedule")

    def __init__(self, name: str) -> None:
        self._name = name
        self.at = math.inf
        self.failing = False
        self.schedule: Callable[[float], object] = _never

    def failed(self, error: Exception) -> None:
        """Schedule the next attempt."""
        is_first, self.failing = not self.failing, True
        self.at = monotonic() + RETRY_DELAY
        self.schedule(self.at)
        if is_first:
            logger.warning("%s: cannot start a worker thread, trying again: %s", self._name, error)
