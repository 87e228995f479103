"""The timeouts of submitted calls, which fail at their deadline without a thread that waits for them.

Threads: ``_calls_lock`` of the table guards the timeouts.
"""

from __future__ import annotations

import heapq
import math
import threading
from typing import Any

from ..errors import SocketTimeout
from .carrier import Carrier
from .pending import Pending


class CallTimeouts:
    """The part of a table of calls that is about their timeouts."""

    __slots__ = ("_timeouts",)

    _calls_lock: threading.RLock
    _carrier: Carrier
    _timeouts: list[tuple[float, int, Any]]
    pending: dict[Any, Pending]

    def _purge_timeouts(self) -> None:
        """Keep the timeouts of calls that are pending; with the lock."""
        # Put back one by one: what interrupts this may add others.
        timeouts, self._timeouts = self._timeouts, []
        try:
            while timeouts:
                timeout = timeouts.pop()
                if timeout[2] in self.pending:
                    heapq.heappush(self._timeouts, timeout)
        finally:
            if timeouts:
                self._timeouts.extend(timeouts)
                heapq.heapify(self._timeouts)

    def expire(self, now: float) -> float:
        """Fail the submitted calls whose time is over; return when to look again (``math.inf``: never)."""
        late = []
        with self._calls_lock:
            while self._timeouts and self._timeouts[0][0] <= now:
                timeout = heapq.heappop(self._timeouts)
                if timeout[0] > now:  # added meanwhile, by what interrupted this
                    heapq.heappush(self._timeouts, timeout)
                    break
                call = self.pending.pop(timeout[2], None)
                if call is not None:
                    late.append(call)
            following = self._timeouts[0][0] if self._timeouts else math.inf
        for call in late:
            call.complete(error=self.timeout_error(call))
        return following

    def timeout_error(self, call: Pending) -> SocketTimeout:
        """Return the error of a call that was not answered in time."""
        return call.timeout_error(self._carrier.last_failure if call.link is None else None)
