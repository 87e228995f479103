"""Calls that are given up: submitted ones fail at their deadline, and late answers are told from unknown ones.

Threads: ``_calls_lock`` of the table guards the timeouts and the ids.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import OrderedDict
from typing import Any

from ..errors import SocketTimeout
from .carrier import Carrier
from .pending import Pending

MAX_GIVEN_UP = 1000


class CallTimeouts:
    """The part of a table of calls that is about their timeouts, and about late answers."""

    __slots__ = ("_given_up", "_timeouts")

    _calls_lock: threading.RLock
    _carrier: Carrier
    _given_up: OrderedDict[Any, None] | None  # made for the first one
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
                    self._note_given_up(call.id)
                    late.append(call)
            following = self._timeouts[0][0] if self._timeouts else math.inf
        for call in late:
            call.complete(error=self.timeout_error(call))
        return following

    def timeout_error(self, call: Pending) -> SocketTimeout:
        """Return the error of a call that was not answered in time."""
        return call.timeout_error(self._carrier.last_failure if call.link is None else None)

    def give_up(self, id: Any) -> Pending | None:
        """Remove a call whose caller does not wait any more, and return it if it was pending."""
        with self._calls_lock:
            call = self.pending.pop(id, None)
            if call is not None:
                self._note_given_up(id)
            return call

    def _note_given_up(self, id: Any) -> None:
        """Remember whose answer is late, of the last calls that were given up; with the lock."""
        given_up = self._given_up
        if given_up is None:
            given_up = self._given_up = OrderedDict()
        given_up[id] = None
        if len(given_up) > MAX_GIVEN_UP:
            given_up.popitem(last=False)

    def take_given_up(self, id: Any) -> bool:
        """Return whether this call was given up, and forget it: a second answer to it is one too many."""
        with self._calls_lock:
            return self._given_up is not None and self._given_up.pop(id, self) is None
