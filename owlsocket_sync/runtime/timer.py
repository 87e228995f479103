"""Calls somebody at a moment, for those who have no reader of their own to look at the clock.

Threads: ``_alarms`` (a condition) guards the schedule, and is free while anybody is called. The thread lives while
something is due; `Timer.stop` frees it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from typing import Protocol

SWEEP = 256


class Expiring(Protocol):
    """Something that has things to do at certain moments."""

    def expire(self, now: float) -> float:
        """Do what is due; return when something is due again."""
        ...


class Timer:
    """A schedule, and the thread that keeps it."""

    def __init__(self, name: str) -> None:
        self._alarms = threading.Condition(threading.Lock())
        self._due: list[tuple[float, int, weakref.ref[Expiring]]] = []
        self._numbers = itertools.count()
        self._swept_at = SWEEP
        self._running = False
        self._name = name

    def add(self, at: float, whom: Expiring) -> None:
        """Have ``whom.expire`` called at this moment."""
        with self._alarms:
            if len(self._due) > self._swept_at:
                self._sweep()
            heapq.heappush(self._due, (at, next(self._numbers), weakref.ref(whom)))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._alarms.notify()

    def _sweep(self) -> None:
        """Forget those who are gone."""
        self._due = [one for one in self._due if one[2]() is not None]
        heapq.heapify(self._due)
        self._swept_at = 2 * len(self._due) + SWEEP

    def stop(self) -> None:
        """Let nothing be due any more."""
        with self._alarms:
            self._due.clear()
            self._alarms.notify()

    def _run(self) -> None:
        while True:
            with self._alarms:
                if not self._due:
                    self._running = False
                    return
                at, _, reference = self._due[0]
                seconds = at - time.monotonic()
                if seconds > 0:
                    self._alarms.wait(seconds)
                    continue
                heapq.heappop(self._due)
            whom = reference()
            if whom is not None:
                whom.expire(time.monotonic())
